"""The normal distribution: everything that diffusion learns, written down."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level, Prediction


class Gaussian:
    """x0 ~ N(mean, cov). At any level x is normal too, with mean alpha mean and covariance alpha^2 cov + sigma^2 I.

    Args:
        mean: shape (D,).
        cov: shape (D, D), symmetric and positive semi-definite.
    """

    def __init__(self, mean: Tensor, cov: Tensor):
        if mean.ndim != 1 or cov.shape != (len(mean), len(mean)):
            raise PieceError(f"expected mean (D,) and cov (D, D), got {tuple(mean.shape)} and {tuple(cov.shape)}")
        if not torch.allclose(cov, cov.T):
            raise PieceError("cov is not symmetric")
        self.mean, self.cov = mean, cov
        self.variances, self.axes = torch.linalg.eigh(cov.double())  # (D,), columns of (D, D)
        if self.variances.min() < -1e-9:
            raise PieceError(f"cov has a negative eigenvalue, {self.variances.min():.3g}")
        self.variances = self.variances.clamp(min=0)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D) draws, float32."""
        z = torch.randn(n, len(self.mean), generator=generator, dtype=torch.float64)
        return (self.mean.double() + z * self.variances.sqrt() @ self.axes.T).float()

    def _along_axes(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor, Tensor]:
        """x - alpha mean in the eigenbasis (B, D), the variance there (B, D) or (D,), and the axes."""
        axes, mean = self.axes.to(x), self.mean.to(x)
        variance = level.alpha**2 * self.variances.to(x) + level.sigma**2
        return (x - level.alpha * mean) @ axes, variance, axes

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        """E[x0 | x] and E[eps | x], each (B, D): linear in x (Karras et al. 2022, appendix B.3)."""
        z, variance, axes = self._along_axes(x, level)
        x0 = self.mean.to(x) + (level.alpha * self.variances.to(x) / variance * z) @ axes.T
        return Prediction(x0, level.sigma * (z / variance) @ axes.T)

    def score(self, x: Tensor, level: Level) -> Tensor:
        """The gradient of the log-density at x: -(alpha^2 cov + sigma^2 I)^-1 (x - alpha mean), (B, D)."""
        z, variance, axes = self._along_axes(x, level)
        return -(z / variance) @ axes.T

    def log_density(self, x: Tensor, level: Level) -> Tensor:
        """log p_t(x) in nats, (B,)."""
        z, variance, _ = self._along_axes(x, level)
        return -0.5 * (z**2 / variance + torch.log(2 * math.pi * variance)).sum(dim=-1)

    def flow_map(self, x: Tensor, now: Level, after: Level) -> Tensor:
        """Where the probability-flow ODE carries x from level `now` to `after`, exactly, (B, D).

        Along each axis the distance to the mean scales by sqrt(V_after / V_now).
        """
        z, variance, axes = self._along_axes(x, now)
        there = after.alpha**2 * self.variances.to(x) + after.sigma**2
        return after.alpha * self.mean.to(x) + (z * torch.sqrt(there / variance)) @ axes.T

    def given(self, matrix: Tensor, seen: Tensor, noise: float = 0.0) -> Gaussian:
        """The distribution of x0 given matrix x0 + noise n = seen, a normal again (Bishop 2006, equation 2.116).

        Args:
            matrix: (K, D), of rank K if there is no noise.
            seen: (K,).
            noise: the standard deviation of the measurement's noise, at least 0.

        Raises:
            PieceError: if a shape does not fit, the noise is negative, or what is seen cannot be so uncertain.
        """
        if matrix.ndim != 2 or matrix.shape[1] != len(self.mean) or seen.shape != matrix.shape[:1] or noise < 0:
            raise PieceError(
                f"expected matrix (K, {len(self.mean)}), seen (K,) and noise >= 0, got {tuple(matrix.shape)}, "
                f"{tuple(seen.shape)} and {noise:g}"
            )
        mean, cov, matrix = self.mean.double(), self.cov.double(), matrix.double()
        spread = matrix @ cov @ matrix.T + noise**2 * torch.eye(len(matrix), dtype=torch.float64)
        root, failed = torch.linalg.cholesky_ex(spread)
        if failed:
            raise PieceError("two rows of the matrix see the same numbers without noise, or a row sees none at all")
        gain = torch.cholesky_solve(matrix @ cov, root)  # (K, D)
        rest = cov - cov @ matrix.T @ gain
        return Gaussian(mean + (seen.double() - matrix @ mean) @ gain, (rest + rest.T) / 2)

    def posterior_variance(self, level: Level) -> Tensor:
        """E |x0 - E[x0 | x]|^2 / D, with the shape of the level's fields less the data's axes: (B,) or ()."""
        variances = self.variances.to(level.alpha)
        alpha, sigma = (f.flatten().unsqueeze(-1) for f in (level.alpha, level.sigma))  # (B, 1)
        return (variances * sigma**2 / (alpha**2 * variances + sigma**2)).mean(dim=-1).reshape(level.alpha.shape[:1])
