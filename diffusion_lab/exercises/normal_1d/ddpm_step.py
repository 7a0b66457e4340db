"""ddpm_step: one step of ancestral sampling."""

import torch
from torch import Tensor

from diffusion_lab.exercises.inputs import data_shapes
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def ddpm_step(x: Tensor, t: int, eps: Tensor, betas: Tensor, noise: Tensor, variance: str) -> Tensor:
    """From x_t to x_{t-1}, given the guessed noise.

    Args:
        x: (B, *S), x_t.
        t: the step, 0..T-1, the same for the batch; the step from t = 0 leads to the data.
        eps: (B, *S), the guess of the noise in x.
        betas: (T,), in (0, 1); T can be 1.
        noise: (B, *S), fresh standard normal noise.
        variance: "beta" or "posterior".

    Returns:
        (B, *S), x_{t-1}, of the dtype of x; without noise where t = 0.
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


def _right(x, t, eps, betas, noise, variance):
    return _mean(x, t, eps, betas) + (_spread(t, betas, variance).sqrt() * noise if t > 0 else 0)


def noise_at_the_end(x, t, eps, betas, noise, variance):
    """Noise was added at t = 0: that step leads to the data, and nothing takes its noise away again. No histogram shows
    it, for with this chapter's data and betas the standard deviation of the samples only moves from .5008 to .5009."""
    return _mean(x, t, eps, betas) + _spread(t, betas, variance).sqrt() * noise


def noise_of_the_first_step_at_the_end(x, t, eps, betas, noise, variance):
    """At t = 0 noise was added with the variance beta_0, for both kinds of variance. That step leads to the data, and
    nothing takes its noise away again: leave it out."""
    return _mean(x, t, eps, betas) + betas[t].sqrt() * noise if t == 0 else _right(x, t, eps, betas, noise, variance)


