"""shifted_times: where a sampler of flow matching stops on its way."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def shifted_times(n: int, shift: float) -> Tensor:
    """The times that a sampler of n steps visits, from noise to data.

    Args:
        n: the number of steps, at least 1.
        shift: positive; 1 leaves the steps equal, more moves the times towards the noise.

    Returns:
        (n + 1,) float32, falling from 1 to 0, both included.
    """
    t = torch.linspace(1, 0, n + 1)
    return shift * t / (1 + (shift - 1) * t)


def ascending(n, shift):
    """These times run from data to noise. A sampler starts in the noise."""
    return shifted_times(n, shift).flip(0)


def shifted_to_the_data(n, shift):
    """The shift acts the wrong way: more than 1 must spend more of the steps near the noise, where all is decided."""
    return shifted_times(n, 1 / shift)


def shift_forgotten(n, shift):
    """These are equal steps, so `shift` has no effect."""
    return torch.linspace(1, 0, n + 1)


def no_clean_end(n, shift):
    """The last time, 0, is missing. n steps have n + 1 ends, and the walk must arrive at the data."""
    t = torch.linspace(1, 1 / n, n)
    return shift * t / (1 + (shift - 1) * t)


def one_step_short(n, shift):
    """These are n times from 1 to 0, so there are n - 1 steps between them. Count the ends of n steps."""
    t = torch.linspace(1, 0, n)
    return shift * t / (1 + (shift - 1) * t)


def start_below_the_noise(n, shift):
    """The first time is not 1, so that the walk starts where x is not pure noise. Put t = 1 into your formula."""
    t = torch.linspace(1, 0, n + 1)
    return shift * t / (1 + shift * t)


def shift_in_the_denominator_only(n, shift):
    """The shift is missing above the fraction line. Put t = 1 into your formula: it must stay 1."""
    t = torch.linspace(1, 0, n + 1)
    return t / (1 + (shift - 1) * t)


def noisy_end_missing(n, shift):
    """The first time, 1, is missing. The walk starts in pure noise: n steps have n + 1 ends."""
    t = torch.linspace(1, 0, n + 1)[1:]
    return shift * t / (1 + (shift - 1) * t)


def shift_added(n, shift):
    """There is a plus where the denominator has shift minus 1. Put t = 1 into your formula: it must stay 1."""
    t = torch.linspace(1, 0, n + 1)
    return shift * t / (1 + (shift + 1) * t)


def shift_as_an_exponent(n, shift):
    """The shift was taken for its logarithm, as some libraries are given it. Here it is the factor itself: 1 leaves the
    times as they are."""
    t, factor = torch.linspace(1, 0, n + 1), torch.tensor(shift).exp()
    return factor * t / (1 + (factor - 1) * t)


def odds_of_pure_noise(n, shift):
    """At t = 1 you divide by 1 - t, and infinity by infinity is nan. The formula of the statement has no such
    place."""
    t = torch.linspace(1, 0, n + 1)
    odds = shift * t / (1 - t)
    return odds / (1 + odds)


def power_of_the_time(n, shift):
    """The times were raised to a power. That bends them too, and not by the same amount of log-SNR: use the fraction of
    the statement."""
    return torch.linspace(1, 0, n + 1) ** (1 / shift)


def times_the_shift(n, shift):
    """The times were multiplied by the shift and cut at 1, so that several steps stand still. The denominator keeps the
    end at 1."""
    return (shift * torch.linspace(1, 0, n + 1)).clamp(max=1)


def not_quite_clean(n, shift):
    """The last time is a little above 0, so that some noise stays in the samples. Both ends are included."""
    t = torch.linspace(1, 1e-3, n + 1)
    return shift * t / (1 + (shift - 1) * t)


def random_times(n, shift):
    """These times are drawn at random, from a normal distribution. That is a way to choose times for training; a
    sampler walks a fixed grid."""
    return torch.sigmoid(torch.randn(n + 1)).sort(descending=True).values


def by_the_odds(n, shift):
    t = torch.linspace(1, 0, n + 1)
    odds = shift * t / (1 - t)
    return torch.where(t == 1, torch.ones_like(t), odds / (1 + odds))


def loop(n, shift):
    return torch.tensor([shift * (n - i) / (n + (shift - 1) * (n - i)) for i in range(n + 1)])


def through_numpy(n, shift):
    import numpy as np

    t = 1 - np.arange(n + 1) / n
    return torch.tensor(1 / (1 + (1 / np.maximum(t, 1e-300) - 1) / shift) * (t > 0), dtype=torch.float32)


def from_the_data_end(n, shift):
    t = (torch.arange(n + 1) / n).flip(0)
    return t * shift / (t * shift + (1 - t))


def cases(draw: Draw):
    yield Case("shift towards the noise", (draw.integer(4, 9), draw.number(1.5, 5)))
    yield Case("more steps", (draw.integer(15, 30), draw.number(2, 4)))
    yield Case("a single step", (1, draw.number(2, 4)))
    yield Case("shift 1, equal steps", (draw.integer(4, 9), 1.0))
    yield Case("shift below 1, towards the data", (draw.integer(4, 9), draw.number(0.3, 0.7)))


def from_noise_to_data(piece, draw: Draw):
    """n + 1 falling times from 1 to 0."""
    for n in (1, draw.integer(2, 20)):
        t = piece(n, draw.number(0.5, 4))
        if t.shape != (n + 1,):
            return f"{n} steps have {n + 1} ends, and your answer has the shape {tuple(t.shape)}"
        if abs(float(t[0]) - 1) > 1e-5 or abs(float(t[-1])) > 1e-5:
            return f"the times must run from 1 to 0, and yours run from {float(t[0]):.4g} to {float(t[-1]):.4g}"
        if not bool((t.diff() < 0).all()):
            return "each time must be smaller than the one before"
    return None


def log_snr_moves_evenly(piece, draw: Draw):
    """A shift s takes 2 log s nats from the log-SNR of every time."""
    n, shift = draw.integer(5, 15), draw.number(2, 5)
    equal, shifted = (piece(n, s).double()[1:-1] for s in (1.0, shift))
    moved = 2 * (torch.log((1 - shifted) / shifted) - torch.log((1 - equal) / equal))
    wanted = -2 * float(torch.tensor(shift).log())
    worst = float((moved - wanted).abs().max())
    if not worst < 1e-3:
        return (
            f"a shift of {shift} must move the log-SNR 2 log((1 - t) / t) of every time by {wanted:.4f}, and yours "
            f"moves it by {float(moved[0]):.4f} to {float(moved[-1]):.4f}"
        )
    return None


EXERCISE = Exercise(
    chapter="spiral",
    kind="schedule",
    title="Where to stop on the way",
    statement=r"""
