"""Chapter 1: a normal distribution in one dimension. Linear betas, eps target, ancestral sampling."""

from __future__ import annotations

import torch

from diffusion_lab import samplers, schedules, targets
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.normal import exact_floor, load_normal, normal_scores
from diffusion_lab.exact import Gaussian
from diffusion_lab.train import Settings

TRUTH = Gaussian(torch.tensor([1.5]), torch.tensor([[0.25]]))

CHAPTER = Chapter(
    number=1,
    name="normal_1d",
    title="1D normal distribution",
    method="linear betas, eps, DDPM",
    load=load_normal(TRUTH, "normal distribution N(1.5, 0.5²)"),
    exact=lambda dataset: TRUTH,
    schedule=lambda dataset: schedules.linear(),
    target=targets.eps,
    step=lambda dataset: samplers.ddpm(),
    network={"width": 64, "depth": 3},
    evaluate=normal_scores(),
    floor=exact_floor,
    budgets={
        "smoke": Budget(Settings(steps=100, batch=256), samples=500, sample_steps=50),
        "quick": Budget(
            Settings(steps=1500, batch=1024, learning_rate=4e-3, ema_decay=0.998), samples=5000, sample_steps=1000
        ),
        "full": Budget(Settings(steps=20000, batch=2048), samples=20000, sample_steps=1000),
    },
    denoise_log_snr=(3.0, 0.0, -3.0),
)
