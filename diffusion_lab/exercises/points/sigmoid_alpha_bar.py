"""sigmoid_alpha_bar: a schedule along a logistic curve."""

import math

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def sigmoid_alpha_bar(steps: int, start: float, end: float, temperature: float, least: float) -> Tensor:
    """alpha_bar at the times 1/T, 2/T, ..., 1, along a piece of a falling logistic curve.

    Args:
        steps: T, at least 2.
        start, end: the ends of the piece, start < end; at start alpha_bar would be 1, at end 0.
        temperature: above 0; the larger, the straighter the piece.
        least: what no entry falls below; in (0, 0.1).

    Returns:
        (T,) float64, falling.
    """
    t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    first, last, now = (
        torch.sigmoid(torch.as_tensor(place, dtype=torch.float64) / temperature)
        for place in (start, end, start + t * (end - start))
    )
    return ((last - now) / (last - first)).clamp(min=least)


def _curve(t, start, end, temperature):
    first, last, now = (
        1 / (1 + torch.exp(-torch.as_tensor(place, dtype=torch.float64) / temperature))
        for place in (start, end, start + t * (end - start))
    )
    return (last - now) / (last - first)


def _times(steps):
    return torch.arange(1, steps + 1, dtype=torch.float64) / steps


def not_stretched(steps, start, end, temperature, least):
    """This is the logistic curve itself, which begins below 1 and ends above 0. Shift and stretch it, so that it is 1
    at start and 0 at end."""
    t = _times(steps)
    return torch.sigmoid(-(start + t * (end - start)) / temperature).clamp(min=least)


def not_divided(steps, start, end, temperature, least):
    """The curve ends at 0, but begins below 1: divide by the height of the whole piece."""
    t = _times(steps)
    height = 1 / (1 + math.exp(-end / temperature)) - 1 / (1 + math.exp(-start / temperature))
    return (_curve(t, start, end, temperature) * height).clamp(min=least)


def rising(steps, start, end, temperature, least):
    """These rise: they are the share of the noise. alpha_bar is the share of the data, and falls."""
    return (1 - _curve(_times(steps), start, end, temperature)).clamp(min=least)


def temperature_multiplied(steps, start, end, temperature, least):
    """Places were multiplied by the temperature. Divide by it: a high temperature makes the piece straighter."""
    return _curve(_times(steps), start, end, 1 / temperature).clamp(min=least)


def temperature_left_out(steps, start, end, temperature, least):
    """The temperature was not used. Every place is divided by it before the sigmoid."""
    return _curve(_times(steps), start, end, 1.0).clamp(min=least)


def temperature_only_inside(steps, start, end, temperature, least):
    """The moving place was divided by the temperature, and the two ends were not, so that the curve does not go from 1
    to 0. Divide all three."""
    now = torch.sigmoid((start + _times(steps) * (end - start)) / temperature)
    first, last = (1 / (1 + math.exp(-place)) for place in (start, end))
    return ((last - now) / (last - first)).clamp(min=least)


def no_floor(steps, start, end, temperature, least):
    """The last entry is 0: no data are left at all, and a step that divides by alpha divides by 0. Nothing falls below
    `least`."""
    return _curve(_times(steps), start, end, temperature)


def floor_added(steps, start, end, temperature, least):
    """`least` was added to every entry. Only what lies below it is raised."""
    return _curve(_times(steps), start, end, temperature) + least


def from_time_zero(steps, start, end, temperature, least):
    """The first entry is 1, at time 0, where there is no noise. Entry 0 belongs to time 1/T and the last to time 1."""
    t = torch.arange(steps, dtype=torch.float64) / steps
    return _curve(t, start, end, temperature).clamp(min=least)


def both_ends_in(steps, start, end, temperature, least):
    """Times run from 0 to 1 with both ends. Entry 0 belongs to time 1/T: time 0 is the data and has no entry."""
    return _curve(torch.linspace(0, 1, steps, dtype=torch.float64), start, end, temperature).clamp(min=least)


def ends_turned_around(steps, start, end, temperature, least):
    """The place goes from end to start. At time 0 it is at `start`."""
    t = _times(steps)
    first, last, now = (
        torch.sigmoid(torch.as_tensor(place, dtype=torch.float64) / temperature)
        for place in (start, end, end + t * (start - end))
    )
    return ((last - now) / (last - first)).clamp(min=least)


def alpha_for_alpha_bar(steps, start, end, temperature, least):
    """The root was taken, which gives alpha, the factor of the data. alpha_bar is its square."""
    return _curve(_times(steps), start, end, temperature).clamp(min=least).sqrt()


def tangent_for_sigmoid(steps, start, end, temperature, least):
    """tanh was taken in the place of the sigmoid. It is a sigmoid of twice the place, so the piece bends too early."""
    return _curve(_times(steps), start, end, temperature / 2).clamp(min=least)


def divided_by_the_gaps(steps, start, end, temperature, least):
    """The times go beyond 1: they were counted from 1 to T and divided by T - 1. Divide by T, so that the last one is
    1."""
    t = torch.arange(1, steps + 1, dtype=torch.float64) / (steps - 1)
    return _curve(t, start, end, temperature).clamp(min=least)


