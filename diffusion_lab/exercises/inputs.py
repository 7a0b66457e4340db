"""Inputs that the exercises of several chapters are tried on: every kind of shape, and levels near both ends."""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.exercises.drawing import Draw


def data_shapes(draw: Draw) -> list[tuple[tuple[int, ...], str, str]]:
    """Shapes (B, *S) of data, each with a case's label and part: "values", or "any shape" where sizes are equal or S is
    empty.

    With S empty there are no axes to average over, and no last axis apart from the batch.
    """
    found = []
    for shape in draw.shapes():
        if len(shape) > 1:
            square = len(set(shape)) == 1
            found.append((shape, *(("every size equal", "any shape") if square else ("data of this shape", "values"))))
    return [*found, ((draw.integer(3, 6),), "one number for each sample", "any shape")]


def near_ends(draw: Draw, batch: int) -> Tensor:
    """alpha_bar (batch,), at least 2: nearly pure noise, nearly clean data, and whatever lies between."""
    kept = draw.uniform(batch, low=0.1, high=0.9)
    kept[0], kept[1] = draw.number(0.0005, 0.002), 1 - draw.number(0.0005, 0.002)
    return kept


def thousand_levels() -> Tensor:
    """alpha_bar (1000,) of the linear betas of Ho et al. 2020: from 0.9999 to 0.00004."""
    return torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), dim=0)


def independent_normals(draw: Draw, n: int = 20) -> tuple[Tensor, Tensor]:
    """Two vectors (n * n,) in random order: every pair of n quantiles of the standard normal distribution.

    Their means are 0, their variances 1 and their covariance 0 up to rounding, so that a mean over them has no error of
    chance.
    """
    quantiles = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)
    quantiles = quantiles / quantiles.square().mean().sqrt()
    order = draw.permutation(n * n)
    return quantiles.repeat_interleave(n)[order], quantiles.repeat(n)[order]
