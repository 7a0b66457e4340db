"""What the chapters on normal distributions share: data drawn from the truth, and scores against it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.data import Dataset
from diffusion_lab.exact import loss_floor
from diffusion_lab.metrics import Score, floor_of, moments, sample_w2

TRAIN, TEST = 20_000, 5_000


def load_normal(truth, name: str) -> Callable[[str, Path | None, int], Dataset]:
    """A loader that draws fresh data from an exact distribution; such data are as real as any."""

    def load(source: str, root: Path | None, seed: int) -> Dataset:
        generator = torch.Generator().manual_seed(seed)
        train, test = truth.sample(TRAIN, generator), truth.sample(TEST, generator)
        return Dataset(name=name, source="generated", kind="points", train=train, test=test)

    return load


def normal_scores() -> Callable[[Experiment], list[Score]]:
    """Wasserstein-2 distance of the samples' normal fit to the truth, worst relative error of a variance, kurtosis."""

    def evaluate(experiment: Experiment) -> list[Score]:
        truth, samples = experiment.exact, experiment.samples
        generator = experiment.generator("floor")

        def distance(x: Tensor) -> float:
            return sample_w2(x, truth.mean, truth.cov)

        def spread(x: Tensor) -> float:
            axes = truth.axes.to(torch.float64)
            ratio = (x.double() @ axes).var(dim=0) / truth.variances
            return float((ratio - 1).abs().max())

        def kurtosis(x: Tensor) -> float:
            return float(moments(x).excess_kurtosis.abs().max())

        def draw() -> Tensor:
            return truth.sample(len(samples), generator)

        floor = floor_of(distance, draw, 20)
        return [
            # Three times what the truth itself scores: a right sampler stays below twice, a wrong one is far above.
            Score("Wasserstein-2 to the exact normal", distance(samples), floor, 3 * floor),
            Score("largest relative error of a variance", spread(samples), floor_of(spread, draw, 20), 0.15),
            Score("largest excess kurtosis", kurtosis(samples), floor_of(kurtosis, draw, 20), 0.5),
        ]

    return evaluate


def exact_floor(experiment: Experiment) -> float:
    """The mean loss of the exact denoiser over the training times, on fresh data from the truth."""
    pieces, n = experiment.pieces, 20_000
    generator = experiment.generator("loss floor")
    x0 = experiment.exact.sample(n, generator)
    uniforms = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    t = pieces.schedule.density(uniforms[torch.randperm(n, generator=generator)], pieces.schedule)
    eps = torch.randn(x0.shape, generator=generator)
    return float(loss_floor(experiment.exact.denoise, x0, eps, t, pieces.schedule, pieces.target).mean())
