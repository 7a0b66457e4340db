"""Derivations: each step's right value beside one that comes from somewhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.linalg import sqrtm
from scipy.stats import norm

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.catalogue import CHAPTERS, LABS, notebook
from diffusion_lab.exercises.derivations import Derivation, Step
from diffusion_lab.exercises.owner import Owner

TASKS = {task.chapter: task for lab in LABS for task in notebook(lab).exercises if isinstance(task, Derivation)}
OWNERS = [Owner("ada", "one course"), Owner("ben", "one course"), Owner("ada", "another course")]


def moments(density, low=-15.0, high=15.0):
    """Mean and standard deviation of a density that need not be normalised."""
    x = np.linspace(low, high, 60_001)
    weight = density(x) / density(x).sum()
    mean = (weight * x).sum()
    return mean, np.sqrt((weight * (x - mean) ** 2).sum())


def a_step_back(seen, clean, kept, beta, error):
    """Bayes on a grid of x_{t-1}, with SciPy's densities; the divergence as an integral."""

    def posterior(guess):
        return moments(
            lambda x: (
                norm.pdf(seen, np.sqrt(1 - beta) * x, np.sqrt(beta))
                * norm.pdf(x, np.sqrt(kept) * guess, np.sqrt(1 - kept))
            )
        )

    (mean, deviation), (other, width) = posterior(clean), posterior(clean + error)
    true, model = norm(mean, deviation), norm(other, width)
    cost = quad(lambda x: true.pdf(x) * (true.logpdf(x) - model.logpdf(x)), mean - 9 * width, mean + 9 * width)[0]
    return 1 / deviation**2, mean / deviation**2, mean, deviation, other - mean, cost


def velocity_of_a_cloud(first_std, second_std, correlation, kept, rate, first, second):
    """The score by autograd. The velocity by moving the point from one cloud to a slightly later one, whose roots
    SciPy takes: all clouds have the same axes, so the flow is a product of their roots."""
    c = correlation * first_std * second_std
    clean = np.array([[first_std**2, c], [c, second_std**2]])

    def cloud(time):
        left = kept * np.exp(-rate * time)
        return left * clean + (1 - left) * np.eye(2)

    x = torch.tensor([first, second], dtype=torch.float64, requires_grad=True)
    density = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.tensor(cloud(0)))
    (score,) = torch.autograd.grad(density.log_prob(x), x)
    point, step = np.array([first, second]), 1e-4
    later, earlier = (sqrtm(cloud(t)) @ np.linalg.inv(sqrtm(cloud(0))) @ point for t in (step, -step))
    return cloud(0), np.linalg.inv(cloud(0)), score.numpy(), (later - earlier) / (2 * step)


def two_hills(share, left, right, left_spread, right_spread, kept, seen):
    """Integrals over clean values with SciPy, and the slope of the log-density by autograd."""
    alpha, sigma = np.sqrt(kept), np.sqrt(1 - kept)
    hills = ((left, left_spread), (right, right_spread))

    def integral(function, hill):
        mean, spread = hill
        ends = mean - 9 * spread, mean + 9 * spread
        return quad(lambda x: function(x) * norm.pdf(x, mean, spread) * norm.pdf(seen, alpha * x, sigma), *ends)[0]

    densities = np.array([integral(lambda x: 1.0, hill) for hill in hills])
    guesses = np.array([integral(lambda x: x, hill) for hill in hills]) / densities
    weighed = np.array([share, 1 - share]) * densities
    x = torch.tensor(seen, dtype=torch.float64, requires_grad=True)
    parts = torch.distributions.Normal(
        torch.tensor([alpha * left, alpha * right]),
        torch.tensor([np.hypot(alpha * s, sigma) for _, s in hills]),
    )
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([share, 1 - share]).double()), parts
    )
    (slope,) = torch.autograd.grad(mixture.log_prob(x), x)
    variances = parts.scale.numpy() ** 2
    chances = weighed / weighed.sum()
    return variances, densities, chances, guesses, (weighed * guesses).sum() / weighed.sum(), float(slope)


OTHERWISE = {
    "normal_1d": a_step_back,
    "normal_2d": velocity_of_a_cloud,
    "mixture": two_hills,
}


@pytest.mark.parametrize("chapter", OTHERWISE)
@pytest.mark.parametrize("owner", OWNERS[:2], ids=lambda owner: owner.name)
def test_each_step_is_found_in_another_way(chapter, owner):
    task = TASKS[chapter].drawn_for(owner)
    truths = task.truths(task.numbers)
    for (name, truth), other in zip(truths.items(), OTHERWISE[chapter](**task.numbers), strict=True):
        np.testing.assert_allclose(truth, other, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("chapter", TASKS)
def test_the_reference_is_the_chain_of_its_steps(chapter):
    """What is cut into steps gives the same as the whole, and later steps start from what is given for earlier ones."""
    task = TASKS[chapter].drawn_for(OWNERS[0])
    truths = task.truths(task.numbers)
    for (name, truth), whole in zip(truths.items(), task.reference(**task.numbers), strict=True):
        np.testing.assert_array_equal(truth, whole, err_msg=name)
    moved = {name: 1.1 * truth for name, truth in truths.items()}
    assert any(
        not task.right(value, truths[name]) for name, value in task.following(task.numbers, moved, truths).items()
    )


@pytest.mark.parametrize("chapter", TASKS)
def test_numbers_and_steps_are_a_students_own(chapter):
    drawn = [TASKS[chapter].drawn_for(owner) for owner in OWNERS]
    assert len({tuple(one.numbers.items()) for one in drawn}) == 3
    for one in drawn:
        assert all(f"{value:g}" in one.asked for value in one.numbers.values())
        assert "{" not in one.asked and f"about {one.minutes} minutes" in one.statement
        assert 3 <= len(one.steps) <= 6 and all(len(step.slips) >= 2 for step in one.steps)


def test_a_reference_must_end_in_its_steps():
    def swapped(a):
        """Return them in the other order."""
        one = a
        two = 2 * a
        return two, one

    steps = tuple(Step(name, "", ()) for name in ("one", "two"))
    task = Derivation(
        chapter=CHAPTERS[0],
        title="",
        question="",
        about="",
        reference=swapped,
        numbers_from=lambda draw: {"a": 3.0},
        right_answers=(),
        steps=steps,
        minutes=1,
    )
    with pytest.raises(LabError, match="assign one, two in this order"):
        task.truths({"a": 3.0})
