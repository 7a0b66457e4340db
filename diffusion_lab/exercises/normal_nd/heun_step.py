"""heun_step: two slopes for one step."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.inputs import data_shapes
from diffusion_lab.exercises.probes import NormalDenoiser, Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def heun_step(denoise: nn.Module, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """One step of Heun's method along the probability-flow path, from the level sigma to sigma_next.

    Args:
        denoise: called as denoise(x, sigma) with x (B, *S), of the dtype that x has here, and sigma a number, or the
            same number for each sample, (B,); returns its guess of x0, (B, *S).
        x: (B, *S), x0 + sigma noise; S can be empty.
        sigma: the level of x, positive.
        sigma_next: the level to go to, below sigma; 0 is the clean end.

    Returns:
        (B, *S), at the level sigma_next, of the dtype of x and without an autograd graph.
    """
    with torch.no_grad():
        width = sigma_next - sigma
        slope = (x - denoise(x, sigma)) / sigma
        trial = x + width * slope
        if sigma_next == 0:
            return trial
        slope_there = (trial - denoise(trial, sigma_next)) / sigma_next
        return x + width * (slope + slope_there) / 2


@torch.no_grad()
def _slope(denoise, x, sigma):
    return (x - denoise(x, sigma)) / sigma


def correction_at_the_end(denoise, x, sigma, sigma_next):
    """The correction was made at sigma = 0 too, where the slope is 0 / 0. The last step is a plain Euler step."""
    width, slope = sigma_next - sigma, _slope(denoise, x, sigma)
    return x + width * (slope + _slope(denoise, x + width * slope, sigma_next)) / 2


def states_averaged(denoise, x, sigma, sigma_next):
    """The states were averaged, and one slope was taken there. The two slopes are averaged: the one at the start, and
    the one where a full step along it leads."""
    width, slope = sigma_next - sigma, _slope(denoise, x, sigma)
    if sigma_next == 0:
        return x + width * slope
    return x + width * _slope(denoise, (x + (x + width * slope)) / 2, sigma_next)


def only_euler(denoise, x, sigma, sigma_next):
    """This is Euler's step, of first order: with twice the steps half the error is left. Heun corrects it with the
    slope at the other end, and a quarter is left."""
    return x + (sigma_next - sigma) * _slope(denoise, x, sigma)


def second_slope_alone(denoise, x, sigma, sigma_next):
    """Only the slope at the far end was used, which is of first order like Euler's step. The errors of both cancel in
    their mean."""
    width, slope = sigma_next - sigma, _slope(denoise, x, sigma)
    if sigma_next == 0:
        return x + width * slope
    return x + width * _slope(denoise, x + width * slope, sigma_next)


def corrected_from_the_trial(denoise, x, sigma, sigma_next):
    """The corrected step was added to the trial, which has made a full step already. It starts at x again."""
    width, slope = sigma_next - sigma, _slope(denoise, x, sigma)
    trial = x + width * slope
    if sigma_next == 0:
        return trial
    return trial + width * (slope + _slope(denoise, trial, sigma_next)) / 2


def slopes_added(denoise, x, sigma, sigma_next):
    """The slopes were added up. Their mean is one step; their sum is two."""
    width, slope = sigma_next - sigma, _slope(denoise, x, sigma)
    trial = x + width * slope
    if sigma_next == 0:
        return trial
    return x + width * (slope + _slope(denoise, trial, sigma_next))


def old_level_for_the_trial(denoise, x, sigma, sigma_next):
    """The second slope was taken at the old level. The trial lies at sigma_next, so both the denoiser and the division
    need that level."""
    width, slope = sigma_next - sigma, _slope(denoise, x, sigma)
    trial = x + width * slope
    if sigma_next == 0:
        return trial
    return x + width * (slope + _slope(denoise, trial, sigma)) / 2


def slope_turned_around(denoise, x, sigma, sigma_next):
    """The slope or the step has the wrong sign, so this walks away from the data. dx / dsigma is (x - D) / sigma, and
    the step, sigma_next - sigma, is negative."""
    width, slope = sigma_next - sigma, -_slope(denoise, x, sigma)
    trial = x + width * slope
    if sigma_next == 0:
        return trial
    return x + width * (slope - _slope(denoise, trial, sigma_next)) / 2


def slope_of_the_variance(denoise, x, sigma, sigma_next):
    """The slope was divided by sigma^2, which gives a score. The path is followed in sigma, and its slope is minus
    sigma times the score."""
    width, slope = sigma_next - sigma, _slope(denoise, x, sigma) / sigma
    trial = x + width * slope
    if sigma_next == 0:
        return trial
    return x + width * (slope + _slope(denoise, trial, sigma_next) / sigma_next) / 2


def no_correction_at_small_noise(denoise, x, sigma, sigma_next):
    """The correction was left out at a small sigma_next too. Only at 0 there is no slope; above it, however near, there
    is one, and the last steps with noise are corrected like all others."""
    return only_euler(denoise, x, sigma, sigma_next) if sigma_next < 0.1 else heun_step(denoise, x, sigma, sigma_next)


def no_correction_close_to_0(denoise, x, sigma, sigma_next):
    """The correction was left out close to 0 too. Only at 0 there is no slope; above it, however near, there is one."""
    return only_euler(denoise, x, sigma, sigma_next) if sigma_next < 0.001 else heun_step(denoise, x, sigma, sigma_next)


def divided_by_the_old_level(denoise, x, sigma, sigma_next):
    """The denoiser was asked at sigma_next, and the division was by the old sigma. The trial lies at sigma_next: both
    need that level."""
    width, slope = sigma_next - sigma, _slope(denoise, x, sigma)
    trial = x + width * slope
    if sigma_next == 0:
        return trial
    return x + width * (slope + _slope(denoise, trial, sigma_next) * sigma_next / sigma) / 2


@torch.no_grad()
def denoiser_asked_at_the_old_level(denoise, x, sigma, sigma_next):
    """In the second slope the denoiser was asked at the old level, and the division was by the new one. The trial lies
    at sigma_next: both need that level."""
    width, slope = sigma_next - sigma, (x - denoise(x, sigma)) / sigma
    trial = x + width * slope
    if sigma_next == 0:
        return trial
    return x + width * (slope + (trial - denoise(trial, sigma)) / sigma_next) / 2


def old_state_at_the_new_level(denoise, x, sigma, sigma_next):
    """The second slope was taken at the old x. It belongs to the trial, where a full step along the first slope
    leads."""
    width, slope = sigma_next - sigma, _slope(denoise, x, sigma)
    if sigma_next == 0:
        return x + width * slope
    return x + width * (slope + _slope(denoise, x, sigma_next)) / 2


def midpoint(denoise, x, sigma, sigma_next):
    """This is the midpoint method: it takes one slope halfway. It has order 2 too, but Heun's step is asked for, which
    takes the mean of the slopes at both ends."""
    width, slope = sigma_next - sigma, _slope(denoise, x, sigma)
    if sigma_next == 0:
        return x + width * slope
    return x + width * _slope(denoise, x + width / 2 * slope, sigma + width / 2)


def graph_left(denoise, x, sigma, sigma_next):
    """The result hangs on an autograd graph, which grows with every step until the memory is full. Sampling needs no
    gradients: say so with `torch.no_grad()`."""
    width, slope = sigma_next - sigma, (x - denoise(x, sigma)) / sigma
    trial = x + width * slope
    if sigma_next == 0:
        return trial
    return x + width * (slope + (trial - denoise(trial, sigma_next)) / sigma_next) / 2


@torch.no_grad()
def slope_not_divided(denoise, x, sigma, sigma_next):
    """The slopes were not divided by their levels. What is taken off x is all of its noise; the slope is what belongs
    to one unit of sigma."""
    width, slope = sigma_next - sigma, x - denoise(x, sigma)
    trial = x + width * slope
    if sigma_next == 0:
        return trial
    return x + width * (slope + trial - denoise(trial, sigma_next)) / 2


@torch.no_grad()
def something_added_to_the_level(denoise, x, sigma, sigma_next):
    """A little was added to sigma_next against the division by 0. At sigma_next = 0 that makes a slope which is huge.
    There is no slope: the trial is the result."""
    width, slope = sigma_next - sigma, _slope(denoise, x, sigma)
    trial = x + width * slope
    return x + width * (slope + (trial - denoise(trial, sigma_next)) / (sigma_next + 1e-8)) / 2


@torch.no_grad()
def correction_of_the_trial(denoise, x, sigma, sigma_next):
    width, slope = sigma_next - sigma, (x - denoise(x, sigma)) / sigma
    trial = torch.add(x, slope, alpha=width)
    if not sigma_next > 0:
        return trial
    return trial + width / 2 * ((trial - denoise(trial, sigma_next)) / sigma_next - slope)


@torch.inference_mode()
def by_shares(denoise, x, sigma, sigma_next):
    share = sigma_next / sigma
    clean = denoise(x, sigma)
    trial = share * x + (1 - share) * clean
    if sigma_next == 0:
        return trial
    there = (trial - denoise(trial, sigma_next)) / sigma_next
    return x + 0.5 * (share - 1) * (x - clean) + 0.5 * (sigma_next - sigma) * there


def float64_inside(denoise, x, sigma, sigma_next):
    with torch.no_grad():
        start = x.double()
        slope = (start - denoise(x, sigma)) / sigma
        trial = start + (sigma_next - sigma) * slope
        if sigma_next != 0:
            slope = (slope + (trial - denoise(trial.to(x.dtype), sigma_next)) / sigma_next) / 2
        return (start + (sigma_next - sigma) * slope).to(x.dtype)


def detached(denoise, x, sigma, sigma_next):
    def noise_at(state, level):
        return (state - denoise(state, level).detach()) / level

    first = noise_at(x, sigma)
    trial = x - (sigma - sigma_next) * first
    if sigma_next == 0:
        return trial
    return x - (sigma - sigma_next) * torch.stack([first, noise_at(trial, sigma_next)]).mean(dim=0)


def told_for_each_sample(denoise, x, sigma, sigma_next):
    with torch.no_grad():
        slope = (x - denoise(x, torch.full((len(x),), sigma))) / sigma
        trial = x + (sigma_next - sigma) * slope
        if sigma_next > 0:
            there = (trial - denoise(trial, torch.full((len(x),), sigma_next))) / sigma_next
            trial = x + (sigma_next - sigma) * (slope + there) / 2
        return trial


def told_in_tensors(denoise, x, sigma, sigma_next):
    with torch.no_grad():
        now, after = torch.as_tensor(sigma, dtype=x.dtype), torch.as_tensor(sigma_next, dtype=x.dtype)
        slope = (x - denoise(x, now)) / now
        trial = x + (after - now) * slope
        return trial if after == 0 else x + (after - now) * (slope + (trial - denoise(trial, after)) / after) / 2


def _level(draw: Draw, low: float, high: float) -> float:
    """A number that float32 holds exactly: the denoiser may be told it in either dtype."""
    return round(1024 * draw.number(low, high)) / 1024


def cases(draw: Draw):
    for shape, label, _ in data_shapes(draw):
        levels = _level(draw, 1.0, 3.0), _level(draw, 0.3, 0.7)
        yield Case(label, (Probe(draw.integer(0, 99)), draw.normal(*shape), *levels), "a step")
    for sigma, sigma_next in (
        (_level(draw, 0.15, 0.3), _level(draw, 0.05, 0.08)),
        (_level(draw, 0.012, 0.03), 1 / 4096),
        (80.0, _level(draw, 50.0, 60.0)),
    ):
        arguments = Probe(draw.integer(0, 99)), max(1.0, sigma) * draw.normal(3, 2), sigma, sigma_next
        yield Case(f"from {sigma:.4g} to {sigma_next:.4g}", arguments, "a step")
    for shape in ((draw.integer(3, 6), draw.integer(2, 5)), (1, 3, 4, 4), (4,)):
        arguments = Probe(draw.integer(0, 99)), draw.normal(*shape), _level(draw, 0.2, 2.0), 0.0
        yield Case("the last step, to sigma_next = 0", arguments, "the last step")


def the_denoiser_has_the_last_word(piece, draw: Draw):
    """A straight step from sigma to 0 ends at D(x, sigma)."""
    mean, cov, sigma = draw.normal(3), draw.covariance(3), _level(draw, 0.1, 2.0)
    denoise, x = NormalDenoiser(mean, cov), draw.normal(5, 3)
    worst = float((piece(denoise, x, sigma, 0.0) - denoise(x, sigma)).abs().max())
    return None if worst < 1e-5 else f"the step to sigma_next = 0 ends at D(x, sigma); yours is off by {worst:.3g}"


STEPS = (10, 40)


def second_order(piece, draw: Draw):
    """The error against the exact map of a normal falls like the number of steps to the power -2."""
    mean, cov = draw.normal(2), draw.covariance(2)
    high, low = draw.number(4.0, 8.0), draw.number(0.2, 0.4)
    start = mean + high * draw.normal(6, 2)
    values, axes = torch.linalg.eigh(cov)
    # Along each axis the distance to the mean shrinks like the standard deviation of x.
    exact = mean + ((start - mean) @ axes * torch.sqrt((values + low**2) / (values + high**2))) @ axes.T
    errors = []
    for steps in STEPS:
        levels = torch.linspace(high ** (1 / 7), low ** (1 / 7), steps + 1, dtype=torch.float64).pow(7).tolist()
        x = start
        for sigma, sigma_next in pairwise(levels):
            x = piece(NormalDenoiser(mean, cov), x, sigma, sigma_next)
        errors.append(float((x - exact).square().mean().sqrt()))
    if not all(0 < error < 1e6 for error in errors):
        return f"after {STEPS[-1]} steps from {high} to {low} the error against the exact path is {errors[-1]:.3g}"
    slope = -math.log(errors[-1] / errors[0]) / math.log(STEPS[-1] / STEPS[0])
    if 1.7 < slope < 2.6:
        return None
    return (
        f"with {STEPS[0]} and {STEPS[-1]} steps the error against the exact path is {errors[0]:.3g} and "
        f"{errors[-1]:.3g}: order {slope:.2f}, and Heun's method has order 2 (Euler's, like DDIM, 1)"
    )


EXERCISE = Exercise(
    chapter="normal_nd",
    kind="sampler",
    title="Two slopes for one step",
    statement=r"""
