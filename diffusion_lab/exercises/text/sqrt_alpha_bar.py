"""sqrt_alpha_bar: a schedule for words, noisy from the start."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def sqrt_alpha_bar(T: int, s: float) -> Tensor:
    """The square-root schedule: alpha_bar for the steps 0 to T - 1.

    Args:
        T: how many steps.
        s: the offset below the root, 0 <= s < 1 / T; sqrt(s) is the variance of the noise at t = 0.

    Returns:
        (T,) float64, falling, every entry in (0, 1].
    """
    t = torch.arange(T, dtype=torch.float64)
    return 1 - torch.sqrt(t / T + s)


def _share(T):
    return torch.arange(T, dtype=torch.float64) / T


def squared_again(T, s):
    """The schedule was squared. 1 - sqrt(t/T + s) is alpha_bar itself, not its root; the name comes from the root in
    the formula."""
    return (1 - torch.sqrt(_share(T) + s)) ** 2


def root_of_the_schedule(T, s):
    """This is the square root of alpha_bar, the factor of x0. The formula without another root is alpha_bar."""
    return torch.sqrt(1 - torch.sqrt(_share(T) + s))


def steps_counted_from_one(T, s):
    """Steps are counted from 0 to T - 1. Counted from 1 to T the last alpha_bar is negative, and its root is nan."""
    return 1 - torch.sqrt((torch.arange(T, dtype=torch.float64) + 1) / T + s)


def time_up_to_one(T, s):
    """Here the time t/T reaches 1, and the last alpha_bar is negative. T steps from 0 end at (T - 1)/T."""
    return 1 - torch.sqrt(torch.linspace(0, 1, T, dtype=torch.float64) + s)


def no_offset(T, s):
    """The offset s is missing. It gives the first step some noise, without which a word is known at once."""
    return 1 - torch.sqrt(_share(T))


def offset_outside_the_root(T, s):
    """s was added after the root. It belongs under it, where a small s makes the much larger sqrt(s)."""
    return 1 - (torch.sqrt(_share(T)) + s)


def no_root(T, s):
    """This falls in a straight line. Here the square of 1 - alpha_bar is the straight line."""
    return 1 - (_share(T) + s)


def offset_scaled_by_the_time(T, s):
    """The time was squeezed so that it starts at s and ends at 1. s is added to t / T, and nothing else changes."""
    return 1 - torch.sqrt(s + (1 - s) * _share(T))


def divided_by_the_gaps(T, s):
    """The steps were divided by T - 1, so that the time reaches 1, where alpha_bar is negative or no number at all.
    T steps from 0 end at (T - 1)/T: divide by T."""
    return 1 - torch.sqrt(torch.arange(T, dtype=torch.float64) / (T - 1) + s)


def loop(T, s):
    return torch.tensor([1 - (t / T + s) ** 0.5 for t in range(T)], dtype=torch.float64)


def through_numpy(T, s):
    import numpy as np

    return torch.from_numpy(1 - np.sqrt(np.arange(T) / T + s))


def by_the_noise(T, s):
    variance = torch.linspace(s, s + (T - 1) / T, T, dtype=torch.float64).pow(0.5)
    return torch.ones_like(variance) - variance


def cases(draw: Draw):
    yield Case("T and s", (draw.integer(8, 20), draw.number(0.01, 0.04)))
    yield Case("a single step", (1, draw.number(0.1, 0.5)))
    yield Case("as in the paper, T = 2000", (2000, 1e-4))
    yield Case("s = 0", (draw.integer(8, 20), 0.0))


def squares_in_a_line(piece, draw: Draw):
    """(1 - alpha_bar)^2 starts at s and grows by 1 / T."""
    steps, s = draw.integer(10, 30), draw.number(0.002, 0.02)
    squares = (1 - piece(steps, s)).square()
    if squares.shape != (steps,):
        return f"{steps} values are expected"
    if abs(float(squares[0]) - s) > 1e-6:
        return f"(1 - alpha_bar[0])^2 is {float(squares[0]):.4g}, and s = {s} is expected"
    worst = float((squares.diff() * steps - 1).abs().max())
    return None if worst < 1e-4 else "the square of 1 - alpha_bar does not grow by 1 / T from step to step"


def positive_to_the_end(piece, draw: Draw):
    steps = draw.integer(10, 1000)
    values = piece(steps, 0.5 / steps)
    if not bool(((values > 0) & (values < 1)).all()):
        return f"alpha_bar leaves (0, 1): it goes from {float(values[0]):.4g} to {float(values[-1]):.4g}"
    return None if bool((values.diff() < 0).all()) else "alpha_bar does not fall from step to step"


EXERCISE = Exercise(
    chapter="text",
    kind="schedule",
    title="A schedule for words",
    statement=r"""
Words are points far from one another: with a little noise the nearest word is still the right one, and the network has
nothing to learn. The square-root schedule therefore adds noise quickly at the start:

$$
\begin{gathered}
\bar\alpha_t = 1 - \sqrt{t / T + s}, \\
t = 0, \dots, T - 1.
\end{gathered}
$$
""",
    reference=sqrt_alpha_bar,
    parts={"values": 2, "positive to the end": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("(1 - alpha_bar)^2 is a straight line", squares_in_a_line),
        Property("alpha_bar stays in (0, 1)", positive_to_the_end, "positive to the end"),
    ),
    wrong_answers=(
        wrong(squared_again),
        wrong(root_of_the_schedule),
        wrong(steps_counted_from_one),
        wrong(time_up_to_one),
        wrong(no_offset),
        wrong(offset_outside_the_root),
        wrong(no_root),
        wrong(offset_scaled_by_the_time),
        wrong(divided_by_the_gaps),
    ),
    right_answers=(right(loop), right(through_numpy), right(by_the_noise)),
    hints=("Is the formula alpha_bar, or the root of it?", "Which t is the last one, and is alpha_bar positive there?"),
    source="Li et al. 2022 (Diffusion-LM), appendix A",
)
