"""The lowest loss that any network can reach."""

from __future__ import annotations

from torch import Tensor

from diffusion_lab.denoisers import Denoiser
from diffusion_lab.losses import Weight, uniform_weight
from diffusion_lab.schedules import Schedule
from diffusion_lab.targets import Target


def loss_floor(
    denoiser: Denoiser,
    x0: Tensor,
    eps: Tensor,
    t: Tensor,
    schedule: Schedule,
    target: Target,
    weight: Weight = uniform_weight,
) -> Tensor:
    """The loss of the exact denoiser at times t (B,), one value per sample, (B,).

    Data that were noised cannot be recovered, so the floor is positive. Its mean over samples and times is what the
    training loss tends to and never passes. For a `Gaussian` it is `posterior_variance` times `error_scale`.
    """
    level = schedule.at(t, like=x0)
    error = (denoiser(level.noisy(x0, eps), level).x0 - x0).square().flatten(1).mean(dim=1)
    scale = target.error_scale(level) * weight(level, target)
    return scale.flatten() * error
