"""Euler and Heun at equal cost, with a number of calls of one's own."""

from itertools import pairwise

import torch

from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.exercises.record import right, wrong


def euler_over_heun(std: float, calls: int) -> float:
    """How many times as large Euler's error is as Heun's, at equal cost.

    Args:
        std: standard deviation of the clean data, which are normal with mean 0.
        calls: how often the denoiser may be called, an odd number. Euler takes a step for each; Heun takes two for a
            step and one for the last.

    Returns:
        The ratio of |std of the samples - std|, Euler's to Heun's. Both start from N(0, std^2 + 80^2) and walk through
        the levels of Karras et al. from 80 to 0.002, and from there to 0.
    """
    start = (std**2 + 80**2) ** 0.5

    def ends(steps: int, heun: bool) -> float:
        place = torch.linspace(0, 1, steps, dtype=torch.float64)
        levels = (80 ** (1 / 7) + place * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
        sigmas = [*levels.tolist(), 0.0]
        width = start
        for i in range(steps):
            sigma, after = sigmas[i], sigmas[i + 1]
            slope = sigma / (std**2 + sigma**2)  # dx/dsigma = slope * x
            stepped = width + (after - sigma) * slope * width
            if heun and after > 0:
                second = after / (std**2 + after**2)
                stepped = width + (after - sigma) * (slope * width + second * stepped) / 2
            width = stepped
        return width

    euler, heun = ends(calls, False), ends((calls + 1) // 2, True)
    return abs(euler - std) / abs(heun - std)


def _levels(steps, rho=7):
    place = torch.linspace(0, 1, steps, dtype=torch.float64)
    levels = (80 ** (1 / rho) + place * (0.002 ** (1 / rho) - 80 ** (1 / rho))) ** rho
    return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])


def _factors(std, sigmas, heun):
    now, after = sigmas[:-1], sigmas[1:]
    slope, second = now / (std**2 + now**2), after / (std**2 + after**2)
    euler = 1 + (after - now) * slope
    trapezoid = 1 + (after - now) * (slope + second * euler) / 2
    return torch.where(after > 0, trapezoid, euler) if heun else euler


def _error(std, sigmas, heun):
    return (_factors(std, sigmas, heun).prod() * (std**2 + 80**2) ** 0.5 - std).abs()


def same_number_of_steps(std, calls):
    """Both take as many steps here. Heun's steps cost two calls, so at equal cost it has half as many."""
    return float(_error(std, _levels(calls), False) / _error(std, _levels(calls), True))


def upside_down(std, calls):
    """This is Heun's error over Euler's. The question is how many times as large Euler's is."""
    return 1 / euler_over_heun(std, calls)


def even_levels(std, calls):
    """The levels fall evenly here, so nearly all steps are spent on pure noise. Use those of the chapter."""
    steps = ((calls, False), ((calls + 1) // 2, True))
    euler, heun = (_error(std, _levels(n, 1), is_heun) for n, is_heun in steps)
    return float(euler / heun)


def ratio_of_widths(std, calls):
    """These are the widths of the samples. What is compared is how far each of them is from the right one."""
    steps = ((calls, False), ((calls + 1) // 2, True))
    euler, heun = (_factors(std, _levels(n), is_heun).prod() for n, is_heun in steps)
    return float(euler / heun)


def by_products(std, calls):
    return float(_error(std, _levels(calls), False) / _error(std, _levels((calls + 1) // 2), True))


def by_a_sample(std, calls):
    """Any one sample shows it: all of them are stretched alike."""

    def end(sigmas, heun):
        x = torch.tensor(3 * (std**2 + 80**2) ** 0.5, dtype=torch.float64)
        for now, after in pairwise(sigmas):
            slope = (x - x * std**2 / (std**2 + now**2)) / now
            new = x + (after - now) * slope
            if heun and after > 0:
                again = (new - new * std**2 / (std**2 + after**2)) / after
                new = x + (after - now) * (slope + again) / 2
            x = new
        return x

    euler, heun = end(_levels(calls), False), end(_levels((calls + 1) // 2), True)
    return (euler - 3 * std).abs() / (heun - 3 * std).abs()


def numbers(draw):
    return {"std": round(draw.number(0.3, 1.2), 2), "calls": 2 * draw.integer(4, 24) + 1}


TASK = OwnNumber(
    chapter="normal_nd",
    title="Euler or Heun, at your price",
    question="""
You may call the denoiser {calls} times. Euler takes {calls} steps for it; Heun takes about half as many. The data are
normal with a standard deviation of {std}, and the denoiser is exact. How many times as large is Euler's error as
Heun's? Below 1, Euler is ahead.
""",
    about=r"""
The book asks whether you take 19 steps of Euler or 10 of Heun. Here the number of calls and the data are your own.

`euler_over_heun` computes the errors of both and divides Euler's by Heun's. For normal data with mean 0 and an exact
denoiser, $dx / d\sigma = \sigma x / (s^2 + \sigma^2)$, so each step multiplies all samples by the same number, and all
that can be wrong at the end is their standard deviation. Start from $\mathcal N(0, s^2 + 80^2)$. The levels are the
chapter's: `n` of them from 80 to 0.002, evenly spaced in $\sigma^{1/7}$, and then 0. For the step into 0, Heun takes
Euler's.
""",
    reference=euler_over_heun,
    numbers_from=numbers,
    wrong_answers=(wrong(same_number_of_steps), wrong(upside_down), wrong(even_levels), wrong(ratio_of_widths)),
    right_answers=(right(by_products), right(by_a_sample)),
    hints=("By which number does one step of Euler multiply a sample?",),
    source="Karras et al. 2022, equations 4 and 5 and algorithm 1",
)
