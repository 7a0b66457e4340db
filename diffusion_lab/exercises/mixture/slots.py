"""How the pieces of chapter 3 take their places in its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffusion_lab import schedules, targets
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context

SIGMA_MIN, SIGMA_MAX = 0.02, 15.0
REPEATS, STEP_SIZE = 20, 0.3
FINE = 1025
"""How many levels the training times are read from."""


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, loss and step of `run_chapter`, made of these functions."""
    fine = own["geometric_sigmas"](FINE, SIGMA_MAX, SIGMA_MIN).double()

    def spacing(n: int, schedule: schedules.Schedule) -> Tensor:
        # The path has sigma = SIGMA_MAX t. A single level is the noisiest one.
        sigmas = own["geometric_sigmas"](n, SIGMA_MAX, SIGMA_MIN) if n > 1 else torch.tensor([SIGMA_MAX])
        return sigmas.double() / SIGMA_MAX

    def density(uniforms: Tensor, schedule: schedules.Schedule) -> Tensor:
        # Training draws from the same levels, with the gaps between neighbours filled in.
        place = uniforms.double() * (FINE - 1)
        left = place.floor().long().clamp(0, FINE - 2)
        logs = torch.lerp(fine[left].log(), fine[left + 1].log(), place - left)
        return (logs.exp() / SIGMA_MAX).clamp(schedule.t_min, schedule.t_max)

    def loss(network: Callable[..., Tensor], x0: Tensor, eps: Tensor, level: Level, cond: dict) -> Tensor:
        def model(x: Tensor, sigma: Tensor) -> Tensor:
            # The network is asked for sigma times the score, which has the same size at every level.
            return targets.score.evaluate(network, x, level, cond) / level.sigma

        return own["dsm_loss"](model, x0, level.sigma.flatten().expand(len(x0)), eps)

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        size = STEP_SIZE * float(now.sigma) ** 2
        for repeat in range(REPEATS):
            if repeat:
                prediction = context.predict(x, now)
            x = own["langevin_step"](x, -prediction.eps / now.sigma, size, context.noise(x))
        if after.sigma == 0:
            # Tweedie's formula is written for x of bounded variance: x / scale, whose score is scale times that of x.
            scale = torch.sqrt(now.alpha**2 + now.sigma**2)
            score = -context.predict(x, now).eps / now.sigma
            alpha_bar = ((now.alpha / scale) ** 2).flatten().expand(len(x))
            return own["tweedie"](x / scale, alpha_bar, score * scale)
        return x

    schedule = schedules.geometric(sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX)
    return {
        "schedule": replace(schedule, name="own geometric", spacing=spacing, density=density),
        "loss": loss,
        "step": step,
    }