A sampler of $n$ steps needs $n + 1$ times. Take equal steps $u_i = 1 - i/n$, from noise to data, and move them by

$$t_i = \frac{s\, u_i}{1 + (s - 1)\, u_i}$$

with the shift $s$. Both ends stay: $t_0 = 1$ and $t_n = 0$. With $s > 1$ more of the steps lie near the noise.

Why: the more numbers a sample has, the longer the noise leaves its coarse form visible, so that its fate is decided
nearer to $t = 1$. A shift takes the same $2 \log s$ from the log-SNR of every time.
""",
    reference=shifted_times,
    parts={"values": 3, "ends": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("from 1 to 0 in n steps", from_noise_to_data, "ends"),
        Property("the log-SNR moves by 2 log s", log_snr_moves_evenly),
    ),
    wrong_answers=(
        wrong(ascending),
        wrong(shifted_to_the_data),
        wrong(shift_forgotten),
        wrong(no_clean_end),
        wrong(noisy_end_missing),
        wrong(not_quite_clean),
        wrong(one_step_short),
        wrong(start_below_the_noise),
        wrong(shift_in_the_denominator_only),
        wrong(shift_added),
        wrong(shift_as_an_exponent),
        wrong(odds_of_pure_noise),
        wrong(power_of_the_time),
        wrong(times_the_shift),
        wrong(random_times, "random"),
    ),
    right_answers=(right(by_the_odds), right(loop), right(through_numpy), right(from_the_data_end)),
    hints=(
        "How many ends do n steps have, and in which order does a sampler meet them?",
        "Try u = 1 and u = 0 by hand.",
    ),
    source="Esser et al. 2024, equation 23",
)
