"""The steps, each a few lines over `Level` and `Prediction`, valid on any path and for any rank of data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers.loop import Context, Step


def step_variance(now: Level, after: Level) -> Tensor:
    """The variance of x_now given x_after, sigma_{t|s}^2 (Kingma et al. 2021, equation 20); beta_t on a DDPM grid."""
    return (now.sigma**2 - (now.alpha / after.alpha * after.sigma) ** 2).clamp(min=0)


def posterior_variance(now: Level, after: Level) -> Tensor:
    """The variance of x_after given x_now and x0 (Ho et al. 2020, equation 7): beta-tilde on a DDPM grid."""
    return step_variance(now, after) * (after.sigma / now.sigma) ** 2


def ddpm(variance: str = "posterior") -> Step:
    """Ancestral sampling (Ho et al. 2020, algorithm 2).

    `variance` is "posterior" (beta-tilde, right for data without spread) or "beta" (right for normal data of unit
    variance). The last step, to the clean level, adds no noise.
    """
    choices = {"posterior": posterior_variance, "beta": step_variance}
    if variance not in choices:
        raise PieceError(f"variance must be one of {', '.join(choices)}, got {variance!r}")

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        shrink = now.alpha / after.alpha * (after.sigma / now.sigma) ** 2
        pull = after.alpha * step_variance(now, after) / now.sigma**2
        mean = shrink * x + pull * prediction.x0  # Ho et al. 2020, equation 7
        if after.sigma == 0:
            return mean
        return mean + choices[variance](now, after).sqrt() * context.noise(x)

    return step


def ddim(eta: float = 0.0) -> Step:
    """DDIM (Song et al. 2021a, equation 12): eta 0 is deterministic, eta 1 is DDPM with the posterior variance."""
    if not 0 <= eta <= 1:
        raise PieceError(f"eta must be in [0, 1], got {eta:g}")

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        if eta == 0:
            return after.alpha * prediction.x0 + after.sigma * prediction.eps
        variance = eta**2 * posterior_variance(now, after)
        direction = torch.sqrt((after.sigma**2 - variance).clamp(min=0)) * prediction.eps
        return after.alpha * prediction.x0 + direction + variance.sqrt() * context.noise(x)

    return step


def velocity(prediction: Prediction, level: Level) -> Tensor:
    """dx/dt of the probability-flow ODE: alpha' x0 + sigma' eps (Song et al. 2021b, equation 13)."""
    return level.dalpha * prediction.x0 + level.dsigma * prediction.eps


def euler() -> Step:
    """The first-order step of the probability-flow ODE in t; the sampler of flow matching (Lipman et al. 2023)."""

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        return x + (after.t - now.t) * velocity(prediction, now)

    return step


def heun() -> Step:
    """The second-order step: the mean of the slopes at both ends (Karras et al. 2022, algorithm 1).

    At the clean end there is no slope (sigma = 0), so the last step is Euler's.
    """

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        width, slope = after.t - now.t, velocity(prediction, now)
        trial = x + width * slope
        if after.sigma == 0:
            return trial
        return x + width * (slope + velocity(context.predict(trial, after), after)) / 2

    return step


def dpmpp_2m() -> Step:
    """DPM-Solver++(2M): second order at one evaluation a step (Lu et al. 2022b, algorithm 2).

    The first step and the last one, to the clean level, are of first order.
    """

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        x0 = prediction.x0
        if after.sigma == 0:
            return after.alpha * x0
        h = (after.log_snr - now.log_snr) / 2  # the paper's lambda is half the log-SNR
        if context.history:
            before, last = context.history[-1]
            ratio = (now.log_snr - before.log_snr) / 2 / h
            x0 = x0 + (x0 - last.x0) / (2 * ratio)
        return after.sigma / now.sigma * x - after.alpha * torch.expm1(-h) * x0

    return step


def langevin_update(x: Tensor, score: Tensor, step_size: Tensor | float, noise: Tensor) -> Tensor:
    """x + step_size score + sqrt(2 step_size) noise: one step of unadjusted Langevin dynamics (Welling & Teh 2011)."""
    return x + step_size * score + (2 * step_size) ** 0.5 * noise


def annealed_langevin(repeats: int = 5, step_size: float = 0.1) -> Step:
    """`repeats` Langevin steps of size step_size sigma^2 at each level (Song & Ermon 2019, algorithm 1).

    The last level ends with the posterior mean instead of a step down (Jolicoeur-Martineau et al. 2021, section 3.1).
    """
    if repeats < 1 or step_size <= 0:
        raise PieceError(f"repeats must be at least 1 and step_size positive, got {repeats} and {step_size:g}")

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        if now.alpha == 0:
            raise PieceError(
                "annealed Langevin dynamics follows x / alpha, and this schedule starts where alpha is 0; "
                "use `schedule.limit_log_snr(-10, 12)`"
            )
        for repeat in range(repeats):
            if repeat:
                prediction = context.predict(x, now)
            score = -prediction.eps / now.sigma
            x = langevin_update(x, score, step_size * now.sigma**2, context.noise(x))
        if after.sigma == 0:
            return after.alpha * context.predict(x, now).x0
        return x * (after.alpha / now.alpha)

    return step


STEPS: dict[str, Callable[..., Step]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "euler": euler,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "annealed_langevin": annealed_langevin,
}
