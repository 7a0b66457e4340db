"""ddim_step: from one level to any cleaner one, with as much noise as you like."""

from itertools import pairwise

import torch
from torch import Tensor

from diffusion_lab.exercises.inputs import data_shapes
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def ddim_step(x: Tensor, alpha_bar_t: Tensor, alpha_bar_s: Tensor, eps: Tensor, eta: float, noise: Tensor) -> Tensor:
    """From x at level t to a cleaner level s, given the guessed noise.

    Args:
        x: (B, *S), at level t.
        alpha_bar_t: (), the level now, above 0, the same for the batch.
        alpha_bar_s: (), the level to reach: alpha_bar_t < alpha_bar_s <= 1, where 1 is the data.
        eps: (B, *S), the guess of the noise in x.
        eta: from 0 for no noise to 1 for as much as ancestral sampling has.
        noise: (B, *S), fresh standard normal noise.

    Returns:
        (B, *S), at level s, of the dtype of x.
    """
    x0 = (x - (1 - alpha_bar_t).sqrt() * eps) / alpha_bar_t.sqrt()
    variance = eta**2 * (1 - alpha_bar_s) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_s)
    variance = variance.clamp(min=0)
    remaining = (1 - alpha_bar_s - variance).clamp(min=0)  # rounding must not lead below 0
    return alpha_bar_s.sqrt() * x0 + remaining.sqrt() * eps + variance.sqrt() * noise


def _x0(x, kept, eps):
    return (x - (1 - kept).sqrt() * eps) / kept.sqrt()


def _variance(t, s):
    """Of the noise at eta = 1."""
    return (1 - s) / (1 - t) * (1 - t / s)


