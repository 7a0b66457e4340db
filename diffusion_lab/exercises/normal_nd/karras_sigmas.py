"""karras_sigmas: noise levels that crowd where it matters."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def karras_sigmas(n: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """Noise levels for n steps of a sampler, and the clean end.

    Args:
        n: how many steps, at least 2.
        sigma_min: the last level with noise.
        sigma_max: the first level.
        rho: the root in which the levels have equal distances; 1 spaces sigma itself, 7 is the paper's choice.

    Returns:
        (n + 1,), float32: n levels falling from sigma_max to sigma_min, and a final 0.
    """
    roots = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), n)
    return torch.cat([roots**rho, torch.zeros(1)])


def ascending(n, sigma_min, sigma_max, rho):
    """These levels rise. Sampling starts where the noise is largest, so sigma_max comes first and 0 last."""
    roots = torch.linspace(sigma_min ** (1 / rho), sigma_max ** (1 / rho), n)
    return torch.cat([torch.zeros(1), roots**rho])


def zero_after_rising_levels(n, sigma_min, sigma_max, rho):
    """These levels rise, and then drop to 0. They should fall all the way, from sigma_max."""
    roots = torch.linspace(sigma_min ** (1 / rho), sigma_max ** (1 / rho), n)
    return torch.cat([roots**rho, torch.zeros(1)])


def no_final_zero(n, sigma_min, sigma_max, rho):
    """The final 0 is missing. Without it sampling stops at sigma_min, and its noise stays in the samples."""
    return torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), n) ** rho


def zero_in_place_of_the_last(n, sigma_min, sigma_max, rho):
    """The 0 took the place of sigma_min. All n levels have noise, and the 0 comes after them."""
    roots = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), n)
    return torch.cat([roots[:-1] ** rho, torch.zeros(1)])


def sigma_min_never_reached(n, sigma_min, sigma_max, rho):
    """The last level with noise is above sigma_min. n levels have n - 1 steps between them."""
    share = torch.arange(n) / n
    roots = sigma_max ** (1 / rho) + share * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))
    return torch.cat([roots**rho, torch.zeros(1)])


def rho_inverted(n, sigma_min, sigma_max, rho):
    """Here the powers, not the roots, have equal distances, and nearly all levels lie close to sigma_max. They should
    crowd at the small end: look at which of the two exponents is 1 / rho."""
    powers = torch.linspace(sigma_max**rho, sigma_min**rho, n)
    return torch.cat([powers ** (1 / rho), torch.zeros(1)])


def power_forgotten(n, sigma_min, sigma_max, rho):
    """These are roots of levels. Equal steps are taken in the root, and then the root is undone."""
    roots = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), n)
    return torch.cat([roots, torch.zeros(1)])


def without_rho(n, sigma_min, sigma_max, rho):
    """The levels have equal distances whatever rho is. That is right for rho = 1 alone; larger rho crowds them at the
    small end."""
    return torch.cat([torch.linspace(sigma_max, sigma_min, n), torch.zeros(1)])


def geometric(n, sigma_min, sigma_max, rho):
    """The levels have one ratio. That is what rho goes to when it grows without limit; a finite rho lies between equal
    differences and equal ratios."""
    return torch.cat([sigma_max * (sigma_min / sigma_max) ** (torch.arange(n) / (n - 1)), torch.zeros(1)])


def one_level_more(n, sigma_min, sigma_max, rho):
    """These are n + 1 levels with noise, and the 0 besides. n counts the levels with noise, of which sigma_max and
    sigma_min are two."""
    roots = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), n + 1)
    return torch.cat([roots**rho, torch.zeros(1)])


def down_to_zero(n, sigma_min, sigma_max, rho):
    """The roots run from that of sigma_max down to 0, and sigma_min is not looked at. The levels end at sigma_min; the
    0 is put behind them, and is not one of the equal steps."""
    return torch.linspace(sigma_max ** (1 / rho), 0, n + 1) ** rho


def zero_first(n, sigma_min, sigma_max, rho):
    """The 0 comes first. The levels fall from sigma_max to sigma_min, and the 0 is the last of all."""
    roots = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), n)
    return torch.cat([torch.zeros(1), roots**rho])


def bracket_of_the_root_missing(n, sigma_min, sigma_max, rho):
    """The levels start far from sigma_max. In Python a power comes before a division: `x ** 1 / rho` is `x / rho`, and
    no root."""
    return torch.cat([torch.linspace(sigma_max / rho, sigma_min / rho, n) ** rho, torch.zeros(1)])


def sigma_min_in_place_of_zero(n, sigma_min, sigma_max, rho):
    """All n + 1 values are levels with noise, and the last is sigma_min. Of the values n have noise, and the 0 comes
    after them."""
    return torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), n + 1) ** rho


def formula_of_the_paper(n, sigma_min, sigma_max, rho):
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    levels = torch.zeros(n + 1)
    levels[:n] = (high + torch.arange(n) / (n - 1) * (low - high)) ** rho
    return levels


def by_list(n, sigma_min, sigma_max, rho):
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return torch.tensor([(high + i / (n - 1) * (low - high)) ** rho for i in range(n)] + [0.0])


def through_numpy(n, sigma_min, sigma_max, rho):
    import numpy as np

    roots = np.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), n)
    return torch.from_numpy(np.append(roots**rho, 0.0)).float()


def turned_around(n, sigma_min, sigma_max, rho):
    roots = torch.linspace(sigma_min ** (1 / rho), sigma_max ** (1 / rho), n, dtype=torch.float64)
    return torch.nn.functional.pad(roots.flip(0) ** rho, (0, 1)).float()


def cases(draw: Draw):
    yield Case("rho 7", (draw.integer(8, 15), draw.number(0.002, 0.01), draw.number(20, 80), 7.0))
    yield Case("many steps", (draw.integer(40, 80), draw.number(0.002, 0.01), draw.number(20, 80), draw.number(4, 9)))
    yield Case("a small rho", (draw.integer(5, 9), draw.number(0.01, 0.1), draw.number(3, 10), draw.number(1.5, 3)))
    yield Case("two steps", (2, draw.number(0.01, 0.1), draw.number(3, 10), draw.number(2, 7)))


def the_ends(piece, draw: Draw):
    """sigma_max first, sigma_min before the last, 0 last."""
    n, least, most = draw.integer(4, 12), draw.number(0.01, 0.1), draw.number(5, 50)
    levels = piece(n, least, most, 7.0)
    if len(levels) == n + 1:
        first, last, end = float(levels[0]), float(levels[-2]), float(levels[-1])
        if abs(first - most) < 1e-4 * most and abs(last - least) < 1e-4 * least and end == 0:
            return None
    shown = ", ".join(f"{float(level):.7g}" for level in (levels[0], *levels[-2:]))
    return (
        f"for {n} steps from {most} to {least} there are {n + 1} values, the first {most}, the last two {least} and 0; "
        f"yours are {len(levels)}, and these of them are {shown}"
    )


def equal_steps_at_rho_one(piece, draw: Draw):
    """rho = 1 spaces sigma itself, and a very large rho gives one ratio."""
    n, least, most = draw.integer(5, 9), draw.number(0.1, 0.5), draw.number(2, 5)
    if len(piece(n, least, most, 1.0)) != n + 1:
        return f"for {n} steps there are {n + 1} values; yours are {len(piece(n, least, most, 1.0))}"
    linear, ratios = piece(n, least, most, 1.0)[:n].double(), piece(n, least, most, 2000.0)[:n].double()
    steps, shares = linear[:-1] - linear[1:], ratios[:-1] / ratios[1:]
    wanted_step, wanted_share = (most - least) / (n - 1), (most / least) ** (1 / (n - 1))
    if float((steps - wanted_step).abs().max()) > 1e-4:
        return f"for rho = 1 the levels are {wanted_step:.6g} apart; yours from {steps.min():.6g} to {steps.max():.6g}"
    if float((shares - wanted_share).abs().max()) > 0.02 * wanted_share:
        return (
            f"for a very large rho neighbours have the ratio {wanted_share:.4g}; yours from {shares.min():.4g} "
            f"to {shares.max():.4g}"
        )
    return None


EXERCISE = Exercise(
    chapter="normal_nd",
    kind="schedule",
    title="Where to put the steps",
    statement=r"""
