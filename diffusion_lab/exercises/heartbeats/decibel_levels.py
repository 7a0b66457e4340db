"""decibel_levels: noise levels in even steps of decibels."""

import math

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def decibel_levels(highest: float, lowest: float, steps: int) -> Tensor:
    """Levels whose signal-to-noise ratio falls by the same number of decibels from each to the next.

    Args:
        highest: the ratio at the first level in dB, for data of variance 1.
        lowest: that at the last level in dB, below `highest`.
        steps: how many levels, at least 2.

    Returns:
        (steps,) float64: alpha_bar of each level, falling.
    """
    decibels = torch.linspace(highest, lowest, steps, dtype=torch.float64)
    ratio = 10 ** (decibels / 10)
    return ratio / (1 + ratio)


def _line(highest, lowest, steps):
    return torch.linspace(highest, lowest, steps, dtype=torch.float64)


def decibels_of_amplitudes(highest, lowest, steps):
    """Decibels were divided by 20, as for amplitudes. The signal-to-noise ratio compares powers, and ten decibels are a
    factor of ten in power."""
    ratio = 10 ** (_line(highest, lowest, steps) / 20)
    return ratio / (1 + ratio)


def decibels_taken_for_nats(highest, lowest, steps):
    """Decibels went straight into the sigmoid, as if they were natural logarithms. A decibel is a tenth of a logarithm
    to base 10: the ratio is 10 to the power of dB / 10."""
    return _line(highest, lowest, steps).sigmoid()


def bels_taken_for_decibels(highest, lowest, steps):
    """The ratio is 10 to the power of the decibels themselves. Those would be bels; a decibel is a tenth of one."""
    ratio = 10 ** _line(highest, lowest, steps)
    return ratio / (1 + ratio)


def natural_base(highest, lowest, steps):
    """The ratio was taken as e to the power of dB / 10. Decibels count in powers of 10."""
    return (_line(highest, lowest, steps) / 10).sigmoid()


def ratio_left_as_it_is(highest, lowest, steps):
    """This is the ratio of powers itself. Turn it into alpha_bar, the signal's share of signal and noise together."""
    return 10 ** (_line(highest, lowest, steps) / 10)


def share_of_the_noise(highest, lowest, steps):
    """This is 1 - alpha_bar, the share of the noise. alpha_bar is the share of the signal, and falls from level to
    level."""
    return 1 / (1 + 10 ** (_line(highest, lowest, steps) / 10))


def alpha_for_alpha_bar(highest, lowest, steps):
    """The root was taken, which gives alpha, the factor of the data. alpha_bar is its square, a share of the
    variance."""
    return (1 / (1 + 10 ** (-_line(highest, lowest, steps) / 10))).sqrt()


def noise_of_deviation_one(highest, lowest, steps):
    """The ratio was set equal to alpha_bar over 1. On this path the noise shrinks where the data grow: its variance is
    1 - alpha_bar."""
    return (10 ** (_line(highest, lowest, steps) / 10)).clamp(max=1)


def rising(highest, lowest, steps):
    """These levels rise. Entry 0 is the level with the least noise, as in every table of alpha_bar."""
    return 1 / (1 + 10 ** (-_line(lowest, highest, steps) / 10))


def even_in_alpha_bar(highest, lowest, steps):
    """The two ends are right, and between them alpha_bar falls evenly. Even steps are asked for in decibels."""
    first, last = (1 / (1 + 10 ** (-end / 10)) for end in (highest, lowest))
    return torch.linspace(first, last, steps, dtype=torch.float64)


def even_in_the_ratio(highest, lowest, steps):
    """The ratios fall by equal differences. In decibels equal steps are equal quotients: take even steps before the
    power of 10, not after it."""
    ratio = torch.linspace(10 ** (highest / 10), 10 ** (lowest / 10), steps, dtype=torch.float64)
    return ratio / (1 + ratio)


def last_level_missing(highest, lowest, steps):
    """The last level does not reach `lowest`: the line was cut into `steps` pieces, and n levels have n - 1 steps
    between them."""
    return (1 / (1 + 10 ** (-_line(highest, lowest, steps + 1) / 10)))[:-1]


