"""geometric_sigmas: noise levels that shrink by one factor."""

import math

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def geometric_sigmas(n: int, sigma_max: float, sigma_min: float) -> Tensor:
    """Noise levels from sigma_max down to sigma_min, each the same factor below the one before it.

    Args:
        n: how many levels, at least 2; both ends are among them.
        sigma_max: the standard deviation of the most noise, the first level.
        sigma_min: the standard deviation of the least noise, the last level.

    Returns:
        (n,), float32, falling.
    """
    return torch.exp(torch.linspace(math.log(sigma_max), math.log(sigma_min), n))


def linear_spacing(n, sigma_max, sigma_min):
    """Neighbours differ by the same amount. They should have the same ratio: with equal differences nearly all levels
    lie near sigma_max, and the step to the last one is a leap."""
    return torch.linspace(sigma_max, sigma_min, n)


def ascending(n, sigma_max, sigma_min):
    """These levels rise. Sampling starts where the noise is largest, so sigma_max comes first."""
    return torch.exp(torch.linspace(math.log(sigma_min), math.log(sigma_max), n))


def linear_in_the_variance(n, sigma_max, sigma_min):
    """Here the variances are equally far apart. What should be equal from level to level is the ratio of neighbours."""
    return torch.linspace(sigma_max**2, sigma_min**2, n).sqrt()


def exponents_for_levels(n, sigma_max, sigma_min):
    """`torch.logspace` takes exponents as its ends, so these levels run from 10 to the power sigma_max. Give it
    logarithms, or take equal steps in the logarithm yourself."""
    return torch.logspace(sigma_max, sigma_min, n)


def two_bases(n, sigma_max, sigma_min):
    """The logarithm is natural and the power is one of ten. Undo a logarithm with a power of the same base."""
    return 10 ** torch.linspace(math.log(sigma_max), math.log(sigma_min), n)


def n_intervals(n, sigma_max, sigma_min):
    """The last level is above sigma_min. n levels have n - 1 steps between them."""
    return sigma_max * (sigma_min / sigma_max) ** (torch.arange(n) / n)


def one_level_more(n, sigma_max, sigma_min):
    """These are n + 1 levels. n counts the levels, not the steps between them."""
    return torch.exp(torch.linspace(math.log(sigma_max), math.log(sigma_min), n + 1))


def zero_at_the_end(n, sigma_max, sigma_min):
    """A 0 was added at the end. The levels end at sigma_min here: no ratio leads to 0."""
    return torch.cat([torch.exp(torch.linspace(math.log(sigma_max), math.log(sigma_min), n)), torch.zeros(1)])


def variances(n, sigma_max, sigma_min):
    """These are the squares of the levels, the variances. A level is a standard deviation, like sigma_max and
    sigma_min."""
    return torch.exp(torch.linspace(math.log(sigma_max), math.log(sigma_min), n)) ** 2


def logarithms_only(n, sigma_max, sigma_min):
    """These are the logarithms of the levels. Equal steps are taken in the logarithm, and then the exponential undoes
    it."""
    return torch.linspace(math.log(sigma_max), math.log(sigma_min), n)


def powers_of_the_ratio(n, sigma_max, sigma_min):
    ratio = (sigma_min / sigma_max) ** (1 / (n - 1))
    return torch.tensor([sigma_max * ratio**i for i in range(n)])


def logspace(n, sigma_max, sigma_min):
    return torch.logspace(math.log10(sigma_max), math.log10(sigma_min), n)


def through_numpy(n, sigma_max, sigma_min):
    import numpy as np

    return torch.from_numpy(np.geomspace(sigma_max, sigma_min, n)).float()


def weighted_logs(n, sigma_max, sigma_min):
    share = torch.linspace(0, 1, n)
    return sigma_max ** (1 - share) * sigma_min**share


def cases(draw: Draw):
    yield Case("ten levels", (10, draw.number(5, 20), draw.number(0.01, 0.1)))
    yield Case("two levels", (2, draw.number(2, 9), draw.number(0.1, 0.9)))
    yield Case("many levels", (draw.integer(60, 120), draw.number(20, 50), draw.number(0.01, 0.05)))
    yield Case("all below one", (draw.integer(4, 9), draw.number(0.5, 0.9), draw.number(0.001, 0.01)))


def one_ratio(piece, draw: Draw):
    """Every level divided by the next is the same number."""
    n, most, least = draw.integer(5, 15), draw.number(5, 40), draw.number(0.01, 0.1)
    levels = piece(n, most, least).double()
    ratios = levels[:-1] / levels[1:]
    low, high, wanted = float(ratios.min()), float(ratios.max()), (most / least) ** (1 / (n - 1))
    if levels.shape == (n,) and abs(low - wanted) < 1e-4 * wanted and abs(high - wanted) < 1e-4 * wanted:
        return None
    return f"{n} levels from {most} to {least} have the ratio {wanted:.7g}; yours go from {low:.7g} to {high:.7g}"


def both_ends(piece, draw: Draw):
    """The first level is sigma_max and the last sigma_min."""
    n, most, least = draw.integer(5, 15), draw.number(5, 40), draw.number(0.01, 0.1)
    levels = piece(n, most, least)
    first, last = float(levels[0]), float(levels[-1])
    if len(levels) == n and abs(first - most) < 1e-4 * most and abs(last - least) < 1e-4 * least:
        return None
    return f"{n} levels from {most} to {least} were asked for; yours are {len(levels)}, from {first:.7g} to {last:.7g}"


EXERCISE = Exercise(
    chapter="mixture",
    kind="schedule",
    title="Levels of noise with one ratio",
    statement=r"""
Here the data are not shrunk: $x = x_0 + \sigma\, \varepsilon$. The noise falls from $\sigma_1 = \sigma_{\max}$ to
$\sigma_n = \sigma_{\min}$ with one ratio between neighbours:

$$\frac{\sigma_1}{\sigma_2} = \frac{\sigma_2}{\sigma_3} = \dots = \frac{\sigma_{n-1}}{\sigma_n} > 1.$$

With one ratio each level overlaps the next one as much as any other pair does, so that samples of one level are a good
start for the next, whether the noise is wide or narrow. Return the $n$ levels, the largest first.
""",
    reference=geometric_sigmas,
    parts={"values": 3, "both ends": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("one ratio between neighbours", one_ratio),
        Property("from sigma_max to sigma_min", both_ends, "both ends"),
    ),
    wrong_answers=(
        wrong(linear_spacing),
        wrong(ascending),
        wrong(linear_in_the_variance),
        wrong(exponents_for_levels),
        wrong(two_bases),
        wrong(n_intervals),
        wrong(one_level_more),
        wrong(zero_at_the_end),
        wrong(variances),
        wrong(logarithms_only),
    ),
    right_answers=(right(powers_of_the_ratio), right(logspace), right(through_numpy), right(weighted_logs)),
    hints=(
        "Of what number are the steps equal, if the ratio of neighbours is?",
        "Equal steps in the logarithm of sigma are equal ratios of sigma.",
    ),
    source="Song & Ermon 2019, section 4.1",
)
