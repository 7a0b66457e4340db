"""How the pieces of chapter 4 take their places in its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffusion_lab import schedules
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context
from diffusion_lab.targets import Target

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0
SIGMA_DATA = 1.0


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, target, loss and step of `run_chapter`, made of these functions."""

    def factors(level: Level) -> list[Tensor]:
        """c_skip, c_out, c_in and c_noise at sigma / alpha, with the shape of the level's fields."""
        # On the processor and in float64: 1 - c_skip would lose its digits where sigma is small.
        sigma = (level.sigma / level.alpha).to("cpu", torch.float64)
        return [value.to(level.sigma) for value in own["edm_preconditioning"](sigma, SIGMA_DATA)]

    def row(level: Level) -> tuple[Tensor, Tensor]:
        # F = (x0 - c_skip x) / c_out with x = x0 + sigma eps.
        sigma = (level.sigma / level.alpha).to("cpu", torch.float64)
        c_skip, c_out, _, _ = own["edm_preconditioning"](sigma, SIGMA_DATA)
        return ((1 - c_skip) / c_out).to(level.sigma), (-c_skip * sigma / c_out).to(level.sigma)

    def network_input(x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        _, _, c_in, c_noise = factors(level)
        return c_in * x / level.alpha, c_noise.clamp(-4, 4)

    def loss(network: Callable[..., Tensor], x0: Tensor, eps: Tensor, level: Level, cond: dict) -> Tensor:
        def model(x: Tensor, c_noise: Tensor) -> Tensor:
            return network(x, c_noise.clamp(-4, 4), **cond)

        sigma = (level.sigma / level.alpha).flatten().expand(len(x0))
        return own["edm_loss"](model, x0, sigma, eps, SIGMA_DATA)

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        def denoise(state: Tensor, sigma: float | Tensor) -> Tensor:
            told = torch.as_tensor(sigma).flatten()[0]  # of one number for each sample, all the same
            if state is x and told.to(now.sigma) == now.sigma.flatten()[0]:
                return prediction.x0  # the loop has asked the network here already
            if told.to(after.sigma) == after.sigma.flatten()[0]:
                return context.predict(state, after).x0
            value = told.to(now.sigma)
            return context.predict(state, now._replace(t=value / SIGMA_MAX, sigma=value)).x0

        return own["heun_step"](denoise, x, float(now.sigma), float(after.sigma))

    def spacing(n: int, schedule: schedules.Schedule) -> Tensor:
        # The path has sigma = SIGMA_MAX t. A single level is the noisiest one, and the loop adds the clean end itself.
        sigmas = own["karras_sigmas"](n, SIGMA_MIN, SIGMA_MAX, RHO)[:-1] if n > 1 else torch.tensor([SIGMA_MAX])
        return sigmas.double() / SIGMA_MAX

    schedule = schedules.karras(sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX, rho=RHO)
    return {
        "schedule": replace(schedule, name="own karras", spacing=spacing),
        "target": Target("own edm", row, network_input),
        "loss": loss,
        "step": step,
    }
