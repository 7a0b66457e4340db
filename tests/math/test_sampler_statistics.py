"""Stochastic samplers against the closed-form statistics of linear normal chains, and where they draw noise."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import kstest, kurtosis
from torch import Tensor

from diffusion_lab import samplers, schedules, times
from diffusion_lab.errors import PieceError
from diffusion_lab.exact import FiniteSet, Gaussian
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context
from diffusion_lab.samplers.steps import langevin_update, step_variance


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(mean: float, variance: float) -> Gaussian:
    return Gaussian(torch.tensor([mean], dtype=torch.float64), torch.tensor([[variance]], dtype=torch.float64))


class UnitNoise(Context):
    """Row k of the batch is given a noise of 1 at the k-th draw and 0 at all others: the response to each draw."""

    drawn = 0

    def noise(self, like: Tensor) -> Tensor:
        out = torch.zeros_like(like)
        if self.drawn < len(like):
            out[self.drawn] = 1
        self.drawn += 1
        return out


def moments(truth: Gaussian, step, schedule, steps: int, start: float | None = None) -> tuple[float, float]:
    """The exact mean and variance of what a sampler returns from x_T ~ N(0, start^2), found without drawing.

    With a normal truth a sampler is an affine function of its independent unit noises. The last row gets the start and
    no noise, the one before it nothing at all, which gives the mean, and each of the others one noise: the variance is
    the sum of the squared responses. `start` is by default the sigma of the noisiest level.
    """
    x = torch.zeros(25 * steps + 2, 1, dtype=torch.float64)
    x[-1] = start or float(schedule.at(torch.tensor(schedule.t_max)).sigma)
    context = UnitNoise(truth.denoise, None)
    grid = schedule.at(schedule.times(steps))
    levels = [Level(*(f[i] for f in grid)) for i in range(steps + 1)]
    for now, after in pairwise(levels):
        x = step(x, now, after, context.predict(x, now), context)
    assert context.drawn < len(x) - 1
    mean = float(x[-2])
    return mean, float((x - mean).square().sum())


def ddpm_recursion(mean: float, variance: float, betas: np.ndarray, kind: str) -> tuple[float, float]:
    """Mean and variance of DDPM's samples in numpy, in the form with the optimal eps (Ho et al. 2020, algorithm 2)."""
    m, v = 0.0, 1.0 - np.prod(1 - betas)
    for t in range(len(betas) - 1, -1, -1):
        alpha_bar = np.prod(1 - betas[: t + 1])
        before = np.prod(1 - betas[:t])
        # E[eps | x] = slope (x - sqrt(alpha_bar) mean)
        slope = np.sqrt(1 - alpha_bar) / (alpha_bar * variance + 1 - alpha_bar)
        pull = betas[t] / np.sqrt(1 - alpha_bar)
        m = (m - pull * slope * (m - np.sqrt(alpha_bar) * mean)) / np.sqrt(1 - betas[t])
        v = v * (1 - pull * slope) ** 2 / (1 - betas[t])
        if t > 0:
            v += betas[t] if kind == "beta" else betas[t] * (1 - before) / (1 - alpha_bar)
    return m, v


@pytest.mark.parametrize("kind", ["posterior", "beta"])
@pytest.mark.parametrize(("mean", "variance"), [(0.7, 0.25), (0.0, 1.0), (-1.0, 4.0)])
def test_ddpm_mean_and_variance(kind: str, mean: float, variance: float):
    table = np.linspace(0.002, 0.2, 40)
    schedule = schedules.from_betas(torch.from_numpy(table))
    actual = moments(normal(mean, variance), samplers.ddpm(kind), schedule, 40)
    assert actual == pytest.approx(ddpm_recursion(mean, variance, table, kind), rel=1e-9)


def test_where_each_variance_is_exact():
    """beta is exact for data of unit variance at any number of steps; the posterior variance is for a single point."""
    schedule = schedules.from_betas(torch.linspace(0.01, 0.3, 15, dtype=torch.float64))
    # Started at variance 1, every state keeps it; the last step, of beta = .01, adds no noise and returns E[x0 | x].
    mean, variance = moments(normal(0.0, 1.0), samplers.ddpm("beta"), schedule, 15, start=1.0)
    assert (mean, variance) == pytest.approx((0.0, 0.99), abs=1e-12)
    # Data at a point: the last step lands on it whatever came before, so look one step earlier.
    point = normal(0.5, 0.0)
    last = schedule.at(torch.tensor(1 / 15))
    context = UnitNoise(point.denoise, None)
    x = torch.zeros(40, 1, dtype=torch.float64)
    x[-1] = float(schedule.at(torch.tensor(1.0)).sigma)
    grid = [schedule.at(torch.tensor(i / 15)) for i in range(15, 0, -1)]
    for now, after in pairwise(grid):
        x = samplers.ddpm("posterior")(x, now, after, context.predict(x, now), context)
    assert float((x - x[-2]).square().sum()) == pytest.approx(float(last.sigma**2), rel=1e-9)


