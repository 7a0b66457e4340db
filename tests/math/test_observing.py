"""Sampling given a measurement, against the exact conditional distribution of a normal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffusion_lab import samplers, schedules
from diffusion_lab.denoisers import from_network
from diffusion_lab.errors import PieceError
from diffusion_lab.exact import Gaussian
from diffusion_lab.samplers import Context, dps, observing
from diffusion_lab.targets import eps

MEAN = torch.tensor([0.5, -1.0, 0.2, 0.0], dtype=torch.float64)
ROOT = torch.randn(4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
TRUTH = Gaussian(MEAN, ROOT @ ROOT.T / 4 + 0.1 * torch.eye(4))
MATRIX = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0]], dtype=torch.float64)
SEEN = torch.tensor([1.2, -0.4], dtype=torch.float64)
PATHS = pytest.mark.parametrize("schedule", [schedules.cosine(), schedules.karras()], ids=lambda s: s.name)


def noisy(schedule, n: int = 4) -> tuple[torch.Tensor, samplers.loop.Level]:
    """As many samples as numbers in each, every one at its own level."""
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    level = schedule.at(torch.linspace(0.1, 0.9, n, dtype=torch.float64), like=x)
    return level.alpha * x + level.sigma * x.flip(0), level


@pytest.mark.parametrize("noise", [0.05, 0.7])
def test_a_normal_given_a_measurement(noise: float):
    """By adding precisions, which the code does not do."""
    cov, matrix = TRUTH.cov.numpy(), MATRIX.numpy()
    precision = np.linalg.inv(cov) + matrix.T @ matrix / noise**2
    shift = np.linalg.inv(cov) @ MEAN.numpy() + matrix.T @ SEEN.numpy() / noise**2
    found = TRUTH.given(MATRIX, SEEN, noise)
    np.testing.assert_allclose(found.cov.numpy(), np.linalg.inv(precision), atol=1e-10)
    np.testing.assert_allclose(found.mean.numpy(), np.linalg.solve(precision, shift), atol=1e-10)


def test_a_number_that_is_seen_exactly():
    pair = Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
    found = pair.given(torch.tensor([[1.0, 0.0]]), torch.tensor([1.5]))
    np.testing.assert_allclose(found.mean, [1.5, 1.35], atol=1e-6)
    np.testing.assert_allclose(found.cov, [[0, 0], [0, 0.19]], atol=1e-6)


@pytest.mark.parametrize(
    ("matrix", "seen", "noise"),
    [(MATRIX[:, :3], SEEN, 0.1), (MATRIX, SEEN[:1], 0.1), (MATRIX, SEEN, -0.1), (MATRIX[[0, 0]], SEEN, 0.0)],
)
def test_what_cannot_be_seen(matrix, seen, noise: float):
    with pytest.raises(PieceError, match=r"expected matrix \(K, 4\)|without noise"):
        TRUTH.given(matrix, seen, noise)


@PATHS
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_with_the_jacobian_it_is_the_posterior_mean(schedule, noise: float):
    x, level = noisy(schedule)
    found = observing(TRUTH.denoise, MATRIX, SEEN, noise, "jacobian")(x, level)
    wanted = TRUTH.given(MATRIX, SEEN, noise).denoise(x, level)
    torch.testing.assert_close(found.x0, wanted.x0, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.eps, wanted.eps, rtol=1e-6, atol=1e-6)


@PATHS
def test_the_isotropic_doubt_is_right_without_correlations_and_wrong_with_them(schedule):
    x, level = noisy(schedule)
    apart = Gaussian(MEAN, torch.eye(4, dtype=torch.float64))
    gaps = [
        observing(truth.denoise, MATRIX, SEEN, 0.2)(x, level).x0 - truth.given(MATRIX, SEEN, 0.2).denoise(x, level).x0
        for truth in (apart, TRUTH)
    ]
    assert float(gaps[0].abs().max()) < 1e-9
    assert float(gaps[1].abs().max()) > 0.05


def test_pictures_and_a_measurement_of_each_sample():
    """A sample of any rank counts as the row of its numbers; the third sample has seen something else."""
    x, level = noisy(schedules.cosine(), 3)
    pictures = x.reshape(3, 1, 2, 2)
    wide = type(level)(*(f.reshape(3, 1, 1, 1) for f in level))

    def of_pictures(p, at):
        flat = TRUTH.denoise(p.flatten(1), type(at)(*(f.flatten(1) for f in at)))
        return type(flat)(*(f.reshape(p.shape) for f in flat))

    each = torch.stack([SEEN, SEEN, SEEN + 1])
    for doubt in ("isotropic", "jacobian"):
        found = observing(of_pictures, MATRIX, each, 0.2, doubt)(pictures, wide).x0.flatten(1)
        own = [observing(TRUTH.denoise, MATRIX, seen, 0.2, doubt)(x, level).x0[i] for i, seen in enumerate(each)]
        torch.testing.assert_close(found, torch.stack(own))


def test_dps_goes_down_the_slope_of_the_miss():
    """The slope by differences, from outside; the step itself is left as it is."""
    schedule = schedules.cosine()
    now, after = (schedule.at(torch.tensor(t, dtype=torch.float64)) for t in (0.5, 0.4))
    x = noisy(schedule)[0]
    context = Context(TRUTH.denoise, None)
    moved = dps(samplers.ddim(), MATRIX, SEEN, 0.7)(x, now, after, TRUTH.denoise(x, now), context)
    pushed = samplers.ddim()(x, now, after, TRUTH.denoise(x, now), context) - moved

    def miss(point):
        return (SEEN - TRUTH.denoise(point, now).x0 @ MATRIX.T).norm(dim=1)

    for axis in torch.eye(4, dtype=torch.float64):
        slope = (miss(x + 1e-5 * axis) - miss(x - 1e-5 * axis)) / 2e-5
        torch.testing.assert_close(pushed @ axis, 0.7 * slope, rtol=1e-6, atol=1e-8)


def test_what_the_guess_must_be():
    x, level = noisy(schedules.cosine())
    with pytest.raises(PieceError, match="stops gradients"):
        observing(from_network(lambda x, t: x / 2, eps), MATRIX, SEEN, 0.1)(x, level)
    with pytest.raises(PieceError, match="samples of 4 numbers"):
        observing(TRUTH.denoise, MATRIX[:, :3], SEEN, 0.1)(x, level)
    with pytest.raises(PieceError, match="limit_log_snr"):
        observing(TRUTH.denoise, MATRIX, SEEN, 0.1)(x, schedules.flow().at(torch.ones(4), like=x))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: observing(TRUTH.denoise, MATRIX, SEEN, 0.1, "none"), "isotropic, jacobian, got 'none'"),
        (lambda: observing(TRUTH.denoise, MATRIX, SEEN, -0.1), "at least 0, got -0.1"),
        (lambda: observing(TRUTH.denoise, MATRIX, SEEN[:1], 0.1), r"seen \(K,\)"),
        (lambda: dps(samplers.ddpm(), MATRIX[0], SEEN, 0.1), r"matrix \(K, D\)"),
        (lambda: dps(samplers.ddpm(), MATRIX, SEEN, -1), "push must be at least 0, got -1"),
    ],
)
def test_bad_settings_of_measurements(make, words: str):
    with pytest.raises(PieceError, match=words):
        make()