A sampler with $n$ steps visits $n$ noise levels, and ends at 0. Take equal steps in the root $\sigma^{1/\rho}$:

$$
\begin{gathered}
\sigma_i = \left( a + \frac{i}{n - 1} \left( b - a \right) \right)^{\rho}, \\
i = 0, \dots, n - 1, \qquad \sigma_n = 0, \\
a = \sigma_{\max}^{1/\rho}, \qquad b = \sigma_{\min}^{1/\rho}.
\end{gathered}
$$

With $\rho = 1$ the steps are equal; with growing $\rho$ more of them lie at small noise, where the path from noise to
data bends. The paper found $\rho$ between 5 and 10 best for images, and took 7.
""",
    reference=karras_sigmas,
    parts={"values": 3, "the ends": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("sigma_max, sigma_min and 0", the_ends, "the ends"),
        Property("rho from 1 to very large", equal_steps_at_rho_one),
    ),
    wrong_answers=(
        wrong(ascending),
        wrong(zero_after_rising_levels),
        wrong(no_final_zero),
        wrong(zero_in_place_of_the_last),
        wrong(sigma_min_never_reached),
        wrong(rho_inverted),
        wrong(power_forgotten),
        wrong(without_rho),
        wrong(geometric),
        wrong(one_level_more),
        wrong(down_to_zero),
        wrong(zero_first),
        wrong(bracket_of_the_root_missing),
        wrong(sigma_min_in_place_of_zero),
    ),
    right_answers=(right(formula_of_the_paper), right(by_list), right(through_numpy), right(turned_around)),
    hints=(
        "First find numbers with equal distances whose powers are the levels.",
        "Count the values: n levels with noise, and one without.",
    ),
    source="Karras et al. 2022, equation 5",
)
