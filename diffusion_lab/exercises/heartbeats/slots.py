"""How the pieces of chapter 11 take their places in its run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffusion_lab import schedules, times
from diffusion_lab.exercises.normal_1d.slots import averaging, ddim_slot, discrete_loss

DECIBELS = 10 / math.log(10)
"""In one unit of log-SNR, which counts in natural logarithms."""


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, loss, step, dropped labels and averaged weights, made of these functions."""

    def loss(model: Callable, x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
        return own["observed_loss"](model, x0, t, noise, alpha_bar, torch.ones_like(x0, dtype=torch.bool))

    def spacing(count: int, schedule: times.Timeline) -> Tensor:
        low, high = (log_snr * DECIBELS for log_snr in schedule.log_snr_range())
        kept = own["decibel_levels"](high, low, max(2, count)).flip(0)  # from noise to data
        return schedule.time_at(torch.logit(kept.double())[:count])

    # The step finds x0 from eps, which needs some of the strip in x: so a floor, and times from anywhere above it.
    table = own["cosine_alpha_bar"](1000, 0.008, 0.999).double()
    schedule = schedules.from_alpha_bar(table, "own").limit_log_snr(-10.0, 12.0)
    return {
        "schedule": replace(schedule, density=times.uniform_density, spacing=spacing),
        "loss": discrete_loss(loss),
        "step": ddim_slot(own["ddim_step"]),
        "drop_labels": own["drop_labels"],
        "average": averaging(own["ema_update"]),
    }
