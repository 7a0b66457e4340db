"""How far a cloud lies from the nearest surface of its family, the surface being looked for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffusion_lab.data.surfaces import FAMILIES, Surface, draw_surface

STARTS = 96
"""Random members of the family that the search begins with; it goes on from the best."""
FEW = 32
"""Points that these are compared on."""


def fit(points: np.ndarray, label: int, seed: int = 0) -> Surface:
    """The surface of the family `label` with the least mean squared distance to the points (P, 3).

    The sizes stay within those that the family is drawn from. The search (random members, then least squares from the
    best one) may end beside the best surface, so what it finds is never nearer than that.
    """
    from scipy.optimize import least_squares

    family, rng = FAMILIES[label], np.random.default_rng(seed)
    few = points[:: max(1, len(points) // FEW)]
    best = min((draw_surface(label, rng) for _ in range(STARTS)), key=lambda one: (one.distance(few) ** 2).sum())
    low, high = np.array(family.LOW), np.array(family.HIGH)
    found = least_squares(
        lambda row: family(row[:-1], row[-1]).distance(points),
        [*best.sizes, best.turn],
        bounds=([*low - 1e-9, -np.inf], [*high + 1e-9, np.inf]),
        x_scale=[*(high - low), 1.0],
        diff_step=1e-4,
        max_nfev=25,
    )
    return family(found.x[:-1], float(found.x[-1]))


def distance_to_family(clouds: Tensor, labels: Tensor) -> Tensor:
    """The mean distance (N,) of the points of each cloud (N, P, 3) to the surface of its class that `fit` finds.

    `clouds` are in the units of the surfaces, see `clouds.to_units`.
    """
    rows = [(cloud, int(label)) for cloud, label in zip(clouds.double().numpy(), labels, strict=True)]
    return torch.tensor([fit(cloud, label).distance(cloud).mean() for cloud, label in rows], dtype=torch.float64)
