"""Chapter 2: a correlated normal distribution in two dimensions. Cosine schedule, v target, deterministic sampling."""

from __future__ import annotations

import torch

from diffusion_lab import samplers, schedules, targets
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.normal import exact_floor, load_normal, normal_scores
from diffusion_lab.exact import Gaussian
from diffusion_lab.train import Settings

TRUTH = Gaussian(torch.tensor([1.0, -0.5]), torch.tensor([[1.0, 0.72], [0.72, 0.64]]))

CHAPTER = Chapter(
    number=2,
    name="normal_2d",
    title="2D normal distribution",
    method="cosine, v, DDIM",
    load=load_normal(TRUTH, "2D normal distribution, correlation 0.9"),
    exact=lambda dataset: TRUTH,
    schedule=lambda dataset: schedules.cosine(),
    target=targets.v,
    step=lambda dataset: samplers.ddim(),
    network={"width": 96, "depth": 3},
    evaluate=normal_scores(),
    floor=exact_floor,
    budgets={
        "smoke": Budget(Settings(steps=100, batch=256), samples=500, sample_steps=20),
        "quick": Budget(Settings(steps=4000, batch=1024), samples=5000, sample_steps=200),
        "full": Budget(Settings(steps=20000, batch=2048), samples=20000, sample_steps=500),
    },
    denoise_log_snr=(3.0, 0.0, -3.0),
)
