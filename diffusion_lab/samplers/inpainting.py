"""Filling in what is not known, with a model that was trained on whole data.

Both ways wrap any step. Neither samples the exact conditional distribution: the model sees the known part only through
the noise that was added to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level
from diffusion_lab.samplers.loop import Context, Step
from diffusion_lab.samplers.steps import step_variance


def replacing(step: Step, known: Tensor, mask: Tensor) -> Step:
    """After each step, put the known values back, noised to that level (Song et al. 2021b, appendix I.2).

    Args:
        known: clean values (B, *S); what is outside the mask is ignored.
        mask: (B, *S) or broadcastable, True where the value is known.
    """
    if mask.dtype != torch.bool:
        raise PieceError(f"mask must be boolean (True = known), got {mask.dtype}")

    def wrapped(x: Tensor, now: Level, after: Level, prediction, context: Context) -> Tensor:
        x = step(x, now, after, prediction, context)
        return torch.where(mask, after.noisy(known, context.noise(x)), x)

    return wrapped


def resampling(step: Step, known: Tensor, mask: Tensor, repeats: int = 5) -> Step:
    """RePaint: replace, go back up by one step of fresh noise, and repeat, so that both parts come to agree
    (Lugmayr et al. 2022, algorithm 1 with jump length 1).

    A step that uses history (`dpmpp_2m`) starts each repeat without it.
    """
    if repeats < 1:
        raise PieceError(f"repeats must be at least 1, got {repeats}")
    once = replacing(step, known, mask)

    def wrapped(x: Tensor, now: Level, after: Level, prediction, context: Context) -> Tensor:
        for repeat in range(repeats):
            if repeat:
                # Up again: x_now given x_after (Kingma et al. 2021, equation 20).
                x = now.alpha / after.alpha * x + step_variance(now, after).sqrt() * context.noise(x)
                prediction = context.predict(x, now)
                context.history = []
            x = once(x, now, after, prediction, context)
        return x

    return wrapped
