"""How much of a sound of one's own stands out of white noise."""

import math

import torch

from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.exercises.record import right, wrong


def share_above_noise(corner: float, log_snr: float) -> float:
    """The share of the frequencies at which a sound is louder than white noise.

    Args:
        corner: Hz; the power of the sound at frequency f is proportional to 1 / (1 + (f / corner)^2).
        log_snr: the logarithm of the sound's power over the noise's, both from 0 to 4,000 Hz.

    Returns:
        Between 0 and 1.
    """
    mean = corner / 4000 * math.atan(4000 / corner)  # of the sound's power, where it is 1 at 0 Hz
    noise = mean * math.exp(-log_snr)
    crossing = corner * math.sqrt(1 / noise - 1)
    return crossing / 4000


def half_of_them(corner, log_snr):
    """Equal power does not make half of the frequencies louder: the sound's power sits in a few of them."""
    return 1 / (1 + math.exp(-log_snr))


def as_loud_as_at_the_bottom(corner, log_snr):
    """The noise is compared with the sound's power at 0 Hz. The log-SNR is about the power of all frequencies."""
    noise = math.exp(-log_snr)
    return corner * math.sqrt(max(1 / noise - 1, 0.0)) / 4000


def more_noise_for_more_snr(corner, log_snr):
    """A larger log-SNR makes the noise louder here."""
    mean = corner / 4000 * math.atan(4000 / corner)
    return corner * math.sqrt(max(1 / (mean * math.exp(log_snr)) - 1, 0.0)) / 4000


def decibels(corner, log_snr):
    """The log-SNR is a natural logarithm, and this takes it for decibels."""
    return share_above_noise(corner, log_snr * math.log(10) / 10)


def power_for_amplitude(corner, log_snr):
    """This compares amplitudes with a power. Square them first."""
    mean = corner / 4000 * math.atan(4000 / corner)
    noise = mean * math.exp(-log_snr)
    return corner * math.sqrt(max(1 / noise**2 - 1, 0.0)) / 4000


def by_counting(corner, log_snr):
    f = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 100
    power = 1 / (1 + (f / corner) ** 2)
    return (power > power.mean() * math.exp(-log_snr)).double().mean()


def by_halving(corner, log_snr):
    noise = corner / 4000 * math.atan(4000 / corner) / math.exp(log_snr)
    low, high = 0.0, 4000.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 / (1 + (middle / corner) ** 2) > noise else (low, middle)
    return low / 4000


def numbers(draw):
    """A sound that crosses the noise somewhere between 2 % and 95 % of the frequencies."""
    while True:
        found = {"corner": 10 * draw.integer(10, 60), "log_snr": round(draw.number(-1.5, 1.8), 1)}
        noise = found["corner"] / 4000 * math.atan(4000 / found["corner"]) * math.exp(-found["log_snr"])
        if noise < 0.9 and 0.02 < share_above_noise(**found) < 0.95:
            return found


TASK = OwnNumber(
    chapter="audio",
    title="What can be heard above your noise?",
    question="""
The power of a sound falls with the frequency f as 1 / (1 + (f / {corner} Hz)²), from 0 to 4,000 Hz. White noise is
added until the log-SNR is {log_snr}. At what share of the frequencies is the sound still louder than the noise?
""",
    about=r"""
The book asks at how many frequencies speech is louder than noise of the same power. Here the sound and the level are
your own.

`share_above_noise` computes the share. White noise has the same power at every frequency, and the log-SNR says what
that is: $\lambda = \log$ of the sound's power over the noise's, both taken over all frequencies. The mean of
$1 / (1 + (f / c)^2)$ from 0 to $F$ is $\frac cF \arctan \frac Fc$.
""",
    reference=share_above_noise,
    numbers_from=numbers,
    wrong_answers=(
        wrong(half_of_them),
        wrong(as_loud_as_at_the_bottom),
        wrong(more_noise_for_more_snr),
        wrong(decibels),
        wrong(power_for_amplitude),
    ),
    right_answers=(right(by_counting), right(by_halving)),
    hints=("How loud is the noise, where the sound's power is 1 at 0 Hz?",),
    source="the chapter's section on noise and spectra",
)
