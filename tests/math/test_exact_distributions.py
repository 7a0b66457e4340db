"""Exact distributions against scipy, autograd, numerical integration and draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp
from scipy.stats import multivariate_normal, norm
from torch import Tensor

from diffusion_lab import schedules, targets
from diffusion_lab.errors import PieceError
from diffusion_lab.exact import FiniteSet, Gaussian, Mixture, loss_floor
from diffusion_lab.levels import CLEAN, Level
from diffusion_lab.losses import edm_weight, min_snr_weight, prediction_loss

MEAN = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
ROOT = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.3, 0.0], [-0.5, 0.2, 0.7]], dtype=torch.float64)
COV = ROOT @ ROOT.T
GAUSSIAN = Gaussian(MEAN, COV)
WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
MEANS = torch.tensor([[0.0, 1.0, 0.0], [2.0, -1.0, 1.0], [-1.5, 0.0, 3.0]], dtype=torch.float64)
COVS = torch.stack([COV, 0.2 * torch.eye(3, dtype=torch.float64), 0.5 * COV + torch.eye(3, dtype=torch.float64)])
MIXTURE = Mixture(WEIGHTS, MEANS, COVS)
POINTS = torch.tensor([[0.0, 0.0, 1.0], [1.0, -1.0, 0.5], [2.0, 0.0, 0.0], [0.1, 0.1, 1.0]], dtype=torch.float64)
TRUTHS = {
    "gaussian": GAUSSIAN,
    "mixture": MIXTURE,
    "points": FiniteSet(POINTS),
    "thick points": FiniteSet(POINTS, std=0.4),
}
PATHS = {"vp": schedules.cosine(), "ve": schedules.karras(), "flow": schedules.flow()}


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def each(truths=TRUTHS):
    return pytest.mark.parametrize("truth", list(truths.values()), ids=list(truths))


paths = pytest.mark.parametrize("path", list(PATHS.values()), ids=list(PATHS))


def noisy_covariance(cov: Tensor, level: Level) -> np.ndarray:
    return (level.alpha**2 * cov + level.sigma**2 * torch.eye(len(cov), dtype=torch.float64)).numpy()


@paths
@pytest.mark.parametrize("t", [0.05, 0.4, 0.99])
def test_gaussian_against_scipy(path, t: float):
    level = path.at(torch.tensor(t))
    x = 2 * draws(7, 3)
    scipy_normal = multivariate_normal((level.alpha * MEAN).numpy(), noisy_covariance(COV, level))
    assert GAUSSIAN.log_density(x, level).numpy() == pytest.approx(scipy_normal.logpdf(x.numpy()), rel=1e-9)


@paths
@pytest.mark.parametrize("t", [0.05, 0.4, 0.99])
def test_mixture_against_scipy(path, t: float):
    level = path.at(torch.tensor(t))
    x = 2 * draws(7, 3)
    parts = [
        float(w) * multivariate_normal((level.alpha * m).numpy(), noisy_covariance(c, level)).pdf(x.numpy())
        for w, m, c in zip(WEIGHTS, MEANS, COVS, strict=True)
    ]
    assert MIXTURE.log_density(x, level).exp().numpy() == pytest.approx(sum(parts), rel=1e-9)
    expected = np.stack(parts, axis=1) / sum(parts)[:, None]
    np.testing.assert_allclose(MIXTURE.responsibilities(x, level).numpy(), expected, rtol=1e-8, atol=1e-12)


@paths
@each()
def test_score_is_the_gradient_of_the_log_density(truth, path):
    t = torch.tensor([0.1, 0.3, 0.6, 0.95])
    x = draws(4, 3).requires_grad_()
    level = path.at(t, like=x)
    density = truth.log_density(x, level)
    assert density.shape == (4,)
    (gradient,) = torch.autograd.grad(density.sum(), x)
    torch.testing.assert_close(truth.score(x.detach(), level), gradient, rtol=1e-7, atol=1e-9)


@paths
@each()
def test_tweedie_and_the_two_estimates(truth, path):
    """E[x0 | x] = (x + sigma^2 score) / alpha and E[eps | x] = -sigma score (Robbins 1956), the score by autograd."""
    x = draws(5, 3).requires_grad_()
    level = path.at(torch.tensor([0.02, 0.2, 0.5, 0.8, 0.95]), like=x)
    (score,) = torch.autograd.grad(truth.log_density(x, level).sum(), x)
    x = x.detach()
    x0, eps = truth.denoise(x, level)
    torch.testing.assert_close(x0, (x + level.sigma**2 * score) / level.alpha, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(eps, -level.sigma * score, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("x", [-1.3, 0.2, 2.4])
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_mixture_denoiser_against_integration(x: float, t: float):
    """In one dimension E[x0 | x] is a quotient of two integrals."""
    weights, means, stds = [0.3, 0.7], [-1.0, 1.5], [0.2, 0.6]
    mixture = Mixture(
        torch.tensor(weights, dtype=torch.float64),
        torch.tensor(means, dtype=torch.float64)[:, None],
        torch.tensor(stds, dtype=torch.float64).square()[:, None, None],
    )
    level = schedules.flow().at(torch.tensor(t))
    alpha, sigma = float(level.alpha), float(level.sigma)

    def joint(x0: float) -> float:
        prior = sum(w * norm.pdf(x0, m, s) for w, m, s in zip(weights, means, stds, strict=True))
        return prior * norm.pdf(x, alpha * x0, sigma)

    breaks = [*means, min(max(x / alpha, -5.0), 5.0)]
    mass = quad(joint, -6, 6, points=breaks, epsabs=1e-13, limit=200)[0]
    first = quad(lambda x0: x0 * joint(x0), -6, 6, points=breaks, epsabs=1e-13, limit=200)[0]
    at = torch.tensor([[x]], dtype=torch.float64)
    assert float(mixture.denoise(at, level).x0) == pytest.approx(first / mass, rel=1e-6)
    assert float(mixture.log_density(at, level)) == pytest.approx(math.log(mass), rel=1e-6)


@paths
@pytest.mark.parametrize("std", [0.0, 0.3])
def test_finite_set_is_a_mixture_of_equal_normals(path, std: float):
    """Many points with a width are the mixture with that covariance; std 0 is a mixture of covariance zero."""
    points = draws(40, 3, seed=4)
    cov = std**2 * torch.eye(3, dtype=torch.float64)
    mixture = Mixture(torch.full((40,), 1 / 40, dtype=torch.float64), points, cov.expand(40, 3, 3))
    finite = FiniteSet(points, std)
    x = draws(6, 3, seed=5)
    level = path.at(torch.tensor([0.05, 0.1, 0.3, 0.5, 0.8, 0.99]), like=x)
    torch.testing.assert_close(finite.posterior(x, level), mixture.responsibilities(x, level), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(finite.log_density(x, level), mixture.log_density(x, level), rtol=1e-8, atol=1e-8)
    for ours, expected in zip(finite.denoise(x, level), mixture.denoise(x, level), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(finite.score(x, level), mixture.score(x, level), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 3, 3), (5, 5, 5)])
def test_finite_set_for_any_rank(shape: tuple[int, ...]):
    """Images and sounds are their flattened vectors; the batch equals the other axes in one case."""
    points, x = draws(6, *shape, seed=1), draws(5, *shape, seed=2)
    t = torch.tensor([0.2, 0.4, 0.6, 0.8, 0.9])
    shaped = FiniteSet(points, 0.1).denoise(x, schedules.cosine().at(t, like=x))
    flat = FiniteSet(points.flatten(1), 0.1).denoise(x.flatten(1), schedules.cosine().at(t, like=x.flatten(1)))
    for ours, expected in zip(shaped, flat, strict=True):
        assert ours.shape == x.shape
        torch.testing.assert_close(ours.flatten(1), expected)


def test_finite_set_in_blocks():
    """More samples than one block holds, each with its own level: the same as all at once."""
    x = draws(7, 3)
    level = schedules.cosine().at(torch.linspace(0.1, 0.9, 7), like=x)
    finite, blocked = FiniteSet(POINTS, 0.2), FiniteSet(POINTS, 0.2)
    blocked.points = range(2**24)  # its length alone sets the size of a block: here one sample
    for whole, parts in zip(finite.denoise(x, level), blocked.denoise(x, level), strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)


def test_finite_set_remembers_its_points():
    """Near the data the posterior mean is the nearest point: a perfect fit to a training set is memorisation."""
    finite = FiniteSet(POINTS)
    x = POINTS + 0.01 * draws(4, 3)
    level = schedules.karras().at(torch.tensor(0.01 / 80))
    torch.testing.assert_close(finite.denoise(x, level).x0, POINTS, atol=1e-6, rtol=0)


def test_float32_far_from_the_points():
    """The distances lose no digits that the softmax needs, at the highest and the lowest noise."""
    points = 3 * draws(50, 20, seed=8)
    x = points[:10] + 0.05 * draws(10, 20, seed=9)
    for t in (0.01, 0.5, 1.0):
        level = schedules.karras().at(torch.tensor(t))
        double = FiniteSet(points).denoise(x, level).x0
        single = FiniteSet(points.float()).denoise(x.float(), level).x0
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-3)


@paths
def test_flow_map_against_an_integrator(path):
    """scipy's adaptive integrator on dx/dt = alpha' E[x0 | x] + sigma' E[eps | x]."""
    x = draws(2, 3)
    start, end = 0.9, 0.05
    now = path.at(torch.tensor(start))

    def slope(t: float, flat: np.ndarray) -> np.ndarray:
        level = path.at(torch.tensor(t, dtype=torch.float64))
        x0, eps = GAUSSIAN.denoise(torch.from_numpy(flat).reshape(2, 3), level)
        return (level.dalpha * x0 + level.dsigma * eps).flatten().numpy()

    x = x * now.sigma
    solution = solve_ivp(slope, (start, end), x.flatten().numpy(), rtol=1e-9, atol=1e-10)
    expected = torch.from_numpy(solution.y[:, -1]).reshape(2, 3)
    actual = GAUSSIAN.flow_map(x, now, path.at(torch.tensor(end)))
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)


