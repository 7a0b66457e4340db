"""Sampling along the stochastic differential equations that share their densities with the forward process."""

from __future__ import annotations

from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers.loop import Context, Step
from diffusion_lab.samplers.steps import velocity


def noise_rate(level: Level) -> Tensor:
    """g^2, the variance of the noise that arrives per unit of t: d sigma^2/dt - 2 sigma^2 d log alpha/dt.

    The forward process is dx = (d log alpha/dt) x dt + g dw (Kingma et al. 2021, appendix F; Song et al. 2021b,
    equation 5). The answer has the shape of the level's fields; it is infinite where alpha is 0.
    """
    return 2 * level.sigma * (level.dsigma - level.sigma * level.dalpha / level.alpha)


def euler_maruyama(churn: float = 1.0) -> Step:
    """The first-order step of the reverse SDE in t (Anderson 1982; Song et al. 2021b, equation 6).

    `churn` times the noise of the forward process comes in, with the drift along the score that undoes what this does
    to the density: 0 is `euler`, 1 the forward process run backwards, and more stirs harder (Karras et al. 2022,
    equation 6). The last step, to the clean level, adds no noise and ends with the posterior mean.

    Raises:
        PieceError: if churn is negative; when it runs, if the path starts where alpha is 0.
    """
    if churn < 0:
        raise PieceError(f"churn must be at least 0, got {churn:g}")

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        if now.alpha == 0:
            raise PieceError(
                "this schedule starts where alpha is 0, and there the "
                "reverse SDE is infinitely fast; "
                "use `schedule.limit_log_snr(-10, 12)`"
            )
        if after.sigma == 0:
            return after.alpha * prediction.x0
        width = now.t - after.t  # time runs down, the width is positive
        moved = x - width * velocity(prediction, now)
        if churn == 0:
            return moved
        fresh = churn * noise_rate(now) * width
        return moved - fresh / 2 * prediction.eps / now.sigma + fresh.sqrt() * context.noise(x)

    return step
