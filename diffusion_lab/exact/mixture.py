"""Mixtures of normals: many modes, and still exact."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.exact.gaussian import Gaussian
from diffusion_lab.levels import Level, Prediction


class Mixture:
    """x0 ~ sum over k of weights[k] N(means[k], covs[k]).

    Args:
        weights: shape (K,), positive, summing to 1.
        means: shape (K, D).
        covs: shape (K, D, D).
    """

    def __init__(self, weights: Tensor, means: Tensor, covs: Tensor):
        if not (weights.ndim == 1 and len(weights) == len(means) == len(covs)):
            raise PieceError(f"weights, means and covs disagree on K: {len(weights)}, {len(means)}, {len(covs)}")
        if not (weights > 0).all() or abs(float(weights.sum()) - 1) > 1e-6:
            raise PieceError(f"weights must be positive and sum to 1, got {weights.tolist()}")
        self.weights, self.means, self.covs = weights, means, covs
        self.parts = [Gaussian(mean, cov) for mean, cov in zip(means, covs, strict=True)]
        # All components at once: one by one, most of the time goes into calls on small tensors.
        self._axes = torch.stack([part.axes for part in self.parts])  # (K, D, D)
        self._variances = torch.stack([part.variances for part in self.parts])[:, None]  # (K, 1, D)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D) draws, float32, in random order."""
        which = torch.multinomial(self.weights.double(), n, replacement=True, generator=generator)
        x = torch.empty(n, self.means.shape[1])
        for k, part in enumerate(self.parts):
            x[which == k] = part.sample(int((which == k).sum()), generator)
        return x

    def _along_axes(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor, Tensor]:
        """Each component's x - alpha mean in its eigenbasis (K, B, D), the variances there, and the axes (K, D, D).

        The variances are (K, B, D), or (K, 1, D) at one level for all.
        """
        axes, variances, means = (values.to(x) for values in (self._axes, self._variances, self.means[:, None]))
        variance = level.alpha**2 * variances + level.sigma**2
        return (x - level.alpha * means) @ axes, variance, axes

    def _joint(self, z: Tensor, variance: Tensor) -> Tensor:
        """log (weights[k] p_k(x)), (K, B)."""
        densities = -0.5 * (z**2 / variance + torch.log(2 * math.pi * variance)).sum(dim=-1)
        return densities + self.weights.to(z).log()[:, None]

    def responsibilities(self, x: Tensor, level: Level) -> Tensor:
        """The probability of each component given x at that level, (B, K) (Bishop 2006, equation 9.23)."""
        z, variance, _ = self._along_axes(x, level)
        return torch.softmax(self._joint(z, variance), dim=0).T

    def log_density(self, x: Tensor, level: Level) -> Tensor:
        """log p_t(x) in nats, (B,)."""
        z, variance, _ = self._along_axes(x, level)
        return torch.logsumexp(self._joint(z, variance), dim=0)

    def _pulls(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor, Tensor]:
        """The responsibilities (K, B), each component's part of minus the score along its axes (K, B, D), and these."""
        z, variance, axes = self._along_axes(x, level)
        shares = torch.softmax(self._joint(z, variance), dim=0)
        return shares, shares[..., None] * (z / variance), axes

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        """E[x0 | x] and E[eps | x], (B, D): the components' answers, averaged by their responsibilities."""
        shares, pull, axes = self._pulls(x, level)
        from_means = ((level.alpha * self._variances.to(x) * pull) @ axes.mT).sum(dim=0)
        return Prediction(shares.T @ self.means.to(x) + from_means, level.sigma * (pull @ axes.mT).sum(dim=0))

    def score(self, x: Tensor, level: Level) -> Tensor:
        """The gradient of the log-density at x, (B, D)."""
        _, pull, axes = self._pulls(x, level)
        return -(pull @ axes.mT).sum(dim=0)