@paths
def test_flow_map_carries_one_normal_to_the_other(path):
    """Linear, so its matrix M and its constant are found by applying it; M cov M^T must be the covariance there."""
    now = path.at(torch.tensor(0.8))
    for after in (path.at(torch.tensor(0.1)), CLEAN):
        constant = GAUSSIAN.flow_map(torch.zeros(1, 3, dtype=torch.float64), now, after)
        matrix = (GAUSSIAN.flow_map(torch.eye(3, dtype=torch.float64), now, after) - constant).T
        covariance = matrix.numpy() @ noisy_covariance(COV, now) @ matrix.numpy().T
        np.testing.assert_allclose(covariance, noisy_covariance(COV, after), atol=1e-9)
        torch.testing.assert_close(constant[0] + matrix @ (now.alpha * MEAN), after.alpha * MEAN)


@each()
def test_draws_have_the_moments(truth):
    """Mean and covariance of 40,000 draws, and the denoiser as the mean of the x0 that gave nearly this x."""
    x = truth.sample(40_000, torch.Generator().manual_seed(0)).double()
    if isinstance(truth, Gaussian):
        mean, cov = MEAN, COV
    elif isinstance(truth, Mixture):
        mean = WEIGHTS @ MEANS
        cov = sum(w * (c + torch.outer(m, m)) for w, m, c in zip(WEIGHTS, MEANS, COVS, strict=True))
        cov = cov - torch.outer(mean, mean)
    else:
        mean = POINTS.mean(dim=0)
        cov = torch.cov(POINTS.T, correction=0) + truth.std**2 * torch.eye(3, dtype=torch.float64)
    scale = float(cov.diagonal().max())
    assert (x.mean(dim=0) - mean).abs().max() < 4 * math.sqrt(scale / 40_000)
    assert (torch.cov(x.T) - cov).abs().max() < 6 * scale * math.sqrt(2 / 40_000)


