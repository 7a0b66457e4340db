"""strided_times: a few of the many steps, for a sampler in a hurry."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def strided_times(T: int, steps: int) -> Tensor:
    """The steps that a short sampler visits, at equal distances, from the noisiest to the cleanest.

    Args:
        T: number of steps of the training schedule, 0..T-1.
        steps: how many of them to visit, 1..T.

    Returns:
        (steps,) int64, falling: entry i is (1 - i / steps) T - 1, rounded to the nearest integer. The first is T-1, and
        from the last one the sampler goes to the data.
    """
    i = torch.arange(steps, dtype=torch.float64)
    return torch.round(T - i * T / steps).long() - 1


def noisiest_step_missed(T, steps):
    """Your first step is not T - 1. Sampling starts with pure noise, which is the input that the network saw at T - 1
    and nowhere else."""
    i = torch.arange(steps, dtype=torch.float64)
    return torch.round((steps - 1 - i) * T / steps).long()


def ascending(T, steps):
    """These times rise. A sampler walks from noise to data, so the largest t comes first."""
    return strided_times(T, steps).flip(0)


def begins_at_T(T, steps):
    """Your first step is T, and a table of T entries ends at T - 1: count from 0."""
    return strided_times(T, steps) + 1


def stride_cut_down(T, steps):
    """The distance was rounded down to an integer first. The error adds up, and the last of your steps is too far from
    the data wherever T is not a multiple of steps."""
    return T - 1 - torch.arange(steps) * (T // steps)


def ends_at_zero(T, steps):
    """You placed the last time at t = 0. The way to the data, from there on, is one more step: leave as much room for
    it as for every other, so that all steps have the length T / steps."""
    return torch.round(torch.linspace(T - 1, 0, steps, dtype=torch.float64)).long()


def rounded_down(T, steps):
    """These are rounded down, as `int` and `long` do, so that each can lie nearly a whole step too low. Round to the
    nearest integer before you make it one."""
    return (T - torch.arange(steps, dtype=torch.float64) * T / steps + 1e-9).long() - 1


def rounded_up(T, steps):
    """These are rounded up. Each should be the nearest integer, above or below."""
    return (T - torch.arange(steps, dtype=torch.float64) * T / steps - 1 - 1e-9).ceil().long()


def data_among_the_steps(T, steps):
    """There is one entry too many: -1, the place of the data, is where the sampler arrives, and the network knows no
    such step. n steps start from n times."""
    return torch.round(T - torch.arange(steps + 1, dtype=torch.float64) * T / steps).long() - 1


def steps_of_the_last_index(T, steps):
    """The distances are those of T - 1 and not of T. The data lie at -1, so the whole way from T - 1 is T long."""
    return torch.round((1 - torch.arange(steps, dtype=torch.float64) / steps) * (T - 1)).long()


def squares(T, steps):
    """These lie on a parabola, close together near the data. Some papers do that; equal distances are asked for."""
    part = 1 - torch.arange(steps, dtype=torch.float64) / steps
    return torch.round(part.square() * T).long() - 1


def floats(T, steps):
    """The numbers are right, and their dtype is not: an index into a table must be int64."""
    return torch.round(T - torch.arange(steps, dtype=torch.float64) * T / steps) - 1


def loop(T, steps):
    return torch.tensor([round((1 - i / steps) * T) - 1 for i in range(steps)])


def integers_alone(T, steps):
    rest = T * torch.arange(steps, 0, -1)
    return (2 * rest + steps) // (2 * steps) - 1


def through_numpy(T, steps):
    import numpy as np

    return torch.from_numpy(np.rint(np.arange(steps, 0, -1) * (T / steps)).astype(np.int64) - 1)


def line(T, steps):
    return torch.linspace(T, T / steps, steps, dtype=torch.float64).round().long() - 1


def cases(draw: Draw):
    # A power of 2, here and below: every order of operations is exact, and cutting down does the same in each.
    steps = draw.choice((4, 8))
    yield Case("T is a multiple of steps", (steps * draw.integer(8, 15), steps))
    for _ in range(3):
        # A prime that does not divide T: (1 - i / steps) T is neither an integer nor half-way between two.
        steps = draw.choice((5, 7, 11, 13))
        T = steps * draw.integer(5, 15) + draw.integer(steps // 2, steps - 1)
        yield Case("T is no multiple of steps", (T, steps))
    yield Case("two steps", (2 * draw.integer(20, 60), 2))
    yield Case("a single step", (draw.integer(20, 60), 1), "ends")
    T = draw.choice((16, 32, 64))
    yield Case("every step", (T, T), "ends")


def equal_lengths(piece, draw: Draw):
    """Every step of the sampler, the last one to the data at -1 included, is T / steps long up to rounding."""
    T, steps = draw.integer(500, 1500), draw.choice((11, 23, 51))
    times = piece(T, steps)
    lengths = -torch.cat([times, torch.tensor([-1])]).diff().double()
    worst = float((lengths - T / steps).abs().max())
    return None if worst <= 1 else f"for T = {T}, steps = {steps} one step is {worst:.3g} off the length T / steps"


EXERCISE = Exercise(
    chapter="mnist",
    kind="schedule",
    title="Fewer steps",
    statement=r"""
A network that was trained on $T = 1000$ steps can be sampled with 25 of them: DDIM jumps over the rest. With $n$ steps,
visit

$$
\begin{gathered}
\tau_i = \Big(1 - \frac{i}{n}\Big)\, T - 1, \\
i = 0, \dots, n - 1,
\end{gathered}
$$

each rounded to the nearest integer. The first is the noisiest step $T - 1$, where sampling starts. From the last one
the sampler goes to the data, which lie one step before $t = 0$, at $-1$: so all steps have the same length $T / n$.
""",
    reference=strided_times,
    parts={"values": 3, "ends": 1, CARE: 1},
    cases=cases,
    properties=(Property("steps of equal length", equal_lengths),),
    wrong_answers=(
        wrong(noisiest_step_missed),
        wrong(ascending),
        wrong(begins_at_T),
        wrong(stride_cut_down),
        wrong(ends_at_zero),
        wrong(rounded_down),
        wrong(rounded_up),
        wrong(data_among_the_steps),
        wrong(steps_of_the_last_index),
        wrong(squares),
        wrong(floats, "dtype"),
    ),
    right_answers=(right(loop), right(integers_alone), right(through_numpy), right(line)),
    hints=(
        "Which step must be the first, so that the network sees pure noise as it did in training?",
        "Round last: calculate the whole of (1 - i / n) T before.",
    ),
    source="Song et al. 2021a, appendix D.3; the end points as in Lin et al. 2024, section 3.3",
)