def levels_swapped(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """The two levels have changed places. x is at level t, where x0 is found; the result is at level s, which is
    cleaner."""
    return ddim_step(x, alpha_bar_s, alpha_bar_t, eps, eta, noise)


def direction_without_minus_the_variance(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """The direction towards x_t still has all of the noise of level s, and the fresh noise comes on top. The two
    together have the variance 1 - alpha_bar_s: what is fresh is taken from the direction."""
    variance = eta**2 * _variance(alpha_bar_t, alpha_bar_s)
    direction = (1 - alpha_bar_s).sqrt() * eps
    return alpha_bar_s.sqrt() * _x0(x, alpha_bar_t, eps) + direction + variance.sqrt() * noise


def direction_minus_the_deviation(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """The standard deviation of the fresh noise was taken from 1 - alpha_bar_s. Variances add and subtract: take its
    square."""
    fresh = eta * _variance(alpha_bar_t, alpha_bar_s).sqrt()
    direction = (1 - alpha_bar_s - fresh).clamp(min=0).sqrt() * eps
    return alpha_bar_s.sqrt() * _x0(x, alpha_bar_t, eps) + direction + fresh * noise


def alpha_of_one_step(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """x0 was found with alpha_bar_t / alpha_bar_s, what is kept between the two levels. The way back to the data is
    longer: all that is kept up to t is alpha_bar_t."""
    variance = eta**2 * _variance(alpha_bar_t, alpha_bar_s)
    direction = (1 - alpha_bar_s - variance).clamp(min=0).sqrt() * eps
    x0 = _x0(x, alpha_bar_t / alpha_bar_s, eps)
    return alpha_bar_s.sqrt() * x0 + direction + variance.sqrt() * noise


def eta_not_used(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """eta has no effect: the step is always deterministic. eta scales the standard deviation of the fresh noise."""
    return ddim_step(x, alpha_bar_t, alpha_bar_s, eps, 0.0, noise)


def eta_scales_the_variance(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """eta was multiplied with the variance, which 0 and 1 do not show. It multiplies the standard deviation."""
    return ddim_step(x, alpha_bar_t, alpha_bar_s, eps, eta**0.5, noise)


def variance_as_a_deviation(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """The noise was multiplied by the variance. Its standard deviation is the square root of it."""
    variance = eta**2 * _variance(alpha_bar_t, alpha_bar_s)
    direction = (1 - alpha_bar_s - variance).clamp(min=0).sqrt() * eps
    return alpha_bar_s.sqrt() * _x0(x, alpha_bar_t, eps) + direction + variance * noise


def variance_of_the_forward_step(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """The fresh noise has the variance of the forward step from s to t. The way back needs less: times the noise at s
    over the noise at t, which ends at 0."""
    variance = eta**2 * (1 - alpha_bar_t / alpha_bar_s)
    direction = (1 - alpha_bar_s - variance).clamp(min=0).sqrt() * eps
    return alpha_bar_s.sqrt() * _x0(x, alpha_bar_t, eps) + direction + variance.sqrt() * noise


def data_not_scaled_back(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """The noise was taken from x and the rest not divided by the square root of alpha_bar_t. x holds the data times
    that factor."""
    variance = eta**2 * _variance(alpha_bar_t, alpha_bar_s)
    direction = (1 - alpha_bar_s - variance).clamp(min=0).sqrt() * eps
    x0 = x - (1 - alpha_bar_t).sqrt() * eps
    return alpha_bar_s.sqrt() * x0 + direction + variance.sqrt() * noise


def data_at_once(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """This is the estimate of x0 in every step, whatever s is. One guess from much noise is blurred: go to level s, and
    guess again there."""
    return _x0(x, alpha_bar_t, eps)


def data_near_the_end(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """Near alpha_bar_s = 1 the estimate of x0 was returned. Only at 1 itself it is the result, and the formula gives it
    there: below 1, however near, level s has noise."""
    if alpha_bar_s > 0.99:
        return _x0(x, alpha_bar_t, eps)
    return ddim_step(x, alpha_bar_t, alpha_bar_s, eps, eta, noise)


def variance_upside_down(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """The first fraction of the variance is upside down. The noise at s stands over the noise at t: the fresh noise
    goes to 0 where s is the data."""
    variance = eta**2 * (1 - alpha_bar_t) / (1 - alpha_bar_s) * (1 - alpha_bar_t / alpha_bar_s)
    direction = (1 - alpha_bar_s - variance).clamp(min=0).sqrt() * eps
    return alpha_bar_s.sqrt() * _x0(x, alpha_bar_t, eps) + direction + variance.sqrt() * noise


def step_between_upside_down(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """In the variance alpha_bar_s was divided by alpha_bar_t, which is more than 1. What is kept from s to t is
    alpha_bar_t over alpha_bar_s, and the rest up to 1 is the noise of that way."""
    variance = eta**2 * (1 - alpha_bar_s) / (1 - alpha_bar_t) * (1 - alpha_bar_s / alpha_bar_t).abs()
    direction = (1 - alpha_bar_s - variance).clamp(min=0).sqrt() * eps
    return alpha_bar_s.sqrt() * _x0(x, alpha_bar_t, eps) + direction + variance.sqrt() * noise


def old_noise_left_out(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """The estimate of x0 was scaled to level s, and the guessed noise was not put back. At level s there is noise of
    the variance 1 - alpha_bar_s: what is not fresh is the old one."""
    return alpha_bar_s.sqrt() * _x0(x, alpha_bar_t, eps) + eta * _variance(alpha_bar_t, alpha_bar_s).sqrt() * noise


def roots_left_out(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """The estimate of x0 has alpha_bar_t and 1 - alpha_bar_t as factors. They are variances: the factors are their
    square roots."""
    variance = eta**2 * _variance(alpha_bar_t, alpha_bar_s)
    direction = (1 - alpha_bar_s - variance).clamp(min=0).sqrt() * eps
    x0 = (x - (1 - alpha_bar_t) * eps) / alpha_bar_t
    return alpha_bar_s.sqrt() * x0 + direction + variance.sqrt() * noise


def data_at_full_size(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """The estimate of x0 was put into x_s at full size. At level s the data have the factor sqrt(alpha_bar_s)."""
    variance = eta**2 * _variance(alpha_bar_t, alpha_bar_s)
    direction = (1 - alpha_bar_s - variance).clamp(min=0).sqrt() * eps
    return _x0(x, alpha_bar_t, eps) + direction + variance.sqrt() * noise


def clean_data_clipped(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """The estimate of x0 was clipped to [-1, 1], as code for images does. These data know no such limits, and the step
    has none."""
    variance = eta**2 * _variance(alpha_bar_t, alpha_bar_s)
    direction = (1 - alpha_bar_s - variance).clamp(min=0).sqrt() * eps
    return alpha_bar_s.sqrt() * _x0(x, alpha_bar_t, eps).clamp(-1, 1) + direction + variance.sqrt() * noise


def fresh_noise(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    """Noise was drawn inside. It is handed in, so that a run can be repeated."""
    return ddim_step(x, alpha_bar_t, alpha_bar_s, eps, eta, torch.randn_like(noise))


def as_factors_of_x_and_eps(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    spread = eta * torch.sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) * torch.sqrt(1 - alpha_bar_t / alpha_bar_s)
    of_x = torch.sqrt(alpha_bar_s / alpha_bar_t)
    of_eps = torch.sqrt((1 - alpha_bar_s - spread**2).clamp(min=0)) - of_x * torch.sqrt(1 - alpha_bar_t)
    return of_x * x + of_eps * eps + spread * noise


def in_plain_numbers(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    t, s = float(alpha_bar_t), float(alpha_bar_s)
    spread = eta * ((1 - s) / (1 - t) * (1 - t / s)) ** 0.5
    x0 = x / t**0.5 - ((1 - t) / t) ** 0.5 * eps
    return s**0.5 * x0 + max(1 - s - spread**2, 0) ** 0.5 * eps + spread * noise


def float64_inside(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    return ddim_step(x.double(), alpha_bar_t.double(), alpha_bar_s.double(), eps.double(), eta, noise.double()).to(
        x.dtype
    )


def through_numpy(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    import numpy as np

    t, s = alpha_bar_t.double().numpy(), alpha_bar_s.double().numpy()
    spread = eta * np.sqrt((1 - s) / (1 - t) * (1 - t / s))
    x0 = (x.numpy() - np.sqrt(1 - t) * eps.numpy()) / np.sqrt(t)
    found = np.sqrt(s) * x0 + np.sqrt(max(1 - s - spread**2, 0.0)) * eps.numpy() + spread * noise.numpy()
    return torch.from_numpy(found).to(x.dtype)


def _levels(draw: Draw, last: bool = False):
    """Two levels, both far from the ends unless s is the data."""
    now = draw.number(0.05, 0.5)
    after = 1.0 if last else draw.number(now + 0.15, 0.95)
    return torch.tensor(now, dtype=torch.float64), torch.tensor(after, dtype=torch.float64)


def _angle(value: float) -> Tensor:
    return torch.arccos(torch.tensor(value, dtype=torch.float64))


def cases(draw: Draw):
    for i, (shape, kind, _) in enumerate(data_shapes(draw)):
        for eta in (0.0, draw.number(0.3, 0.8) if i else 1.0):
            now, after = _levels(draw)
            label = f"eta {eta:g}, alpha_bar {float(now):g} to {float(after):g}, {kind}"
            x, eps, noise = (draw.normal(*shape) for _ in range(3))
            yield Case(label, (x, now, after, eps, eta, noise), "eta > 0" if eta else "eta = 0")
    for shape, eta in zip(draw.shapes()[:3], (0.0, 1.0, draw.number(0.3, 0.8)), strict=True):
        now, after = _levels(draw, last=True)
        x, eps, noise = (draw.normal(*shape) for _ in range(3))
        yield Case(f"eta {eta:g}, alpha_bar {float(now):g} to 1", (x, now, after, eps, eta, noise), "the last step")
    for first, last in ((draw.number(0.001, 0.003), draw.number(0.02, 0.1)), (draw.number(0.9, 0.95), 0.999)):
        now, after = (torch.tensor(level, dtype=torch.float64) for level in (first, last))
        for eta in (0.0, draw.number(0.3, 0.8), 1.0):
            x, eps, noise = (draw.normal(4, 2) for _ in range(3))
            label = f"eta {eta:g}, alpha_bar {first:g} to {last:g}"
            yield Case(label, (x, now, after, eps, eta, noise), "eta > 0" if eta else "eta = 0")


def follows_the_exact_map(piece, draw: Draw):
    """Correlated normal data with their exact noise: twice the steps, half the distance to the exact map.

    Along each axis of the covariance the probability flow scales the deviation by sqrt(V_s / V_t).
    """
    cov, mean = draw.covariance(2), draw.normal(2)
    variances, axes = torch.linalg.eigh(cov)
    first, last = draw.number(0.03, 0.06), draw.number(0.9, 0.97)
    x = draw.normal(8, 2)

    def at(kept):
        return kept * variances + 1 - kept

    truth = last**0.5 * mean + ((x - first**0.5 * mean) @ axes * torch.sqrt(at(last) / at(first))) @ axes.T

    def error(steps: int) -> float:
        # Equal steps in the angle whose cosine is alpha.
        angles = torch.linspace(_angle(first**0.5), _angle(last**0.5), steps + 1, dtype=torch.float64)
        levels, now = torch.cos(angles) ** 2, x
        for t, s in pairwise(levels):
            eps = (1 - t).sqrt() * ((now - t.sqrt() * mean) @ axes / at(t)) @ axes.T
            now = piece(now, t, s, eps, 0.0, torch.zeros_like(now))
        return float((now - truth).square().mean().sqrt())

    few, many = error(10), error(20)
    if 1.8 < few / many < 2.2 and many < 0.15:
        return None
    return (
        f"the distance to the exact probability-flow map is {few:.3g} after 10 steps and {many:.3g} after 20; "
        "a right step has half the error with twice the steps"
    )


def keeps_the_spread(piece, draw: Draw):
    """For data in one point and their exact noise, every eta leads to the variance 1 - alpha_bar_s."""
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for eta in (draw.number(0.3, 0.8), 1.0):
        now, after = _levels(draw)
        # x = sigma_t e with the noise e: the step is linear, so its factors of e and of the fresh noise are read off.
        of_old, of_fresh = (piece((1 - now).sqrt() * e, now, after, e, eta, z) for e, z in ((one, zero), (zero, one)))
        found, wanted = float(of_old**2 + of_fresh**2), float(1 - after)
        if abs(found - wanted) > 1e-5:
            return f"with eta {eta:g}, data in one point have the variance {found:.6g} after the step, not {wanted:.6g}"
    return None


def ends_at_the_data(piece, draw: Draw):
    """alpha_bar_s = 1: data and noise are known, and the data must come out, whatever the fresh noise is."""
    x0, eps = draw.normal(4, 3), draw.normal(4, 3)
    now, after = _levels(draw, last=True)
    for eta in (0.0, 1.0):
        found = piece(now.sqrt() * x0 + (1 - now).sqrt() * eps, now, after, eps, eta, draw.normal(4, 3))
        worst = float((found - x0).abs().max())
        if not worst < 1e-5:
            return f"with eta {eta:g}, the step to alpha_bar = 1 misses the known data by up to {worst:.3g}"
    return None


EXERCISE = Exercise(
    chapter="normal_2d",
    kind="sampler",
    title="Sampling without noise, and with fewer steps",
    statement=r"""
From $x_t$ and the guessed noise $\hat\varepsilon$ estimate the data, and put them back to the cleaner level $s$:

$$
\begin{aligned}
\hat x_0 &= \frac{x_t - \sqrt{1 - \bar\alpha_t}\; \hat\varepsilon}{\sqrt{\bar\alpha_t}}, \\
x_s &= \sqrt{\bar\alpha_s}\; \hat x_0 \\
&\quad + \sqrt{1 - \bar\alpha_s - \sigma^2}\; \hat\varepsilon + \sigma z,
\end{aligned}
$$

$$\sigma^2 = \eta^2\; \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t} \left( 1 - \frac{\bar\alpha_t}{\bar\alpha_s} \right).$$

With $\eta = 0$ the same start always leads to the same sample, along the probability flow; with $\eta = 1$ it is
ancestral sampling. The levels need not be neighbours, so 20 steps can do the work of 1000. The last step has
$\bar\alpha_s = 1$.
""",
    reference=ddim_step,
    parts={"eta = 0": 3, "eta > 0": 2, "the last step": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("first order along the exact flow", follows_the_exact_map, "eta = 0"),
        Property("every eta keeps the spread", keeps_the_spread, "eta > 0"),
        Property("known data come out", ends_at_the_data, "the last step"),
    ),
    wrong_answers=(
        wrong(levels_swapped),
        wrong(direction_without_minus_the_variance),
        wrong(direction_minus_the_deviation),
        wrong(alpha_of_one_step),
        wrong(eta_not_used),
        wrong(eta_scales_the_variance),
        wrong(variance_as_a_deviation),
        wrong(variance_of_the_forward_step),
        wrong(data_not_scaled_back),
        wrong(data_at_once),
        wrong(data_near_the_end),
        wrong(variance_upside_down),
        wrong(step_between_upside_down),
        wrong(old_noise_left_out),
        wrong(roots_left_out),
        wrong(data_at_full_size),
        wrong(clean_data_clipped),
        wrong(fresh_noise, "random"),
    ),
    right_answers=(
        right(as_factors_of_x_and_eps),
        right(in_plain_numbers),
        right(float64_inside),
        right(through_numpy),
    ),
    hints=(
        "Which of the two levels does x have, and which one does the result have?",
        "Old and fresh noise are independent. Which variance must they have together at level s?",
    ),
    source="Song et al. 2021a, equations 12 and 16",
    tables=("alpha_bar_t", "alpha_bar_s"),
    like="x",
)
