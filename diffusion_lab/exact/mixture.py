"""Mixtures of normals: many modes, and still exact."""

from __future__ import annotations

from collections.abc import Sequence

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

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D) draws, float32, in random order."""
        which = torch.multinomial(self.weights.double(), n, replacement=True, generator=generator)
        x = torch.empty(n, self.means.shape[1])
        for k, part in enumerate(self.parts):
            x[which == k] = part.sample(int((which == k).sum()), generator)
        return x

    def _joint(self, x: Tensor, level: Level) -> Tensor:
        """log (weights[k] p_k(x)), (B, K)."""
        densities = torch.stack([part.log_density(x, level) for part in self.parts], dim=-1)
        return densities + self.weights.to(x).log()

    def responsibilities(self, x: Tensor, level: Level) -> Tensor:
        """The probability of each component given x at that level, (B, K) (Bishop 2006, equation 9.23)."""
        return torch.softmax(self._joint(x, level), dim=-1)

    def log_density(self, x: Tensor, level: Level) -> Tensor:
        """log p_t(x) in nats, (B,)."""
        return torch.logsumexp(self._joint(x, level), dim=-1)

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        """E[x0 | x] and E[eps | x], (B, D): the components' answers, averaged by their responsibilities."""
        shares = self.responsibilities(x, level)
        predictions = [part.denoise(x, level) for part in self.parts]
        return Prediction(*(_average(shares, values) for values in zip(*predictions, strict=True)))

    def score(self, x: Tensor, level: Level) -> Tensor:
        """The gradient of the log-density at x, (B, D)."""
        return _average(self.responsibilities(x, level), [part.score(x, level) for part in self.parts])


def _average(shares: Tensor, values: Sequence[Tensor]) -> Tensor:
    """K values (B, D) each, averaged by their shares (B, K)."""
    return (shares.unsqueeze(-1) * torch.stack(list(values), dim=-2)).sum(dim=-2)
