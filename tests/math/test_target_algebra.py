"""Targets: the 2 x 2 system both ways, the table of determinants, and where a target cannot be used."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffusion_lab import schedules, targets
from diffusion_lab.errors import PieceError
from diffusion_lab.schedules import SCHEDULES
from diffusion_lab.targets import TARGETS, convert, edm_preconditioning, require_stable

ALL = {name: make() for name, make in SCHEDULES.items()}
SHAPES = [(1, 2), (4, 2), (3, 1, 8), (2, 3, 4, 4), (4, 4, 4), (4, 4, 4, 4), (5, 1)]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = seeded(len(shape) + shape[0])
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))


@settings(max_examples=300, deadline=None)
@given(
    target=st.sampled_from(list(TARGETS)),
    schedule=st.sampled_from(list(SCHEDULES)),
    shape=st.sampled_from(SHAPES),
    single=st.booleans(),
    shared=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_solve_undoes_of(target: str, schedule: str, shape: tuple[int, ...], single: bool, shared: bool, seed: int):
    """Every target x schedule x rank x dtype, one level each or one for all, batch equal to the other axes or not."""
    dtype = torch.float32 if single else torch.float64
    x0, eps = pair(shape, dtype)
    path, target = ALL[schedule], TARGETS[target]
    t = torch.rand(() if shared else shape[:1], generator=seeded(seed), dtype=torch.float64)
    # In the middle, where no coefficient is so small that float32 loses the answer.
    low, high = (float(path.time_at(torch.tensor(s))) for s in (4.0, -4.0))
    level = path.at(low + (high - low) * t, like=x0)
    x = level.noisy(x0, eps)
    given_x, output = x.clone(), target.of(x0, eps, level)
    given_output = output.clone()
    solved = target.solve(output, x, level)
    tolerance = 2e-4 if single else 1e-10
    for value, truth in zip(solved, (x0, eps), strict=True):
        assert value.dtype == dtype and value.shape == x0.shape
        torch.testing.assert_close(value, truth, rtol=tolerance, atol=tolerance)
    assert torch.equal(x, given_x) and torch.equal(output, given_output)


@pytest.mark.parametrize("schedule", list(SCHEDULES))
@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(TARGETS, 2)))
def test_convert_between_all_pairs(source: str, target: str, schedule: str):
    x0, eps = pair((4, 4, 4))
    level = ALL[schedule].at(torch.tensor([0.1, 0.3, 0.6, 0.9]), like=x0)
    x = level.noisy(x0, eps)
    first, second = TARGETS[source], TARGETS[target]
    there = convert(first.of(x0, eps, level), x, level, first, second)
    torch.testing.assert_close(there, second.of(x0, eps, level), rtol=1e-7, atol=1e-7)
    back = convert(there, x, level, second, first)
    torch.testing.assert_close(back, first.of(x0, eps, level), rtol=1e-7, atol=1e-7)


def test_what_each_target_is():
    """Written out with numbers at alpha = .6, sigma = .8: cosine at the angle whose cosine is .6."""
    t = torch.tensor(math.acos(0.6) / (math.pi / 2), dtype=torch.float64)
    level = ALL["cosine"].at(t)
    x0, eps = torch.tensor([[2.0]], dtype=torch.float64), torch.tensor([[-1.0]], dtype=torch.float64)
    values = {name: float(target.of(x0, eps, level)) for name, target in TARGETS.items()}
    quarter = math.pi / 2
    assert values == pytest.approx(
        {
            "eps": -1.0,
            "x0": 2.0,
            "v": 0.6 * -1 - 0.8 * 2,
            "flow": quarter * (-0.8 * 2 + 0.6 * -1),  # the velocity of the path is v times the speed of the angle
            "score": 1.0,
            "edm": 0.8 * 2 - 0.6 * -1,
        }
    )


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_the_table_of_determinants(schedule: str):
    path = ALL[schedule]
    level = path.at(torch.linspace(path.t_min, path.t_max, 50, dtype=torch.float64))
    a, s = level.alpha, level.sigma
    table = {"eps": a, "x0": -s, "v": a**2 + s**2, "score": -a, "flow": a * level.dsigma - s * level.dalpha}
    for name, expected in table.items():
        torch.testing.assert_close(TARGETS[name].determinant(level), expected)
    torch.testing.assert_close(TARGETS["edm"].determinant(level), -torch.sqrt(a**2 + s**2))


@pytest.mark.parametrize("name", list(TARGETS))
def test_error_scale(name: str):
    """For a fixed x, an error in x0 moves the output by the root of `error_scale` as much."""
    x0, eps = pair((4, 3))
    level = ALL["cosine"].at(torch.tensor([0.1, 0.4, 0.6, 0.9]), like=x0)
    x, other = level.noisy(x0, eps), x0 + 0.3 * eps.flip(0)
    other_eps = (x - level.alpha * other) / level.sigma
    target = TARGETS[name]
    moved = target.of(other, other_eps, level) - target.of(x0, eps, level)
    torch.testing.assert_close(moved**2, target.error_scale(level) * (other - x0) ** 2, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["cosine", "linear", "sigmoid", "zero_terminal_linear"])
def test_edm_is_minus_v_on_a_variance_preserving_path(name: str):
    x0, eps = pair((4, 4, 4))
    level = ALL[name].at(torch.tensor([0.01, 0.3, 0.7, 1.0]) * ALL[name].t_max, like=x0)
    torch.testing.assert_close(TARGETS["edm"].of(x0, eps, level), -TARGETS["v"].of(x0, eps, level))


@pytest.mark.parametrize("sigma_data", [0.5, 1.0, 2.0])
def test_edm_is_the_preconditioning_of_karras(sigma_data: float):
    """D(x) = c_skip x + c_out F(c_in x, c_noise) with the coefficients of table 1, here written out in numbers."""
    x0, eps = pair((3, 2))
    schedule = schedules.karras()
    level = schedule.at(torch.tensor([0.002, 0.5, 30.0]) / 80, like=x0)
    x, sigma = level.noisy(x0, eps), level.sigma
    total = sigma**2 + sigma_data**2
    skip, out = sigma_data**2 / total, sigma * sigma_data / torch.sqrt(total)
    for ours, textbook in zip(
        edm_preconditioning(sigma, sigma_data), (skip, out, 1 / torch.sqrt(total), torch.log(sigma) / 4), strict=True
    ):
        torch.testing.assert_close(ours, textbook)

    seen = {}

    def network(inputs: Tensor, c_noise: Tensor) -> Tensor:
        seen.update(inputs=inputs, c_noise=c_noise)
        return torch.tanh(inputs)

    target = targets.edm(sigma_data)
    output = target.evaluate(network, x, level)
    torch.testing.assert_close(seen["inputs"], x / torch.sqrt(total))
    torch.testing.assert_close(seen["c_noise"], torch.log(sigma).flatten() / 4)
    torch.testing.assert_close(target.solve(output, x, level).x0, skip * x + out * torch.tanh(x / torch.sqrt(total)))


def test_edm_keeps_inputs_and_targets_at_unit_variance():
    """The reason for the preconditioning: both have variance 1 at every level, for data of that standard deviation."""
    sigma_data = 0.5
    generator = seeded(1)
    x0 = sigma_data * torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
    eps = torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
    target = targets.edm(sigma_data)
    for path, t in ((ALL["karras"], 1e-3), (ALL["karras"], 0.5), (ALL["cosine"], 0.5), (ALL["flow"], 0.7)):
        level = path.at(torch.tensor(t))
        assert float(target.network_input(level.noisy(x0, eps), level)[0].var()) == pytest.approx(1, abs=0.05)
        assert float(target.of(x0, eps, level).var()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", ["eps", "x0", "v", "flow"])
@pytest.mark.parametrize("shared", [True, False])
def test_the_network_sees_x_t_and_the_condition(name: str, shared: bool):
    x = pair((4, 4, 4))[0].float()
    t = torch.tensor(0.3) if shared else torch.tensor([0.1, 0.2, 0.3, 0.4])
    seen = {}

    def network(inputs: Tensor, time: Tensor, **cond: Tensor) -> Tensor:
        seen.update(inputs=inputs, time=time, cond=cond)
        return inputs

    labels = torch.arange(4)
    TARGETS[name].evaluate(network, x, ALL["cosine"].at(t, like=x), {"labels": labels})
    assert torch.equal(seen["inputs"], x) and seen["time"].dtype == torch.float32
    torch.testing.assert_close(seen["time"], t.expand(4).float())
    assert seen["cond"]["labels"] is labels


@pytest.mark.parametrize("name", ["edm", "score"])
@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_the_time_feature_stays_in_reach(name: str, schedule: str):
    """log(sigma / alpha) / 4 is bounded where alpha or sigma vanishes."""
    path = ALL[schedule]
    x = torch.zeros(3, 2)
    level = path.at(torch.tensor([path.t_min, 0.5, path.t_max]), like=x)
    feature = TARGETS[name].network_input(x, level)[1]
    assert feature.isfinite().all() and feature.abs().max() <= 4


@pytest.mark.parametrize("schedule", list(SCHEDULES))
@pytest.mark.parametrize("target", list(TARGETS))
def test_require_stable(target: str, schedule: str):
    """eps and score say nothing about x0 in pure noise. Everything else works everywhere."""
    ends_in_noise = schedule in ("zero_terminal_linear", "flow")
    if target in ("eps", "score") and ends_in_noise:
        with pytest.raises(PieceError, match=rf"'{target}'.*'{schedule}'.*t = 1[^0-9]"):
            require_stable(TARGETS[target], ALL[schedule])
        require_stable(TARGETS[target], ALL[schedule].limit_log_snr(-10, 12))  # the remedy that the message names
    else:
        require_stable(TARGETS[target], ALL[schedule])


def test_require_stable_for_a_row_of_ones_own():
    """A row along x itself says nothing at any time; one that blows up is refused too."""
    along_x = targets.Target("along", lambda level: (level.alpha, level.sigma))
    with pytest.raises(PieceError, match="'along'"):
        require_stable(along_x, ALL["cosine"])
    infinite = targets.Target("infinite", lambda level: (level.alpha * math.inf, level.sigma))
    with pytest.raises(PieceError, match="'infinite'"):
        require_stable(infinite, ALL["cosine"])
