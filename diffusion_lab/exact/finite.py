"""A finite set of points: the exact denoiser of a training set.

A network that minimises the loss perfectly on a training set becomes this function, and its samples are training
points: that is memorisation (Karras et al. 2022, appendix B.3).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level, Prediction


class FiniteSet:
    """x0 is one of N points, all equally likely, plus normal noise of standard deviation `std`.

    Args:
        points: shape (N, *S).
        std: 0 for the points themselves; many points of a curve with a positive std are a smooth density along it.
    """

    def __init__(self, points: Tensor, std: float = 0.0):
        if len(points) == 0 or std < 0:
            raise PieceError(f"expected at least one point and std >= 0, got {len(points)} points and std {std:g}")
        self.points, self.std = points, std
        self._flat = points.flatten(1)  # (N, D)
        self._square = self._flat.square().sum(dim=1)  # (N,)

    @property
    def _block(self) -> int:
        """How many samples are compared with all points at once: 2^18 distances, which stay in a processor's cache.

        Products of fewer than 256 rows are slow, so 256 where there are many points, but no more than 2^24 distances,
        128 MiB in float64.
        """
        return max(1, min(2**24, max(2**18, 256 * len(self.points))) // len(self.points))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, *S) draws."""
        x = self.points[torch.randint(len(self.points), (n,), generator=generator)]
        return x + self.std * torch.randn(x.shape, generator=generator) if self.std else x

    def _log_likelihood(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """-|x - alpha y|^2 / (2 V) for every point y, (B, N), and V = alpha^2 std^2 + sigma^2, (B, 1)."""
        alpha, sigma = (f.to(x).reshape(-1, 1) for f in (level.alpha, level.sigma))
        variance = (alpha * self.std) ** 2 + sigma**2
        flat = x.flatten(1)
        points, square = self._flat.to(x), self._square.to(x)
        # |x - alpha y|^2 without |x|^2, which all points share: one matrix product instead of (B, N, D) differences.
        distance = alpha**2 * square - 2 * alpha * (flat @ points.T)
        return -distance / (2 * variance), variance

    def posterior(self, x: Tensor, level: Level) -> Tensor:
        """The probability of each point given x, (B, N)."""
        return torch.softmax(self._log_likelihood(x, level)[0], dim=1)

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        """E[x0 | x] and E[eps | x], (B, *S), in blocks of samples that keep memory bounded."""
        block = self._block
        shared = level.alpha.numel() == 1
        parts = [
            self._denoise(x[i : i + block], level if shared else Level(*(f[i : i + block] for f in level)))
            for i in range(0, len(x), block)
        ]
        return Prediction(*(torch.cat(values) for values in zip(*parts, strict=True)))

    def _denoise(self, x: Tensor, level: Level) -> Prediction:
        logits, variance = self._log_likelihood(x, level)
        nearest = (torch.softmax(logits, dim=1) @ self._flat.to(x)).reshape(x.shape)
        variance = variance.reshape(-1, *[1] * (x.ndim - 1))
        x0 = nearest + level.alpha * self.std**2 / variance * (x - level.alpha * nearest)
        return Prediction(x0, level.sigma / variance * (x - level.alpha * nearest))

    def score(self, x: Tensor, level: Level) -> Tensor:
        """The gradient of the log-density at x, (B, *S)."""
        return -self.denoise(x, level).eps / level.sigma

    def log_density(self, x: Tensor, level: Level) -> Tensor:
        """log p_t(x) in nats, (B,), at one level for all; a density only where std or sigma is positive."""
        return torch.cat([self._log_density(part, level) for part in x.split(self._block)])

    def _log_density(self, x: Tensor, level: Level) -> Tensor:
        logits, variance = self._log_likelihood(x, level)
        dimensions = self._flat.shape[1]
        offset = x.flatten(1).square().sum(dim=1, keepdim=True) / (2 * variance)
        normaliser = dimensions / 2 * torch.log(2 * math.pi * variance)
        return torch.logsumexp(logits - offset - normaliser, dim=1) - math.log(len(self.points))
