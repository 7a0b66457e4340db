"""Densities of training times against scipy's distributions, and the spacings of sampling times."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kstest, lognorm, norm

from diffusion_lab import schedules, times
from diffusion_lab.errors import PieceError
from diffusion_lab.schedules import SCHEDULES, Schedule

ALL = {name: make() for name, make in SCHEDULES.items()}
each = pytest.mark.parametrize("schedule", list(ALL.values()), ids=list(ALL))
UNIFORMS = torch.rand(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

DENSITIES = {
    "uniform": times.uniform_density,
    "logit normal": times.logit_normal_density(0.3, 1.2),
    "log normal": times.log_normal_density(),
    "log-SNR": times.log_snr_density,
    "mixed": times.mixed_density(times.log_normal_density(), times.uniform_density, 0.85),
}
SPACINGS = {
    "uniform": times.uniform_spacing,
    "log-SNR": times.log_snr_spacing,
    "karras": times.karras_spacing(),
    "shifted": times.shifted_spacing(3.0),
}


@each
@pytest.mark.parametrize("name", list(DENSITIES))
def test_times_stay_where_the_network_is_trained(schedule: Schedule, name: str):
    edges = torch.tensor([0.0, 1e-17, 1e-9, 0.5, 1 - 2**-53], dtype=torch.float64)
    t = DENSITIES[name](torch.cat([edges, UNIFORMS[:200]]), schedule)
    assert (t >= schedule.t_min - 1e-15).all() and (t <= schedule.t_max + 1e-15).all()


@each
def test_the_own_density_of_a_schedule(schedule: Schedule):
    t = schedule.density(UNIFORMS, schedule)
    assert (t >= schedule.t_min).all() and (t <= schedule.t_max).all()
    assert schedule.density(UNIFORMS.float(), schedule).shape == (2000,)


def test_uniform_density():
    t = times.uniform_density(UNIFORMS, ALL["cosine"])
    low, high = ALL["cosine"].t_min, ALL["cosine"].t_max
    assert kstest(t.numpy(), "uniform", args=(low, high - low)).pvalue > 0.01


def test_every_discrete_time_is_drawn_equally_often():
    """The last one included, which `randint(0, T - 1)` would leave out."""
    steps = 50
    uniforms = (torch.arange(steps * 40, dtype=torch.float64) + 0.5) / (steps * 40)
    t = times.discrete_density(steps)(uniforms, schedules.linear(steps))
    values, counts = t.unique(return_counts=True)
    torch.testing.assert_close(values, torch.arange(1, steps + 1, dtype=torch.float64) / steps)
    assert (counts == 40).all()
    assert times.discrete_density(steps)(torch.tensor([0.0, 1 - 2**-24]), ALL["linear"]).tolist() == pytest.approx(
        [1 / steps, 1.0]
    )


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.7)])
def test_logit_normal_density(mean: float, std: float):
    t = times.logit_normal_density(mean, std)(UNIFORMS, schedules.flow())
    expected = 1 / (1 + np.exp(-norm.ppf(UNIFORMS.numpy(), mean, std)))
    np.testing.assert_allclose(t.numpy(), np.clip(expected, 1e-3, 1), rtol=1e-9)


@pytest.mark.parametrize("name", ["karras", "cosine"])
def test_log_normal_density_of_sigma(name: str):
    """sigma / alpha is log-normal on any path; where the path ends, the tails gather at the ends."""
    schedule = ALL[name]
    level = schedule.at(times.log_normal_density(-1.2, 1.2)(UNIFORMS, schedule))
    expected = lognorm.ppf(UNIFORMS.numpy(), 1.2, scale=math.exp(-1.2))
    low, high = (math.exp(-end / 2) for end in reversed(schedule.log_snr_range()))
    np.testing.assert_allclose((level.sigma / level.alpha).numpy(), expected.clip(low, high), rtol=1e-6)


@pytest.mark.parametrize("name", ["geometric", "cosine", "linear"])
def test_log_snr_density(name: str):
    schedule = ALL[name]
    low, high = schedule.log_snr_range()
    log_snr = schedule.log_snr(times.log_snr_density(UNIFORMS, schedule))
    assert kstest(log_snr.numpy(), "uniform", args=(low, high - low)).pvalue > 0.01


@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
def test_mixed_density(share: float):
    """Its distribution function is the weighted sum of both; the share is exact where uniforms are spread evenly."""
    schedule = ALL["cosine"]
    low, high = schedule.log_snr_range()
    mixed = times.mixed_density(times.log_snr_density, times.uniform_density, share)

    def distribution(t: np.ndarray) -> np.ndarray:
        even_in_log_snr = (high - schedule.log_snr(torch.from_numpy(t)).numpy()) / (high - low)
        even_in_t = (t - schedule.t_min) / (schedule.t_max - schedule.t_min)
        return share * even_in_log_snr + (1 - share) * even_in_t

    assert kstest(mixed(UNIFORMS, schedule).numpy(), distribution).pvalue > 0.01
    even = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    ends = times.mixed_density(lambda u, s: torch.zeros_like(u), lambda u, s: torch.ones_like(u), share)
    assert float(ends(even, schedule).mean()) == pytest.approx(1 - share)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, math.nan])
def test_a_mixture_has_a_share_of_both(share: float):
    with pytest.raises(PieceError, match="above 0 and below 1, got"):
        times.mixed_density(times.uniform_density, times.log_snr_density, share)


@pytest.mark.parametrize("name", list(DENSITIES))
def test_a_density_on_discrete_steps(name: str):
    """Only times of the table, the next one after what the density drew; each with all that falls to it."""
    steps, schedule = 50, schedules.linear(50, 0.002, 0.4)
    drawn = DENSITIES[name](UNIFORMS, schedule)
    t = times.on_steps(DENSITIES[name], steps)(UNIFORMS, schedule)
    table = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    assert torch.isin(t, table).all()
    expected = table[np.searchsorted(table.numpy() + 1e-9, drawn.numpy())]
    torch.testing.assert_close(t, expected)


def test_a_time_of_the_table_stays_where_it_is():
    """Also where it comes out a rounding error late, as 0.29 * 100 does."""
    table = (torch.arange(100, dtype=torch.float64) + 1) / 100
    assert (table * 100 > torch.arange(1, 101)).any()
    assert torch.equal(times.on_steps(lambda u, s: table, 100)(table, schedules.linear(100)), table)


@pytest.mark.parametrize("make", [times.discrete_density, lambda steps: times.on_steps(times.uniform_density, steps)])
@pytest.mark.parametrize("steps", [0, -3])
def test_discrete_times_need_a_step(make, steps: int):
    with pytest.raises(PieceError, match=f"at least 1 step, got {steps}"):
        make(steps)


def test_own_densities():
    """What each family of papers draws: betas the table's times, EDM a log-normal, NCSN log sigma uniform, flow t."""
    torch.testing.assert_close(
        schedules.linear(10).density(torch.tensor([0.05, 0.99]), schedules.linear(10)), torch.tensor([0.1, 1.0])
    )
    karras = ALL["karras"].at(ALL["karras"].density(UNIFORMS, ALL["karras"])).sigma
    assert float(karras.log().median()) == pytest.approx(-1.2, abs=0.1)
    geometric = ALL["geometric"].at(ALL["geometric"].density(UNIFORMS, ALL["geometric"])).sigma
    assert kstest(geometric.log().numpy(), "uniform", args=(math.log(0.01), math.log(1000))).pvalue > 0.01


