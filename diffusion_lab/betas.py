"""Discrete schedules as tensors: the betas of DDPM and the cumulative products alpha_bar.

Every function returns float64 of shape (T,) with index t = 0..T-1. The level one before t = 0 is alpha_bar = 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear_betas(T: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> Tensor:
    """T betas, equally spaced and both ends included (Ho et al. 2020, section 4)."""
    return torch.linspace(beta_start, beta_end, _steps(T), dtype=torch.float64)


def alpha_bar_from_betas(betas: Tensor) -> Tensor:
    """alpha_bar[t] = prod over i <= t of (1 - beta_i) (Ho et al. 2020, equation 4). Shape (T,) to (T,)."""
    return torch.cumprod(1 - betas.double(), dim=0)


def betas_from_alpha_bar(alpha_bar: Tensor) -> Tensor:
    """The inverse of `alpha_bar_from_betas`: beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}. Shape (T,) to (T,)."""
    before = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    return 1 - alpha_bar / before


def cosine_alpha_bar(T: int, s: float = 0.008, max_beta: float = 0.999) -> Tensor:
    """cos^2 of a quarter turn, divided by its start, with betas clipped (Nichol & Dhariwal 2021, equation 17)."""
    t = torch.arange(_steps(T) + 1, dtype=torch.float64) / T
    f = torch.cos((t + s) / (1 + s) * math.pi / 2) ** 2
    betas = (1 - f[1:] / f[:-1]).clamp(max=max_beta)
    return alpha_bar_from_betas(betas)


def sqrt_alpha_bar(T: int, s: float = 1e-4) -> Tensor:
    """1 - sqrt(t / T + s): fast noise at the start, for word embeddings (Li et al. 2022, "Diffusion-LM", appendix A).

    Raises ValueError where the last value would be negative, which is where s > 1 / T.
    """
    if not 0 <= s < 1 / _steps(T):
        raise ValueError(f"s must be in [0, 1/T) = [0, {1 / T:g}) so that alpha_bar stays positive, got {s:g}")
    return 1 - torch.sqrt(torch.arange(T, dtype=torch.float64) / T + s)


def rescale_zero_terminal_snr(alpha_bar: Tensor) -> Tensor:
    """Shift and scale sqrt(alpha_bar): the last becomes 0, the first is kept (Lin et al. 2024, algorithm 1)."""
    root = alpha_bar.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    return ((root - last) * first / (first - last)) ** 2


def _steps(T: int) -> int:
    if T < 1:
        raise ValueError(f"the number of steps T must be at least 1, got {T}")
    return T
