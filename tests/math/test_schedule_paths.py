"""Schedules: monotone paths, their ends, rates, the way back from log-SNR to time, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from diffusion_lab import betas, schedules
from diffusion_lab.errors import PieceError
from diffusion_lab.levels import CLEAN, Level, expand
from diffusion_lab.schedules import SCHEDULES, Schedule

ALL = {name: make() for name, make in SCHEDULES.items()}
ALL["flow shifted by 3"] = schedules.flow(3.0)
ALL["cosine shifted"] = schedules.shift_log_snr(schedules.cosine(), -math.log(16))
ALL["linear, limited"] = schedules.linear().limit_log_snr(-6.0, 6.0)
VARIANCE_PRESERVING = [
    "linear", "cosine", "sigmoid", "zero_terminal_linear", "square_root", "masking", "cosine shifted", "linear, limited"
]  # fmt: skip
each = pytest.mark.parametrize("schedule", list(ALL.values()), ids=list(ALL))


@each
def test_log_snr_falls_from_data_to_noise(schedule: Schedule):
    t = torch.linspace(0, 1, 4001, dtype=torch.float64)
    log_snr = schedule.log_snr(t)
    assert log_snr[0] == torch.inf
    assert (log_snr[1:-1].diff() < 0).all() and log_snr[-1] < log_snr[-2]
    level = schedule.at(t)
    assert (level.alpha >= 0).all() and (level.alpha <= 1).all() and (level.sigma >= 0).all()
    torch.testing.assert_close(level.log_snr[1:-1], log_snr[1:-1])
    low, high = schedule.log_snr_range()
    assert low < high and math.isfinite(low) and math.isfinite(high)


@each
def test_the_clean_end_is_exact(schedule: Schedule):
    """Steps ask whether sigma is 0 to know that they are done, so a rounding error there would be a fault."""
    end = schedule.at(torch.tensor(0.0))
    assert float(end.alpha) == 1 and float(end.sigma) == 0
    assert float(CLEAN.alpha) == 1 and float(CLEAN.sigma) == 0
    assert schedule.times(7)[-1] == 0


@settings(max_examples=40, deadline=None)
@given(start=st.floats(-8, 0), width=st.floats(1, 10), temperature=st.floats(0.3, 2))
def test_any_sigmoid(start: float, width: float, temperature: float):
    schedule = schedules.sigmoid(start, start + width, temperature)
    for n in range(1, 20):  # alone and in vectors, which processors round differently
        end = schedule.at(torch.linspace(1, 0, n + 1))
        assert float(end.alpha[-1]) == 1 and float(end.sigma[-1]) == 0
    t = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
    curve = expit((start + torch.tensor([0.0, *t, 1.0]).double() * width).numpy() / temperature)
    fall = (curve[-1] - curve[1:-1]) / (curve[-1] - curve[0])
    np.testing.assert_allclose(schedule.at(t).alpha_bar.numpy(), fall, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_variance_preserving(name: str):
    level = ALL[name].at(torch.linspace(0, 1, 101))
    torch.testing.assert_close(level.alpha**2 + level.sigma**2, torch.ones(101, dtype=torch.float64))
    torch.testing.assert_close(level.alpha_bar, level.alpha**2)


@each
def test_rates_are_derivatives(schedule: Schedule):
    """Central differences, away from the ends, from infinite rates and from the knots of a table."""
    t = torch.linspace(0.05, 0.95, 37, dtype=torch.float64) + math.pi * 1e-5
    h = 1e-7
    level, below, above = (schedule.at(t + shift) for shift in (0.0, -h, h))
    for rate, low, high in ((level.dalpha, below.alpha, above.alpha), (level.dsigma, below.sigma, above.sigma)):
        torch.testing.assert_close(rate, (high - low) / (2 * h), rtol=1e-5, atol=1e-5)


@each
def test_rates_hold_in_every_grad_mode(schedule: Schedule):
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    expected = schedule.at(t)
    with torch.no_grad():
        quiet = schedule.at(t)
    with torch.inference_mode():
        inferred = schedule.at(torch.tensor([0.2, 0.7], dtype=torch.float64))
    for field, other, third in zip(expected, quiet, inferred, strict=True):
        assert torch.equal(field, other) and torch.equal(field, third)
        assert not field.requires_grad
    assert expected.dsigma.abs().min() > 0


def test_a_schedule_made_in_inference_mode_has_rates():
    with torch.inference_mode():
        schedule = schedules.linear()
    torch.testing.assert_close(schedule.at(torch.tensor(0.5)).dalpha, ALL["linear"].at(torch.tensor(0.5)).dalpha)


@each
@settings(max_examples=15, deadline=None)
@given(share=st.floats(0, 1))
def test_time_at_is_the_inverse_of_log_snr(schedule: Schedule, share: float):
    low, high = schedule.log_snr_range()
    wanted = low + share * (high - low)
    t = schedule.time_at(torch.tensor(wanted, dtype=torch.float64))
    assert schedule.t_min <= t <= schedule.t_max
    # Near pure noise a rounding error of t is a large one of log-SNR: compare what a sampler sees.
    level, noise = schedule.at(t), 1 / (1 + math.exp(wanted))
    assert float(level.sigma**2 / (level.alpha**2 + level.sigma**2)) == pytest.approx(noise, rel=1e-6, abs=1e-12)


@each
def test_time_at_the_ends_is_exact_and_clipped(schedule: Schedule):
    for log_snr, t in ((-1e4, schedule.t_max), (1e4, schedule.t_min)):
        assert float(schedule.time_at(torch.tensor(log_snr))) == pytest.approx(t, abs=1e-12)
    assert float(schedule.time_at(schedule.log_snr(schedule.t_min))) == schedule.t_min
    if schedule.log_snr(schedule.t_max).isfinite():
        assert float(schedule.time_at(schedule.log_snr(schedule.t_max))) == schedule.t_max
    assert schedule.time_at(torch.zeros(2, 3)).shape == (2, 3)


@pytest.mark.parametrize("name", ["flow", "cosine", "sigmoid", "linear", "zero_terminal_linear", "masking"])
@pytest.mark.parametrize(("low", "high"), [(-10.0, 9.0), (-3.0, 4.0)])
def test_limit_log_snr(name: str, low: float, high: float):
    limited = ALL[name].limit_log_snr(low, high)
    assert limited.log_snr_range() == pytest.approx((low, high), abs=1e-6)
    inside_level, same = limited.at(torch.tensor(0.4)), ALL[name].at(torch.tensor(0.4))
    assert inside_level == same  # the path itself is untouched
    with pytest.raises(PieceError, match="low < high"):
        limited.limit_log_snr(high, low)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, 6.0])
def test_a_flow_shift_moves_log_snr(shift: float):
    """By -2 log(shift) at every time, both as a path and through `shift_log_snr`."""
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    plain, shifted = schedules.flow(), schedules.flow(shift)
    torch.testing.assert_close(shifted.log_snr(t) - plain.log_snr(t), torch.full_like(t, -2 * math.log(shift)))
    moved = schedules.shift_log_snr(plain, -2 * math.log(shift))
    torch.testing.assert_close(moved.log_snr(t), shifted.log_snr(t))


@pytest.mark.parametrize("name", ["cosine", "linear", "sigmoid", "zero_terminal_linear", "flow"])
@pytest.mark.parametrize("shift", [-2.0, 0.0, 1.5])
def test_shift_log_snr(name: str, shift: float):
    """It moves log-SNR by exactly that much, gives a variance-preserving path, and keeps both ends finite."""
    schedule = ALL[name]
    moved = schedules.shift_log_snr(schedule, shift)
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    torch.testing.assert_close(moved.log_snr(t) - schedule.log_snr(t), torch.full_like(t, shift), atol=1e-9, rtol=0)
    ends = moved.at(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(ends.alpha**2 + ends.sigma**2, torch.ones(2, dtype=torch.float64))
    assert ends.sigma[0] == 0 and all(bool(f.isfinite().all()) for f in ends[:3])
    assert "shifted" in moved.name


@pytest.mark.parametrize("T", [1, 2, 10, 1000])
def test_from_alpha_bar_passes_through_the_table(T: int):
    table = torch.cos(torch.linspace(0.01, 1.5, T, dtype=torch.float64)) ** 2
    schedule = schedules.from_alpha_bar(table)
    t = torch.arange(1, T + 1, dtype=torch.float64) / T
    torch.testing.assert_close(schedule.at(t).alpha_bar, table, rtol=1e-10, atol=1e-12)
    assert schedule.t_min == 1 / T and schedule.t_max == 1
    torch.testing.assert_close(schedule.times(T), torch.cat([t.flip(0), torch.zeros(1, dtype=torch.float64)]))


def test_from_alpha_bar_is_linear_in_alpha_in_between():
    schedule = schedules.from_alpha_bar(torch.tensor([0.81, 0.25]))
    t = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    expected = np.interp(t.numpy(), [0, 0.5, 1], [1, 0.9, 0.5])
    torch.testing.assert_close(schedule.at(t).alpha, torch.from_numpy(expected), rtol=1e-7, atol=0)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(1e-4, 0.5), min_size=1, max_size=30))
def test_from_betas_round_trip(values: list[float]):
    table = torch.tensor(values, dtype=torch.float64)
    alpha_bar = betas.alpha_bar_from_betas(table)
    np.testing.assert_allclose(alpha_bar.numpy(), np.cumprod(1 - table.numpy()), rtol=1e-12)
    torch.testing.assert_close(betas.betas_from_alpha_bar(alpha_bar), table, rtol=1e-8, atol=1e-12)
    t = torch.arange(1, len(values) + 1, dtype=torch.float64) / len(values)
    torch.testing.assert_close(schedules.from_betas(table).at(t).alpha_bar, alpha_bar, rtol=1e-8, atol=1e-12)


def test_zero_terminal_rescaling():
    """Algorithm 1 of Lin et al. 2024: sqrt(alpha_bar) is changed by an affine map, which keeps its first value."""
    table = betas.alpha_bar_from_betas(betas.linear_betas(1000))
    before = table.clone()
    rescaled = betas.rescale_zero_terminal_snr(table)
    assert torch.equal(table, before)
    assert rescaled[-1] == 0 and (rescaled[:-1] > 0).all() and (rescaled.diff() < 0).all()
    assert float(rescaled[0]) == pytest.approx(float(table[0]), rel=1e-12)
    ratio = rescaled.sqrt().diff() / table.sqrt().diff()
    torch.testing.assert_close(ratio, ratio[:1].expand(999))
    torch.testing.assert_close(betas.rescale_zero_terminal_snr(rescaled), rescaled)
    level = schedules.zero_terminal_linear().at(torch.tensor(1.0))
    assert level.alpha == 0 and level.sigma == 1


def test_linear_and_square_root_values():
    """Numbers that the papers state: DDPM's end, and Diffusion-LM's start, which has lost 1 % at once."""
    assert float(betas.alpha_bar_from_betas(betas.linear_betas(1000))[-1]) == pytest.approx(4.04e-5, rel=0.01)
    table = betas.sqrt_alpha_bar(2000)
    assert float(table[0]) == pytest.approx(0.99, abs=1e-9)
    assert float(table[500]) == pytest.approx(1 - math.sqrt(0.2501), abs=1e-9)
    assert table[-1] > 0


def test_cosine_follows_its_formula():
    """Against cos^2 itself, away from the last betas, which are clipped."""
    T, s = 100, 0.008
    curve = [math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2 for t in range(T + 1)]
    table = betas.cosine_alpha_bar(T)
    np.testing.assert_allclose(table[:-1].numpy(), np.array(curve[1:-1]) / curve[0], rtol=1e-9)
    assert float(table[-1]) == pytest.approx(float(table[-2]) * 0.001, rel=1e-6)


def test_named_levels():
    """Values a reader can check by hand."""
    half = torch.tensor(0.5, dtype=torch.float64)
    assert float(ALL["cosine"].log_snr(half)) == pytest.approx(0, abs=1e-12)
    assert float(ALL["sigmoid"].log_snr(half)) == pytest.approx(0, abs=1e-9)
    assert ALL["flow"].at(half)[1:] == (0.5, 0.5, -1.0, 1.0)
    assert float(ALL["masking"].at(half).alpha_bar) == pytest.approx(0.5)
    ends = ALL["karras"].at(torch.tensor([ALL["karras"].t_min, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends.sigma, torch.tensor([0.002, 80.0], dtype=torch.float64))
    ends = ALL["geometric"].at(torch.tensor([ALL["geometric"].t_min, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends.sigma, torch.tensor([0.01, 10.0], dtype=torch.float64))
    assert ALL["cosine"].log_snr_range() == pytest.approx((-10, 12), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    single=st.booleans(),
    shared=st.booleans(),
    name=st.sampled_from(list(ALL)),
)
def test_levels_take_the_rank_and_dtype_of_the_data(shape: list[int], single: bool, shared: bool, name: str):
    like = torch.zeros(shape, dtype=torch.float32 if single else torch.float64)
    t = torch.tensor(0.3) if shared else torch.linspace(0.1, 0.9, shape[0])
    level = ALL[name].at(t, like=like)
    wanted = () if shared else (shape[0], *[1] * (len(shape) - 1))
    assert all(field.shape == wanted and field.dtype == like.dtype for field in level)
    assert level.noisy(like, like).shape == like.shape


def test_noisy_uses_each_samples_own_level_in_a_cube():
    """B == C == H == W: a (B,) factor would broadcast over the last axis without an error."""
    x0 = torch.ones(4, 4, 4, 4, dtype=torch.float64)
    level = schedules.flow().at(torch.tensor([0.0, 0.25, 0.5, 1.0]), like=x0)
    noisy = level.noisy(x0, 3 * x0)
    for sample, t in zip(noisy, (0.0, 0.25, 0.5, 1.0), strict=True):
        torch.testing.assert_close(sample, torch.full_like(sample, (1 - t) + 3 * t))


def test_expand():
    assert expand(torch.zeros(3), torch.zeros(3, 3, 3)).shape == (3, 1, 1)
    assert expand(torch.zeros(()), torch.zeros(3, 3)).shape == ()
    with pytest.raises(ValueError, match="rank"):
        expand(torch.zeros(3, 1, 1), torch.zeros(3, 3))


def test_a_path_of_ones_own():
    """Any pair of torch functions is a schedule: the rates come from differentiating it."""
    schedule = Schedule("own", lambda t: (torch.exp(-2 * t), torch.sqrt(1 - torch.exp(-4 * t))))
    level = schedule.at(torch.tensor([0.3, 0.8]))
    torch.testing.assert_close(level.dalpha, -2 * level.alpha)
    torch.testing.assert_close(level.dsigma, 2 * level.alpha**2 / level.sigma)
    assert isinstance(level, Level)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: schedules.from_alpha_bar(torch.ones(2, 2)), "shape"),
        (lambda: schedules.from_alpha_bar(torch.tensor([])), "shape"),
        (lambda: schedules.from_alpha_bar(torch.tensor([0.5, 0.9])), "decrease"),
        (lambda: schedules.from_alpha_bar(torch.tensor([1.0, 0.5])), "decrease"),
        (lambda: schedules.from_alpha_bar(torch.tensor([0.5, -0.1])), "decrease"),
        (lambda: schedules.from_alpha_bar(torch.tensor([0.5, float("nan")])), "decrease"),
        (lambda: schedules.from_betas(torch.tensor([0.1, 0.0])), r"\(0, 1\]"),
        (lambda: schedules.from_betas(torch.tensor([0.1, 1.1])), r"\(0, 1\]"),
        (lambda: schedules.from_betas(torch.ones(2, 2) / 2), "shape"),
        (lambda: schedules.karras(sigma_min=2.0, sigma_max=1.0), "sigma_min < sigma_max"),
        (lambda: schedules.geometric(sigma_min=0.0), "sigma_min < sigma_max"),
        (lambda: schedules.flow().times(0), "at least 1 step"),
        (lambda: schedules.flow().limit_log_snr(1.0, 1.0), "low < high"),
    ],
)
def test_what_is_refused(make, words: str):
    with pytest.raises(PieceError, match=words):
        make()


@pytest.mark.parametrize(
    "make",
    [lambda: betas.linear_betas(0), lambda: betas.sqrt_alpha_bar(1000, s=0.01), lambda: betas.cosine_alpha_bar(-1)],
)
def test_tables_that_are_refused(make):
    with pytest.raises(ValueError, match=r"at least 1|stays positive"):
        make()
