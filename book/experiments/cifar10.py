"""What chapter 7 measures and a page has no time for: rivals, sample sizes, thresholds, steps, filling in, levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import diffusion_lab
from diffusion_lab import betas, data, losses, samplers, schedules, targets
from diffusion_lab.chapters.run import judges
from diffusion_lab.denoisers import Denoiser, clip, dynamic_threshold, from_network, guided, with_x0
from diffusion_lab.devices import make_accelerator
from diffusion_lab.exact import FiniteSet, Gaussian
from diffusion_lab.losses import min_snr_weight, uniform_weight
from diffusion_lab.metrics import FeatureClassifier, cached_classifier, confidence, frechet_distance, random_rows
from diffusion_lab.networks import build_network
from diffusion_lab.plots.figure import caption, finish, new_figure, styled
from diffusion_lab.plots.image import tile
from diffusion_lab.plots.style import bare, row_label
from diffusion_lab.samplers import Step
from diffusion_lab.schedules import Schedule
from diffusion_lab.train import Settings, Source, Trainer

OnStep = Callable[[str, int, int], None]

SAMPLES = 1000
STEPS = 25
LOG_SNRS = (6.0, 4.0, 2.0, 1.0, 0.0, -1.0, -2.0, -4.0, -6.0)
DENOISED = 400
"""Images of each kind at each noise level."""
COUNTS = (100, 150, 200, 300, 500, 700, 1000, 1500, 2000)
REPEATS = 10
SCALES = (1.5, 3.0, 6.0)
POLISHES = {"none": None, "clip": clip, "dynamic": dynamic_threshold}
THRESHOLDED = 400
BUDGETS = (10, 20, 50)
"""Network evaluations for each image."""
STEPPERS: dict[str, tuple[Step, Callable[[int], int]]] = {
    "DDPM": (samplers.ddpm(), lambda evaluations: evaluations),
    "DDIM": (samplers.ddim(), lambda evaluations: evaluations),
    # Two evaluations a step, one in the last.
    "Heun": (samplers.heun(), lambda evaluations: (evaluations + 1) // 2),
    "DPM-Solver++(2M)": (samplers.dpmpp_2m(), lambda evaluations: evaluations),
}
STEPPED = 500
FILLED, FILL_EVALUATIONS, FILL_REPEATS = 200, 100, (1, 5, 20)
TRAINING = Settings(steps=1200, batch=64, learning_rate=3e-3, ema_decay=0.99)
"""Of small networks, on shapes of 16 by 16 pixels."""
SHORT = 300
"""A number of levels, with the betas that were made for 1000."""
ABLATED = 500


def run(on_step: OnStep) -> dict[str, Any]:
    """The shipped network beside its rivals on the images that it was made for, and an ablation on generated shapes."""
    experiment = diffusion_lab.open_checkpoint(name="cifar10")
    images = experiment.dataset
    judge = judge_of(images, on_step)
    held_out = judge.features(images.test)
    drawn, labels = draw(experiment, on_step)
    normal = fit_normal(images.train, on_step)
    shapes = data.load("cifar10", source="bundled")
    ablation, schedules_picture = ablate(shapes, on_step)
    rows, rivals_picture = ladder(experiment, judge, drawn[1.5], drawn[1.0], labels, normal)
    return {
        "data": images.name,
        "network_trained_on": experiment.trained_on,
        "ablation_data": shapes.name,
        "training_images": len(images.train),
        "held_out_images": len(images.test),
        "judge_accuracy": judge.accuracy,
        "parameters": sum(p.numel() for p in experiment.network.parameters()),
        "steps": STEPS,
        "samples": SAMPLES,
        "guidance": experiment.chapter.guidance,
        "brightness_std": float(brightness(images.train).std()),
        "ladder": rows,
        "denoising": denoising(experiment, normal, on_step),
        "spectrum": spectrum(normal),
        "counts": count_samples(judge.features(drawn[1.5]), judge.features(images.train), held_out),
        "thresholds": threshold(experiment, judge, held_out, on_step),
        "samplers": compare_samplers(experiment, judge, held_out, on_step),
        "filling": fill(experiment, on_step),
        "ablation": ablation,
        "pictures": {"schedules": schedules_picture, "rivals": rivals_picture},
    }


def judge_of(images: Any, on_step: OnStep) -> FeatureClassifier:
    """The classifier whose features are compared, as the chapter trains it; kept in the user's cache."""
    return cached_classifier(
        judges(),
        images.train,
        images.train_labels,
        images.classes,
        images.test,
        images.test_labels,
        epochs=12,
        seed=0,
        crop=4,
        flip=True,
        progress=lambda done, total: on_step(f"training the judge of {images.name}", done, total),
    )


