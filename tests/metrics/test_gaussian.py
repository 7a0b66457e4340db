"""W2 between normals against scipy's matrix square root, and moments against scipy.stats."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_lab.errors import DataError
from diffusion_lab.metrics import floor_of, gaussian_w2, moments, sample_w2


def random_normal(dim: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    factor = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return torch.randn(dim, generator=generator, dtype=torch.float64), factor @ factor.T


@settings(max_examples=25, deadline=None)
@given(dim=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_w2_against_scipy(dim, seed):
    generator = torch.Generator().manual_seed(seed)
    (mean1, cov1), (mean2, cov2) = random_normal(dim, generator), random_normal(dim, generator)
    root = scipy.linalg.sqrtm(cov1.numpy())
    cross = scipy.linalg.sqrtm(root @ cov2.numpy() @ root)
    expected = float((mean1 - mean2).square().sum()) + np.trace(cov1.numpy() + cov2.numpy() - 2 * cross).real
    assert gaussian_w2(mean1, cov1, mean2, cov2) == pytest.approx(math.sqrt(expected), rel=1e-6)


def test_w2_in_one_dimension_is_the_distance_of_mean_and_std():
    for shape in ((), (1,)):
        mean1, mean2 = torch.full(shape, 1.0), torch.full(shape, -2.0)
        var1, var2 = torch.full(shape, 4.0), torch.full(shape, 36.0)
        assert gaussian_w2(mean1, var1, mean2, var2) == pytest.approx(5.0)  # means 3 apart, stds 4 apart


def test_w2_of_equal_and_of_degenerate_normals():
    mean, cov = random_normal(5, torch.Generator().manual_seed(0))
    assert gaussian_w2(mean, cov, mean, cov) < 1e-6
    flat = torch.diag(torch.tensor([4.0, 0.0]))
    assert gaussian_w2(torch.zeros(2), flat, torch.zeros(2), torch.zeros(2, 2)) == pytest.approx(2.0)


def test_w2_takes_float32_covariances_with_their_rounding():
    samples = torch.randn(
        30, 40, generator=torch.Generator().manual_seed(0)
    )  # rank 29: zero eigenvalues come out negative
    cov = torch.cov(samples.T)
    assert gaussian_w2(torch.zeros(40), cov, torch.zeros(40), cov) < 1e-3


@pytest.mark.parametrize(
    ("mean", "cov", "message"),
    [
        (torch.zeros(2), torch.ones(2), "expected"),
        (torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]), "transpose"),
        (torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "negative eigenvalue -1"),
        (torch.zeros(3), torch.eye(3), "3 and 2 dimensions"),
        (torch.full((2,), math.nan), torch.eye(2), "not finite"),
    ],
)
def test_w2_refuses(mean, cov, message):
    with pytest.raises(DataError, match=message):
        gaussian_w2(mean, cov, torch.zeros(2), torch.eye(2))


@pytest.mark.parametrize("shape", [(400,), (400, 1), (400, 3), (400, 2, 2)])
def test_moments_against_scipy(shape):
    samples = torch.randn(shape, generator=torch.Generator().manual_seed(3)).exp()
    rows = samples.reshape(400, -1).double().numpy()
    found = moments(samples)
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-10)
    np.testing.assert_allclose(found.cov, np.cov(rows.T).reshape(rows.shape[1], -1), rtol=1e-8)
    np.testing.assert_allclose(found.std, rows.std(0, ddof=1), rtol=1e-8)
    np.testing.assert_allclose(found.skewness, scipy.stats.skew(rows), rtol=1e-8)
    np.testing.assert_allclose(found.excess_kurtosis, scipy.stats.kurtosis(rows), rtol=1e-8)


def test_moments_do_not_lose_digits_far_from_zero():
    samples = 1e6 + torch.randn(500, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    np.testing.assert_allclose(moments(samples).cov, moments(samples - 1e6).cov, rtol=1e-8)


def test_moments_refuse_one_sample_and_nan():
    with pytest.raises(DataError, match="1 samples; at least 2"):
        moments(torch.zeros(1, 3))
    with pytest.raises(DataError, match="1 of the 2 samples"):
        moments(torch.tensor([[1.0, 2.0], [1.0, math.nan]]))


def test_sample_w2_sees_a_shift_and_has_a_floor_that_falls_with_the_sample_size():
    mean, cov = torch.tensor([1.0, -1.0]), torch.tensor([[1.0, 0.9], [0.9, 1.0]])
    factor = torch.linalg.cholesky(cov)
    generator = torch.Generator().manual_seed(5)

    def draw(count):
        return mean + torch.randn(count, 2, generator=generator) @ factor.T

    small, large = (floor_of(lambda x: sample_w2(x, mean, cov), lambda n=n: draw(n), 20) for n in (100, 10_000))
    assert small / large == pytest.approx(10, rel=0.4)
    assert sample_w2(draw(10_000) + torch.tensor([0.3, 0.4]), mean, cov) == pytest.approx(0.5, abs=4 * large)
