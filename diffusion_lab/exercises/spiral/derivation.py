"""Chapter 6's derivation: from the velocities towards two points to the one velocity that a network learns."""

import torch

from diffusion_lab.exercises.derivations import Derivation, Step
from diffusion_lab.exercises.record import right, wrong


def average_two_velocities(first: float, second: float, share: float, t: float, seen: float):
    """The mean velocity at a noisy value, where the data are two points.

    Args:
        first: the first point.
        second: the second point.
        share: of the first point among the data.
        t: the time, between 0 for data and 1 for noise: x = (1 - t) x0 + t eps.
        seen: the noisy value x.

    Returns:
        A value for each step; a step that you have not done yet stays None. The first point comes first.
    """
    points = torch.tensor([first, second], dtype=torch.float64)
    shares = torch.tensor([share, 1 - share], dtype=torch.float64)
    noises = (seen - (1 - t) * points) / t
    velocities = noises - points
    weights = shares * torch.exp(-(noises**2) / 2)
    chances = weights / weights.sum()
    velocity = (chances * velocities).sum()
    clean = seen - t * velocity
    return noises, velocities, chances, velocity, clean


def _two(first, second):
    return torch.tensor([first, second], dtype=torch.float64)


def noise_not_scaled(first, second, t, seen):
    """This is t times the noise. Divide by t."""
    return seen - (1 - t) * _two(first, second)


def ends_swapped(first, second, t, seen):
    """At t = 0 there are only data and at t = 1 only noise. This has them the other way round."""
    return (seen - t * _two(first, second)) / (1 - t)


def point_not_scaled(first, second, t, seen):
    """Only 1 - t of the point is left in x. This takes all of it away."""
    return (seen - _two(first, second)) / t


def as_if_variances_added(first, second, t, seen):
    """On this path the data have the factor 1 - t and the noise t. Their squares do not add up to 1."""
    return (seen - (1 - t**2) ** 0.5 * _two(first, second)) / t


def towards_the_data(first, second, noises):
    """Time runs from data to noise, so the derivative of (1 - t) x0 + t eps by t is noise less data."""
    return _two(first, second) - noises


def noise_itself(noises):
    """That is the noise. Data shrink while it grows, so they count in the derivative too."""
    return noises


def from_where_it_is(seen, noises):
    """The way leads from the data to the noise, and this starts at x."""
    return noises - seen


def divided_by_the_time(noises, first, second, t):
    """The derivative by t has no t in it any more: the line is walked at one speed."""
    return (noises - _two(first, second)) / t


def points_alike(noises):
    """Before you have seen x, one point is more likely than the other: its share counts."""
    return (-(noises**2) / 2).softmax(0)


def not_divided(share, noises):
    """These do not add up to 1 yet: divide by their sum."""
    return _two(share, 1 - share) * (-(noises**2) / 2).exp()


def exponent_not_halved(share, noises):
    """In the exponent of a normal density the square is halved."""
    weights = _two(share, 1 - share) * (-(noises**2)).exp()
    return weights / weights.sum()


def shares_as_before(share):
    """These are the shares before anything was seen. A point from which x needs little noise is more likely now."""
    return _two(share, 1 - share)


def the_likelier_point(share, noises):
    """This decides for one of the points. Bayes gives each its chance."""
    weights = _two(share, 1 - share) * (-(noises**2) / 2).exp()
    return (weights == weights.max()).double()


def middle_of_both(velocities):
    """This is the middle of the two velocities. Each counts as much as its point is likely."""
    return velocities.mean()


def velocities_weighed_as_before(share, velocities):
    """The velocities are weighed by the shares before anything was seen. Use the chances after it."""
    return (_two(share, 1 - share) * velocities).sum()


def velocity_of_the_likelier(chances, velocities):
    """A square error makes a network learn the mean, and this takes the likelier of the two."""
    return velocities[chances.argmax()]


def sum_of_both(velocities):
    """This adds the velocities up. Weigh each with the chance of its point."""
    return velocities.sum()


