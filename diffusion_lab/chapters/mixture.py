"""Chapter 3: a mixture of normals. Geometric sigmas, denoising score matching, annealed Langevin sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffusion_lab import samplers, schedules, targets
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.normal import exact_floor, load_normal
from diffusion_lab.exact import Mixture
from diffusion_lab.levels import CLEAN
from diffusion_lab.metrics import Score, energy_distance, floor_of, mean_log_likelihood, mode_weights, total_variation
from diffusion_lab.train import Settings


def five_modes() -> Mixture:
    """Five modes on a circle of radius 2, of unequal weight and each stretched along the circle."""
    weights = torch.tensor([0.3, 0.25, 0.2, 0.15, 0.1])
    angles = torch.arange(5) * 2 * math.pi / 5
    outward = torch.stack([angles.cos(), angles.sin()], dim=1)  # (5, 2)
    along = torch.stack([-angles.sin(), angles.cos()], dim=1)
    covs = 0.05 * torch.einsum("ki,kj->kij", outward, outward) + 0.15 * torch.einsum("ki,kj->kij", along, along)
    return Mixture(weights, 2 * outward, covs)


TRUTH = five_modes()


def evaluate(experiment: Experiment) -> list[Score]:
    """Energy distance to an exact sample, weights of the modes, and log-likelihood under the exact density."""
    samples, generator = experiment.samples, experiment.generator("floor")
    reference = TRUTH.sample(len(samples), generator)

    def draw() -> Tensor:
        return TRUTH.sample(len(samples), generator)

    def energy(x: Tensor) -> float:
        return energy_distance(x, reference)

    def weight_error(x: Tensor) -> float:
        found = mode_weights(x, lambda points: TRUTH.responsibilities(points.double(), CLEAN))
        return total_variation(found, TRUTH.weights)

    def likelihood(x: Tensor) -> float:
        return mean_log_likelihood(x, lambda points: TRUTH.log_density(points.double(), CLEAN))

    floor = floor_of(energy, draw)
    return [
        Score("energy distance to the exact mixture", energy(samples), floor, 3 * floor),
        Score("total variation of the mode weights", weight_error(samples), floor_of(weight_error, draw), 0.06),
        Score(
            "mean log-likelihood under the exact density",
            likelihood(samples),
            floor_of(likelihood, draw),
            floor_of(likelihood, draw) - 0.25,
            better="higher",
            unit="nats",
        ),
    ]


CHAPTER = Chapter(
    number=3,
    name="mixture",
    title="Gaussian mixture model",
    method="geometric sigmas, score matching, annealed Langevin",
    load=load_normal(TRUTH, "mixture of five normals"),
    exact=lambda dataset: TRUTH,
    schedule=lambda dataset: schedules.geometric(sigma_min=0.02, sigma_max=15.0),
    target=targets.score,
    step=lambda dataset: samplers.annealed_langevin(repeats=20, step_size=0.3),
    network={"width": 128, "depth": 3},
    evaluate=evaluate,
    floor=exact_floor,
    budgets={
        "smoke": Budget(Settings(steps=100, batch=256), samples=500, sample_steps=6),
        "quick": Budget(
            Settings(steps=2800, batch=512, learning_rate=4e-3, ema_decay=0.998), samples=3000, sample_steps=50
        ),
        "full": Budget(Settings(steps=20000, batch=2048), samples=10000, sample_steps=100),
    },
    denoise_log_snr=(3.0, 0.0, -2.0),
)
