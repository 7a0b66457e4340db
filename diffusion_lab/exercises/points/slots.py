"""How the pieces of chapter 12 take their places in its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffusion_lab import schedules, times
from diffusion_lab.exercises.normal_1d.slots import averaging, ddim_slot, discrete_loss


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, loss, step, dropped labels and averaged weights, made of these functions."""

    def loss(model: Callable, x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
        # All clouds of the chapter are of one size, so that nothing is masked.
        counts = torch.full((len(x0),), x0.shape[1], device=x0.device)
        return own["padded_loss"](lambda x, t, mask: model(x, t), x0, t, noise, alpha_bar, counts)

    # The step finds x0 from eps, which needs some of the cloud in x: so a floor, and times from anywhere above it.
    table = own["sigmoid_alpha_bar"](1000, -3.0, 3.0, 0.6, 1e-9).double()
    schedule = schedules.from_alpha_bar(table, "own").limit_log_snr(-10.0, 12.0)
    return {
        "schedule": replace(schedule, density=times.uniform_density, spacing=times.log_snr_spacing),
        "loss": discrete_loss(loss),
        "step": ddim_slot(own["ddim_step"]),
        "drop_labels": own["drop_labels"],
        "average": averaging(own["ema_update"]),
    }
