"""Chapter 8's derivation: from decibels to a level, and to the same level on a schedule that ends in pure noise."""

import math

from diffusion_lab.exercises.derivations import Derivation, Step
from diffusion_lab.exercises.record import right, wrong


def from_decibels_to_a_level(decibels: float, loudness: float, first: float, last: float):
    """The level at which a sound has this signal-to-noise ratio, and what becomes of it on a rescaled schedule.

    Args:
        decibels: the ratio of the sound's power to the noise's, in dB.
        loudness: standard deviation of the clean sound.
        first: alpha at the first level of the schedule.
        last: alpha at its last level, which is not 0 yet.

    Returns:
        A value for each step; a step that you have not done yet stays None.
    """
    ratio = 10 ** (decibels / 10)
    sigma = 1 / math.sqrt(1 + ratio / loudness**2)
    log_snr = math.log((1 - sigma**2) / sigma**2)
    rescaled = (math.sqrt(1 - sigma**2) - last) * first / (first - last)
    after = 10 * math.log10(rescaled**2 * loudness**2 / (1 - rescaled**2))
    return ratio, sigma, log_snr, rescaled, after


def of_amplitudes(decibels):
    """This is the ratio of the amplitudes. Powers have a 10 and not a 20."""
    return 10 ** (decibels / 20)


def to_the_base_e(decibels):
    """Decibels count powers of ten, and this takes powers of e."""
    return math.exp(decibels / 10)


def noise_over_sound(decibels):
    """This is the noise's power over the sound's. More decibels mean less noise."""
    return 10 ** (-decibels / 10)


def in_bels(decibels):
    """A decibel is a tenth of a bel: divide by 10 first."""
    return 10**decibels


def loudness_forgotten(ratio):
    """This takes the sound's power for 1. Your sound has another one."""
    return 1 / math.sqrt(1 + ratio)


def variance_of_the_noise(ratio, loudness):
    """This is the variance of the noise. The level is its standard deviation."""
    return 1 / (1 + ratio / loudness**2)


def alpha_of_it(ratio, loudness):
    """This is alpha, the factor of the sound. sigma is what the noise is multiplied by."""
    return math.sqrt(ratio / (loudness**2 + ratio))


def loudness_not_squared(ratio, loudness):
    """The loudness is a standard deviation, and the ratio is about powers: square it."""
    return 1 / math.sqrt(1 + ratio / loudness)


def sound_as_before(ratio, loudness):
    """This noise comes to the whole sound. On the schedule, the sound becomes smaller as the noise grows."""
    return loudness / math.sqrt(ratio)


def in_decibels(sigma):
    """This is in decibels. The log-SNR is a natural logarithm."""
    return 10 * math.log10((1 - sigma**2) / sigma**2)


def amplitudes_again(sigma):
    """The log-SNR is about variances, and this is about standard deviations."""
    return math.log(math.sqrt(1 - sigma**2) / sigma)


def logarithm_to_base_2(sigma):
    """The log-SNR is a natural logarithm, and this one counts doublings."""
    return math.log2((1 - sigma**2) / sigma**2)


def of_your_sound(ratio):
    """This has the sound's own power in it. A schedule's log-SNR is alpha^2 over sigma^2 alone."""
    return math.log(ratio)


def alpha_not_squared(sigma):
    """alpha^2 is 1 - sigma^2: it is the squares that add up to 1."""
    return math.log((1 - sigma) ** 2 / sigma**2)


def not_stretched(sigma, last):
    """Now the last level is 0, but the first one has changed. Stretch what you have, so that it is as before."""
    return math.sqrt(1 - sigma**2) - last


def not_moved(sigma, first, last):
    """Stretching alone does not bring the last level to 0. Take it away first."""
    return math.sqrt(1 - sigma**2) * first / (first - last)


def squares_rescaled(sigma, first, last):
    """This moves and stretches alpha^2. The schedule's alpha itself is to be moved and stretched."""
    return math.sqrt(max((1 - sigma**2 - last**2) * first**2 / (first**2 - last**2), 0))


def sigma_rescaled(sigma, first, last):
    """This rescales sigma. What has to vanish at the end is alpha."""
    return (sigma - last) * first / (first - last)


def twenty_for_powers(rescaled, loudness):
    """Squares are powers already, so they have a 10. The 20 belongs to amplitudes."""
    return 20 * math.log10(rescaled**2 * loudness**2 / (1 - rescaled**2))


def loudness_left_out(rescaled):
    """The ratio of your sound to the noise has your sound's own power in it."""
    return 10 * math.log10(rescaled**2 / (1 - rescaled**2))


