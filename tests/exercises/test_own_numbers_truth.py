"""Numbers of one's own: each right answer beside one that comes from somewhere else."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.integrate import quad, solve_ivp
from scipy.optimize import brentq

from diffusion_lab import samplers, schedules
from diffusion_lab.errors import LabError
from diffusion_lab.exact import Gaussian
from diffusion_lab.exercises.catalogue import CHAPTERS
from diffusion_lab.exercises.owner import Owner

TASKS = {chapter: import_module(f"diffusion_lab.exercises.{chapter}.own_number").TASK for chapter in CHAPTERS}
OWNERS = [Owner("ada", "one course"), Owner("ben", "one course"), Owner("ada", "another course")]


def regression(std, last_beta, steps):
    """What the best straight line leaves of the noise, on samples at every step."""
    random = np.random.default_rng(0)
    kept = np.cumprod(1 - np.linspace(1e-4, last_beta, steps))[:, None]
    x0, eps = std * random.normal(size=(steps, 4000)), random.normal(size=(steps, 4000))
    x = np.sqrt(kept) * x0 + np.sqrt(1 - kept) * eps
    slope = (x * eps).mean(1, keepdims=True) / (x * x).mean(1, keepdims=True)
    return ((eps - slope * x) ** 2).mean()


def sampled_correlation(correlation, first_std, second_std, log_snr):
    random = np.random.default_rng(0)
    product = correlation * first_std * second_std
    clean = random.multivariate_normal([1, -2], [[first_std**2, product], [product, second_std**2]], 2_000_000)
    noisy = clean + np.exp(-log_snr / 2) * random.normal(size=clean.shape)  # in proportion to alpha x0 + sigma eps
    return np.corrcoef(noisy.T)[0, 1]


def counted_guess(weight, place, spread, noise, seen):
    random = np.random.default_rng(0)
    side = np.where(random.random(4_000_000) < weight, 1, -1)
    x0 = side * place + spread * random.normal(size=side.shape)
    return x0[np.abs(x0 + noise * random.normal(size=side.shape) - seen) < 0.02].mean()


def guided_integrals(scale, place, spread, noise, seen):
    def mean(hills):
        def density(x0):
            return sum(np.exp(-((x0 - m) ** 2) / 2 / spread**2) for m in hills) * np.exp(
                -((seen - x0) ** 2) / 2 / noise**2
            )

        ends = (-place - 8 * spread, place + 8 * spread)
        return quad(lambda x: x * density(x), *ends, limit=200)[0] / quad(density, *ends, limit=200)[0]

    return (1 - scale) * mean((place, -place)) + scale * mean((place,))


def probability_flow(spread, left):
    """SciPy walks Song's ODE of a variance-preserving process from the last level to nearly clean data."""
    end = -np.log(left)  # alpha^2 = exp(-u)

    def slope(u, x):
        alpha2 = np.exp(-u)
        return -0.5 * x + 0.5 * x / (alpha2 * spread**2 + 1 - alpha2)

    return abs(solve_ivp(slope, (end, 0), [1.0], rtol=1e-9, atol=1e-12).y[0, -1])


def root(corner, log_snr):
    def power(f):
        return 1 / (1 + (f / corner) ** 2)

    noise = quad(power, 0, 4000)[0] / 4000 / np.exp(log_snr)
    return brentq(lambda f: power(f) - noise, 0, 4000) / 4000


def words_drawn(words, dimensions, log_snr):
    """Vectors of random directions, and the nearest of them to word 0 in noise."""
    random = np.random.default_rng(0)
    table = np.linalg.qr(random.normal(size=(dimensions, dimensions)))[0][:words] * np.sqrt(dimensions)
    x = table[0] + np.exp(-log_snr / 2) * random.normal(size=(20_000, dimensions))
    return (((x[:, None] - table) ** 2).sum(-1).argmin(1) == 0).mean()


def boards_drawn(pairs, share, steps):
    random = np.random.default_rng(0)
    shape = (400_000, pairs)
    first, second = random.integers(steps, size=shape), random.integers(steps, size=shape)
    cell, other = random.random(shape) < share, random.random(shape) < share
    return np.where(first == second, cell == other, True).all(1).mean()


OTHERWISE = {
    "normal_1d": (regression, 0.01),
    "normal_2d": (sampled_correlation, 0.01),
    "mixture": (counted_guess, 0.04),
    "mnist": (guided_integrals, 1e-6),
    "cifar10": (probability_flow, 1e-5),
    "audio": (root, 1e-6),
    "text": (words_drawn, 0.04),
    "games": (boards_drawn, 0.02),
}


@pytest.mark.parametrize("chapter", OTHERWISE)
def test_the_right_answer_is_found_in_another_way(chapter):
    task, (other, share) = TASKS[chapter].drawn_for(OWNERS[0]), OTHERWISE[chapter]
    assert other(**task.numbers) == pytest.approx(task.truth, rel=share)


def test_euler_and_heun_are_those_of_the_course():
    """The course's own samplers and levels, on exact guesses for normal data."""
    task = TASKS["normal_nd"].drawn_for(OWNERS[0])
    std, calls = task.numbers.values()
    truth = Gaussian(torch.zeros(1), torch.tensor([[std**2]]))
    x = torch.ones(1, 1, dtype=torch.float64) * (std**2 + 80**2) ** 0.5
    errors, cost = [], []
    for step, steps in ((samplers.euler(), calls), (samplers.heun(), (calls + 1) // 2)):
        end, way = samplers.sample(truth.denoise, schedules.karras(), step, x, steps=steps)
        errors.append(abs(float(end) - std))
        cost.append(way.evaluations)
    assert cost == [calls, calls]
    assert errors[0] / errors[1] == pytest.approx(task.truth, rel=1e-4)


@pytest.mark.parametrize("std", [0.5, 2.0])
def test_a_few_straight_steps(std):
    """One step ends at the mean, two have a closed form, and the error of many falls like one over their number."""
    spread = TASKS["spiral"].reference
    assert spread(std, 1) == 0
    assert spread(std, 2) == pytest.approx(std**2 / (1 + std**2))
    errors = [abs(spread(std, n) - std) for n in (400, 800)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("chapter", TASKS)
def test_numbers_are_a_students_own(chapter):
    """They stay the same, differ between students and courses, and stand in the question."""
    task = TASKS[chapter]
    drawn = [task.drawn_for(owner) for owner in OWNERS]
    assert len({tuple(one.numbers.items()) for one in drawn}) == 3
    assert task.drawn_for(Owner(" ADA", "one course")).numbers == drawn[0].numbers
    for one in drawn:
        assert all(f"{abs(value):g}" in one.asked for value in one.numbers.values())
        assert "{" not in one.asked and one.asked.endswith(("?", "ahead."))
    with pytest.raises(LabError, match="none is named"):
        task.numbers  # noqa: B018
