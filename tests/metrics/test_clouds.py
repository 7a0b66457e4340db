"""Distances between clouds against SciPy and enumeration, and how each score of sets is fooled."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree
from scipy.stats import wasserstein_distance
from sklearn.neighbors import KNeighborsClassifier

from diffusion_lab.errors import DataError
from diffusion_lab.metrics import (
    chamfer_distance,
    chamfer_distances,
    coverage,
    earth_movers_distance,
    earth_movers_distances,
    minimum_matching_distance,
    nearest_neighbour_accuracy,
)


def clouds(count: int, points: int, seed: int, dim: int = 3) -> torch.Tensor:
    return torch.randn(count, points, dim, generator=torch.Generator().manual_seed(seed))


def test_chamfer_distances_are_those_of_a_tree_of_neighbours(monkeypatch: pytest.MonkeyPatch):
    a, b = clouds(4, 7, 0), clouds(3, 9, 1)
    wanted = torch.tensor(
        [
            [(KDTree(y).query(x)[0] ** 2).mean() + (KDTree(x).query(y)[0] ** 2).mean() for y in b.numpy()]
            for x in a.numpy()
        ]
    )
    torch.testing.assert_close(chamfer_distances(a, b), wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(chamfer_distance(a[:3], b), wanted[:3].diagonal(), rtol=1e-6, atol=0)
    monkeypatch.setattr("diffusion_lab.metrics.clouds.CHUNK", 1)
    torch.testing.assert_close(chamfer_distances(a, b), wanted, rtol=1e-6, atol=0)


def test_the_earth_movers_distance_is_the_best_of_all_ways():
    a, b = clouds(3, 5, 2), clouds(3, 5, 3)
    wanted = [
        min((x - y[[*order]]).norm(dim=1).mean() for order in permutations(range(5)))
        for x, y in zip(a.double(), b.double(), strict=True)
    ]
    torch.testing.assert_close(earth_movers_distance(a, b), torch.stack(wanted))
    torch.testing.assert_close(earth_movers_distances(a, b).diagonal(), torch.stack(wanted))
    torch.testing.assert_close(earth_movers_distances(a, a), earth_movers_distances(a, a.clone()))
    assert earth_movers_distances(one := a[:1], one).tolist() == [[0]]
    on_a_line, other = clouds(1, 60, 4, dim=1), clouds(1, 60, 5, dim=1)
    found = float(earth_movers_distance(on_a_line, other))
    assert found == pytest.approx(wasserstein_distance(on_a_line[0, :, 0], other[0, :, 0]))


def test_order_changes_nothing():
    a, b = clouds(2, 20, 0), clouds(2, 20, 1)
    shuffled = a[:, torch.randperm(20, generator=torch.Generator().manual_seed(0))]
    for distance in (chamfer_distance, earth_movers_distance):
        torch.testing.assert_close(distance(shuffled, b), distance(a, b))
        assert distance(shuffled, a).max() < 1e-12


def test_nearest_neighbours_are_those_of_scikit_learn():
    a, b = clouds(12, 1, 0)[:, 0], 0.7 * clouds(9, 1, 1)[:, 0] + 0.2
    x, kind = torch.cat([a, b]).numpy(), np.array([1] * 12 + [0] * 9)
    rows = range(len(x))
    right = [
        KNeighborsClassifier(1).fit(np.delete(x, i, 0), np.delete(kind, i)).predict(x[i : i + 1])[0] == kind[i]
        for i in rows
    ]
    found = nearest_neighbour_accuracy(torch.cdist(a, a), torch.cdist(a, b), torch.cdist(b, b))
    assert found == pytest.approx(np.mean(right))
    assert coverage(torch.cdist(a, b)) == len({*KNeighborsClassifier(1).fit(b, range(9)).predict(a)}) / 9
    nearest = KDTree(a).query(b)[0].mean()
    assert minimum_matching_distance(torch.cdist(a, b)) == pytest.approx(nearest, rel=1e-6)


def test_how_each_score_is_fooled():
    corners = torch.eye(3)
    even, uneven = (torch.repeat_interleave(corners, torch.tensor(n), dim=0)[None] for n in ([20] * 3, [58, 1, 1]))
    assert chamfer_distance(uneven, even).item() == 0  # how many points are where, Chamfer does not see
    assert earth_movers_distance(uneven, even).item() == pytest.approx(38 / 60 * 2**0.5)

    generator = torch.Generator().manual_seed(0)

    def lines(count: int) -> torch.Tensor:
        """Clouds of 60 points on a line from 0 to a length of their own."""
        x = torch.zeros(count, 60, 3)
        lengths = 1 + torch.rand(count, 1, generator=generator)
        x[..., 0] = lengths * torch.rand(count, 60, generator=generator)
        return x

    truth, honest = lines(40), lines(40)
    noise = truth + 0.3 * torch.randn(truth.shape, generator=generator)

    def judged(x: torch.Tensor) -> tuple[float, float, float]:
        across = chamfer_distances(x, truth)
        own = nearest_neighbour_accuracy(chamfer_distances(x, x), across, chamfer_distances(truth, truth))
        return own, coverage(across), minimum_matching_distance(across)

    fair = judged(honest)
    assert fair[0] == pytest.approx(0.5, abs=0.15)
    accuracy, covered, _ = judged(noise)
    assert accuracy > 0.95 and covered > 0.6 * fair[1]  # noise on all of them covers much and is told apart
    assert judged(truth + 1e-4)[0] < 0.05  # copies: far below a half
    _, covered, matching = judged(torch.cat([honest, noise]))
    assert matching <= fair[2] and covered >= fair[1]  # bad ones beside good ones cost nothing there


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: chamfer_distances(torch.zeros(3, 3), clouds(1, 2, 0)), r"a has shape \(3, 3\); expected clouds"),
        (lambda: chamfer_distance(clouds(2, 4, 0), clouds(3, 4, 0)), "a and b have shapes"),
        (lambda: earth_movers_distance(clouds(1, 4, 0), clouds(1, 5, 0)), "clouds of 4 and 5 points"),
        (lambda: chamfer_distance(torch.full((1, 2, 3), torch.nan), clouds(1, 2, 0)), "1 of the 1 clouds in a hold"),
        (lambda: nearest_neighbour_accuracy(*[torch.zeros(2, 3)] * 3), r"expected \(N, N\), \(N, M\) and \(M, M\)"),
        (lambda: chamfer_distances(clouds(2, 5, 0), clouds(3, 5, 0, dim=2)), r"expected \(N, P, D\) and \(M, Q, D\)"),
    ],
)
def test_what_does_not_fit_is_named(call, said: str):
    with pytest.raises(DataError, match=said):
        call()
