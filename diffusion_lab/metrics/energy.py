"""Distances between two clouds of points, when no density is at hand."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from diffusion_lab.errors import DataError
from diffusion_lab.metrics.checks import as_rows, same_width

CHUNK = 2**22
"""The most pairwise distances held at once: 32 MiB in float64."""


def energy_distance(a: Tensor, b: Tensor) -> float:
    """The energy distance between samples a (N, *S) and b (M, *S), in the square root of the unit of the data.

        sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|)

    (Szekely & Rizzo 2013; the root is taken, as in SciPy). The expectations are V-statistics: the zero
    distances of points to themselves are counted. So the value is never negative, is 0 for two equal samples, and two
    fresh samples of one distribution score about sqrt((1/N + 1/M) E|X - X'|), the floor. Memory is bounded by `CHUNK`.
    """
    a, b = as_rows(a, "a"), as_rows(b, "b")
    same_width(a, b, "a and b")
    # The distance does not change when both are shifted, and distances between points far from 0 lose digits.
    centre = b.mean(0)
    a, b = a - centre, b - centre
    squared = 2 * _mean_distance(a, b) - _mean_distance(a, a) - _mean_distance(b, b)
    return max(squared, 0.0) ** 0.5


def _mean_distance(a: Tensor, b: Tensor) -> float:
    """The mean Euclidean distance between all pairs of the rows (N, D) and (M, D)."""
    rows = max(1, CHUNK // len(b))
    return float(sum(torch.cdist(part, b).sum() for part in a.split(rows)) / (len(a) * len(b)))


def random_directions(count: int, dim: int, generator: Generator) -> Tensor:
    """`count` unit vectors (count, dim), uniform on the sphere, in float64."""
    directions = torch.randn(count, dim, generator=generator, dtype=torch.float64, device=generator.device)
    return directions / directions.norm(dim=1, keepdim=True)


def sliced_wasserstein(a: Tensor, b: Tensor, directions: Tensor) -> float:
    """The sliced 2-Wasserstein distance between samples a (N, *S) and b (M, *S), in the unit of the data.

    The root of the mean, over `directions` (P, D), of the squared W2 between the two projections (Rabin et al.
    2012). On a line W2 compares quantile functions; for samples they are steps, and the integral over them is
    exact for unequal sizes too. Directions need not have length 1; one of length 0 raises DataError.
    """
    a, b = as_rows(a, "a"), as_rows(b, "b")
    same_width(a, b, "a and b")
    directions = as_rows(directions, "directions")
    same_width(a, directions, "the samples and the directions")
    lengths = directions.norm(dim=1, keepdim=True)
    if (lengths == 0).any():
        raise DataError("a direction of length 0 projects everything onto one point")
    directions = directions / lengths
    width, of_a, of_b = _common_steps(len(a), len(b))
    total = torch.zeros((), dtype=torch.float64)
    for part in directions.split(max(1, CHUNK // (len(a) + len(b)))):
        quantiles_a = (part @ a.T).sort(dim=1).values[:, of_a]  # (P, steps)
        quantiles_b = (part @ b.T).sort(dim=1).values[:, of_b]
        total += ((quantiles_a - quantiles_b).square() * width).sum()
    return float((total / len(directions)).sqrt())


def _common_steps(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where the quantile functions of n and of m sorted samples are both flat: widths, and the index into each sample.

    The edges are the multiples of 1/n and of 1/m; counted in units of 1/(n m) they are whole numbers, so none is lost
    to rounding.
    """
    edges = torch.cat([torch.arange(n + 1) * m, torch.arange(m + 1) * n]).unique()
    start = edges[:-1]
    return edges.diff().to(torch.float64) / (n * m), start // m, start // n