def with_the_stream(seen, t, velocity):
    """Going with the velocity leads to noise. The data are where it comes from."""
    return seen + t * velocity


def all_the_way(seen, velocity):
    """From time t to 0 it is only t, and this goes for a whole unit of time."""
    return seen - velocity


def the_rest_of_the_way(seen, t, velocity):
    """1 - t is the way that is left to the noise. Back to the data it is t."""
    return seen - (1 - t) * velocity


def by_the_best_guess(first, second, share, t, seen):
    """The chances as a logistic function, then the best guess, and the velocity from it."""
    gap = ((seen - (1 - t) * second) ** 2 - (seen - (1 - t) * first) ** 2) / (2 * t**2)
    chance = torch.sigmoid(torch.tensor(gap, dtype=torch.float64) + torch.logit(torch.tensor(share).double()))
    clean = chance * first + (1 - chance) * second
    velocity = (seen - clean) / t
    apart = [(seen - point) / t for point in (first, second)]
    return (
        [apart[0] + first, apart[1] + second],
        apart,
        torch.stack([chance, 1 - chance]),
        velocity,
        clean,
    )


def numbers(draw):
    """A place where both points count."""
    while True:
        found = {
            "first": -round(draw.number(0.4, 2.0), 1),
            "second": round(draw.number(0.4, 2.0), 1),
            "share": round(draw.number(0.2, 0.8), 2),
            "t": round(draw.number(0.3, 0.8), 2),
            "seen": round(draw.number(-1.0, 1.0), 1),
        }
        if average_two_velocities(**found)[2].min() > 0.08:
            return found


TASK = Derivation(
    chapter="spiral",
    title="From two velocities to one",
    question="""
Your data are two points: {first}, with probability {share}, and {second}. At time t = {t} you see x = {seen}.
""",
    about=r"""
Flow matching trains a network on straight lines, each from one data point to one piece of noise. At a place where many
lines cross, the network can give only one velocity. Here you work it out where the data are two points, on the path
$x_t = (1 - t)\, x_0 + t\, \varepsilon$. Where a step asks for two numbers, the first point's comes first.
""",
    reference=average_two_velocities,
    numbers_from=numbers,
    minutes=12,
    steps=(
        Step(
            "noises",
            r"""Suppose you knew which point $x$ came from. Which noise $\varepsilon$ led from each of the points to
your $x$?""",
            (
                wrong(noise_not_scaled),
                wrong(ends_swapped),
                wrong(point_not_scaled),
                wrong(as_if_variances_added),
            ),
        ),
        Step(
            "velocities",
            r"On its straight line each of the two moves at a speed of its own. What is $dx_t / dt$ on each?",
            (
                wrong(towards_the_data),
                wrong(noise_itself),
                wrong(from_where_it_is),
                wrong(divided_by_the_time),
            ),
        ),
        Step(
            "chances",
            r"""You do not know the point. The noise is standard normal, so a line that needs little of it is more
likely. How likely is each point, given $x$?""",
            (
                wrong(points_alike),
                wrong(not_divided),
                wrong(exponent_not_halved),
                wrong(shares_as_before),
                wrong(the_likelier_point),
            ),
        ),
        Step(
            "velocity",
            r"""The square error makes the network learn the mean. What velocity does a perfect network give at your
$x$?""",
            (
                wrong(middle_of_both),
                wrong(velocities_weighed_as_before),
                wrong(velocity_of_the_likelier),
                wrong(sum_of_both),
            ),
        ),
        Step(
            "clean",
            r"""Follow this velocity straight back from time $t$ to time 0. Where do you land? Show that it is the best
guess of $x_0$: each point times its chance.""",
            (wrong(with_the_stream), wrong(all_the_way), wrong(the_rest_of_the_way)),
        ),
    ),
    right_answers=(right(by_the_best_guess),),
    hints=("Solve x = (1 - t) x0 + t eps for eps.",),
    source="Lipman et al. 2023, equation 8 and theorem 2",
)
