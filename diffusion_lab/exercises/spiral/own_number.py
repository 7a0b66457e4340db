"""What a few straight steps leave of a spread of one's own."""

from fractions import Fraction

import torch

from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.exercises.record import right, wrong


def spread_after_steps(std: float, steps: int) -> float:
    """The standard deviation of samples after a few even Euler steps of flow matching.

    Args:
        std: standard deviation of the clean data, which are normal.
        steps: how many, of equal size, from t = 1 (noise) to t = 0 (data).

    Returns:
        The standard deviation of the samples; with infinitely many steps it would be std.
    """
    spread = 1.0
    for i in range(steps):
        t = 1 - i / steps
        slope = (t - (1 - t) * std**2) / ((1 - t) ** 2 * std**2 + t**2)  # of the mean velocity in x
        spread = spread * (1 - slope / steps)
    return abs(spread)


def the_whole_spread(std, steps):
    """This is the spread of the data. A few steps do not follow the bend of the paths, and lose some of it."""
    return std


def straight_lessons(std, steps):
    """The paths are taken for straight lines, with the velocity of the beginning all the way. That leads to the mean of
    all data, whatever the number of steps; look at the velocity anew in each step."""
    return 0.0


def velocity_of_the_end(std, steps):
    """The velocity of each step is taken where the step ends. Euler takes it where the step begins."""
    spread = 1.0
    for i in range(steps):
        t = 1 - (i + 1) / steps
        spread *= 1 - (t - (1 - t) * std**2) / ((1 - t) ** 2 * std**2 + t**2) / steps
    return abs(spread)


def data_of_spread_one(std, steps):
    """The mean velocity hangs on the spread of the data, and this takes them for standard normal."""
    return spread_after_steps(1.0, steps)


def a_step_too_few(std, steps):
    """This stops one step above the data."""
    spread = 1.0
    for i in range(steps - 1):
        t = 1 - i / steps
        spread *= 1 - (t - (1 - t) * std**2) / ((1 - t) ** 2 * std**2 + t**2) / steps
    return abs(spread)


def by_denoising(std, steps):
    """Each step moves towards the best guess of the data, by its share of the way that is left."""
    x, t = torch.tensor(1.0, dtype=torch.float64), Fraction(1)
    for _ in range(steps):
        now, after = float(t), float(t - Fraction(1, steps))
        guess = (1 - now) * std**2 / ((1 - now) ** 2 * std**2 + now**2) * x
        x, t = guess + (x - guess) * after / now, t - Fraction(1, steps)
    return x.abs()


def by_samples(std, steps):
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)
    for t in torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1]:
        share = (1 - t) * std**2 / ((1 - t) ** 2 * std**2 + t**2)  # E[x0 | x] = share * x
        noise = t / ((1 - t) ** 2 * std**2 + t**2)
        x = x - (noise - share) * x / steps
    return float(x.std() / torch.linspace(-2, 2, 5, dtype=torch.float64).std())


def numbers(draw):
    return {"std": round(draw.number(0.4, 2.5), 1), "steps": draw.integer(2, 8)}


TASK = OwnNumber(
    chapter="spiral",
    title="How wide after your steps?",
    question="""
Your data are normal with mean 0 and a standard deviation of {std}. A perfect flow-matching model draws samples with
{steps} even Euler steps from t = 1 to t = 0. What standard deviation do they have?
""",
    about=r"""
The book asks what the samples look like after a single Euler step: they all land on the mean. Here you take a few more,
and the data are your own.

`spread_after_steps` computes the standard deviation of the samples. For $x_0 \sim \mathcal N(0, s^2)$ the mean velocity
at $x_t = (1 - t)\, x_0 + t\, \varepsilon$ is

$$\mathbb E[\varepsilon - x_0 \mid x] = \frac{t - (1 - t)\, s^2}{(1 - t)^2 s^2 + t^2}\; x,$$

so each step multiplies all samples by one number.
""",
    reference=spread_after_steps,
    numbers_from=numbers,
    wrong_answers=(
        wrong(the_whole_spread),
        wrong(straight_lessons),
        wrong(velocity_of_the_end),
        wrong(data_of_spread_one),
        wrong(a_step_too_few),
    ),
    right_answers=(right(by_denoising), right(by_samples)),
    hints=("By which number does the first step multiply a sample, and the last?",),
    source="Lipman et al. 2023, section 2, for normal data",
)