def last_entry_at_the_first_index(x, t, eps, betas, noise, variance):
    """At t = 0 noise was added, and alpha_bar[t - 1] is alpha_bar[-1], the last entry. That step leads to the data and
    has no noise."""
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    spread = betas[t] if variance == "beta" else (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * betas[t]
    return _mean(x, t, eps, betas) + spread.sqrt() * noise


def no_noise_at_t_1(x, t, eps, betas, noise, variance):
    """The noise was left out at t = 1 too, as if steps were counted from 1. They are counted from 0, and only the step
    from t = 0 has no noise."""
    return _mean(x, t, eps, betas) if t <= 1 else _right(x, t, eps, betas, noise, variance)


def variance_as_a_deviation(x, t, eps, betas, noise, variance):
    """The noise was multiplied by the variance. Its standard deviation is the square root of it."""
    return _mean(x, t, eps, betas) + (_spread(t, betas, variance) * noise if t > 0 else 0)


def one_variance_for_both(x, t, eps, betas, noise, variance):
    """`variance` was not looked at. "beta" is beta_t, and "posterior" is smaller: it knows where x_{t-1} comes from."""
    return _right(x, t, eps, betas, noise, "beta")


def posterior_of_the_next_step(x, t, eps, betas, noise, variance):
    """In the posterior variance alpha_bar is one step late: the level before step t is alpha_bar[t - 1]."""
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    after = alpha_bar[min(t + 1, len(betas) - 1)]
    spread = betas[t] if variance == "beta" else (1 - alpha_bar[t]) / (1 - after) * betas[t]
    return _mean(x, t, eps, betas) + (spread.sqrt() * noise if t > 0 else 0)


def posterior_upside_down(x, t, eps, betas, noise, variance):
    """The fraction of the posterior variance is upside down. Knowing more makes a variance smaller: it is below
    beta_t."""
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    if t == 0:
        return _mean(x, t, eps, betas)
    spread = betas[t] if variance == "beta" else (1 - alpha_bar[t]) / (1 - alpha_bar[t - 1]) * betas[t]
    return _mean(x, t, eps, betas) + spread.sqrt() * noise


def alpha_bar_in_front(x, t, eps, betas, noise, variance):
    """The mean was divided by the square root of alpha_bar_t, which leads back to t = 0 at once. One step back divides
    by the square root of 1 - beta_t."""
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    mean = (x - betas[t] / (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()
    return mean + (_spread(t, betas, variance).sqrt() * noise if t > 0 else 0)


def missing_root_below_beta(x, t, eps, betas, noise, variance):
    """beta_t was divided by 1 - alpha_bar_t. The factor of eps is beta_t over the square root of 1 - alpha_bar_t."""
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    mean = (x - betas[t] / (1 - alpha_bar[t]) * eps) / (1 - betas[t]).sqrt()
    return mean + (_spread(t, betas, variance).sqrt() * noise if t > 0 else 0)


def single_step_below_beta(x, t, eps, betas, noise, variance):
    """beta_t was divided by the square root of beta_t. eps is the noise of all steps up to t, so 1 - alpha_bar_t is
    below the root."""
    mean = (x - betas[t].sqrt() * eps) / (1 - betas[t]).sqrt()
    return mean + (_spread(t, betas, variance).sqrt() * noise if t > 0 else 0)


def variances_exchanged(x, t, eps, betas, noise, variance):
    """ "beta" and "posterior" have changed places. "beta" is beta_t itself, and "posterior" is smaller."""
    return _right(x, t, eps, betas, noise, "posterior" if variance == "beta" else "beta")


def ratio_of_the_data(x, t, eps, betas, noise, variance):
    """The fraction of the posterior variance is made of what is left of the data. It is made of the noise: 1 -
    alpha_bar before the step, over 1 - alpha_bar after it."""
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    if t == 0:
        return _mean(x, t, eps, betas)
    spread = betas[t] if variance == "beta" else alpha_bar[t] / alpha_bar[t - 1] * betas[t]
    return _mean(x, t, eps, betas) + spread.sqrt() * noise


def all_of_the_noise(x, t, eps, betas, noise, variance):
    """All of the guessed noise was taken away at once. One step takes the share that step t has added: beta_t, over the
    root of 1 - alpha_bar_t."""
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    mean = (x - (1 - alpha_bar[t]).sqrt() * eps) / (1 - betas[t]).sqrt()
    return mean + (_spread(t, betas, variance).sqrt() * noise if t > 0 else 0)


def not_scaled_back(x, t, eps, betas, noise, variance):
    """The division by the square root of 1 - beta_t is missing. Step t has shrunk the data by that factor, and the step
    back undoes it."""
    mean = _mean(x, t, eps, betas) * (1 - betas[t]).sqrt()
    return mean + (_spread(t, betas, variance).sqrt() * noise if t > 0 else 0)


def shrunk_again(x, t, eps, betas, noise, variance):
    """The mean was multiplied by the square root of 1 - beta_t, as in the forward process. The step back divides by
    it."""
    mean = _mean(x, t, eps, betas) * (1 - betas[t])
    return mean + (_spread(t, betas, variance).sqrt() * noise if t > 0 else 0)


def only_x_scaled_back(x, t, eps, betas, noise, variance):
    """Only x was divided by the square root of 1 - beta_t. The whole difference is divided, the part of eps too."""
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    mean = x / (1 - betas[t]).sqrt() - betas[t] / (1 - alpha_bar[t]).sqrt() * eps
    return mean + (_spread(t, betas, variance).sqrt() * noise if t > 0 else 0)


def guessed_noise_added(x, t, eps, betas, noise, variance):
    """The guessed noise was added. It is in x already: take it away."""
    return _right(x, t, -eps, betas, noise, variance)


def nothing_done_at_the_end(x, t, eps, betas, noise, variance):
    """At t = 0 x was returned as it is. x is still x_0 with one step of noise on it: only the fresh noise is left out
    there, and the guessed noise is taken away as in every step."""
    return x.clone() if t == 0 else _right(x, t, eps, betas, noise, variance)


def clean_data_clipped(x, t, eps, betas, noise, variance):
    """The estimate of x0 was clipped to [-1, 1], as code for images does. These data know no such limits, and the step
    has none."""
    kept = torch.cumprod(1 - betas, dim=0)
    before = kept[t - 1] if t > 0 else torch.ones_like(kept[t])
    x0 = ((x - (1 - kept[t]).sqrt() * eps) / kept[t].sqrt()).clamp(-1, 1)
    mean = before.sqrt() * betas[t] / (1 - kept[t]) * x0 + (1 - betas[t]).sqrt() * (1 - before) / (1 - kept[t]) * x
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
    for i, (shape, kind, _) in enumerate(data_shapes(draw)):
        for j, t in enumerate((0, (1, draw.integer(2, steps - 2))[i % 2], steps - 1)):
            x, eps, noise = (draw.normal(*shape) for _ in range(3))
            variance = ("beta", "posterior")[(i // 2 + j) % 2]
            label = f't = {t} of {steps}, variance "{variance}", {kind}'
            yield Case(label, (x, t, eps, draw.betas(steps), noise, variance), "t = 0" if t == 0 else "t > 0")
    for variance in ("beta", "posterior"):
        for label, betas, t in (
            ("the only step there is", draw.betas(1), 0),
            ("the second of a hundred small steps", torch.linspace(0.002, 0.1, 100, dtype=torch.float64), 1),
            ("the last step of a cosine schedule", torch.tensor([0.01, 0.2, 0.6, 0.999]).double(), 3),
        ):
            x, eps, noise = (draw.normal(3, 2) for _ in range(3))
            arguments = x, t, eps, betas, noise, variance
            yield Case(f't = {t}, {label}, variance "{variance}"', arguments, "t = 0" if t == 0 else "t > 0")


def last_step_has_no_noise(piece, draw: Draw):
    """Two noises, one answer."""
    x, eps, betas = draw.normal(5, 2), draw.normal(5, 2), draw.betas(10)
    one, other = (piece(x, 0, eps, betas, draw.normal(5, 2), variance) for variance in ("beta", "posterior"))
    worst = float((one - other).abs().max())
    return None if worst < 1e-6 else f"at t = 0 the result depends on the noise: it changes by {worst:.3g}"


def keeps_the_spread(piece, draw: Draw):
    """With the exact noise, data in one point keep their spread under "posterior", unit normal data under "beta".

    These are the two extremes of Ho et al. 2020, section 3.2. The step is linear, so its factors are read off.
    """
    steps = draw.integer(12, 30)
    betas, t = draw.betas(steps), draw.integer(1, steps - 1)
    kept = torch.cumprod(1 - betas, dim=0)
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for variance, std, share, wanted in (
        ("posterior", (1 - kept[t]).sqrt(), one, 1 - kept[t - 1]),
        ("beta", one, (1 - kept[t]).sqrt() * one, one),
    ):
        # x = std e, and its exact noise is share e, for a standard normal e.
        of_x, of_noise = (piece(std * e, t, share * e, betas, z, variance) for e, z in ((one, zero), (zero, one)))
        found = float(of_x**2 + of_noise**2)
        if abs(found - float(wanted)) > 1e-5:
            data = "data in one point" if variance == "posterior" else "unit normal data"
            return f'after a step with variance "{variance}", {data} have variance {found:.6g}, not {float(wanted):.6g}'
    return None


EXERCISE = Exercise(
    chapter="normal_1d",
    kind="sampler",
    title="One step back",
    statement=r"""
The reverse step removes a little of the guessed noise and adds fresh noise:

$$
\begin{aligned}
x_{t-1} &= \frac{1}{\sqrt{1 - \beta_t}}
\left( x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \hat\varepsilon \right) \\
&\quad + s_t\, z, \qquad z \sim \mathcal N(0, I),
\end{aligned}
$$

with $s_t^2 = \beta_t$ (`"beta"`) or $s_t^2 = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\, \beta_t$ (`"posterior"`).
The step from $t = 0$ leads to the data, and has no noise. `"posterior"` is exact for data in a single point, `"beta"`
for unit normal data; all other data are in between.
""",
    reference=ddpm_step,
    parts={"t > 0": 4, "t = 0": 2, CARE: 1},
    cases=cases,
    time="t",
    properties=(
        Property("t = 0 does not depend on the noise", last_step_has_no_noise, "t = 0"),
        Property("a step keeps the spread", keeps_the_spread, "t > 0"),
    ),
    wrong_answers=(
        wrong(noise_at_the_end),
        wrong(noise_of_the_first_step_at_the_end),
        wrong(last_entry_at_the_first_index),
        wrong(no_noise_at_t_1),
        wrong(variance_as_a_deviation),
        wrong(one_variance_for_both),
        wrong(posterior_of_the_next_step),
        wrong(posterior_upside_down),
        wrong(alpha_bar_in_front),
        wrong(missing_root_below_beta),
        wrong(single_step_below_beta),
        wrong(variances_exchanged),
        wrong(ratio_of_the_data),
        wrong(all_of_the_noise),
        wrong(not_scaled_back),
        wrong(shrunk_again),
        wrong(only_x_scaled_back),
        wrong(guessed_noise_added),
        wrong(nothing_done_at_the_end),
        wrong(clean_data_clipped),
    ),
    right_answers=(right(through_x0), right(by_mask), right(float64_inside)),
    hints=(
        "Which step must be without noise, and why?",
        "A variance is not a standard deviation.",
        "eps is the noise of all steps up to t, and the step takes back only the share that step t has added.",
    ),
    source="Ho et al. 2020, algorithm 2 and equation 7",
    like="x",
)
