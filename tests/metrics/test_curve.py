"""Distance to a polyline against dense sampling of it, and coverage of known pieces."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_lab.errors import DataError
from diffusion_lab.metrics import coverage_along_curve, curve, distance_to_curve


@settings(max_examples=20, deadline=None)
@given(dim=st.integers(1, 4), vertices=st.integers(2, 6), seed=st.integers(0, 2**31))
def test_distance_against_a_dense_line(dim, vertices, seed):
    generator = torch.Generator().manual_seed(seed)
    line = torch.randn(vertices, dim, generator=generator, dtype=torch.float64)
    points = 2 * torch.randn(20, dim, generator=generator, dtype=torch.float64)
    fraction = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None, None]
    dense = (line[:-1] + fraction * (line[1:] - line[:-1])).reshape(-1, dim)
    brute = torch.cdist(points, dense).min(dim=1).values
    spacing = float((line[1:] - line[:-1]).norm(dim=1).max()) / 2000
    found = distance_to_curve(points, line).each
    assert (found <= brute + 1e-9).all()
    assert (brute - found).max() <= spacing


def test_distance_to_a_circle_and_its_quantiles():
    angle = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    radius = 1 + torch.linspace(0, 1, 101, dtype=torch.float64)
    turn = torch.linspace(0, 6, 101, dtype=torch.float64)
    found = distance_to_curve(radius[:, None] * torch.stack([turn.cos(), turn.sin()], 1), circle)
    torch.testing.assert_close(found.each, radius - 1, atol=2e-6, rtol=0)
    assert (found.mean, found.median, found.p95) == pytest.approx((0.5, 0.5, 0.95), abs=1e-5)


def test_distance_is_to_segments_and_chunks_do_not_matter(monkeypatch):
    line = torch.tensor([[0.0, 0.0], [10.0, 0.0], [10.0, 0.0]])  # a vertex given twice is allowed
    points = torch.tensor([[5.0, 1.0], [-3.0, 4.0], [11.0, 0.0]])
    monkeypatch.setattr(curve, "CHUNK", 1)
    assert distance_to_curve(points, line).each.tolist() == [1.0, 5.0, 1.0]


def test_coverage_counts_pieces_of_equal_length():
    line = torch.tensor([[0.0, 0.0], [8.0, 0.0], [8.0, 2.0]])  # length 10, vertices at places that are not equal
    points = torch.tensor([[0.5, 0.1], [0.7, -0.1], [7.5, 0.0], [8.0, 2.0], [8.1, 1.5]])
    assert coverage_along_curve(points, line, pieces=10, within=0.2) == pytest.approx(3 / 10)  # pieces 0, 7 and 9
    assert coverage_along_curve(points, line, pieces=10, within=0.05) == pytest.approx(2 / 10)  # 7 and the very end
    assert coverage_along_curve(points + 5, line, pieces=10, within=0.2) == 0.0


def test_coverage_of_a_full_and_of_a_half_line():
    line = torch.tensor([[0.0], [3.0]])
    points = torch.linspace(0, 3, 1000)[:, None]
    assert coverage_along_curve(points, line, pieces=40, within=0.1) == 1.0
    assert coverage_along_curve(0.499 * points, line, pieces=40, within=0.1) == 0.5


def test_refusals():
    with pytest.raises(DataError, match="at least 2"):
        distance_to_curve(torch.zeros(3, 2), torch.zeros(1, 2))
    with pytest.raises(DataError, match="one point"):
        distance_to_curve(torch.zeros(3, 2), torch.ones(4, 2))
    with pytest.raises(DataError, match="3 and 2 values"):
        distance_to_curve(torch.zeros(3, 3), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="within is 0"):
        coverage_along_curve(torch.zeros(3, 1), torch.tensor([[0.0], [1.0]]), pieces=3, within=0)
