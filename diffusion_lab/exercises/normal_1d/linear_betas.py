"""linear_betas: how much noise each step adds."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def linear_betas(T: int, beta_start: float, beta_end: float) -> Tensor:
    """The variances of the noise of T steps, growing in equal steps.

    Args:
        T: how many steps, at least 2.
        beta_start: the variance of the first step, entry 0.
        beta_end: the variance of the last step, entry T - 1.

    Returns:
        (T,) float64: products of a thousand of them follow, and 1 - alpha_bar would lose digits in float32.
    """
    return torch.linspace(beta_start, beta_end, T, dtype=torch.float64)


def last_step_missed(T, beta_start, beta_end):
    """The last entry is not beta_end. T numbers with both ends among them have T - 1 gaps."""
    return beta_start + (beta_end - beta_start) * torch.arange(T, dtype=torch.float64) / T


def first_step_missed(T, beta_start, beta_end):
    """The first entry is not beta_start. Steps are counted from 0, and T numbers have T - 1 gaps."""
    return beta_start + (beta_end - beta_start) * torch.arange(1, T + 1, dtype=torch.float64) / T


def roots_in_equal_steps(T, beta_start, beta_end):
    """Here the square roots of the betas grow in equal steps: that is the "scaled linear" schedule of latent diffusion.
    The betas themselves grow in equal steps in this chapter."""
    return torch.linspace(beta_start**0.5, beta_end**0.5, T, dtype=torch.float64) ** 2


def equal_ratios(T, beta_start, beta_end):
    """Each beta is a fixed multiple of the one before. Linear means a fixed difference."""
    return torch.logspace(0, 1, T, base=beta_end / beta_start, dtype=torch.float64) * beta_start


def from_large_to_small(T, beta_start, beta_end):
    """The betas fall. Entry 0 is the step next to the data, and it adds the least noise."""
    return torch.linspace(beta_end, beta_start, T, dtype=torch.float64)


def one_too_many(T, beta_start, beta_end):
    """These are T + 1 numbers. Each of the T steps has one beta, and the data before them have none."""
    return torch.linspace(beta_start, beta_end, T + 1, dtype=torch.float64)


def single_precision(T, beta_start, beta_end):
    """The values are right, and they are float32. Ask for float64: near the data 1 - alpha_bar is 1e-4, and float32 has
    only seven digits for the 1."""
    return torch.linspace(beta_start, beta_end, T)


def standard_deviations(T, beta_start, beta_end):
    """These are the square roots of the betas. A beta is the variance of the noise of a step, not its standard
    deviation: no root is taken here."""
    return torch.linspace(beta_start, beta_end, T, dtype=torch.float64).sqrt()


def what_each_step_keeps(T, beta_start, beta_end):
    """These are 1 - beta, what each step keeps of the data. What it adds is asked for, the betas
    themselves."""
    return 1 - torch.linspace(beta_start, beta_end, T, dtype=torch.float64)


def counted_from_one(T, beta_start, beta_end):
    """All entries are one step further: the first is no longer beta_start, and the last is beyond beta_end. Steps are
    counted from 0."""
    return beta_start + (beta_end - beta_start) * torch.arange(1, T + 1, dtype=torch.float64) / (T - 1)


def end_left_out(T, beta_start, beta_end):
    """beta_end is missing: `arange` stops before its end, and with a fraction for its step even how many numbers come
    is left to rounding. Both ends are included: ask for T numbers instead of a step."""
    return torch.arange(beta_start, beta_end, (beta_end - beta_start) / (T - 1), dtype=torch.float64)


def formula(T, beta_start, beta_end):
    return beta_start + (beta_end - beta_start) * torch.arange(T, dtype=torch.float64) / (T - 1)


def one_by_one(T, beta_start, beta_end):
    step = (beta_end - beta_start) / (T - 1)
    return torch.tensor([beta_start + t * step for t in range(T)], dtype=torch.float64)


def through_numpy(T, beta_start, beta_end):
    import numpy as np

    return torch.from_numpy(np.linspace(beta_start, beta_end, T))


def both_ends_mixed(T, beta_start, beta_end):
    share = torch.arange(T).double() / (T - 1)
    start, end = torch.tensor([beta_start, beta_end], dtype=torch.float64)
    return torch.lerp(start, end, share)


def cases(draw: Draw):
    yield Case("two steps", (2, draw.number(0.01, 0.05), draw.number(0.1, 0.4)))
    yield Case("a few steps", (draw.integer(5, 9), draw.number(0.01, 0.05), draw.number(0.1, 0.4)))
    yield Case("many steps", (draw.integer(60, 120), draw.number(1e-4, 1e-3), draw.number(0.02, 0.1)))
    yield Case("the thousand steps of the paper", (1000, 1e-4, 0.02))


def equal_gaps(piece, draw: Draw):
    """The ends are the arguments, and all differences are equal."""
    steps, start, end = draw.integer(10, 30), draw.number(0.01, 0.05), draw.number(0.1, 0.4)
    found = piece(steps, start, end)
    if len(found) != steps:
        return f"there are {len(found)} values for T = {steps}"
    if abs(float(found[0]) - start) > 1e-6 or abs(float(found[-1]) - end) > 1e-6:
        return f"the ends are {float(found[0]):.6g} and {float(found[-1]):.6g}, and {start:.6g} and {end:.6g} are asked"
    gaps = found.double().diff()
    unequal = float(gaps.max() - gaps.min())
    return None if unequal < 1e-6 else f"the gaps between neighbours differ by up to {unequal:.3g}"


def all_digits(piece, draw: Draw):
    """float64 is asked for, and with it its digits: not those of float32 in a wider dtype."""
    steps, start, end = draw.integer(60, 120), draw.number(1e-4, 1e-3), draw.number(0.02, 0.1)
    found = piece(steps, start, end)
    truth = torch.tensor([start + t * (end - start) / (steps - 1) for t in range(steps)], dtype=torch.float64)
    if found.shape != truth.shape:
        return f"there are {tuple(found.shape)} values for T = {steps}"
    worst = float((found.double() - truth).abs().max())
    if worst < 1e-13:
        return None
    return (
        f"for T = {steps}, from {start:g} to {end:g}, the values are off by up to {worst:.2g}. If they are right but "
        "for that, they were made in float32, and a cast at the end does not bring lost digits back: ask for float64 "
        "where the numbers are made"
    )


EXERCISE = Exercise(
    chapter="normal_1d",
    kind="schedule",
    title="How much noise each step adds",
    statement=r"""