def through_tanh(steps, start, end, temperature, least):
    first, last = (math.tanh(place / temperature / 2) for place in (start, end))
    places = start + (end - start) * _times(steps)
    return torch.clamp_min((last - torch.tanh(places / temperature / 2)) / (last - first), least)


def one_after_the_other(steps, start, end, temperature, least):
    def sigmoid(place):
        return 1 / (1 + math.exp(-place / temperature))

    height = sigmoid(end) - sigmoid(start)
    kept = [(sigmoid(end) - sigmoid(start + (end - start) * (i + 1) / steps)) / height for i in range(steps)]
    return torch.tensor([max(value, least) for value in kept], dtype=torch.float64)


def through_numpy(steps, start, end, temperature, least):
    import numpy as np

    places = np.linspace(start, end, steps + 1)
    curve = 1 / (1 + np.exp(-places / temperature))
    return torch.from_numpy(np.maximum((curve[-1] - curve[1:]) / (curve[-1] - curve[0]), least))


def cases(draw: Draw):
    yield Case(
        "an uneven piece", (draw.integer(8, 20), -draw.number(1, 2), draw.number(3, 4), draw.number(0.6, 0.9), 1e-4)
    )
    yield Case(
        "a high temperature", (draw.integer(8, 20), -draw.number(2, 3), draw.number(1, 2), draw.number(2, 4), 1e-4)
    )
    yield Case("one side of the curve", (draw.integer(5, 9), draw.number(0.2, 0.5), draw.number(2, 3), 0.7, 1e-3))
    yield Case(
        "a high floor", (draw.integer(20, 30), -3.0, draw.number(3, 4), 0.5, draw.number(0.02, 0.05)), "the floor"
    )
    yield Case("two steps", (2, -draw.number(1, 2), draw.number(2, 3), draw.number(0.6, 0.9), 1e-3), "the floor")


def logistic_growth(piece, draw: Draw):
    """The logistic curve f solves f' = f (1 - f): checked by differences, without any sigmoid."""
    steps, start, end, heat = 2000, -draw.number(2, 3), draw.number(1, 2), draw.number(0.6, 0.9)
    kept = piece(steps, start, end, heat, 1e-9)
    if kept.shape != (steps,):
        return f"for {steps} steps the shape is {tuple(kept.shape)}"
    width = (end - start) / heat / steps
    first, second = (kept[2:] - kept[:-2]) / (2 * width), (kept[2:] - 2 * kept[1:-1] + kept[:-2]) / width**2
    # With the curve f = a - b kept: f'' = f' (1 - 2 f), so second / first is linear in kept, falling from start to end.
    slope = second[20:-20] / first[20:-20]
    if not bool(slope.isfinite().all()):
        return f"between {float(kept[0]):.3g} and {float(kept[-1]):.3g} the curve is flat or not finite somewhere"
    line = torch.stack([kept[21:-21], torch.ones_like(slope)], dim=1)
    fit = torch.linalg.lstsq(line, slope.unsqueeze(1)).solution
    rest = float((line @ fit - slope.unsqueeze(1)).abs().max())
    ends = float(abs(kept[0] - 1)), float(kept[-1])
    if rest < 0.02 and max(ends) < 0.01 and abs(float(slope[0]) + math.tanh(start / heat / 2)) < 0.05:
        return None
    return (
        f"a logistic curve has f'' = f' (1 - 2 f), here off by {rest:.3g}, and goes from 1 to 0, here to {ends[1]:.3g}"
    )


EXERCISE = Exercise(
    chapter="points",
    kind="schedule",
    title="A schedule along a logistic curve",
    statement=r"""
A shape is settled in the middle of the path: at small noise its points only move onto the surface, and at large noise
nothing can be seen. A logistic curve goes slowly at both ends, and three numbers move and stretch it. With the sigmoid
$g(u) = 1 / (1 + e^{-u / \tau})$ and the place $u(t) = u_0 + t\, (u_1 - u_0)$,

$$\bar\alpha(t) = \frac{g(u_1) - g(u(t))}{g(u_1) - g(u_0)},$$

which is 1 at $t = 0$ and 0 at $t = 1$. Return it at $t = 1/T, 2/T, \dots, 1$, raised to `least` where it lies below.
""",
    reference=sigmoid_alpha_bar,
    parts={"values": 3, "the floor": 1, CARE: 1},
    cases=cases,
    properties=(Property("it grows as a logistic curve does", logistic_growth),),
    wrong_answers=(
        wrong(not_stretched),
        wrong(not_divided),
        wrong(rising),
        wrong(temperature_multiplied),
        wrong(temperature_left_out),
        wrong(temperature_only_inside),
        wrong(no_floor),
        wrong(floor_added),
        wrong(from_time_zero),
        wrong(both_ends_in),
        wrong(ends_turned_around),
        wrong(alpha_for_alpha_bar),
        wrong(tangent_for_sigmoid),
        wrong(divided_by_the_gaps),
    ),
    right_answers=(right(through_tanh), right(one_after_the_other), right(through_numpy)),
    hints=(
        "Where is the place u at t = 0, and what must alpha_bar be there?",
        "Take the sigmoid at three places; two differences of them make the fraction.",
    ),
    source="Jabri, Fleet & Chen 2022, section 3; Chen 2023, algorithm 1",
)
