"""Chapter 4: a normal distribution in sixteen dimensions. EDM preconditioning, Karras sigmas, Heun's second order."""

from __future__ import annotations

import torch

from diffusion_lab import losses, samplers, schedules, targets
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.normal import exact_floor, load_normal, normal_scores
from diffusion_lab.chapters.table import OWN_TABLE
from diffusion_lab.exact import Gaussian
from diffusion_lab.train import Settings

DIMENSIONS = 16


def chain() -> Gaussian:
    """Neighbours have correlation 0.9, as in a first-order autoregressive series; the mean is a wave."""
    place = torch.arange(DIMENSIONS, dtype=torch.float64)
    cov = 0.9 ** (place[:, None] - place[None, :]).abs()
    return Gaussian(0.5 * torch.sin(place * 2 * torch.pi / DIMENSIONS), cov)


TRUTH = chain()

CHAPTER = Chapter(
    number=4,
    name="normal_nd",
    title="Multi-dimensional normal distribution",
    method="Karras sigmas, EDM, Heun",
    load=load_normal(TRUTH, f"{DIMENSIONS}-dimensional normal distribution, neighbours correlated 0.9"),
    exact=lambda dataset: TRUTH,
    schedule=lambda dataset: schedules.karras(),
    target=targets.edm(sigma_data=1.0),
    loss=lambda target, schedule, dataset: losses.prediction_loss(target, losses.edm_weight(1.0)),
    step=lambda dataset: samplers.heun(),
    network={"width": 192, "depth": 3},
    evaluate=normal_scores(),
    own=OWN_TABLE,
    floor=exact_floor,
    budgets={
        "smoke": Budget(Settings(steps=100, batch=256), samples=500, sample_steps=10),
        "quick": Budget(
            Settings(steps=3000, batch=512, learning_rate=4e-3, ema_decay=0.998), samples=2500, sample_steps=40
        ),
        "full": Budget(Settings(steps=20000, batch=2048), samples=20000, sample_steps=50),
    },
    denoise_log_snr=(3.0, 0.0, -3.0),
)
