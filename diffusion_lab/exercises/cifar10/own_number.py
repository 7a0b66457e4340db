"""What a schedule that stops early does to a brightness of one's own."""

import math

import torch

from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.exercises.record import right, wrong


def brightness_spread(spread: float, left: float) -> float:
    """The spread of the brightness of samples, on a schedule that stops before all data are gone.

    Args:
        spread: standard deviation of the brightness in the data, in units of the noise's own.
        left: alpha^2 at the last level, the share of the data's variance that is still there.

    Returns:
        The standard deviation of the samples' brightness. The denoiser is exact, the sampler takes many small steps
        without fresh noise, and it starts from a standard normal number.
    """
    last = left * spread**2 + 1 - left  # the variance of noisy data, from which it ought to start
    return spread / math.sqrt(last)


def as_in_the_data(spread, left):
    """This is the spread of the data. The denoiser is exact, but the sampler starts too narrow for what it was told."""
    return spread


def root_of_what_is_left(spread, left):
    """`left` is a share of the variance, and this takes it for a factor of the numbers."""
    return spread / math.sqrt(left**2 * spread**2 + 1 - left**2)


def too_wide(spread, left):
    """The samples come out wider than the data here. The start is too narrow, and the walk keeps proportions."""
    return spread * math.sqrt(left * spread**2 + 1 - left)


def what_is_left_is_lost(spread, left):
    """This takes the share that is left out of the spread. The walk stretches the start by the ratio of the spreads of
    data and noisy data, so that is what to compute."""
    return spread * math.sqrt(1 - left)


def variance_for_std(spread, left):
    """The start is compared in variances, and the answer is a standard deviation: take the root."""
    return spread / (left * spread**2 + 1 - left)


def by_walking(spread, left):
    """A Runge-Kutta walk in the log-SNR, from the last level to clean data."""

    def slope(log_snr, x):
        alpha2 = 1 / (1 + math.exp(-log_snr))
        return x * 0.5 * alpha2 * (1 - alpha2) * (spread**2 - 1) / (alpha2 * spread**2 + 1 - alpha2)

    log_snr, end, x, steps = math.log(left / (1 - left)), 20.0, 1.0, 400
    step = (end - log_snr) / steps
    for _ in range(steps):
        k1 = slope(log_snr, x)
        k2 = slope(log_snr + step / 2, x + step / 2 * k1)
        k3 = slope(log_snr + step / 2, x + step / 2 * k2)
        k4 = slope(log_snr + step, x + step * k3)
        x += step * (k1 + 2 * k2 + 2 * k3 + k4) / 6
        log_snr += step
    return x


def by_ratios(spread, left):
    data, noisy = torch.tensor([spread**2, left * spread**2 + (1 - left)], dtype=torch.float64).sqrt()
    return data / noisy


def numbers(draw):
    return {"spread": round(draw.number(3, 12), 1), "left": round(draw.number(0.01, 0.08), 3)}


TASK = OwnNumber(
    chapter="cifar10",
    title="How much brightness does your schedule lose?",
    question="""
The brightness of your pictures has a spread of {spread}, where noise has a spread of 1. At the last level of your
schedule a share {left} of the data's variance is still there. The denoiser is exact, and the sampler starts from pure
noise. What is the spread of the brightness of its pictures?
""",
    about=r"""
The book asks what goes wrong when a schedule stops a little early. Here the schedule and the pictures are your own, and
the brightness is a single normal number with mean 0.

`brightness_spread` computes the standard deviation of the samples' brightness. Without fresh noise and with many small
steps, an exact sampler keeps proportions: what starts at so many standard deviations of the *noisy* data at the last
level ends at as many standard deviations of the data. But it starts from $\mathcal N(0, 1)$.
""",
    reference=brightness_spread,
    numbers_from=numbers,
    wrong_answers=(
        wrong(as_in_the_data),
        wrong(root_of_what_is_left),
        wrong(too_wide),
        wrong(what_is_left_is_lost),
        wrong(variance_for_std),
    ),
    right_answers=(right(by_walking), right(by_ratios)),
    hints=("What is the variance of the noisy brightness at the last level?",),
    source="Lin et al. 2024, on schedules with signal at their end",
)