Step $t$ of the forward process adds noise of variance $\beta_t$. The first diffusion models let it grow in equal steps:

$$
\begin{gathered}
\beta_t = \beta_\text{start} + \frac{t}{T - 1}\, (\beta_\text{end} - \beta_\text{start}), \\
t = 0, \dots, T - 1.
\end{gathered}
$$

Both ends are included. The dtype is float64, with all its digits. Early steps are small because fine detail is lost
first and needs care on the way back; late steps can be large because little is left to lose.
""",
    reference=linear_betas,
    parts={"values": 3, CARE: 1},
    cases=cases,
    properties=(
        Property("both ends and equal gaps", equal_gaps),
        Property("all digits of float64", all_digits, CARE),
    ),
    wrong_answers=(
        wrong(last_step_missed),
        wrong(first_step_missed),
        wrong(roots_in_equal_steps),
        wrong(equal_ratios),
        wrong(from_large_to_small),
        wrong(one_too_many),
        wrong(standard_deviations),
        wrong(what_each_step_keeps),
        wrong(single_precision, "dtype"),
        wrong(counted_from_one),
        wrong(end_left_out),
    ),
    right_answers=(right(formula), right(one_by_one), right(through_numpy), right(both_ends_mixed)),
    hints=(
        "How many gaps are there between T numbers?",
        "PyTorch has a function for equally spaced numbers; which dtype does it choose if you do not say?",
    ),
    source="Ho et al. 2020, section 4",
)