@paths
def test_posterior_variance_by_monte_carlo(path):
    x0, eps = GAUSSIAN.sample(20_000, torch.Generator().manual_seed(1)).double(), draws(20_000, 3, seed=2)
    for t in (0.05, 0.3, 0.8):
        level = path.at(torch.tensor(t))
        errors = (GAUSSIAN.denoise(level.noisy(x0, eps), level).x0 - x0).square().mean(dim=1)
        expected = GAUSSIAN.posterior_variance(level)
        assert expected.shape == ()
        assert abs(float(errors.mean() - expected)) < 4 * float(errors.std()) / math.sqrt(20_000)
    assert GAUSSIAN.posterior_variance(path.at(torch.tensor([0.1, 0.2]), like=x0[:2])).shape == (2,)


def closed_floor(name: str, level: Level, cov: Tensor) -> Tensor:
    """The least error of each target, from the joint normal of y = c x0 + d eps and x: Var(y) - Cov(y, x)^2 / Var(x).

    Written with the textbook form of each target, for one coordinate at a time in the eigenbasis of the data.
    """
    a, s = level.alpha, level.sigma
    c, d = {
        "eps": (0.0, 1.0),
        "x0": (1.0, 0.0),
        "v": (-s, a),
        "flow": (level.dalpha, level.dsigma),
        "score": (0.0, -1.0),
        # F = (x0 - c_skip x / a) / c_out with sigma_data = 1: what remains is x0 / c_out, for x is given.
        "edm": (torch.sqrt((s / a) ** 2 + 1) / (s / a), 0.0),
    }[name]
    variances = torch.linalg.eigvalsh(cov)
    total = a**2 * variances + s**2
    return (c**2 * variances + d**2 - (c * a * variances + d * s) ** 2 / total).mean()