@pytest.mark.parametrize("schedule", [schedules.cosine(), schedules.flow(), schedules.karras()], ids=lambda s: s.name)
def test_ddim_with_eta_1_is_ddpm(schedule):
    """Not only in law: with the same noises, state by state (Song et al. 2021a, section 4.1)."""
    truth = normal(0.3, 0.5)
    x = samplers.initial_noise(schedule, torch.randn(50, 1, generator=seeded(1), dtype=torch.float64))
    states = [
        samplers.sample(truth.denoise, schedule, step, x, steps=12, generator=seeded(2), keep=50)[1].states
        for step in (samplers.ddim(1.0), samplers.ddpm("posterior"))
    ]
    for first, second in zip(*states, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["ddpm", "ddim", "langevin"])
def test_the_sampled_distribution(name: str):
    """Draws through `sample`, not responses: a Kolmogorov-Smirnov test against the law of the chain."""
    truth, schedule, steps = normal(0.7, 0.25), schedules.geometric(), 60
    # Langevin needs many repeats: it must reach the law of each level before the next steps are too small to move it.
    step = {"ddpm": samplers.ddpm(), "ddim": samplers.ddim(0.7), "langevin": samplers.annealed_langevin(20, 0.2)}[name]
    mean, variance = moments(truth, step, schedule, steps)
    x = samplers.initial_noise(schedule, torch.randn(3000, 1, generator=seeded(4), dtype=torch.float64))
    x = samplers.sample(truth.denoise, schedule, step, x, steps=steps, generator=seeded(5))[0]
    assert kstest(x.flatten().numpy(), "norm", args=(mean, math.sqrt(variance))).pvalue > 0.01
    assert mean == pytest.approx(0.7, abs=0.02)
    assert math.sqrt(variance) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("step_size", [0.1, 0.5, 1.0])
def test_stationary_variance_of_langevin(step_size: float):
    """x' = (1 - h / v) x + sqrt(2 h) z settles at v / (1 - h / (2 v)): too wide by the size of its steps."""
    v, n = 1.5, 400
    x = torch.zeros(n + 1, 1, dtype=torch.float64)
    for k in range(n):
        noise = torch.zeros_like(x)
        noise[k] = 1
        x = langevin_update(x, -x / v, step_size, noise)
    assert float(x.square().sum()) == pytest.approx(v / (1 - step_size / (2 * v)), rel=1e-6)


def test_one_langevin_step_adds_normal_noise_once():
    """From x = 0 with no drift: variance 2 h and the kurtosis 3 of a normal; noise scaled twice has kurtosis 9."""
    noise = torch.randn(20_000, 1, generator=seeded(), dtype=torch.float64)
    x = langevin_update(torch.zeros_like(noise), torch.zeros_like(noise), 0.08, noise).flatten().numpy()
    assert x.var() == pytest.approx(0.16, rel=0.05)
    assert kurtosis(x, fisher=False) == pytest.approx(3, abs=0.2)


def test_annealed_langevin_finds_both_modes():
    """From a wide start, in the shares that the data have; the last estimate is a point of the data."""
    truth = FiniteSet(torch.tensor([[-2.0], [2.0], [2.0], [2.0]], dtype=torch.float64))
    schedule = schedules.geometric(0.05, 10.0)
    x = samplers.initial_noise(schedule, torch.randn(2000, 1, generator=seeded(), dtype=torch.float64))
    x = samplers.sample(truth.denoise, schedule, samplers.annealed_langevin(20), x, steps=40, generator=seeded(1))[0]
    assert float((x.abs() - 2).abs().max()) < 1e-6
    assert float((x > 0).double().mean()) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("step", [samplers.annealed_langevin(), samplers.euler_maruyama()])
def test_a_start_without_data_is_refused(step):
    schedule = schedules.zero_terminal_linear()
    x = torch.zeros(1, 1, dtype=torch.float64)
    with pytest.raises(PieceError, match="limit_log_snr"):
        samplers.sample(normal(0.0, 1.0).denoise, schedule, step, x, steps=3, generator=seeded())


@pytest.mark.parametrize("schedule", [schedules.cosine(), schedules.flow(), schedules.karras()], ids=lambda s: s.name)
def test_the_rate_of_the_noise_is_that_of_small_steps(schedule):
    """The variance of x_t given x_{t-h} (Kingma et al. 2021, equation 20) is g^2 h for small h, on every path."""
    now, before = (schedule.at(torch.tensor(t, dtype=torch.float64)) for t in (0.6, 0.6 - 1e-6))
    assert float(step_variance(now, before)) / 1e-6 == pytest.approx(float(samplers.noise_rate(now)), rel=1e-4)