@each
@pytest.mark.parametrize("name", list(SPACINGS))
@pytest.mark.parametrize("n", [1, 2, 7, 1000, 1500])
def test_spacings_start_at_the_noisiest_and_fall(schedule: Schedule, name: str, n: int):
    t = SPACINGS[name](n, schedule)
    assert t.shape == (n,) and t.dtype == torch.float64
    # A path that ends in pure noise has no last log-SNR: -30 stands for it, where alpha is 3e-7.
    assert float(t[0]) == pytest.approx(schedule.t_max, abs=1e-5 if schedule.log_snr(schedule.t_max) < -30 else 1e-15)
    assert float(t[-1]) >= schedule.t_min - 1e-15
    assert (t.diff() < 0).all()
    whole = replace(schedule, spacing=SPACINGS[name]).times(n)
    assert whole.shape == (n + 1,) and whole[-1] == 0 and (whole.diff() < 0).all()


@pytest.mark.parametrize("n", [1, 2, 18, 40])
@pytest.mark.parametrize("rho", [3.0, 7.0])
def test_karras_spacing_is_equation_5(n: int, rho: float):
    schedule = schedules.karras(0.002, 80.0, rho)
    i = np.arange(n)
    root = 80 ** (1 / rho) + i / max(n - 1, 1) * (0.002 ** (1 / rho) - 80 ** (1 / rho))
    np.testing.assert_allclose(schedule.at(schedule.times(n)).sigma.numpy(), [*root**rho, 0], rtol=1e-9)


def test_geometric_spacing():
    sigma = ALL["geometric"].at(ALL["geometric"].times(10)).sigma.numpy()
    np.testing.assert_allclose(sigma[:-1], np.geomspace(10, 0.01, 10), rtol=1e-9)


@pytest.mark.parametrize("name", ["cosine", "linear", "sigmoid"])
def test_log_snr_spacing_is_equal_in_log_snr(name: str):
    schedule = ALL[name]
    log_snr = schedule.log_snr(times.log_snr_spacing(12, schedule))
    np.testing.assert_allclose(log_snr.numpy(), np.linspace(*schedule.log_snr_range(), 12), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_shifted_spacing(shift: float):
    """Equal steps of t on the straight path, moved by -2 log(shift) in log-SNR."""
    schedule = schedules.flow()
    plain, shifted = times.uniform_spacing(20, schedule), times.shifted_spacing(shift)(20, schedule)
    difference = schedule.log_snr(shifted)[1:] - schedule.log_snr(plain)[1:]
    torch.testing.assert_close(difference, torch.full((19,), -2 * math.log(shift), dtype=torch.float64))
    with pytest.raises(PieceError, match="at least 1"):
        times.shifted_spacing(0.5)


def test_a_table_is_walked_index_by_index():
    """T steps on a table of T visit each of its times; fewer take every k-th, the last included."""
    schedule = schedules.linear(1000)
    index = schedule.times(1000)[:-1] * 1000
    torch.testing.assert_close(index, torch.arange(1000, 0, -1, dtype=torch.float64))
    torch.testing.assert_close(schedule.times(4) * 1000, torch.tensor([1000.0, 750, 500, 250, 0], dtype=torch.float64))