def first_level_missing(highest, lowest, steps):
    """The first level is a step below `highest`. Both ends are levels: n of them have n - 1 steps between them."""
    return (1 / (1 + 10 ** (-_line(highest, lowest, steps + 1) / 10)))[1:]


def by_sigmoid(highest, lowest, steps):
    return torch.sigmoid(_line(highest, lowest, steps) * math.log(10) / 10)


def one_level_after_the_other(highest, lowest, steps):
    quotient = 10 ** ((lowest - highest) / (steps - 1) / 10)
    ratios = [10 ** (highest / 10) * quotient**i for i in range(steps)]
    return torch.tensor([ratio / (1 + ratio) for ratio in ratios], dtype=torch.float64)


def through_numpy(highest, lowest, steps):
    import numpy as np

    return torch.from_numpy(1 / (1 + np.logspace(-highest / 10, -lowest / 10, steps)))


def cases(draw: Draw):
    yield Case("from little noise to much", (draw.number(20, 40), draw.number(-40, -20), draw.integer(8, 20)))
    yield Case("signal louder than noise throughout", (draw.number(25, 30), draw.number(3, 9), draw.integer(5, 9)))
    yield Case("noise louder than signal throughout", (draw.number(-9, -3), draw.number(-30, -25), draw.integer(5, 9)))
    yield Case("two levels", (draw.number(5, 12), draw.number(-12, -5), 2), "both ends")
    yield Case("a single decibel", (draw.number(1, 2), draw.number(-1, 0), draw.integer(4, 8)), "both ends")


def measured(piece, draw: Draw):
    """Ten times the logarithm of the two variances, signal over noise, at every level."""
    highest, lowest, steps = draw.number(10, 25), draw.number(-25, -10), draw.integer(5, 12)
    kept = piece(highest, lowest, steps)
    if kept.shape != (steps,):
        return f"for {steps} levels the shape is {tuple(kept.shape)}"
    found = 10 * (kept / (1 - kept)).log10()
    wanted = torch.tensor([highest + (lowest - highest) * i / (steps - 1) for i in range(steps)], dtype=torch.float64)
    if bool(((found - wanted).abs() < 1e-6).all()):
        return None
    row = int((found - wanted).abs().nan_to_num(torch.inf).argmax())
    return f"level {row} is at {float(found[row]):.4g} dB, and {float(wanted[row]):.4g} dB is right"


EXERCISE = Exercise(
    chapter="heartbeats",
    kind="schedule",
    title="Levels by the decibel",
    statement=r"""
Engineers state the quality of a recording in decibels, ten times the logarithm to base 10 of a ratio of powers. Data
of variance 1 at level $\bar\alpha$ stand at

$$10 \log_{10} \frac{\bar\alpha}{1 - \bar\alpha} \ \text{dB}.$$

Between beats the line of an electrocardiogram is nearly flat, and little noise shows on it: a sampler must spend as
many steps on the small noise as on the large. Return $\bar\alpha$ at levels that fall by the same number of decibels
each, from the highest to the lowest, both included.
""",
    reference=decibel_levels,
    parts={"values": 3, "both ends": 1, CARE: 1},
    cases=cases,
    properties=(Property("decibels measured from the two variances", measured),),
    wrong_answers=(
        wrong(decibels_of_amplitudes),
        wrong(decibels_taken_for_nats),
        wrong(bels_taken_for_decibels),
        wrong(natural_base),
        wrong(ratio_left_as_it_is),
        wrong(share_of_the_noise),
        wrong(alpha_for_alpha_bar),
        wrong(noise_of_deviation_one),
        wrong(rising),
        wrong(even_in_alpha_bar),
        wrong(even_in_the_ratio),
        wrong(last_level_missing),
        wrong(first_level_missing),
    ),
    right_answers=(right(by_sigmoid), right(one_level_after_the_other), right(through_numpy)),
    hints=(
        "How much louder is a signal of 10 dB than one of 0 dB, in power?",
        "Go from decibels to the ratio of powers, and from there to the signal's share of the whole.",
    ),
    source="Even steps in log-SNR: Lu et al. 2022, section 3.4",
)
