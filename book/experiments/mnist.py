"""What chapter 5 measures and a page has no time for: denoising, samplers, guidance and averaged weights on digits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import diffusion_lab
from diffusion_lab import losses, samplers, schedules, targets
from diffusion_lab.denoisers import clip, evaluating, from_network, guided, modules_of, with_x0
from diffusion_lab.exact import FiniteSet
from diffusion_lab.metrics import FeatureClassifier, cached_classifier, confidence, frechet_distance, random_rows
from diffusion_lab.networks import build_network
from diffusion_lab.plots.figure import caption, finish, new_figure, styled
from diffusion_lab.plots.image import tile
from diffusion_lab.plots.style import bare, row_label
from diffusion_lab.train import Settings, Source, Trainer, ema_update

OnStep = Callable[[str, int, int], None]

LOG_SNRS = (6.0, 4.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0)
DENOISED = 500
"""Images of each kind at each noise level."""
SAMPLES = 1000
BUDGETS = (5, 10, 20, 50, 100)
"""Network evaluations for each image."""
STEPS = {
    "DDPM": (samplers.ddpm(), lambda evaluations: evaluations),
    "DDIM": (samplers.ddim(), lambda evaluations: evaluations),
    # Two evaluations a step, one in the last.
    "Heun": (samplers.heun(), lambda evaluations: (evaluations + 1) // 2),
    "DPM-Solver++(2M)": (samplers.dpmpp_2m(), lambda evaluations: evaluations),
}
SCALES = (0.0, 0.5, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
GUIDED_STEPS = 25
DECAYS = (0.9, 0.99, 0.999, 0.9999)
FOLLOWED_STEPS = 1500
LONG_TRAINING = Settings(steps=20_000, batch=64, learning_rate=2e-3)
"""Its first steps are followed: the learning rate stays high in them."""
SHORT_TRAINING = Settings(steps=FOLLOWED_STEPS, batch=64, learning_rate=2e-3)
"""The learning rate falls to 0 in the same number of steps."""
LOSS_EVERY, SCORE_EVERY = 50, 100
PICTURE_AT = 800
SMOOTHING = 10
"""Training losses are kept as means over so many steps."""


def run(on_step: OnStep) -> dict[str, Any]:
    """All of it, with the shipped network; on MNIST where it is on disk, else on the stand-in, under its own name."""
    experiment = diffusion_lab.open_checkpoint(name="mnist")
    data = experiment.dataset
    judge = cached_classifier(
        experiment.cache,
        data.train,
        data.train_labels,
        data.classes,
        data.test,
        data.test_labels,
        epochs=2,
        seed=0,
        crop=2,
        progress=lambda done, total: on_step("training the judge", done, total),
    )
    held_out = judge.features(data.test)
    count = min(SAMPLES, len(data.train))
    generator = torch.Generator().manual_seed(1)
    floors = [frechet_distance(judge.features(random_rows(data.train, count, generator)), held_out) for _ in range(10)]
    averaging, pictures = average_weights(experiment, judge, held_out, on_step)
    return {
        "data": data.name,
        "training_images": len(data.train),
        "held_out_images": len(data.test),
        "parameters": sum(p.numel() for p in experiment.network.parameters()),
        "judge_accuracy": judge.accuracy,
        "samples": SAMPLES,
        "floor": sum(floors) / len(floors),
        "floor_spread": float(torch.tensor(floors).std()),
        "denoising": denoise(experiment, on_step),
        "samplers": compare_samplers(experiment, judge, held_out, on_step),
        "guidance": guide(experiment, judge, held_out, on_step),
        "averaging": averaging,
        "pictures": pictures,
    }


def draw(
    network: nn.Module,
    experiment: Any,
    step: samplers.Step,
    steps: int,
    *,
    scale: float = 1.0,
    count: int = SAMPLES,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor, int]:
    """`count` digits of equal shares, their labels, and the network evaluations that each of them took."""
    generator = torch.Generator().manual_seed(seed)
    classes = len(experiment.dataset.classes)
    labels = torch.arange(count) % classes
    shape, schedule = tuple(experiment.dataset.train.shape[1:]), schedules.cosine()  # its even times
    images, evaluations = [], 0
    for block in labels.split(500):
        denoiser, each = from_network(network, targets.v, {"labels": block}), 1
        if scale != 1:
            nobody = from_network(network, targets.v, {"labels": torch.full_like(block, classes)})
            denoiser, each = guided(denoiser, nobody, scale), 2
        noise = torch.randn(len(block), *shape, generator=generator)
        with experiment.accelerator.autocast():
            x, way = samplers.sample(
                with_x0(denoiser, clip),
                schedule,
                step,
                samplers.initial_noise(schedule, noise),
                steps=steps,
                generator=generator,
                on_step=on_step,
            )
        images.append(x.float())
        evaluations = way.evaluations * each
    return torch.cat(images), labels, evaluations


def denoise(experiment: Any, on_step: OnStep) -> dict[str, Any]:
    """Mean squared errors on images that the network was trained on, and on held-out ones; learned and exact."""
    data, schedule = experiment.dataset, experiment.pieces.schedule
    generator = torch.Generator().manual_seed(2)
    exact = FiniteSet(data.train)
    kinds = {"training": (data.train, data.train_labels), "held-out": (data.test, data.test_labels)}
    rows = {name: torch.randperm(len(x), generator=generator)[:DENOISED] for name, (x, _) in kinds.items()}
    result: dict[str, Any] = {"log_snr": list(LOG_SNRS), "images": DENOISED}
    result |= {f"{name} {by}": [] for name in kinds for by in ("network", "network without label", "exact")}
    for done, log_snr in enumerate(LOG_SNRS):
        on_step("denoising", done, len(LOG_SNRS))
        t = schedule.time_at(torch.tensor(log_snr))
        for name, (images, labels) in kinds.items():
            x0, y = images[rows[name]], labels[rows[name]]
            level = schedule.at(t, like=x0)
            x = level.noisy(x0, torch.randn(x0.shape, generator=generator))
            with experiment.accelerator.autocast():
                answers = {
                    "network": from_network(experiment.network, targets.v, {"labels": y})(x, level).x0.float(),
                    "network without label": from_network(experiment.network, targets.v)(x, level).x0.float(),
                }
            answers["exact"] = exact.denoise(x, level).x0
            for by, x0_hat in answers.items():
                result[f"{name} {by}"].append(float((x0_hat - x0).square().mean()))
    return result


def compare_samplers(
    experiment: Any, judge: FeatureClassifier, held_out: Tensor, on_step: OnStep
) -> list[dict[str, Any]]:
    """Fréchet distance by sampler and budget, without guidance, the same starting noise for all."""
    result = []
    for name, (step, steps_for) in STEPS.items():
        for budget in BUDGETS:
            on_step("comparing samplers", len(result), len(STEPS) * len(BUDGETS))
            steps = steps_for(budget)
            images, labels, evaluations = draw(experiment.network, experiment, step, steps)
            result.append(
                {
                    "sampler": name,
                    "budget": budget,
                    "steps": steps,
                    "evaluations": evaluations,
                    "frechet": frechet_distance(judge.features(images), held_out),
                    "agreement": agreement(judge, images, labels),
                }
            )
    return result


def guide(experiment: Any, judge: FeatureClassifier, held_out: Tensor, on_step: OnStep) -> list[dict[str, Any]]:
    """What guidance does to the distance, to the share of the class asked for, and to the variety inside a class."""
    data = experiment.dataset
    real = variety(judge.features(data.test), data.test_labels)
    result = []
    for name in ("DDIM", "DDPM"):
        for scale in SCALES:
            on_step("guidance", len(result), 2 * len(SCALES))
            images, labels, evaluations = draw(
                experiment.network, experiment, STEPS[name][0], GUIDED_STEPS, scale=scale
            )
            features = judge.features(images)
            result.append(
                {
                    "sampler": name,
                    "scale": scale,
                    "evaluations": evaluations,
                    "frechet": frechet_distance(features, held_out),
                    "agreement": agreement(judge, images, labels),
                    "confidence": confidence(judge.predict(images)),
                    "variety": variety(features, labels) / real,
                }
            )
    return result


def agreement(judge: FeatureClassifier, images: Tensor, labels: Tensor) -> float:
    """The share of images that the judge takes for the class they were asked to be."""
    return float((judge.predict(images).argmax(dim=1) == labels).double().mean())


def variety(features: Tensor, labels: Tensor) -> float:
    """The mean over classes of the total variance of the features of one class."""
    return float(torch.stack([features[labels == y].var(dim=0).sum() for y in labels.unique()]).mean())


class Enough(Exception):
    """Raised to end a training early."""


def average_weights(
    experiment: Any, judge: FeatureClassifier, held_out: Tensor, on_step: OnStep
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The start of a long training, with averages of several decays, none of them warmed up, and one that is.

    Beside it a short training, in which the learning rate has time to fall to 0.
    """
    data, schedule = experiment.dataset, experiment.pieces.schedule
    classes = len(data.classes)
    x0, level, noise, labels = held_out_batch(data, schedule)

    def loss_of(network: nn.Module) -> float:
        with evaluating(modules_of(network)), experiment.accelerator.autocast():
            return float(losses.prediction_loss(targets.v)(network, x0, noise, level, {"labels": labels}).mean())

    def score_of(network: nn.Module) -> tuple[Tensor, float]:
        images, _, _ = draw(network, experiment, samplers.ddim(), 20, count=500)
        return images, frechet_distance(judge.features(images), held_out)

    def trainer_of(settings: Settings) -> Trainer:
        return Trainer(
            network=build_network(tuple(data.train.shape[1:]), width=32, classes=classes, seed=0),
            loss=losses.prediction_loss(targets.v),
            schedule=schedule,
            source=Source(data.train, data.train_labels, classes=classes, drop_share=0.1),
            settings=settings,
            accelerator=experiment.accelerator,
        )

    trainer = trainer_of(LONG_TRAINING)
    averages = {f"{decay}": copy.deepcopy(trainer.average) for decay in DECAYS}

    def follow(average: nn.Module, online: nn.Module, decay: float) -> None:
        ema_update(average, online, decay)
        for own_decay, own in averages.items():
            ema_update(own, online, float(own_decay))

    trainer.update_average = follow
    followed = {"online": trainer.network, **averages, "warmed up": trainer.average}
    result: dict[str, Any] = {
        "decay": LONG_TRAINING.ema_decay,
        "loss_steps": list(range(LOSS_EVERY, FOLLOWED_STEPS + 1, LOSS_EVERY)),
        "loss": {name: [] for name in followed},
        "frechet_steps": list(range(2 * SCORE_EVERY, FOLLOWED_STEPS + 1, SCORE_EVERY)),
        "frechet": {name: [] for name in ("online", "warmed up")},
    }
    drawn: dict[str, Tensor] = {}
    shown: dict[str, float] = {}

    def measure(done: int, loss: float) -> None:
        on_step("averaging weights", done, 2 * FOLLOWED_STEPS)
        if done in result["loss_steps"]:
            for name, network in followed.items():
                result["loss"][name].append(loss_of(network))
        if done in result["frechet_steps"]:
            for name, scores in result["frechet"].items():
                scores.append(score_of(followed[name])[1])
        if done == PICTURE_AT:
            for name, network in followed.items():
                images, shown[name] = score_of(network)
                drawn[name] = images[:10]
        if done == FOLLOWED_STEPS:
            raise Enough

    try:
        trainer.fit(on_step=measure)
    except Enough:
        pass
    result |= {"training_loss": smooth(trainer.losses), "picture_at": PICTURE_AT, "shown": shown}

    short = trainer_of(SHORT_TRAINING)
    short.fit(on_step=lambda done, loss: on_step("averaging weights", FOLLOWED_STEPS + done, 2 * FOLLOWED_STEPS))
    for name, network in {"online": short.network, "warmed up": short.average}.items():
        result[f"decayed {name}"] = {"loss": loss_of(network), "frechet": score_of(network)[1]}
    return result, {"averages": averages_figure(drawn, shown, data.name)}