@pytest.mark.parametrize("churn", [0.5, 1.0, 3.0])
def test_the_reverse_sde_is_of_first_order_for_any_churn(churn: float):
    """The law of its ends against the data's own, N(0.7, 0.25): twice the steps, half the error."""
    schedule = replace(schedules.cosine(), spacing=times.log_snr_spacing)
    errors = []
    for steps in (60, 120):
        mean, variance = moments(normal(0.7, 0.25), samplers.euler_maruyama(churn), schedule, steps)
        errors.append(math.hypot(mean - 0.7, math.sqrt(variance) - 0.5))
    assert errors[0] < 0.03
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.15)
    # And it is the noise that was asked for: a unit of it, less none, from the same x.
    now, before = (schedule.at(torch.tensor(t, dtype=torch.float64)) for t in (0.6, 0.6 - 1e-6))
    x = torch.zeros(2, 1, dtype=torch.float64)
    step, context = samplers.euler_maruyama(churn), UnitNoise(None, None)
    shaken, still = step(x, now, before, normal(0.7, 0.25).denoise(x, now), context).flatten()
    assert float(shaken - still) ** 2 == pytest.approx(churn * float(step_variance(now, before)), rel=1e-4)


def test_the_reverse_sde_is_the_limit_of_ddpm():
    """The noiseless parts of both steps differ by a term in h squared, and so do the variances of their noises."""
    truth, schedule = normal(0.7, 0.25), schedules.cosine()
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    now = schedule.at(torch.tensor(0.5, dtype=torch.float64))
    gaps = []
    for h in (0.01, 0.001):
        after = schedule.at(torch.tensor(0.5 - h, dtype=torch.float64))
        ends = []
        for step in (samplers.ddpm("beta"), samplers.euler_maruyama()):
            context = UnitNoise(truth.denoise, None)
            ends.append(step(x, now, after, truth.denoise(x, now), context))
            # The second row has no noise; the first row's noise is what is over at x = 0.
            context.drawn = len(x)
            still = step(x, now, after, truth.denoise(x, now), context)
            ends[-1] = torch.stack([still[0], still[1], (ends[-1][0] - still[0]) ** 2])
        gaps.append((ends[0] - ends[1]).abs().flatten())
    assert torch.all(gaps[0] / gaps[1] > 80) and torch.all(gaps[0] / gaps[1] < 120), gaps


def test_without_churn_the_sde_is_the_ode():
    schedule, truth = schedules.cosine(), normal(0.3, 0.5)
    x = torch.randn(20, 1, generator=seeded(1), dtype=torch.float64)
    states = [
        samplers.sample(truth.denoise, schedule, step, x, steps=8, keep=20, generator=None)[1].states[:-1]
        for step in (samplers.euler_maruyama(0.0), samplers.euler())
    ]
    torch.testing.assert_close(*map(torch.stack, states))


@pytest.mark.parametrize(
    "step",
    [
        samplers.ddpm("posterior"),
        samplers.ddpm("beta"),
        samplers.ddim(0.5),
        samplers.ddim(1.0),
        samplers.euler_maruyama(),
    ],
)
def test_no_noise_is_added_at_the_last_step(step):
    """A histogram cannot show it: the result must not depend on the noise of the last step at all."""
    schedule = schedules.cosine()
    truth = normal(0.3, 0.5)
    now, clean = schedule.at(torch.tensor(0.2)), schedule.at(torch.tensor(0.0))
    x = torch.randn(20, 1, generator=seeded(1), dtype=torch.float64)
    outcomes = [step(x, now, clean, truth.denoise(x, now), Context(truth.denoise, seeded(s))) for s in (2, 3)]
    assert torch.equal(*outcomes)
    # The estimate of x0 itself, by the definition of the last mean.
    torch.testing.assert_close(outcomes[0], truth.denoise(x, now).x0)
    before = schedule.at(torch.tensor(0.1))
    others = [step(x, now, before, truth.denoise(x, now), Context(truth.denoise, seeded(s))) for s in (2, 3)]
    assert not torch.equal(*others)


def test_annealed_langevin_ends_without_noise():
    """The last thing it does is an estimate of x0: data at a point come back exactly."""
    schedule = schedules.geometric()
    point = FiniteSet(torch.tensor([[1.5, -0.5]], dtype=torch.float64))
    x = samplers.initial_noise(schedule, torch.randn(5, 2, generator=seeded(), dtype=torch.float64))
    out, trail = samplers.sample(
        point.denoise, schedule, samplers.annealed_langevin(3), x, steps=4, generator=seeded(1)
    )
    torch.testing.assert_close(out, torch.tensor([[1.5, -0.5]], dtype=torch.float64).expand(5, 2))
    assert trail.evaluations == 4 * 3 + 1


