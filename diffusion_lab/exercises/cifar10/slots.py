"""How the pieces of chapter 7 take their places in its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffusion_lab import schedules
from diffusion_lab.chapters.cifar10 import STEPS, TIMES_OF_SHAPES
from diffusion_lab.exercises.normal_1d.slots import alpha_bar_of, averaging, discrete_loss
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context

GAMMA = 5.0
"""Of the min-SNR weight, as in its paper."""
PERCENTILE = 0.995


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, loss, step, polish, guidance, dropped labels and averaged weights, made of these functions."""

    def loss(model: Callable, x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
        return own["weighted_loss"](model, x0, t, noise, alpha_bar, own["min_snr_weight"](alpha_bar, GAMMA, "v"))

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        here, there = alpha_bar_of(now), alpha_bar_of(after)
        if here == 0:
            # In pure noise no x0 can be found from eps. The same x0 and eps are handed over as at a level between.
            here = there / 2
            x = (here.sqrt() * prediction.x0 + (1 - here).sqrt() * prediction.eps).to(x.dtype)
        return own["ddim_step"](x, here, there, prediction.eps, 0.0, torch.zeros_like(x))

    table = own["rescale_zero_terminal_snr"](own["alpha_bar"](own["linear_betas"](STEPS, 1e-4, 0.02)).double())
    # A learner has no real photographs as a rule; these times do them little harm.
    schedule = replace(schedules.from_alpha_bar(table, "own"), density=TIMES_OF_SHAPES)
    return {
        "schedule": schedule,
        "loss": discrete_loss(loss),
        "step": step,
        "polish": lambda x0: own["dynamic_threshold"](x0, PERCENTILE),
        "guide": own["guided_eps"],
        "drop_labels": own["drop_labels"],
        "average": averaging(own["ema_update"]),
    }
