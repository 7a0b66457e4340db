"""Points on a spiral: a curved one-dimensional support in the plane, with a little noise around it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset

TURNS = 2.0
NOISE_STD = 0.02
TRAIN, TEST = 20_000, 10_000


def spiral_curve(count: int) -> Tensor:
    """`count` points (count, 2), evenly spaced along the arc r = theta / max(theta), with 0.1 <= r <= 1, times 1.25."""
    theta_end = 2 * math.pi * TURNS
    theta = torch.linspace(0.1 * theta_end, theta_end, 20_001, dtype=torch.float64)
    # Arc length of r = a * theta from 0 (closed form); inverted below by linear interpolation of the fine grid.
    length = (theta * torch.sqrt(1 + theta**2) + torch.asinh(theta)) / 2
    wanted = torch.linspace(float(length[0]), float(length[-1]), count, dtype=torch.float64)
    above = torch.searchsorted(length, wanted).clamp(1, len(length) - 1)
    weight = (wanted - length[above - 1]) / (length[above] - length[above - 1])
    angle = theta[above - 1] + weight * (theta[above] - theta[above - 1])
    radius = 1.25 * angle / theta_end
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1).float()


def load_spiral(seed: int = 0) -> Dataset:
    """20,000 training and 10,000 test points (N, 2): uniform in arc length, plus normal noise of `info["noise_std"]`.

    `info["curve"]` holds 4,096 points (M, 2) of the clean curve, evenly spaced along the arc.
    """
    generator = torch.Generator().manual_seed(seed)
    fine = spiral_curve(100_001)
    place = torch.randint(len(fine), (TRAIN + TEST,), generator=generator)
    points = fine[place] + NOISE_STD * torch.randn(TRAIN + TEST, 2, generator=generator)
    return Dataset(
        name="Archimedean spiral",
        source="generated",
        kind="points",
        train=points[:TRAIN],
        test=points[TRAIN:],
        info={"curve": spiral_curve(4096), "noise_std": NOISE_STD},
    )