@pytest.mark.parametrize("name", ["ddim", "euler", "heun", "dpmpp_2m"])
def test_deterministic_steps_draw_nothing(name: str):
    generator = seeded(9)
    before = generator.get_state()
    x = torch.randn(3, 1, generator=seeded(), dtype=torch.float64)
    samplers.sample(
        normal(0.0, 1.0).denoise, schedules.cosine(), samplers.STEPS[name](), x, steps=4, generator=generator
    )
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("name", list(samplers.STEPS))
def test_one_step_is_the_posterior_mean(name: str):
    """From pure noise straight to data there is nothing better than E[x0 | x]; Euler in sigma does the same."""
    schedule = schedules.karras()
    truth = Gaussian(torch.tensor([2.0, 1.0], dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    x = samplers.initial_noise(schedule, torch.randn(4, 2, generator=seeded(), dtype=torch.float64))
    out = samplers.sample(truth.denoise, schedule, samplers.STEPS[name](), x, steps=1, generator=seeded())[0]
    if name == "annealed_langevin":
        torch.testing.assert_close(out, torch.tensor([[2.0, 1.0]], dtype=torch.float64).expand(4, 2), atol=0.1, rtol=0)
    else:
        torch.testing.assert_close(out, truth.denoise(x, schedule.at(torch.tensor(1.0))).x0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: samplers.ddpm("large"), "posterior, beta"),
        (lambda: samplers.ddim(1.5), "eta"),
        (lambda: samplers.annealed_langevin(0), "repeats"),
        (lambda: samplers.euler_maruyama(-1), "churn must be at least 0, got -1"),
        (lambda: samplers.annealed_langevin(1, 0.0), "step_size"),
    ],
)
def test_bad_settings_of_steps(make, words: str):
    with pytest.raises(PieceError, match=words):
        make()


def zero(x: Tensor, level: Level) -> Prediction:
    return Prediction(torch.zeros_like(x), x / level.sigma)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "either `steps` or `times`"),
        ({"steps": 3, "times": torch.tensor([1.0, 0.0])}, "either `steps` or `times`"),
        ({"steps": 0}, "at least 1 step"),
        ({"times": torch.tensor([0.5])}, "decreasing"),
        ({"times": torch.tensor([0.0, 0.5])}, "decreasing"),
        ({"times": torch.tensor([1.0, 0.5, 0.5, 0.0])}, "decreasing"),
    ],
)
def test_bad_arguments_of_sample(arguments: dict, words: str):
    with pytest.raises(PieceError, match=words):
        samplers.sample(zero, schedules.flow(), samplers.euler(), torch.zeros(1, 1), **arguments)


def test_own_times_equal_own_spacing():
    schedule = schedules.cosine()
    x = torch.randn(4, 1, generator=seeded(), dtype=torch.float64)
    truth = normal(0.5, 2.0)
    grid = torch.cat([times.log_snr_spacing(9, schedule), torch.zeros(1, dtype=torch.float64)])
    by_times, trail = samplers.sample(truth.denoise, schedule, samplers.dpmpp_2m(), x, times=grid)
    spaced = replace(schedule, spacing=times.log_snr_spacing)
    by_steps = samplers.sample(truth.denoise, spaced, samplers.dpmpp_2m(), x, steps=9)[0]
    assert torch.equal(by_times, by_steps)
    assert torch.equal(trail.times, grid)


def test_denoise_from_the_middle():
    """Stochastic samples given x at time t follow the posterior N(E[x0 | x], var) of a normal truth."""
    schedule, truth, t = schedules.cosine(), normal(0.5, 1.0), 0.5
    level = schedule.at(torch.tensor(t))
    x = torch.full((4000, 1), 0.9, dtype=torch.float64)
    drawn = samplers.denoise_from(truth.denoise, schedule, samplers.ddpm(), x, t, steps=100, generator=seeded(3))
    expected = float(truth.denoise(x[:1], level).x0)
    spread = float(truth.posterior_variance(level))
    assert float(drawn.mean()) == pytest.approx(expected, abs=4 * math.sqrt(spread / 4000))
    assert float(drawn.var()) == pytest.approx(spread, rel=0.1)
    for t in (0.0, 1.0):
        with pytest.raises(PieceError, match="t must be in"):
            samplers.denoise_from(truth.denoise, schedule, samplers.ddpm(), x, t, steps=10)


def test_denoise_from_the_top_is_sample():
    schedule, truth = schedules.cosine(), normal(0.5, 1.0)
    x = torch.randn(4, 1, generator=seeded(), dtype=torch.float64)
    whole = samplers.sample(truth.denoise, schedule, samplers.ddim(), x, steps=7)[0]
    part = samplers.denoise_from(truth.denoise, schedule, samplers.ddim(), x, schedule.t_max, steps=7)
    assert torch.equal(whole, part)
