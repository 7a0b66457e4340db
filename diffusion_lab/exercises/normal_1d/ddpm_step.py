"""ddpm_step: one step of ancestral sampling."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def ddpm_step(x: Tensor, t: int, eps: Tensor, betas: Tensor, noise: Tensor, variance: str) -> Tensor:
    """From x_t to x_{t-1}, given the guessed noise.

    Args:
        x: (B, *S), x_t.
        t: the step, 0..T-1, the same for the batch; the step from t = 0 leads to the data.
        eps: (B, *S), the guess of the noise in x.
        betas: (T,).
        noise: (B, *S), fresh standard normal noise.
        variance: "beta" or "posterior".

    Returns:
        (B, *S), x_{t-1}; without noise where t = 0.
    """
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    mean = (x - betas[t] / (1 - alpha_bar[t]).sqrt() * eps) / (1 - betas[t]).sqrt()
    if t == 0:
        return mean
    spread = betas[t] if variance == "beta" else (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * betas[t]
    return mean + spread.sqrt() * noise


def _mean(x, t, eps, betas):
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    return (x - betas[t] / (1 - alpha_bar[t]).sqrt() * eps) / (1 - betas[t]).sqrt()


def _spread(t, betas, variance):
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    before = alpha_bar[t - 1] if t > 0 else torch.ones_like(betas[0])
    return betas[t] if variance == "beta" else (1 - before) / (1 - alpha_bar[t]) * betas[t]


def noise_at_the_end(x, t, eps, betas, noise, variance):
    """Noise was added at t = 0. That step leads to the data, and nothing takes its noise away again. No histogram shows
    it: the standard deviation of the samples moves from .5156 to .5175 only."""
    return _mean(x, t, eps, betas) + betas[t].sqrt() * noise if t == 0 else _right(x, t, eps, betas, noise, variance)


def _right(x, t, eps, betas, noise, variance):
    return _mean(x, t, eps, betas) + (_spread(t, betas, variance).sqrt() * noise if t > 0 else 0)


def variance_as_a_deviation(x, t, eps, betas, noise, variance):
    """The noise was multiplied by the variance. Its standard deviation is the square root of it."""
    return _mean(x, t, eps, betas) + (_spread(t, betas, variance) * noise if t > 0 else 0)


def one_variance_for_both(x, t, eps, betas, noise, variance):
    """`variance` was not looked at: "beta" is beta_t, and "posterior" is beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t)."""
    return _right(x, t, eps, betas, noise, "beta")


def alpha_bar_in_front(x, t, eps, betas, noise, variance):
    """The mean was divided by the square root of alpha_bar_t, which leads back to t = 0 at once. One step back divides by
    the square root of 1 - beta_t."""
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    mean = (x - betas[t] / (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()
    return mean + (_spread(t, betas, variance).sqrt() * noise if t > 0 else 0)


def missing_root_below_beta(x, t, eps, betas, noise, variance):
    """beta_t was divided by 1 - alpha_bar_t. The factor of eps is beta_t over the square root of 1 - alpha_bar_t."""
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    mean = (x - betas[t] / (1 - alpha_bar[t]) * eps) / (1 - betas[t]).sqrt()
    return mean + (_spread(t, betas, variance).sqrt() * noise if t > 0 else 0)


def through_x0(x, t, eps, betas, noise, variance):
    kept = torch.cumprod(1 - betas, dim=0)
    before = kept[t - 1] if t > 0 else torch.tensor(1.0, dtype=betas.dtype)
    x0 = (x - (1 - kept[t]).sqrt() * eps) / kept[t].sqrt()
    mean = before.sqrt() * betas[t] / (1 - kept[t]) * x0 + (1 - betas[t]).sqrt() * (1 - before) / (1 - kept[t]) * x
    return mean + _spread(t, betas, variance).sqrt() * noise * (t > 0)


def by_mask(x, t, eps, betas, noise, variance):
    return _mean(x, t, eps, betas) + float(t != 0) * torch.sqrt(_spread(t, betas, variance)) * noise


def float64_inside(x, t, eps, betas, noise, variance):
    return _right(x.double(), t, eps.double(), betas.double(), noise.double(), variance).to(x.dtype)


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    for shape in draw.shapes():
        for t, part in ((0, "t = 0"), (draw.integer(1, steps - 2), "t > 0"), (steps - 1, "t > 0")):
            x, eps, noise = (draw.normal(*shape) for _ in range(3))
            variance = draw.choice(("beta", "posterior"))
            label = f't = {t} of {steps}, variance "{variance}"'
            yield Case(label, (x, t, eps, draw.betas(steps), noise, variance), part)


def last_step_has_no_noise(piece, draw: Draw):
    """Two noises, one answer."""
    x, eps, betas = draw.normal(5, 2), draw.normal(5, 2), draw.betas(10)
    one, other = (piece(x, 0, eps, betas, draw.normal(5, 2), variance) for variance in ("beta", "posterior"))
    worst = float((one - other).abs().max())
    return None if worst < 1e-12 else f"at t = 0 the result depends on the noise: it changes by {worst:.3g}"


EXERCISE = Exercise(
    chapter="normal_1d",
    kind="sampler",
    title="One step back",
    statement=r"""
The reverse step removes a little of the guessed noise and adds fresh noise:

$$x_{t-1} = \frac{1}{\sqrt{1 - \beta_t}} \left( x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\; \hat\varepsilon \right)
+ s_t\, z, \qquad z \sim \mathcal N(0, I),$$

with $s_t^2 = \beta_t$ (`"beta"`) or $s_t^2 = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\, \beta_t$ (`"posterior"`).
The step from $t = 0$ leads to the data, and has no noise.
""",
    reference=ddpm_step,
    parts={"t > 0": 4, "t = 0": 2, CARE: 1},
    cases=cases,
    properties=(Property("t = 0 does not depend on the noise", last_step_has_no_noise, "t = 0"),),
    wrong_answers=(
        wrong(noise_at_the_end),
        wrong(variance_as_a_deviation),
        wrong(one_variance_for_both),
        wrong(alpha_bar_in_front),
        wrong(missing_root_below_beta),
    ),
    right_answers=(right(through_x0), right(by_mask), right(float64_inside)),
    hints=("Which step must be the last without noise?", "A variance is not a standard deviation."),
    source="Ho et al. 2020, algorithm 2",
)