@paths
@pytest.mark.parametrize("name", list(targets.TARGETS))
def test_loss_floor_of_a_gaussian_for_every_target(path, name: str):
    target = targets.TARGETS[name]
    n = 4000
    x0, eps = GAUSSIAN.sample(n, torch.Generator().manual_seed(3)).double(), draws(n, 3, seed=4)
    for t in (0.1, 0.5, 0.9):
        level = path.at(torch.tensor(t))
        expected = closed_floor(name, level, COV)
        identity = GAUSSIAN.posterior_variance(level) * target.error_scale(level)
        assert float(identity) == pytest.approx(float(expected), rel=1e-8)
        floor = loss_floor(GAUSSIAN.denoise, x0, eps, torch.full((n,), t), path, target)
        assert abs(float(floor.mean() - expected)) < 4 * float(floor.std()) / math.sqrt(n)


@paths
@pytest.mark.parametrize("name", list(targets.TARGETS))
def test_loss_floor_is_the_loss_of_a_perfect_network(path, name: str):
    """`prediction_loss` of a network that outputs the target of the exact estimates, sample by sample."""
    target = targets.TARGETS[name]
    x0, eps, t = draws(8, 3), draws(8, 3, seed=1), torch.linspace(0.1, 0.9, 8)
    level = path.at(t, like=x0)

    def perfect(inputs: Tensor, time: Tensor) -> Tensor:
        return target.of(*MIXTURE.denoise(level.noisy(x0, eps), level), level)

    for weight in (min_snr_weight(), edm_weight(0.7)):
        loss = prediction_loss(target, weight)(perfect, x0, eps, level, {})
        floor = loss_floor(MIXTURE.denoise, x0, eps, t, path, target, weight)
        torch.testing.assert_close(floor, loss, rtol=1e-8, atol=1e-10)


@each()
@settings(max_examples=20, deadline=None)
@given(t=st.floats(0.01, 0.99), batch=st.integers(1, 4), single=st.booleans())
def test_dtype_shape_and_inputs(truth, t: float, batch: int, single: bool):
    dtype = torch.float32 if single else torch.float64
    x = draws(batch, 3).to(dtype)
    before = x.clone()
    shared, own = schedules.cosine().at(torch.tensor(t)), schedules.cosine().at(torch.full((batch,), t), like=x)
    for level in (Level(*(f.to(dtype) for f in shared)), own):
        prediction = truth.denoise(x, level)
        for value in (*prediction, truth.score(x, level)):
            assert value.shape == x.shape and value.dtype == dtype
        assert truth.log_density(x, level).shape == (batch,)
        torch.testing.assert_close(level.noisy(*prediction), x, rtol=1e-4, atol=1e-4)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Gaussian(torch.zeros(2), torch.eye(3)), "cov"),
        (lambda: Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])), "symmetric"),
        (lambda: Gaussian(torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])), "negative eigenvalue"),
        (lambda: Mixture(torch.tensor([0.5, 0.6]), torch.zeros(2, 1), torch.ones(2, 1, 1)), "sum to 1"),
        (lambda: Mixture(torch.tensor([1.0, 0.0]), torch.zeros(2, 1), torch.ones(2, 1, 1)), "positive"),
        (lambda: Mixture(torch.tensor([1.0]), torch.zeros(2, 1), torch.ones(2, 1, 1)), "disagree"),
        (lambda: FiniteSet(torch.zeros(0, 2)), "at least one point"),
        (lambda: FiniteSet(torch.zeros(2, 2), std=-1.0), "std"),
    ],
)
def test_what_is_refused(make, words: str):
    with pytest.raises(PieceError, match=words):
        make()
