"""Distances between clouds of points (N, P, 3), and scores of one set of clouds against another.

A cloud is a set: its rows have no order, and every distance here is the same in each. Every score can be fooled: the
Chamfer distance by clouds whose points are right and unevenly spread, coverage by clouds that look like nothing, the
matching distance by bad clouds beside good ones, and all of them by a sampler that hands out its training set.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.errors import DataError
from diffusion_lab.metrics.checks import as_double

CHUNK = 2**24
"""The most distances between points held at once: 128 MiB in float64."""


def chamfer_distances(a: Tensor, b: Tensor) -> Tensor:
    """The Chamfer distance (N, M) of each cloud of a (N, P, 3) to each of b (M, Q, 3), in the square of their unit.

        mean_x min_y |x - y|^2 + mean_y min_x |x - y|^2

    (Fan et al. 2017; with means over the points in place of sums, so that it does not grow with their number). It can
    be fooled: many points may share one nearest neighbour, so that an uneven cloud costs little.

    Raises:
        DataError: they are no clouds, hold values that are not finite, or have points of different dimensions.
    """
    a, b = _clouds(a, "a"), _clouds(b, "b")
    if a.shape[2] != b.shape[2]:
        raise DataError(f"a and b have shapes {tuple(a.shape)} and {tuple(b.shape)}; expected (N, P, D) and (M, Q, D)")
    rows = max(1, CHUNK // (b.shape[0] * a.shape[1] * b.shape[1]))
    return torch.cat([_chamfer(part, b) for part in a.split(rows)])


def _chamfer(a: Tensor, b: Tensor) -> Tensor:
    squared = torch.cdist(a[:, None], b[None]).square()  # (n, M, P, Q)
    return squared.amin(3).mean(2) + squared.amin(2).mean(2)


def chamfer_distance(a: Tensor, b: Tensor) -> Tensor:
    """The Chamfer distance (N,) of each cloud of a (N, P, 3) to the one of b (N, Q, 3) at its place.

    Raises:
        DataError: as `chamfer_distances`, and for different numbers of clouds.
    """
    a, b = _pairs(a, b)
    squared = torch.cdist(a, b).square()
    return squared.amin(2).mean(1) + squared.amin(1).mean(1)


def earth_movers_distance(a: Tensor, b: Tensor) -> Tensor:
    """The earth mover's distance (N,) of each cloud of a (N, P, 3) to the one of b (N, P, 3) at its place.

    The mean distance over which the points of one are moved to those of the other, each to another one, in the best of
    all P! ways (Rubner et al. 2000; Yang et al. 2019, section 5.1, who take the sum). It is found exactly, with
    SciPy's `linear_sum_assignment`, in a time that grows with P^3. An uneven cloud costs what it takes to even it out.

    Raises:
        DataError: also when the two have different numbers of points.
    """
    a, b = _pairs(a, b)
    if a.shape[1] != b.shape[1]:
        raise DataError(f"clouds of {a.shape[1]} and {b.shape[1]} points; points are matched one to one")
    return torch.tensor([_moved(x, y) for x, y in zip(a, b, strict=True)], dtype=torch.float64)


def earth_movers_distances(a: Tensor, b: Tensor) -> Tensor:
    """The earth mover's distance (N, M) of each cloud of a (N, P, 3) to each of b (M, P, 3)."""
    if a is not b or len(a) == 1:
        return torch.stack([earth_movers_distance(one.expand(len(b), -1, -1), b) for one in a])
    # Among themselves: each pair once.
    first, second = torch.triu_indices(len(a), len(a), offset=1)
    distances = torch.zeros(len(a), len(a), dtype=torch.float64)
    distances[first, second] = distances[second, first] = earth_movers_distance(a[first], a[second])
    return distances


def _moved(x: Tensor, y: Tensor) -> float:
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x, y).numpy()
    return float(cost[linear_sum_assignment(cost)].mean())


def nearest_neighbour_accuracy(own: Tensor, across: Tensor, others: Tensor) -> float:
    """How often the nearest neighbour of a cloud is of its own kind: 1-NNA, between 0 and 1.

    Generated and true clouds are told apart by the nearest of all the others (Lopez-Paz & Oquab 2017; Yang et al. 2019,
    equation 8). If they come from one distribution, half of the answers are right. Above that they can be told apart;
    below it, the generated ones are nearer to the true ones than these are to each other, as copies are.

    Args:
        own: (N, N) distances among the generated clouds.
        across: (N, M) from generated to true ones.
        others: (M, M) among the true ones.
    """
    if own.shape != (across.shape[0],) * 2 or others.shape != (across.shape[1],) * 2:
        raise DataError(
            f"distances have shapes {tuple(own.shape)}, {tuple(across.shape)} and {tuple(others.shape)}; expected "
            "(N, N), (N, M) and (M, M)"
        )
    n = len(own)
    whole = torch.cat([torch.cat([own, across], dim=1), torch.cat([across.T, others], dim=1)]).clone()
    whole.fill_diagonal_(float("inf"))
    generated = torch.arange(len(whole)) < n
    return float((generated[whole.argmin(dim=1)] == generated).double().mean())


def coverage(across: Tensor) -> float:
    """The share of true clouds that are the nearest one to some generated cloud (Achlioptas et al. 2018), 0 to 1.

    `across` (N, M) has the distances from generated to true ones. It asks for variety alone: a cloud that looks like
    nothing is nearest to some true one too.
    """
    return len(across.argmin(dim=1).unique()) / across.shape[1]


def minimum_matching_distance(across: Tensor) -> float:
    """The mean over the true clouds of the distance to the nearest generated one, from `across` (N, M).

    Achlioptas et al. 2018, section 4. It asks for quality, and hardly sees bad clouds beside good ones.
    """
    return float(across.min(dim=0).values.mean())


def _clouds(values: Tensor, name: str) -> Tensor:
    if values.ndim != 3 or 0 in values.shape:
        raise DataError(f"{name} has shape {tuple(values.shape)}; expected clouds (N, P, D), none of them 0")
    values = as_double(values)
    bad = int((~values.isfinite().all(dim=2).all(dim=1)).sum())
    if bad:
        raise DataError(f"{bad} of the {len(values)} clouds in {name} hold values that are not finite")
    return values


def _pairs(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = _clouds(a, "a"), _clouds(b, "b")
    if len(a) != len(b) or a.shape[2] != b.shape[2]:
        raise DataError(f"a and b have shapes {tuple(a.shape)} and {tuple(b.shape)}; expected (N, P, D) and (N, Q, D)")
    return a, b
