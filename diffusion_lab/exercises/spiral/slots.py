"""How the pieces of chapter 6 take their places in its run, with the average of chapter 5."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context
from diffusion_lab.schedules import Schedule

SHIFT = 1.0
"""A sample of two numbers needs no shift: equal steps, as in the chapter's own run."""
WIDTH = 1e-3
"""Of the difference by which the rates of alpha and sigma are found; on a straight path they do not depend on it."""


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, loss, step and average of `run_chapter`, made of these functions."""

    def path(t: Tensor) -> tuple[Tensor, Tensor]:
        # Data (1, 0) and noise (0, 1) show the two factors of the path. The rates are differences of the student's own
        # values, so that a function that autograd cannot follow works too.
        here = t.detach().flatten()
        early, late = (here - WIDTH).clamp(min=0), (here + WIDTH).clamp(max=1)
        times = torch.cat([here, early, late])
        data = torch.tensor([1.0, 0.0], dtype=t.dtype).repeat(len(times), 1)
        point, before, after = own["flow_path"](data.flip(1), data, times).reshape(3, -1, 2)
        rate = (after - before) / (late - early).unsqueeze(1)
        alpha, sigma = (point + rate * (t.flatten() - here).unsqueeze(1)).unbind(dim=1)
        return alpha.reshape(t.shape), sigma.reshape(t.shape)

    def spacing(n: int, schedule: Schedule) -> Tensor:
        return own["shifted_times"](n, SHIFT).double()[:-1]  # the clean end is appended by the schedule

    def loss(network: Callable[..., Tensor], x0: Tensor, eps: Tensor, level: Level, cond: dict) -> Tensor:
        def model(x: Tensor, t: Tensor) -> Tensor:
            return network(x, t, **cond)

        return own["flow_loss"](model, x0, eps, level.t.flatten().expand(len(x0)))

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        before, x0_last = now, None
        if context.history:
            before, last = context.history[-1]
            x0_last = last.x0
        levels = [torch.stack([level.alpha.reshape(()), level.sigma.reshape(())]) for level in (before, now, after)]
        return own["dpmpp_2m_step"](prediction.x0, x0_last, x, torch.stack(levels))

    def average(averaged: nn.Module, online: nn.Module, decay: float) -> None:
        averaged.load_state_dict(own["ema_update"](averaged, online, decay))

    return {"schedule": Schedule("own", path, spacing=spacing), "loss": loss, "step": step, "average": average}