On $x = x_0 + \sigma\, \varepsilon$ the probability-flow path from noise to data has the slope

$$\frac{\mathrm d x}{\mathrm d \sigma} = \frac{x - D(x, \sigma)}{\sigma}.$$

Euler's step follows the slope at its start, and its error falls like $1 / n$ with the number of steps. Heun's step goes
there on trial, looks at the slope at the other end, and takes the mean of both from the start:

$$
\begin{aligned}
x' &= x + (\sigma' - \sigma)\, d, \\
x_{\text{next}} &= x + (\sigma' - \sigma)\, \frac{d + d'}{2},
\end{aligned}
$$

with $d$ the slope at $(x, \sigma)$ and $d'$ the slope at $(x', \sigma')$. Its error falls like $1 / n^2$: for a normal
distribution the exact path is known, and your step is held against it. At $\sigma' = 0$ there is no slope, and the
trial is the result; above 0, however near, every step has both slopes. Tell the denoiser the level as a number or as
one number for each sample, as you like. Leave no autograd graph behind: a sampler makes many steps.
""",
    reference=heun_step,
    parts={"a step": 3, "the last step": 2, "order 2": 2, CARE: 1},
    cases=cases,
    properties=(
        Property("the last step ends at D(x, sigma)", the_denoiser_has_the_last_word, "the last step"),
        Property("twice the steps, a quarter of the error", second_order, "order 2"),
    ),
    wrong_answers=(
        wrong(correction_at_the_end),
        wrong(states_averaged),
        wrong(only_euler),
        wrong(second_slope_alone),
        wrong(corrected_from_the_trial),
        wrong(slopes_added),
        wrong(old_level_for_the_trial),
        wrong(slope_turned_around),
        wrong(slope_of_the_variance),
        wrong(no_correction_at_small_noise),
        wrong(no_correction_close_to_0),
        wrong(divided_by_the_old_level),
        wrong(denoiser_asked_at_the_old_level),
        wrong(old_state_at_the_new_level),
        wrong(midpoint),
        wrong(graph_left, "graph"),
        wrong(slope_not_divided),
        wrong(something_added_to_the_level),
    ),
    right_answers=(
        right(correction_of_the_trial),
        right(by_shares),
        right(float64_inside),
        right(detached),
        right(told_for_each_sample),
        right(told_in_tensors),
    ),
    hints=(
        "How many times is the denoiser called, and at which levels?",
        "What is averaged: where the step leads, or which way it goes?",
        "Look at the division in the second slope when sigma_next is 0.",
    ),
    source="Karras et al. 2022, algorithm 1 without its noise",
    like="x",
)
