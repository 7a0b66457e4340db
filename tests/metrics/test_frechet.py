"""The Fréchet distance against scipy's general matrix square root, and the two opinions of a classifier."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from diffusion_lab.errors import DataError
from diffusion_lab.metrics import class_balance, confidence, floor_of, frechet_distance


def correlated(count: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    mix = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64) @ mix + mix[0]


@pytest.mark.parametrize(("count1", "count2", "dim"), [(300, 200, 64), (65, 65, 64), (50, 20, 3), (9, 4, 1)])
def test_against_the_published_formula_with_scipy(count1, count2, dim):
    generator = torch.Generator().manual_seed(dim)
    a, b = correlated(count1, dim, generator).numpy(), correlated(count2, dim, generator).numpy()
    cov_a, cov_b = np.cov(a.T).reshape(dim, dim), np.cov(b.T).reshape(dim, dim)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * root.real)
    assert frechet_distance(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, rel=1e-6)


def test_features_that_are_constant_or_copies_do_not_break_it():
    features = torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    singular = torch.cat([features, features[:, :3], torch.zeros(200, 2)], dim=1)
    assert frechet_distance(singular, singular) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(singular, singular + 1) == pytest.approx(15, rel=1e-5)


def test_too_few_samples_are_refused_with_their_number():
    with pytest.raises(DataError, match="features2 has 64 samples of 64 features; a covariance needs at least 65"):
        frechet_distance(torch.randn(70, 64), torch.randn(64, 64))
    with pytest.raises(DataError, match="3 and 4 values"):
        frechet_distance(torch.zeros(70, 3), torch.zeros(70, 4))


def test_the_floor_falls_with_the_sample_size():
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(5000, 8, generator=generator)
    few, many = (
        floor_of(lambda x: frechet_distance(x, truth), lambda n=n: torch.randn(n, 8, generator=generator))
        for n in (50, 2000)
    )
    assert few > 10 * many > 0


def test_class_balance():
    assert class_balance(torch.tensor([0, 1, 2, 3]), 4) == 0
    assert class_balance(torch.tensor([2, 2, 2, 2]), 4) == pytest.approx(0.75)
    assert class_balance(torch.tensor([0, 0, 0, 1]), 2, torch.tensor([0.75, 0.25])) == pytest.approx(0)
    assert class_balance(torch.tensor([0, 1]), 3) == pytest.approx(1 / 3)  # a class that never occurs counts
    with pytest.raises(DataError, match="0 to 3; with 3 classes, 0 to 2"):
        class_balance(torch.tensor([0, 3]), 3)
    with pytest.raises(DataError, match="float32"):
        class_balance(torch.rand(3), 3)


def test_confidence():
    assert confidence(torch.tensor([[0.2, 0.8], [1.0, 0.0]])) == pytest.approx(0.9)
    assert confidence(torch.full((5, 4), 0.25)) == pytest.approx(0.25)
    with pytest.raises(DataError, match="logits"):
        confidence(torch.tensor([[3.0, -1.0]]))
