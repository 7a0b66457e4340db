"""Schedulers of diffusers: their noising and their loop, as functions that can be examined like anyone's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffusion_lab.doctor.subject import Diffusion
from diffusion_lab.errors import PieceError

STEPS = 50
KINDS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}


def subject_of_scheduler(scheduler: Any) -> Diffusion:
    """The tables and functions of a scheduler with `alphas_cumprod`.

    Those with `sigmas` are samplers: their `add_noise` knows the levels of the sampler's grid alone, and stays out.

    Raises:
        PieceError: for a scheduler without that table, such as those of flow matching.
    """
    table = getattr(scheduler, "alphas_cumprod", None)
    kind = KINDS.get(scheduler.config.get("prediction_type", "epsilon"))
    if table is None or kind is None:
        raise PieceError(
            f"{type(scheduler).__name__} has no alphas_cumprod, or a prediction other than {', '.join(KINDS)}: hand "
            "its functions over by name instead"
        )

    def q_sample(x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        return scheduler.add_noise(x0, noise, t)

    return Diffusion(
        alpha_bar=torch.as_tensor(table).double(), q_sample=None if hasattr(scheduler, "sigmas") else q_sample,
        prediction=kind, sample=loop_of(scheduler), scheduler=scheduler,
    )  # fmt: skip


def loop_of(scheduler: Any, steps: int = STEPS):
    """The loop that its documentation shows."""

    def sample(network, shape):
        scheduler.set_timesteps(steps)
        x = torch.randn(shape) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            seen = scheduler.scale_model_input(x, t)
            x = scheduler.step(network(seen, t), t, x).prev_sample
        return x

    return torch.no_grad()(sample)
