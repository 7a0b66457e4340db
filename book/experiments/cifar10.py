"""What chapter 7 measures and a page has no time for: rivals, sample sizes, thresholds, steps, filling in, levels."""

from __future__ import annotations

import math
from typing import Any

import torch
from experiments.parts.cifar10_images import STEPS, OnStep, brightness, generate, judge_of
from experiments.parts.cifar10_rivals import SAMPLES, ladder
from experiments.parts.cifar10_sampling import compare_samplers, fill, threshold
from experiments.parts.cifar10_schedules import ablate
from torch import Tensor

import diffusion_lab
from diffusion_lab import data, targets
from diffusion_lab.denoisers import from_network
from diffusion_lab.exact import FiniteSet, Gaussian
from diffusion_lab.metrics import frechet_distance, random_rows

LOG_SNRS = (6.0, 4.0, 2.0, 1.0, 0.0, -1.0, -2.0, -4.0, -6.0)
DENOISED = 400
"""Images of each kind at each noise level."""
COUNTS = (100, 150, 200, 300, 500, 700, 1000, 1500, 2000)
REPEATS = 10


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
        "guidance": 1.5,
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
