"""Steps for tokens. They run in the same loop as the steps for numbers (`diffusion_lab.samplers.sample`)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from diffusion_lab.denoisers import evaluating, modules_of
from diffusion_lab.discrete.process import DiscreteProcess, draw
from diffusion_lab.levels import Level
from diffusion_lab.samplers.loop import Context, Step


def token_denoiser(
    network: Callable[..., Tensor], process: DiscreteProcess, cond: dict | None = None
) -> Callable[[Tensor, Level], Tensor]:
    """(x (B, cells), level) -> p(x0 | x), (B, cells, categories), from a network that outputs logits.

    A cell that is not masked is known for certain (Sahoo et al. 2024, section 3.2.3, "carry-over unmasking").
    """
    modules = modules_of(network)

    def denoise(x: Tensor, level: Level) -> Tensor:
        with evaluating(modules):
            p_x0 = network(x, level.t.flatten().expand(len(x)).float(), **(cond or {})).float().softmax(dim=-1)
        if process.kind == "uniform":
            return p_x0
        known = x < process.categories
        revealed = functional.one_hot(x.clamp(max=process.categories - 1), process.categories).to(p_x0)
        return torch.where(known.unsqueeze(-1), revealed, p_x0)

    return denoise


def ancestral(process: DiscreteProcess) -> Step:
    """Draw every cell of x_after from its posterior (D3PM, section 3); a revealed cell is never masked again."""

    def step(x: Tensor, now: Level, after: Level, p_x0: Tensor, context: Context) -> Tensor:
        return draw(process.posterior(x, p_x0, now, after), context.uniform(x))

    return step


def keeping(step: Step, known: Tensor, mask: Tensor) -> Step:
    """Reconstruct: cells where `mask` (B, cells) is True hold the trusted tokens `known` at every level.

    For the absorbing process this is exact conditioning: a revealed cell is part of what the model is given.
    """

    def wrapped(x: Tensor, now: Level, after: Level, p_x0: Tensor, context: Context) -> Tensor:
        return torch.where(mask, known, step(x, now, after, p_x0, context))

    return wrapped
