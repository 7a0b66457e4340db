"""Distances between point clouds against scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_lab.errors import DataError
from diffusion_lab.metrics import energy, energy_distance, floor_of, random_directions, sliced_wasserstein

sizes = st.integers(1, 40)


def cloud(count: int, dim: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return shift + torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(n=sizes, m=sizes, seed=st.integers(0, 2**31 - 2))
def test_energy_distance_on_a_line_is_scipys(n, m, seed):
    a, b = cloud(n, 1, seed), cloud(m, 1, seed + 1, shift=0.5)
    expected = scipy.stats.energy_distance(a[:, 0].numpy(), b[:, 0].numpy())
    assert energy_distance(a, b) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_energy_distance_of_two_normals_in_closed_form():
    # X - Y ~ N(d, 2 s^2) and X - X' ~ N(0, 2 s^2); the mean of |N(d, v)| is that of the folded normal.
    d, v = 1.5, 2.0
    folded = math.sqrt(2 * v / math.pi) * math.exp(-d * d / (2 * v)) + d * math.erf(d / math.sqrt(2 * v))
    expected = math.sqrt(2 * folded - 2 * math.sqrt(2 * v / math.pi))
    assert energy_distance(cloud(6000, 1, 0), cloud(6000, 1, 1, shift=d)) == pytest.approx(expected, rel=0.03)


def test_energy_distance_properties(monkeypatch):
    a, b = cloud(70, 3, 0), cloud(45, 3, 1, shift=0.2)
    whole = energy_distance(a, b)
    assert energy_distance(a, a.clone()) == pytest.approx(0, abs=1e-6)
    assert energy_distance(b, a) == pytest.approx(whole)
    assert energy_distance(a + 1e6, b + 1e6) == pytest.approx(whole, rel=1e-6)
    assert energy_distance(4 * a, 4 * b) == pytest.approx(2 * whole)
    assert energy_distance(a.reshape(70, 1, 3).float(), b.reshape(45, 1, 3).float()) == pytest.approx(whole, rel=1e-5)
    monkeypatch.setattr(energy, "CHUNK", 100)  # a few rows at a time
    assert energy_distance(a, b) == pytest.approx(whole)


def test_energy_distance_floor_is_the_documented_one():
    generator = torch.Generator().manual_seed(2)
    truth = torch.randn(2000, 1, generator=generator)
    squared = floor_of(lambda x: energy_distance(x, truth) ** 2, lambda: torch.randn(500, 1, generator=generator), 40)
    assert squared == pytest.approx((1 / 500 + 1 / 2000) * 2 / math.sqrt(math.pi), rel=0.5)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 8), m=st.integers(1, 8), seed=st.integers(0, 2**31 - 2))
def test_sliced_wasserstein_on_a_line_is_the_best_assignment(n, m, seed):
    """Unequal sizes become an assignment when every point is repeated to the common multiple."""
    a, b = cloud(n, 1, seed), cloud(m, 1, seed + 1)
    size = math.lcm(n, m)
    cost = (np.repeat(a.numpy(), size // n)[:, None] - np.repeat(b.numpy(), size // m)[None]) ** 2
    expected = math.sqrt(cost[scipy.optimize.linear_sum_assignment(cost)].mean())
    assert sliced_wasserstein(a, b, torch.tensor([[-3.0]])) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_sliced_wasserstein_of_shifted_points_is_scipys_wasserstein():
    a = cloud(50, 1, 0)
    expected = scipy.stats.wasserstein_distance(a[:, 0].numpy(), a[:, 0].numpy() + 0.7)  # W1 = W2 for a shift
    assert sliced_wasserstein(a, a + 0.7, torch.ones(1, 1)) == pytest.approx(expected)


def test_sliced_wasserstein_of_two_normals_in_closed_form(monkeypatch):
    # In direction u: (u . d)^2 + (s - 1)^2, whose mean over the sphere is |d|^2 / D + (s - 1)^2.
    directions = random_directions(400, 3, torch.Generator().manual_seed(0))
    d = torch.tensor([1.0, -2.0, 0.5])
    a, b = cloud(8000, 3, 1), 1.6 * cloud(5000, 3, 2) + d
    expected = math.sqrt(float(d.square().sum()) / 3 + 0.6**2)
    assert sliced_wasserstein(a, b, directions) == pytest.approx(expected, rel=0.04)
    whole = sliced_wasserstein(a, b, directions[:5])
    monkeypatch.setattr(energy, "CHUNK", 1)  # one direction at a time
    assert sliced_wasserstein(a, b, 3 * directions[:5]) == pytest.approx(whole)


def test_random_directions_are_uniform_unit_vectors():
    directions = random_directions(20_000, 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(20_000, dtype=torch.float64))
    # Archimedes: each coordinate of a uniform point on the sphere in 3-D is uniform on [-1, 1].
    assert scipy.stats.kstest(directions[:, 2].numpy(), scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_refusals():
    with pytest.raises(DataError, match="2 and 3 values"):
        energy_distance(cloud(4, 2, 0), cloud(4, 3, 0))
    with pytest.raises(DataError, match="directions"):
        sliced_wasserstein(cloud(4, 2, 0), cloud(4, 2, 0), torch.ones(1, 3))
    with pytest.raises(DataError, match="length 0"):
        sliced_wasserstein(cloud(4, 2, 0), cloud(4, 2, 0), torch.zeros(1, 2))
    with pytest.raises(DataError, match="0 samples"):
        energy_distance(torch.zeros(0, 2), cloud(4, 2, 0))
