"""Derivations: each step's right value beside one that comes from somewhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.linalg import sqrtm
from scipy.optimize import brentq
from scipy.special import softmax
from scipy.stats import entropy, multivariate_normal, norm

from diffusion_lab import betas
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


def a_pair_on_a_grid(first_mean, second_mean, first_variance, second_variance, covariance, sigma, seen):
    """Bayes on a grid of pairs: the gain is by how much the posterior mean moves between two values that are seen."""
    prior = multivariate_normal(
        [first_mean, second_mean], [[first_variance, covariance], [covariance, second_variance]]
    )
    x, step = np.linspace(-12, 12, 601, retstep=True)
    grid = np.stack(np.meshgrid(x, x, indexing="ij"), -1)
    before = prior.pdf(grid)

    def posterior(value):
        joint = before * norm.pdf(value, grid[..., 0], sigma)
        weight = joint / joint.sum()
        mean = (weight[..., None] * grid).sum((0, 1))
        off = grid - mean
        return mean, np.einsum("ij,ijk,ijl->kl", weight, off, off), np.log(joint.sum() * step**2)

    mean, left, _ = posterior(seen)
    gain = (posterior(seen + 1)[0] - posterior(seen - 1)[0]) / 2
    score = (posterior(seen + 1e-3)[2] - posterior(seen - 1e-3)[2]) / 2e-3
    spread = (seen - first_mean) / -score  # the score of a normal number
    return gain * spread, spread, gain, mean, left, score


def tilted_density(label_mean, label_spread, mean, spread, sigma, seen, scale):
    """Scores as differences of SciPy's log-densities; the density of guidance, p(x | c)^w p(x)^(1-w), on a grid."""
    label = norm(label_mean, np.hypot(label_spread, sigma))
    everything = norm(mean, np.hypot(spread, sigma))

    def mixed(x):
        return scale * label.logpdf(x) + (1 - scale) * everything.logpdf(x)

    def slope(function):
        return (function(seen + 1e-4) - function(seen - 1e-4)) / 2e-4

    centre, width = moments(lambda x: np.exp(mixed(x) - mixed(np.linspace(-15, 15, 3001)).max()), -25, 25)
    return slope(label.logpdf), slope(everything.logpdf), slope(mixed), 1 / width**2, centre, width


def what_flows_past(first, second, share, t, seen):
    """The marginal velocity from the continuity equation: what share of the noisy values passes this place in a short
    time, over their density."""
    points, shares = np.array([first, second]), np.array([share, 1 - share])

    def below(time):
        return (shares * norm.cdf(seen, (1 - time) * points, time)).sum()

    parts = shares * norm.pdf(seen, (1 - t) * points, t)
    velocity = -(below(t + 1e-5) - below(t - 1e-5)) / 2e-5 / parts.sum()
    clean = (parts * points).sum() / parts.sum()
    noises = np.array([brentq(lambda eps, p=p: (1 - t) * p + t * eps - seen, -99, 99) for p in points])
    ahead = (1 - t - 1e-3) * points + (t + 1e-3) * noises
    return noises, (ahead - seen) / 1e-3, parts / parts.sum(), velocity, clean


def least_squares(spread, kept, clean, noise):
    """A regression of clean values on noisy ones over a Gauss-Hermite grid, which gives exact moments."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    x0, eps = (part.ravel() for part in np.meshgrid(spread * nodes, nodes))
    weight = np.outer(weights, weights).ravel() / weights.sum() ** 2
    x = np.sqrt(kept) * x0 + np.sqrt(1 - kept) * eps
    (c_skip,), *_ = np.linalg.lstsq((np.sqrt(weight) * x)[:, None], np.sqrt(weight) * x0, rcond=None)
    c_out = np.sqrt((weight * (x0 - c_skip * x) ** 2).sum())
    seen = np.sqrt(kept) * clean + np.sqrt(1 - kept) * noise
    return 1 / np.sqrt((weight * x**2).sum()), c_skip, c_out, 1 / c_out**2, (clean - c_skip * seen) / c_out


def heard(decibels, loudness, first, last):
    """The level by searching for it, with decibels measured on two long tones; the course's own rescaling."""
    time = np.arange(80_000) / 8000
    sound, noise = np.sqrt(2) * loudness * np.sin(440 * 2 * np.pi * time), np.sqrt(2) * np.cos(440 * 2 * np.pi * time)

    def measured(sigma):
        return 10 * np.log10(((1 - sigma**2) * sound**2).mean() / (sigma**2 * noise**2).mean())

    sigma = brentq(lambda s: measured(s) - decibels, 1e-6, 1 - 1e-6)
    alpha = torch.tensor([first, (1 - sigma**2) ** 0.5, last], dtype=torch.float64)
    rescaled = betas.rescale_zero_terminal_snr(alpha**2)[1].sqrt().item()
    ratio = ((1 - sigma**2) * sound**2).mean() / (sigma**2 * noise**2).mean()
    log_snr = 2 * np.arctanh(1 - 2 * sigma**2)  # alpha^2 is a logistic function of it
    return ratio, sigma, log_snr, rescaled, measured((1 - rescaled**2) ** 0.5)


def words_in_noise(first, second, third, first_share, second_share, kept, seen):
    """SciPy's densities and softmax; the noise from the slope of the log-density (Tweedie)."""
    words = np.array([first, second, third])
    shares = np.array([first_share, second_share, 1 - first_share - second_share])
    sigma = np.sqrt(1 - kept)

    def parts(x):
        return shares * norm.pdf(x, np.sqrt(kept) * words, sigma)

    chances = parts(seen) / parts(seen).sum()
    score = (np.log(parts(seen + 1e-5).sum()) - np.log(parts(seen - 1e-5).sum())) / 2e-5
    logits = np.log(parts(seen)) - norm.logpdf(0, 0, sigma)
    return logits, softmax(logits), entropy([1, 0, 0], chances), (chances * words).sum(), -sigma * score


def every_way(tokens, kept, beta):
    """All ways of one token over two times, counted one by one; token 0 in the data, and 1 is seen."""

    def drawn(keep, old, new):
        return keep * (old == new) + (1 - keep) / tokens

    ways = np.array([drawn(kept, 0, middle) * drawn(1 - beta, middle, 1) for middle in range(tokens)])
    open_then = {(True, False): kept * beta, (False, False): 1 - kept}  # (open before, open after) where it is masked
    return (
        [drawn(1 - beta, middle, 1) for middle in range(3)],
        [drawn(kept, 0, middle) for middle in range(3)],
        ways.sum(),
        ways[:3] / ways.sum(),
        open_then[True, False] / sum(open_then.values()),
    )


OTHERWISE = {
    "normal_1d": a_step_back,
    "normal_2d": velocity_of_a_cloud,
    "mixture": two_hills,
    "normal_nd": a_pair_on_a_grid,
    "mnist": tilted_density,
    "spiral": what_flows_past,
    "cifar10": least_squares,
    "audio": heard,
    "text": words_in_noise,
    "games": every_way,
}


def test_each_chapter_has_one():
    assert list(TASKS) == list(OTHERWISE) == list(CHAPTERS)


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
