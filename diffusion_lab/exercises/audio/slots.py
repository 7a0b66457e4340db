"""How the pieces of chapter 8 take their places in its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffusion_lab import schedules, times
from diffusion_lab.exercises.normal_1d.slots import averaging, ddim_slot, discrete_loss

LENGTH, REFERENCE_LENGTH = 4_096, 16_384
"""Samples of the chapter's sounds, and of those for which the cosine schedule is right as it is."""
FFT_SIZES = (64, 256, 1024)
AMOUNT = 0.02
"""Of the loss on spectra, beside the square error of v."""


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, loss, step, dropped labels and averaged weights, made of these functions."""

    def loss(model: Callable, x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
        guesses: dict[int, Tensor] = {}

        def remembering(x: Tensor, rows: Tensor) -> Tensor:
            output = model(x, rows)
            guesses.update(zip(rows.tolist(), output, strict=True))
            return output

        error = own["v_loss"](remembering, x0, t, noise, alpha_bar)
        v = torch.stack([guesses[row] for row in t.tolist()])
        kept = alpha_bar.reshape(-1, *[1] * (x0.ndim - 1))
        estimate = kept * x0 + (kept * (1 - kept)).sqrt() * noise - (1 - kept).sqrt() * v
        return error + AMOUNT * alpha_bar * own["multiresolution_stft_loss"](estimate, x0, FFT_SIZES)

    table = own["shift_log_snr"](own["cosine_alpha_bar"](1000, 0.008, 0.999).double(), LENGTH, REFERENCE_LENGTH)
    # The step finds x0 from eps, which needs some of the sound in x: so a floor, and times from anywhere above it.
    schedule = schedules.from_alpha_bar(table, "own").limit_log_snr(-10.0, 12.0)
    return {
        "schedule": replace(schedule, density=times.uniform_density, spacing=times.log_snr_spacing),
        "loss": discrete_loss(loss),
        "step": ddim_slot(own["ddim_step"]),
        "drop_labels": own["drop_labels"],
        "average": averaging(own["ema_update"]),
    }
