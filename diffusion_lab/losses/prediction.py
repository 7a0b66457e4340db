"""The mean-square losses of continuous diffusion: one formula, several weights.

A loss is a function (network, x0, eps, level, cond) -> (B,). It draws nothing: the trainer owns all randomness, so a
loss can be compared with another to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffusion_lab.levels import Level
from diffusion_lab.losses.text import masked_mean
from diffusion_lab.targets import Target

Loss = Callable[[Callable[..., Tensor], Tensor, Tensor, Level, dict], Tensor]
"""(network, x0 (B, *S), eps (B, *S), level, cond) -> (B,)."""

Weight = Callable[[Level, Target], Tensor]
"""(level, target) -> weight of the squared error of that target, with the shape of the level's fields."""


def uniform_weight(level: Level, target: Target) -> Tensor:
    """Every time counts the same in the target's own units (Ho et al. 2020, equation 14, where the target is eps)."""
    return torch.ones_like(level.alpha)


def min_snr_weight(gamma: float = 5.0) -> Weight:
    """min(SNR, gamma) on the error of x0, expressed for any target (Hang et al. 2023, section 3.4).

    With m = min(SNR, gamma) on a variance-preserving path this is m / SNR for eps, m for x0 and m / (SNR + 1) for v.
    """

    def weight(level: Level, target: Target) -> Tensor:
        snr = (level.alpha / level.sigma) ** 2
        return snr.clamp(max=gamma) / target.error_scale(level)

    return weight


def edm_weight(sigma_data: float = 1.0) -> Weight:
    """(sigma^2 + sigma_data^2) / (sigma sigma_data)^2 on the error of x0 (Karras et al. 2022, table 1).

    Here sigma stands for sigma / alpha, on any path. It cancels c_out^2, so for the `edm` target it is 1: each level
    starts with the same loss.
    """

    def weight(level: Level, target: Target) -> Tensor:
        # Numerator and denominator times alpha^2, so that it is finite where alpha is 0.
        on_x0 = (level.sigma**2 + (level.alpha * sigma_data) ** 2) / (level.sigma * sigma_data) ** 2
        return on_x0 / target.error_scale(level)

    return weight


def prediction_loss(target: Target, weight: Weight = uniform_weight) -> Loss:
    """The weighted mean-square error of the network's output; with a `mask` in cond, over real tokens only."""

    def loss(network: Callable[..., Tensor], x0: Tensor, eps: Tensor, level: Level, cond: dict) -> Tensor:
        output = target.evaluate(network, level.noisy(x0, eps), level, cond)
        error = masked_mean((output - target.of(x0, eps, level)) ** 2, cond.get("mask"))
        return weight(level, target).flatten() * error

    return loss


def denoising_score_matching_loss(
    score: Callable[[Tensor, Tensor], Tensor], x0: Tensor, noise: Tensor, sigma: Tensor
) -> Tensor:
    """sigma^2 |score(x0 + sigma noise, sigma) + noise / sigma|^2, averaged over the data's axes; shape (B,).

    The weight sigma^2 makes all levels count alike (Vincent 2011; Song & Ermon 2019, equations 5 and 6). It equals
    `prediction_loss` with the target `score`, whose network outputs sigma times the score.

    Args:
        score: (x (B, *S), sigma (B,)) -> score (B, *S).
        sigma: shape (B,), standard deviations.
    """
    std = sigma.reshape(-1, *[1] * (x0.ndim - 1))
    return ((std * score(x0 + std * noise, sigma) + noise) ** 2).flatten(1).mean(dim=1)


def flow_matching_loss(velocity: Callable[[Tensor, Tensor], Tensor], x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """|velocity(x_t, t) - (noise - x0)|^2 on the straight path x_t = (1 - t) x0 + t noise; shape (B,).

    Lipman et al. 2023, equation 23 (with time reversed: here t = 1 is noise). It equals `prediction_loss` with
    the target and the schedule `flow`.
    """
    time = t.reshape(-1, *[1] * (x0.ndim - 1))
    return ((velocity((1 - time) * x0 + time * noise, t) - (noise - x0)) ** 2).flatten(1).mean(dim=1)
