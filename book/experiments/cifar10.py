"""What chapter 7 measures and a page has no time for: schedules and weights, thresholds, filling in, sample sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import diffusion_lab
from diffusion_lab import betas, data, losses, samplers, schedules, targets
from diffusion_lab.chapters.run import judges
from diffusion_lab.denoisers import clip, dynamic_threshold, from_network, guided, with_x0
from diffusion_lab.devices import make_accelerator
from diffusion_lab.losses import min_snr_weight, uniform_weight
from diffusion_lab.metrics import FeatureClassifier, cached_classifier, frechet_distance, random_rows
from diffusion_lab.networks import build_network
from diffusion_lab.plots.figure import caption, finish, new_figure, styled
from diffusion_lab.plots.image import tile
from diffusion_lab.plots.style import bare, row_label
from diffusion_lab.schedules import Schedule
from diffusion_lab.train import Settings, Source, Trainer

OnStep = Callable[[str, int, int], None]

TRAINING = Settings(steps=1000, batch=64, learning_rate=2e-3, ema_decay=0.99)
STEPS = 25
SAMPLES = 1000
SHORT = 300
"""A number of training steps with the betas that were made for 1000."""
COUNTS = (100, 200, 300, 500, 700, 1000, 1500, 2000)
SCALES = (1.0, 1.5, 3.0, 6.0)
POLISHES = {"none": None, "clip": clip, "dynamic": dynamic_threshold}
FILLED = 300
REPEATS = (1, 2, 5, 10, 20)
FILL_EVALUATIONS = 100


def run(on_step: OnStep) -> dict[str, Any]:
    """Ablations on generated shapes, the same for everyone, and the shipped network beside what data there are."""
    shapes = data.load("cifar10", source="bundled")
    judge = judge_of(shapes, "generated shapes", on_step)
    trained, ablation, pictures = ablate(shapes, judge, on_step)
    filling, filled = fill(trained, shapes, judge, on_step)
    experiment = diffusion_lab.open_checkpoint(name="cifar10")
    own = judge_of(experiment.dataset, experiment.dataset.name, on_step)
    return {
        "data": f"{shapes.name}; {experiment.dataset.name}",
        "ablation_data": shapes.name,
        "network_trained_on": experiment.trained_on,
        "held_out_data": experiment.dataset.name,
        "held_out_images": len(experiment.dataset.test),
        "judge_accuracy": own.accuracy,
        "steps": STEPS,
        "samples": SAMPLES,
        "training_steps": TRAINING.steps,
        "ablation": ablation,
        "filling": filling,
        "counts": count_samples(experiment, own, on_step),
        "thresholds": threshold(experiment, own, on_step),
        "pictures": {**pictures, "filled": filled},
    }


def judge_of(dataset: Any, name: str, on_step: OnStep) -> FeatureClassifier:
    """The classifier whose features are compared; kept in the user's cache."""
    return cached_classifier(
        judges(),
        dataset.train,
        dataset.train_labels,
        dataset.classes,
        dataset.test,
        dataset.test_labels,
        epochs=12,
        seed=0,
        crop=4,
        flip=True,
        progress=lambda done, total: on_step(f"training the judge of {name}", done, total),
    )


