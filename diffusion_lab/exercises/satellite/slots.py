"""How the pieces of chapter 13 take their places in its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from diffusion_lab import schedules
from diffusion_lab.exercises.normal_1d.slots import averaging, ddim_slot, discrete_loss


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, loss, step, dropped labels and averaged weights, made of these functions."""

    def loss(model: Callable, x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
        # The chapter's latents are scaled when the autoencoder has been trained, so what is left to scale is nothing.
        channels = x0.shape[1]
        return own["latent_loss"](model, x0, t, noise, alpha_bar, x0.new_zeros(channels), x0.new_ones(channels))

    # The step finds x0 from eps, which needs some of the image in x: so a floor.
    table = own["cosine_alpha_bar"](1000, 0.008, 0.999).double()
    return {
        "schedule": schedules.from_alpha_bar(table, "own").limit_log_snr(-10.0, 12.0),
        "loss": discrete_loss(loss),
        "step": ddim_slot(own["ddim_step"]),
        "drop_labels": own["drop_labels"],
        "average": averaging(own["ema_update"]),
    }
