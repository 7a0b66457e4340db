"""Noise levels: where a noisy sample lies on the path from data to noise.

Everything in this package works on one path,

    x_t = alpha(t) * x0 + sigma(t) * eps,      eps ~ N(0, I),

with t = 0 data and t = 1 noise (Kingma et al. 2021, "Variational Diffusion Models", section 3.1).
A `Level` is one point of that path, already broadcast to the rank of the data, so that the mathematics
elsewhere is written without a single reshape.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Level(NamedTuple):
    """A point of the path. Every field has the shape (B, 1, ..., 1), or () when it is shared by the batch."""

    t: Tensor
    """Time in [0, 1]: 0 is data, 1 is noise."""
    alpha: Tensor
    """How much of the data is left."""
    sigma: Tensor
    """The standard deviation of the noise."""
    dalpha: Tensor
    """d alpha / d t."""
    dsigma: Tensor
    """d sigma / d t; infinite at t = 0 on a variance-preserving path."""

    @property
    def alpha_bar(self) -> Tensor:
        """alpha^2, the cumulative product of 1 - beta in the notation of DDPM (Ho et al. 2020, equation 4)."""
        return self.alpha**2

    @property
    def log_snr(self) -> Tensor:
        """log(alpha^2 / sigma^2), +inf for clean data and -inf for pure noise."""
        return 2 * (torch.log(self.alpha) - torch.log(self.sigma))

    def noisy(self, x0: Tensor, eps: Tensor) -> Tensor:
        """The forward process q(x_t | x0): alpha * x0 + sigma * eps (Ho et al. 2020, equation 4)."""
        return self.alpha * x0 + self.sigma * eps


CLEAN = Level(*(torch.tensor(value, dtype=torch.float64) for value in (0.0, 1.0, 0.0, 0.0, 0.0)))
"""The end of every path: the data themselves."""


class Prediction(NamedTuple):
    """What a denoiser believes about a noisy x: the clean data and the noise, both shaped like x."""

    x0: Tensor
    eps: Tensor


def expand(values: Tensor, like: Tensor) -> Tensor:
    """Append dimensions to `values` until it has the rank of `like`: (B,) becomes (B, 1, ..., 1).

    Multiplying a (B,) tensor with (B, ..., B) data broadcasts over the wrong axis without an error;
    every factor in this package goes through here instead.
    """
    if values.ndim > like.ndim:
        raise ValueError(f"cannot expand shape {tuple(values.shape)} to the rank of {tuple(like.shape)}")
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim)) if values.ndim else values