def draw(
    network: nn.Module,
    schedule: Schedule,
    accelerator: Any,
    *,
    count: int = SAMPLES,
    scale: float = 1.0,
    polish: Callable[[Tensor], Tensor] | None = dynamic_threshold,
    seen: list[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """`count` images of equal shares and their labels; `seen` gets the share of guesses outside [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 10

    def watched(x0: Tensor) -> Tensor:
        if seen is not None:
            seen.append(float((x0.abs() > 1).double().mean()))
        return x0 if polish is None else polish(x0)

    images = []
    for block in labels.split(500):
        denoiser = from_network(network, targets.v, {"labels": block})
        if scale != 1:
            nobody = from_network(network, targets.v, {"labels": torch.full_like(block, 10)})
            denoiser = guided(denoiser, nobody, scale)
        noise = torch.randn(len(block), 3, 32, 32, generator=generator)
        with accelerator.autocast():
            x, _ = samplers.sample(
                with_x0(denoiser, watched),
                schedule,
                samplers.ddim(),
                # What a sampler has in its hands at the start, whatever the schedule ends with.
                noise,
                steps=STEPS,
                generator=generator,
            )
        images.append(x.float())
    return torch.cat(images), labels


def brightness(images: Tensor) -> Tensor:
    """The mean over all pixels and colours of each image, (N,)."""
    return images.flatten(1).mean(dim=1)


def agreement(judge: FeatureClassifier, images: Tensor, labels: Tensor) -> float:
    """The share of images that the judge takes for the class they were asked to be."""
    return float((judge.predict(images).argmax(dim=1) == labels).double().mean())


def ablate(
    shapes: Any, judge: FeatureClassifier, on_step: OnStep
) -> tuple[dict[str, tuple[nn.Module, Schedule]], list[dict[str, Any]], dict[str, Any]]:
    """Networks trained alike but for the schedule and the weights of levels."""
    short = schedules.from_betas(betas.linear_betas(SHORT), "linear, betas of 1000 steps cut off")
    mended = schedules.from_alpha_bar(
        betas.rescale_zero_terminal_snr(betas.alpha_bar_from_betas(betas.linear_betas(SHORT)))
    )
    whole = schedules.zero_terminal_linear()
    variants = {
        "linear, T = 1000": (schedules.linear(), uniform_weight),
        f"linear, T = {SHORT}, same betas": (short, uniform_weight),
        "the same, rescaled to zero SNR": (mended, uniform_weight),
        "zero terminal SNR, T = 1000": (whole, uniform_weight),
        "zero terminal SNR, min-SNR weights": (whole, min_snr_weight(5.0)),
    }
    accelerator = make_accelerator("auto", "bfloat16")
    held_out = judge.features(shapes.test)
    generator = torch.Generator().manual_seed(1)
    real = random_rows(shapes.train, SAMPLES, generator)
    trained, drawn = {}, {"real images": real}
    rows = [row_of("real images", 0.0, real, None, judge, held_out)]
    for name, (schedule, weight) in variants.items():
        trainer = Trainer(
            network=build_network((3, 32, 32), width=32, levels=3, classes=10, seed=0),
            loss=losses.prediction_loss(targets.v, weight),
            schedule=schedule,
            source=Source(shapes.train, shapes.train_labels, classes=10, drop_share=0.1),
            settings=TRAINING,
            accelerator=accelerator,
        )
        network = trainer.fit(on_step=lambda done, loss, name=name: on_step(name, done, TRAINING.steps))
        images, labels = draw(network, schedule, accelerator)
        last = float(schedule.at(torch.tensor(schedule.t_max)).alpha_bar)
        rows.append(row_of(name, last, images, labels, judge, held_out))
        trained[name], drawn[name] = (network, schedule), images
    names = ["real images", f"linear, T = {SHORT}, same betas", "the same, rescaled to zero SNR"]
    return trained, rows, {"schedules": schedules_figure({name: drawn[name][:20] for name in names}, rows)}


def row_of(
    name: str, last: float, images: Tensor, labels: Tensor | None, judge: FeatureClassifier, held_out: Tensor
) -> dict[str, Any]:
    return {
        "name": name,
        "last_alpha_bar": last,
        "brightness_mean": float(brightness(images).mean()),
        "brightness_std": float(brightness(images).std()),
        "brightness": [round(value, 3) for value in brightness(images)[:400].tolist()],
        "frechet": frechet_distance(judge.features(images), held_out),
        "agreement": None if labels is None else agreement(judge, images, labels),
    }


def fill(
    trained: dict[str, tuple[nn.Module, Schedule]], shapes: Any, judge: FeatureClassifier, on_step: OnStep
) -> tuple[list[dict[str, Any]], Any]:
    """Held-out shapes whose right half is filled in, by repeats of going up and down, at equal network evaluations."""
    network, schedule = trained["zero terminal SNR, min-SNR weights"]
    accelerator = make_accelerator("auto", "bfloat16")
    order = torch.randperm(len(shapes.test), generator=torch.Generator().manual_seed(4))[:FILLED]
    known, labels = shapes.test[order], shapes.test_labels[order]
    mask = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    mask[..., :16] = True
    denoiser = with_x0(from_network(network, targets.v), dynamic_threshold)
    held_out = judge.features(shapes.test)
    shown = {"real": known[:10], "known": torch.where(mask, known, torch.ones_like(known))[:10]}
    rows = [filled_row("real images", 0, 0, known, known, labels, judge, held_out)]
    for done, repeats in enumerate(REPEATS):
        on_step("filling in", done, len(REPEATS))
        generator = torch.Generator().manual_seed(5)
        start = torch.randn(known.shape, generator=generator)
        step = samplers.resampling(samplers.ddpm(), known, mask, repeats)
        with accelerator.autocast():
            x, way = samplers.sample(
                denoiser, schedule, step, start, steps=FILL_EVALUATIONS // repeats, generator=generator
            )
        x = x.float().clamp(-1, 1)
        rows.append(filled_row(f"{repeats}", repeats, way.evaluations, x, known, labels, judge, held_out))
        if repeats in (1, 10):
            shown["replaced" if repeats == 1 else f"{repeats} repeats"] = x[:10]
    return rows, filled_figure(shown, rows)


def filled_row(
    name: str,
    repeats: int,
    evaluations: int,
    images: Tensor,
    known: Tensor,
    labels: Tensor,
    judge: FeatureClassifier,
    held_out: Tensor,
) -> dict[str, Any]:
    seam = (images[..., 16] - images[..., 15]).abs().mean()
    return {
        "name": name,
        "repeats": repeats,
        "evaluations": evaluations,
        "seam": float(seam),
        "agreement": agreement(judge, images, labels),
        "frechet": frechet_distance(judge.features(images), held_out),
    }


def count_samples(experiment: Any, judge: FeatureClassifier, on_step: OnStep) -> dict[str, Any]:
    """The distance of the network's samples, and of real images, to the held-out ones, against their number."""
    dataset = experiment.dataset
    on_step("drawing many samples", 0, 1)
    images, _ = draw(
        experiment.network,
        experiment.pieces.schedule,
        experiment.accelerator,
        count=max(COUNTS),
        scale=experiment.chapter.guidance,
    )
    held_out = judge.features(dataset.test)
    generator = torch.Generator().manual_seed(6)
    result: dict[str, Any] = {"counts": list(COUNTS)}
    for name, features in {"samples": judge.features(images), "real": judge.features(dataset.train)}.items():
        means, spreads = [], []
        for count in COUNTS:
            found = torch.tensor(
                [frechet_distance(random_rows(features, count, generator), held_out) for _ in range(10)]
            )
            means.append(float(found.mean()))
            spreads.append(float(found.std()))
        result |= {name: means, f"{name}_spread": spreads}
    cov = torch.cov(held_out.double().T)
    result["variances"] = torch.linalg.eigvalsh(cov).clamp(min=0).tolist()
    return result


def threshold(experiment: Any, judge: FeatureClassifier, on_step: OnStep) -> list[dict[str, Any]]:
    """Guidance scales with and without something that keeps guesses in range."""
    held_out = judge.features(experiment.dataset.test)
    rows = []
    for scale in SCALES:
        for name, polish in POLISHES.items():
            on_step("thresholds", len(rows), len(SCALES) * len(POLISHES))
            seen: list[float] = []
            images, labels = draw(
                experiment.network,
                experiment.pieces.schedule,
                experiment.accelerator,
                count=500,
                scale=scale,
                polish=polish,
                seen=seen,
            )
            rows.append(
                {
                    "scale": scale,
                    "polish": name,
                    "evaluations": STEPS * (1 if scale == 1 else 2),
                    "outside": sum(seen) / len(seen),
                    "outside_end": float((images.abs() > 1).double().mean()),
                    "contrast": float(images.flatten(1).std(dim=1).mean()),
                    "agreement": agreement(judge, images.clamp(-1, 1), labels),
                    "frechet": frechet_distance(judge.features(images.clamp(-1, 1)), held_out),
                }
            )
    return rows


@styled
def schedules_figure(drawn: dict[str, Tensor], rows: list[dict[str, Any]]) -> Any:
    """Shapes by networks trained on different schedules, and real ones."""
    figure = new_figure(8, 1.75 * len(drawn) + 0.7)
    for ax, (name, images) in zip(figure.subplots(len(drawn), 1), drawn.items(), strict=True):
        ax.imshow(tile(images, 10).numpy(), vmin=0, vmax=1)
        bare(ax)
        ax.set_title(name)
    spread = {row["name"]: row["brightness_std"] for row in rows}
    values = "; ".join(f"{name}: {spread[name]:.3f}" for name in drawn)
    return finish(
        figure,
        "Real shapes, and what two schedules make of pure noise",
        f"Twenty images each. Real ones have light and dark grounds; those of the schedule that was cut off are all of "
        f"middling brightness; rescaled, both kinds are back. Standard deviation of the brightness: {values}.",
    )


@styled
def filled_figure(shown: dict[str, Tensor], rows: list[dict[str, Any]]) -> Any:
    """Shapes with their right half filled in."""
    figure = new_figure(8, 0.86 * len(shown) + 0.9)
    for ax, (name, images) in zip(figure.subplots(len(shown), 1), shown.items(), strict=True):
        ax.imshow(tile(images, len(images)).numpy(), vmin=0, vmax=1)
        bare(ax)
        row_label(ax, name)
    caption(figure, f"Generated shapes, held out; {FILL_EVALUATIONS} network evaluations for each image")
    seams = {row["name"]: row["seam"] for row in rows}
    return finish(
        figure,
        "The right half, filled in",
        "Ten held-out shapes, their left halves alone, and two ways to fill in the right half: by replacement the "
        "halves often disagree in colour or form; with 10 repeats they mostly agree. Mean step across the seam: "
        f"real {seams['real images']:.3f}, replacement {seams['1']:.3f}, 10 repeats {seams['10']:.3f}.",
    )
