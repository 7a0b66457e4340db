"""Known functions in the place of a trained velocity network. Nothing but PyTorch is imported here."""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.exercises.probes import Described, Probe


class Timed(Probe):
    """A probe that takes its time as a network does: one for each sample."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, *S) and t (B,) to (B, *S)."""
        if not isinstance(t, Tensor) or t.ndim == 0:
            raise ValueError(f"the network takes one time for each sample, a tensor of shape ({len(x)},), not {t!r}")
        return super().forward(x, t)


class NormalVelocity(Described):
    """The exact velocity of the straight path x = (1 - t) x0 + t eps for normal data: E[eps - x0 | x].

    With V = (1 - t)^2 C + t^2 I it is V'/2 V^-1 (x - (1 - t) m) - m. A covariance of zeros is a single point m, and
    the velocity then is (x - m) / t. Called as velocity(x (B, D), t (B,) or one number), t > 0.
    """

    def __init__(self, mean: Tensor, cov: Tensor):
        super().__init__()
        self.register_buffer("mean", mean.double())
        self.register_buffer("cov", cov.double())

    def forward(self, x: Tensor, t: Tensor | float) -> Tensor:
        mean, cov = self.mean.to(x), self.cov.to(x)
        eye = torch.eye(len(mean)).to(x)
        t = torch.as_tensor(t).to(x).reshape(-1, 1)  # (B, 1) or (1, 1)
        wide = t.unsqueeze(-1)
        variance = (1 - wide) ** 2 * cov + wide**2 * eye
        away = torch.linalg.solve(variance, (x - (1 - t) * mean).unsqueeze(-1))
        return ((wide * eye - (1 - wide) * cov) @ away).squeeze(-1) - mean
