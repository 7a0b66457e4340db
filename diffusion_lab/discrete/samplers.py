"""Steps for tokens. They run in the same loop as the steps for numbers (`diffusion_lab.samplers.sample`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor
from torch.nn import functional

from diffusion_lab.denoisers import evaluating, modules_of
from diffusion_lab.discrete.process import DiscreteProcess, draw
from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level
from diffusion_lab.samplers.loop import Context, Step, asks_itself


def token_denoiser(
    network: Callable[..., Tensor], process: DiscreteProcess, cond: dict | None = None
) -> Callable[[Tensor, Level], Tensor]:
    """(x (B, cells), level) -> p(x0 | x), (B, cells, categories), from a network that outputs logits.

    A cell that is not masked is known for certain (Sahoo et al. 2024, section 3.2.3, "carry-over unmasking").

    Raises:
        PieceError: when it is asked about another number of samples than `cond` is for.
    """
    modules = modules_of(network)

    def denoise(x: Tensor, level: Level) -> Tensor:
        for name, value in (cond or {}).items():
            if len(value) != len(x):
                raise PieceError(
                    f"the condition {name!r} is for {len(value)} samples, and {len(x)} are asked about; with masks, "
                    "`ancestral` asks about those alone in which a cell opens, so it takes no conditions"
                )
        with evaluating(modules):
            p_x0 = network(x, level.t.flatten().expand(len(x)).float(), **(cond or {})).float().softmax(dim=-1)
        if process.kind == "uniform":
            return p_x0
        known = x < process.categories
        revealed = functional.one_hot(x.clamp(max=process.categories - 1), process.categories).to(p_x0)
        return torch.where(known.unsqueeze(-1), revealed, p_x0)

    return denoise


def ancestral(process: DiscreteProcess) -> Step:
    """Draw every cell of x_after from its posterior (D3PM, section 3); a revealed cell is never masked again.

    With masks most steps leave most boards as they are, and when a cell opens does not depend on the network: so in
    `samplers.sample` a board is evaluated only in steps that open one of its cells. The samples are the same; the
    denoiser must answer for any part of the batch.
    """

    def step(x: Tensor, now: Level, after: Level, p_x0: Tensor | None, context: Context) -> Tensor:
        uniforms = context.uniform(x)
        if p_x0 is not None:
            return draw(process.posterior(x, p_x0, now, after), uniforms)
        # The mask is the last state of a posterior, so `draw` opens a hidden cell where its uniform is below this.
        chance = (after.alpha_bar - now.alpha_bar) / (1 - now.alpha_bar)
        rows = ((x == process.categories) & (uniforms < chance)).any(dim=1).nonzero()[:, 0]
        if len(rows) == 0:
            return x
        some = x[rows]
        p_x0 = context.predict(some, now)
        return x.index_copy(0, rows, draw(process.posterior(some, p_x0, now, after), uniforms[rows]))

    return asks_itself(step) if process.kind == "absorbing" else step


def keeping(step: Step, known: Tensor, mask: Tensor) -> Step:
    """Reconstruct: cells where `mask` (B, cells) is True hold the trusted tokens `known` at every level.

    For the absorbing process this is exact conditioning: a revealed cell is part of what the model is given.
    """

    @wraps(step)  # a step that asks the denoiser itself goes on doing so
    def wrapped(x: Tensor, now: Level, after: Level, p_x0: Tensor, context: Context) -> Tensor:
        return torch.where(mask, known, step(x, now, after, p_x0, context))

    return wrapped