def asked(network: nn.Module, labels: Tensor, scale: float) -> Denoiser:
    """The network, asked for these classes."""
    denoiser = from_network(network, targets.v, {"labels": labels})
    if scale == 1:
        return denoiser
    return guided(denoiser, from_network(network, targets.v, {"labels": torch.full_like(labels, 10)}), scale)


def generate(
    network: nn.Module,
    schedule: Schedule,
    accelerator: Any,
    *,
    count: int,
    scale: float = 1.0,
    polish: Callable[[Tensor], Tensor] | None = dynamic_threshold,
    step: Step | None = None,
    steps: int = STEPS,
    side: int = 32,
    outside: list[float] | None = None,
) -> tuple[Tensor, Tensor, int]:
    """`count` images of equal shares, their labels and the evaluations; `outside` gets the share of guesses > 1."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 10

    def change(x0: Tensor) -> Tensor:
        if outside is not None:
            outside.append(float((x0.abs() > 1).double().mean()))
        return x0 if polish is None else polish(x0)

    images, evaluations = [], 0
    for block in labels.split(500):
        # What a sampler has at the start, whatever level the schedule ends with.
        noise = torch.randn(len(block), 3, side, side, generator=generator)
        denoiser = with_x0(asked(network, block, scale), change)
        with accelerator.autocast():
            x, way = samplers.sample(
                denoiser, schedule, step or samplers.ddim(), noise, steps=steps, generator=generator
            )
        images.append(x.float())
        evaluations = way.evaluations * (1 if scale == 1 else 2)
    return torch.cat(images), labels, evaluations


def brightness(images: Tensor) -> Tensor:
    """The mean over all pixels and colours of each image, (N,)."""
    return images.flatten(1).mean(dim=1)


def agreement(judge: FeatureClassifier, images: Tensor, labels: Tensor) -> float:
    """The share of images that the judge takes for the class they were asked to be."""
    return float((judge.predict(images).argmax(dim=1) == labels).double().mean())


def draw(experiment: Any, on_step: OnStep) -> tuple[dict[float, Tensor], Tensor]:
    """Samples of the shipped network with and without guidance, and the labels of the larger set."""
    drawn = {}
    for place, (scale, count) in enumerate({1.5: max(COUNTS), 1.0: SAMPLES}.items()):
        on_step("drawing samples", place, 2)
        drawn[scale], *_ = generate(
            experiment.network, experiment.pieces.schedule, experiment.accelerator, count=count, scale=scale
        )
    return drawn, torch.arange(max(COUNTS)) % 10


def fit_normal(train: Tensor, on_step: OnStep) -> Gaussian:
    """The normal distribution with the mean and the covariance of all training images."""
    on_step("fitting a normal distribution", 0, 1)
    flat = train.flatten(1).double()
    return Gaussian(flat.mean(0), torch.cov(flat.T))


def ladder(
    experiment: Any, judge: FeatureClassifier, guided_samples: Tensor, plain: Tensor, labels: Tensor, normal: Gaussian
) -> tuple[list[dict[str, Any]], Any]:
    """Generators from the perfect to the hopeless, all by the same judge, with as many images each."""
    images = experiment.dataset
    generator = torch.Generator().manual_seed(2)
    held_out = judge.features(images.test)
    count = min(SAMPLES, len(images.train))
    own = labels[:SAMPLES]
    order = torch.randperm(len(images.train), generator=generator)[:count]
    real, real_labels = images.train[order], images.train_labels[order]
    floors = torch.tensor(
        [frechet_distance(judge.features(random_rows(images.train, count, generator)), held_out) for _ in range(10)]
    )
    rivals = {
        "training images": (real, real_labels),
        "training images, noise 0.1": (real + 0.1 * torch.randn(real.shape, generator=generator), real_labels),
        "training images, 16 × 16": (
            functional.avg_pool2d(real, 2).repeat_interleave(2, -1).repeat_interleave(2, -2),
            real_labels,
        ),
        "training images, one class less": (real[real_labels != 0], real_labels[real_labels != 0]),
        "network, guidance 1.5": (guided_samples[:SAMPLES], own),
        "network, no guidance": (plain, own),
        "a normal distribution for each class": (normal_classes(images, own, generator), own),
        "one normal distribution": (normal.sample(SAMPLES, generator).reshape(-1, 3, 32, 32), None),
        "noise": (torch.randn(SAMPLES, 3, 32, 32, generator=generator), None),
    }
    rows = []
    for name, (made, classes) in rivals.items():
        made = made.clamp(-1, 1)
        features = judge.features(made)
        means = float((features.double().mean(0) - held_out.double().mean(0)).square().sum())
        near, ratio = nearest(made[:300], images.train)
        rows.append(
            {
                "name": name,
                "frechet": float(floors.mean()) if name == "training images" else frechet_distance(features, held_out),
                "spread": float(floors.std()) if name == "training images" else None,
                "means": means,
                "agreement": None if classes is None else agreement(judge, made, classes),
                "confidence": confidence(judge.predict(made)),
                "brightness_std": float(brightness(made).std()),
                "detail": detail(made),
                "nearest": near,
                "nearest_ratio": ratio,
            }
        )
    test = images.test[torch.randperm(len(images.test), generator=generator)[:SAMPLES]]
    test_near, test_ratio = nearest(test[:300], images.train)
    rows.append({"name": "held-out images", "nearest": test_near, "nearest_ratio": test_ratio, "detail": detail(test)})
    shown = {
        "A": rivals["a normal distribution for each class"][0],
        "B": rivals["network, guidance 1.5"][0],
        "C": rivals["one normal distribution"][0],
    }
    return rows, rivals_figure({name: made[:16] for name, made in shown.items()})


def normal_classes(images: Any, labels: Tensor, generator: torch.Generator) -> Tensor:
    """One draw for each label from the normal distribution with the mean and covariance of that class."""
    made = torch.empty(len(labels), *images.train.shape[1:])
    for label in range(len(images.classes)):
        own = images.train[images.train_labels == label].flatten(1)
        rows = (labels == label).nonzero()[:, 0]
        # Random sums of centred rows have exactly their covariance.
        mixing = torch.randn(len(rows), len(own), generator=generator) / math.sqrt(len(own) - 1)
        made[rows] = (own.mean(0) + mixing @ (own - own.mean(0))).reshape(-1, *images.train.shape[1:])
    return made


def nearest(images: Tensor, train: Tensor) -> tuple[float, float]:
    """Median distance of a pixel to that of the nearest training image, and median of nearest over second nearest."""
    distances = torch.cdist(images.flatten(1), train.flatten(1)).topk(2, largest=False).values
    root = math.sqrt(images[0].numel())
    return float(distances[:, 0].median()) / root, float((distances[:, 0] / distances[:, 1]).median())


def detail(images: Tensor) -> float:
    """The mean square difference of neighbouring pixels."""
    return float((images.diff(dim=-1).square().mean() + images.diff(dim=-2).square().mean()) / 2)


def denoising(experiment: Any, normal: Gaussian, on_step: OnStep) -> dict[str, Any]:
    """Squared errors of three denoisers against the noise level."""
    images, schedule = experiment.dataset, experiment.pieces.schedule
    memory = FiniteSet(images.train)
    generator = torch.Generator().manual_seed(3)
    result: dict[str, Any] = {"log_snr": list(LOG_SNRS), "images": DENOISED}
    for kind, all_clean, all_labels in (
        ("held-out", images.test, images.test_labels),
        ("training", images.train, images.train_labels),
    ):
        rows = torch.randperm(len(all_clean), generator=generator)[:DENOISED]
        clean, labels = all_clean[rows], all_labels[rows]
        noise = torch.randn(clean.shape, generator=generator)
        errors: dict[str, list[float]] = {}
        for done, log_snr in enumerate(LOG_SNRS):
            on_step(f"denoising {kind} images", done, len(LOG_SNRS))
            level = schedule.at(schedule.time_at(torch.tensor(log_snr)), like=clean)
            x = level.noisy(clean, noise)
            nobody = torch.full_like(labels, 10)
            with experiment.accelerator.autocast():
                own = from_network(experiment.network, targets.v, {"labels": labels})(x, level).x0.float()
                blind = from_network(experiment.network, targets.v, {"labels": nobody})(x, level).x0.float()
            answers = {
                "network": own,
                "network without label": blind,
                "normal": normal.denoise(x.flatten(1), level).x0.reshape(x.shape),
                "memory": memory.denoise(x, level).x0,
            }
            for name, answer in answers.items():
                errors.setdefault(name, []).append(float((answer - clean).square().mean()))
        result[kind] = errors
    return result


def spectrum(normal: Gaussian) -> dict[str, list[float]]:
    """The variances of the images along their own axes, largest first, at places even on a logarithmic scale."""
    falling = normal.variances.flip(0)
    places = sorted({round(10 ** (math.log10(len(falling)) * i / 40)) for i in range(41)})
    floors = []
    for log_snr in LOG_SNRS:
        signal = 1 / (1 + math.exp(-log_snr))
        floors.append(float((falling * (1 - signal) / (signal * falling + 1 - signal)).mean()))
    return {
        "place": places,
        "variance": [float(falling[place - 1]) for place in places],
        "total": float(falling.sum()),
        "first_thirty": float(falling[:30].sum() / falling.sum()),
        "floor": floors,
    }


def count_samples(samples: Tensor, real: Tensor, held_out: Tensor) -> dict[str, Any]:
    """The distance to the held-out images against the number of images, for features (N, D) of two kinds."""
    generator = torch.Generator().manual_seed(6)
    result: dict[str, Any] = {"counts": list(COUNTS), "repeats": REPEATS}
    for name, features in {"samples": samples, "real": real}.items():
        found = torch.tensor(
            [
                [frechet_distance(random_rows(features, count, generator), held_out) for _ in range(REPEATS)]
                for count in COUNTS
            ]
        )
        result |= {name: found.mean(dim=1).tolist(), f"{name}_spread": found.std(dim=1).tolist()}
    result["variances"] = torch.linalg.eigvalsh(torch.cov(held_out.double().T)).clamp(min=0).tolist()
    return result


def threshold(experiment: Any, judge: FeatureClassifier, held_out: Tensor, on_step: OnStep) -> list[dict[str, Any]]:
    """Guidance scales with and without something that keeps guesses in range."""
    rows = []
    for scale in SCALES:
        for name, polish in POLISHES.items():
            on_step("guidance and thresholds", len(rows), len(SCALES) * len(POLISHES))
            outside: list[float] = []
            images, labels, evaluations = generate(
                experiment.network,
                experiment.pieces.schedule,
                experiment.accelerator,
                count=THRESHOLDED,
                scale=scale,
                polish=polish,
                outside=outside,
            )
            shown = images.clamp(-1, 1)
            rows.append(
                {
                    "scale": scale,
                    "polish": name,
                    "evaluations": evaluations,
                    "outside": sum(outside) / len(outside),
                    "outside_end": float((images.abs() > 1).double().mean()),
                    "largest": float(images.abs().amax()),
                    "burnt": float((shown.abs() > 0.99).double().mean()),
                    "agreement": agreement(judge, shown, labels),
                    "frechet": frechet_distance(judge.features(shown), held_out),
                }
            )
    return rows


def compare_samplers(
    experiment: Any, judge: FeatureClassifier, held_out: Tensor, on_step: OnStep
) -> list[dict[str, Any]]:
    """Samplers at equal network evaluations, without guidance, from the same noise."""
    rows = []
    for name, (step, steps_for) in STEPPERS.items():
        for budget in BUDGETS:
            on_step("samplers", len(rows), len(STEPPERS) * len(BUDGETS))
            images, labels, evaluations = generate(
                experiment.network,
                experiment.pieces.schedule,
                experiment.accelerator,
                count=STEPPED,
                step=step,
                steps=steps_for(budget),
            )
            images = images.clamp(-1, 1)
            rows.append(
                {
                    "sampler": name,
                    "budget": budget,
                    "evaluations": evaluations,
                    "agreement": agreement(judge, images, labels),
                    "detail": detail(images),
                    "frechet": frechet_distance(judge.features(images), held_out),
                }
            )
    return rows


def fill(experiment: Any, on_step: OnStep) -> list[dict[str, Any]]:
    """Held-out images whose right half is filled in, by repeats of going up and down, at equal evaluations."""
    images = experiment.dataset
    order = torch.randperm(len(images.test), generator=torch.Generator().manual_seed(4))[:FILLED]
    known, labels = images.test[order], images.test_labels[order]
    mask = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    mask[..., :16] = True
    denoiser = with_x0(from_network(experiment.network, targets.v, {"labels": labels}), dynamic_threshold)
    rows = [filled_row("the images themselves", 0, 0, known, known)]
    for done, repeats in enumerate(FILL_REPEATS):
        on_step("filling in", done, len(FILL_REPEATS))
        generator = torch.Generator().manual_seed(5)
        start = torch.randn(known.shape, generator=generator)
        step = samplers.resampling(samplers.ddpm(), known, mask, repeats)
        with experiment.accelerator.autocast():
            x, way = samplers.sample(
                denoiser,
                experiment.pieces.schedule,
                step,
                start,
                steps=FILL_EVALUATIONS // repeats,
                generator=generator,
            )
        rows.append(filled_row(f"{repeats}", repeats, way.evaluations, x.float().clamp(-1, 1), known))
    return rows


def filled_row(name: str, repeats: int, evaluations: int, images: Tensor, known: Tensor) -> dict[str, Any]:
    """The jump at the seam beside the jump one column later, and how halves agree in colour."""
    halves = [images[..., :16].mean(dim=(-1, -2)).flatten(), images[..., 16:].mean(dim=(-1, -2)).flatten()]
    return {
        "name": name,
        "repeats": repeats,
        "evaluations": evaluations,
        "seam": float((images[..., 16] - images[..., 15]).abs().mean()),
        "beside": float((images[..., 18] - images[..., 17]).abs().mean()),
        "colours": float(torch.corrcoef(torch.stack(halves))[0, 1]),
        "error": float((images - known)[..., 16:].square().mean()),
    }


def ablate(shapes: Any, on_step: OnStep) -> tuple[list[dict[str, Any]], Any]:
    """Small networks trained alike but for the schedule and the weights of levels, on shapes of half the side."""
    half = replace(shapes, train=functional.avg_pool2d(shapes.train, 2), test=functional.avg_pool2d(shapes.test, 2))
    judge = judge_of(half, on_step)
    kept = betas.alpha_bar_from_betas(betas.linear_betas(SHORT))
    short = schedules.from_alpha_bar(kept, "linear, betas of 1000 steps cut off")
    mended = schedules.from_alpha_bar(betas.rescale_zero_terminal_snr(kept), "the same, rescaled")
    variants = {
        "cut off": (short, uniform_weight),
        "rescaled": (mended, uniform_weight),
        "rescaled, min-SNR": (mended, min_snr_weight(5.0)),
    }
    accelerator = make_accelerator("auto", "bfloat16")
    held_out = judge.features(half.test)
    real = random_rows(half.train, ABLATED, torch.Generator().manual_seed(1))
    drawn = {"data": real}
    rows = [row_of("data", 0.0, real, None, judge, held_out)]
    for name, (schedule, weight) in variants.items():
        trainer = Trainer(
            network=build_network((3, 16, 16), width=32, levels=2, classes=10, seed=0),
            loss=losses.prediction_loss(targets.v, weight),
            schedule=schedule,
            source=Source(half.train, half.train_labels, classes=10, drop_share=0.1),
            settings=TRAINING,
            accelerator=accelerator,
        )
        network = trainer.fit(on_step=lambda done, loss, name=name: on_step(f"training, {name}", done, TRAINING.steps))
        images, labels, _ = generate(network, schedule, accelerator, count=ABLATED, steps=50, polish=clip, side=16)
        last = float(schedule.at(torch.tensor(schedule.t_max)).alpha_bar)
        loss = sum(trainer.losses[-100:]) / len(trainer.losses[-100:])
        rows.append(row_of(name, last, images, labels, judge, held_out) | {"loss": loss})
        drawn[name] = images
    return rows, schedules_figure({name: drawn[name][:16] for name in list(drawn)[:3]}, rows)


def row_of(
    name: str, last: float, images: Tensor, labels: Tensor | None, judge: FeatureClassifier, held_out: Tensor
) -> dict[str, Any]:
    return {
        "name": name,
        "last_alpha_bar": last,
        "brightness_mean": float(brightness(images).mean()),
        "brightness_std": float(brightness(images).std()),
        "frechet": frechet_distance(judge.features(images), held_out),
        "agreement": None if labels is None else agreement(judge, images, labels),
    }


@styled
def schedules_figure(drawn: dict[str, Tensor], rows: list[dict[str, Any]]) -> Any:
    """Shapes by networks trained on different schedules, and shapes of the generator itself."""
    figure = new_figure(5, 1.1 * len(drawn) + 0.9)
    spread = {row["name"]: row["brightness_std"] for row in rows}
    for ax, (name, images) in zip(figure.subplots(len(drawn), 1), drawn.items(), strict=True):
        ax.imshow(tile(images, 8).numpy(), vmin=0, vmax=1)
        bare(ax)
        row_label(ax, name)
    caption(figure, "brightness spreads by: " + ", ".join(f"{name} {spread[name]:.2f}" for name in drawn))
    values = "; ".join(f"{name} {spread[name]:.3f}" for name in drawn)
    return finish(
        figure,
        "Shapes: data, and networks on two schedules",
        "Sixteen images each of the data, of a network on the schedule that was cut off, and of one on the rescaled "
        f"schedule. Standard deviation of the brightness: {values}.",
    )


@styled
def rivals_figure(drawn: dict[str, Tensor]) -> Any:
    """Images of three generators, which are not named."""
    figure = new_figure(5, 1.25 * len(drawn) + 0.5)
    for ax, (name, images) in zip(figure.subplots(len(drawn), 1), drawn.items(), strict=True):
        ax.imshow(tile(images.clamp(-1, 1), 8).numpy(), vmin=0, vmax=1)
        bare(ax)
        row_label(ax, name)
    return finish(
        figure,
        "Three generators, sixteen images each",
        "Three blocks of sixteen generated images of 32 by 32 pixels, named A, B and C. All have colours of sky, grass "
        "and earth. A is grainy all over, and some images have a horizon or a dark body in the middle. B is calm: "
        "plain grounds of grey, blue or green with a dark or light body on them. C is grainy, without any object.",
    )