def smooth(losses: list[float]) -> list[float]:
    """Means over SMOOTHING steps."""
    return [round(float(part.mean()), 5) for part in torch.tensor(losses).split(SMOOTHING)]


def held_out_batch(data: Any, schedule: Any) -> tuple[Tensor, Any, Tensor, Tensor]:
    """500 held-out images with noise, at levels that cover the whole path evenly."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.randperm(len(data.test), generator=generator)[:500]
    x0 = data.test[rows]
    uniforms = (torch.arange(len(x0), dtype=torch.float64) + 0.5) / len(x0)
    level = schedule.at(schedule.density(uniforms, schedule), like=x0)
    return x0, level, torch.randn(x0.shape, generator=generator), data.test_labels[rows]


@styled
def averages_figure(drawn: dict[str, Tensor], scores: dict[str, float], dataset: str) -> Any:
    """Samples of the online network and of its averages, a row for each."""
    figure = new_figure(8, 0.72 * len(drawn) + 1)
    for ax, (name, images) in zip(figure.subplots(len(drawn), 1), drawn.items(), strict=True):
        ax.imshow(tile(images, len(images)).numpy(), vmin=0, vmax=1)
        bare(ax)
        row_label(ax, name if name in ("online", "warmed up") else f"average, {name}")
    caption(figure, f"Each row starts from the same noise; the network is trained on {dataset}")
    values = ", ".join(f"{name} {value:.1f}" for name, value in scores.items())
    return finish(
        figure,
        f"Samples after {PICTURE_AT} steps of training: the network and its averages",
        f"Rows of ten generated digits, 0 to 9, from the online network and from averages of its weights with several "
        f"decays, after {PICTURE_AT} training steps. Fréchet distances: {values}.",
    )
