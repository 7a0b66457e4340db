"""Exact scores in the place of networks. Nothing but PyTorch is imported here: these run beside the student's code."""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.exercises.probes import Described


class NormalScore(Described):
    """The score of N(mean, variance I) after noise: -(x - mean) / (variance + sigma^2). Variance 0 is a single point.

    Called as score(x (B, *S), sigma (B,)); the mean is one number or shaped like a sample.
    """

    def __init__(self, mean: Tensor | float = 0.0, variance: float = 0.0):
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float64))
        self.variance = variance

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """(B, *S)"""
        sigma = torch.as_tensor(sigma).to(x).reshape(-1, *[1] * (x.ndim - 1))
        return -(x - self.mean.to(x)) / (self.variance + sigma**2)
