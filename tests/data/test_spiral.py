"""The spiral: what its curve is, and how its points lie around it."""

from __future__ import annotations

import math

import torch
from scipy.stats import chi2, kstest

from diffusion_lab.data import load
from diffusion_lab.data.spiral import TURNS, spiral_curve


def test_the_curve_is_archimedean_and_evenly_spaced():
    curve = spiral_curve(4096).double()
    radius, angle = curve.norm(dim=1), torch.atan2(curve[:, 1], curve[:, 0])
    turns = radius * TURNS / 1.25
    assert ((turns - angle / (2 * math.pi) + 0.5) % 1 - 0.5).abs().max() < 1e-5, "the radius grows with the angle"
    steps = (curve[1:] - curve[:-1]).norm(dim=1)
    assert steps.std() / steps.mean() < 1e-3


def test_points_are_uniform_along_the_arc_with_normal_noise_across():
    data = load("spiral")
    assert data.train.shape == (20_000, 2) and data.test.shape == (10_000, 2)
    assert ((data.train.std(dim=0) > 0.5) & (data.train.std(dim=0) < 1)).all()
    curve, std = data.info["curve"], data.info["noise_std"]
    distance, place = torch.cdist(data.test, curve).min(dim=1)
    inside = (place > 50) & (place < 4045)  # at the two ends the nearest point is the end itself
    assert kstest(((place[inside] - 50) / 3995).numpy(), "uniform").pvalue > 1e-3
    # Across a nearly straight piece of curve one of the two coordinates of the noise is left.
    assert kstest((distance[inside] / std).square().numpy(), chi2(1).cdf).statistic < 0.03


def test_the_seed_decides():
    assert torch.equal(load("spiral", seed=1).train, load("spiral", seed=1).train)
    assert not torch.equal(load("spiral", seed=1).train, load("spiral", seed=2).train)
    assert torch.equal(load("spiral", seed=1).info["curve"], load("spiral", seed=2).info["curve"])
