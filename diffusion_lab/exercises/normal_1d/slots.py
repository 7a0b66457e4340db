"""How the pieces of chapter 1 take their places in its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from diffusion_lab import schedules
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, loss and step of `run_chapter`, made of these functions."""

    def loss(network: Callable[..., Tensor], x0: Tensor, eps: Tensor, level: Level, cond: dict) -> Tensor:
        # Every sample has a level of its own, so the table has one row for each of them.
        rows = torch.arange(len(x0), device=x0.device)

        def model(x: Tensor, t: Tensor) -> Tensor:
            return network(x, level.t.flatten().expand(len(x)).float(), **cond)

        return own["eps_loss"](model, x0, rows, eps, level.alpha_bar.flatten().expand(len(x0)))

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        # Two levels of the path are a chain of two steps, or of one where the second level is the data.
        ratio = 1 - now.alpha_bar / after.alpha_bar
        last = bool(after.sigma == 0)
        betas = ratio.reshape(1) if last else torch.stack([1 - after.alpha_bar.flatten()[0], ratio.flatten()[0]])
        noise = torch.zeros_like(x) if last else context.noise(x)
        return own["ddpm_step"](x, len(betas) - 1, prediction.eps, betas, noise, "posterior")

    return {
        "schedule": schedules.from_alpha_bar(own["alpha_bar"](torch.linspace(1e-4, 0.02, 1000)), "own"),
        "loss": loss,
        "step": step,
    }