def noise_as_before(rescaled, loudness, sigma):
    """alpha has become smaller, so sigma has grown: their squares add up to 1."""
    return 10 * math.log10(rescaled**2 * loudness**2 / sigma**2)


def not_in_tens(rescaled, loudness):
    """Decibels are ten times the logarithm to the base 10. This one is natural."""
    return 10 * math.log(rescaled**2 * loudness**2 / (1 - rescaled**2))


def by_adding_decibels(decibels, loudness, first, last):
    """Decibels of the sound, of alpha and of sigma add up, so most of it happens in logarithms."""
    own = 20 * math.log10(loudness)
    log_snr = (decibels - own) * math.log(10) / 10
    alpha = math.sqrt(1 / (1 + math.exp(-log_snr)))
    slope = first / (first - last)
    rescaled = slope * alpha - slope * last
    after = own + 20 * math.log10(rescaled) - 10 * math.log10((1 - rescaled) * (1 + rescaled))
    return math.exp(decibels * math.log(10) / 10), math.sqrt(1 - alpha**2), log_snr, rescaled, after


def numbers(draw):
    """A level well between the ends of the schedule."""
    alpha, loudness = draw.number(0.45, 0.9), round(draw.number(0.15, 0.8), 2)
    return {
        "decibels": round(10 * math.log10(alpha**2 * loudness**2 / (1 - alpha**2)), 1),
        "loudness": loudness,
        "first": round(draw.number(0.96, 0.995), 3),
        "last": round(draw.number(0.04, 0.2), 2),
    }


TASK = Derivation(
    chapter="audio",
    title="How loud is the noise?",
    question="""
Your sound has a standard deviation of {loudness}. Noise is added until the signal-to-noise ratio is {decibels} dB. The
schedule begins with alpha = {first} and ends with alpha = {last}.
""",
    about=r"""
Audio people give the noise in decibels; a schedule gives it as $\alpha$ and $\sigma$ with $\alpha^2 + \sigma^2 = 1$.
Here you go from the one to the other for a sound of your own, $x = \alpha x_0 + \sigma \varepsilon$, and then see what
happens to it when the schedule is mended so that it ends in pure noise, as in chapter 7.
""",
    reference=from_decibels_to_a_level,
    numbers_from=numbers,
    minutes=12,
    steps=(
        Step(
            "ratio",
            r"""Decibels are ten times the logarithm, to the base 10, of a ratio of powers. What is the ratio of the
power of the sound in $x$ to the power of the noise in it?""",
            (wrong(of_amplitudes), wrong(to_the_base_e), wrong(noise_over_sound), wrong(in_bels)),
        ),
        Step(
            "sigma",
            r"""The sound in $x$ has the power $\alpha^2 s^2$, where $s$ is its standard deviation, and the noise has
$\sigma^2$. Put $\alpha^2 = 1 - \sigma^2$ in, and solve for $\sigma$. What is it?""",
            (
                wrong(loudness_forgotten),
                wrong(variance_of_the_noise),
                wrong(alpha_of_it),
                wrong(loudness_not_squared),
                wrong(sound_as_before),
            ),
        ),
        Step(
            "log_snr",
            r"""A network is told the level itself, whatever the sound: $\lambda = \ln (\alpha^2 / \sigma^2)$. What is
it?""",
            (
                wrong(in_decibels),
                wrong(amplitudes_again),
                wrong(logarithm_to_base_2),
                wrong(of_your_sound),
                wrong(alpha_not_squared),
            ),
        ),
        Step(
            "rescaled",
            r"""The schedule ends with some sound left. To mend it, every $\alpha$ is moved by the same number and then
stretched by the same factor, such that the last becomes 0 and the first stays as it is. What does the $\alpha$ of your
level become?""",
            (wrong(not_stretched), wrong(not_moved), wrong(squares_rescaled), wrong(sigma_rescaled)),
        ),
        Step(
            "after",
            r"""$\alpha^2 + \sigma^2$ is 1 on the new schedule too. How many decibels has your sound there, over the
noise?""",
            (
                wrong(twenty_for_powers),
                wrong(loudness_left_out),
                wrong(noise_as_before),
                wrong(not_in_tens),
            ),
        ),
    ),
    right_answers=(right(by_adding_decibels),),
    hints=("10 log10 of a ratio of powers is 20 log10 of the ratio of amplitudes.",),
    source="Lin et al. 2024, algorithm 1, for the schedule",
)
