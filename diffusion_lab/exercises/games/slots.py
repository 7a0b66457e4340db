"""How the pieces of chapter 10 take their places in its run, and in the runs of its variants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from diffusion_lab import schedules
from diffusion_lab.data.games import TOKENS
from diffusion_lab.discrete import DiscreteProcess
from diffusion_lab.exercises.normal_1d.slots import alpha_bar_of, averaging, discrete_loss
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context
from diffusion_lab.schedules import Schedule

STEPS = 1000
"""Steps of the schedule, and of the bound: of what is left to the end, each step hides the same share of all cells."""
MASKING = DiscreteProcess("absorbing", TOKENS)


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, loss, step and average of `run_chapter` by masking, made of these functions."""
    schedule = token_schedule(own["alpha_bar"])

    def loss(network: Callable[..., Tensor], x0: Tensor, uniforms: Tensor, level: Level, cond: dict) -> Tensor:
        x_t = MASKING.noisy(x0, level, uniforms)
        logits = network(x_t, level.t.flatten().expand(len(x0)).float(), **cond).float()
        # A mask is a state of its own, in which no data are.
        logits = functional.pad(logits, (0, 1), value=-torch.inf)
        t, *tables = _chains(MASKING.transition_matrix, schedule, level, len(x0))
        # The sum over all steps is as many times the mean of a term.
        return STEPS * own["d3pm_bound"](logits, x0, x_t, t, *tables)

    def step(x: Tensor, now: Level, after: Level, p_x0: Tensor, context: Context) -> Tensor:
        here, there = alpha_bar_of(now).to(p_x0), alpha_bar_of(after).to(p_x0)
        uniform = context.uniform(x)
        # One uniform serves for both questions: where a cell is revealed, its place below the chance is uniform too.
        chance = (there - here) / (1 - here)
        with torch.autocast(x.device.type, enabled=False):
            return own["unmask_step"](x, p_x0, here, there, uniform, (uniform / chance).clamp(max=1 - 1e-7))

    return {"schedule": schedule, "loss": loss, "step": step, "average": averaging(own["ema_update"])}


def uniform_slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, loss, step and average of the variant "uniform", in which tokens become any other token."""
    schedule = token_schedule(own["alpha_bar"])

    def loss(network: Callable[..., Tensor], x0: Tensor, uniforms: Tensor, level: Level, cond: dict) -> Tensor:
        times, rows = level.t.flatten().expand(len(x0)).float(), torch.arange(len(x0), device=x0.device)

        def model(x: Tensor, t: Tensor) -> Tensor:
            some = t.long()
            return network(x, times[some], **{name: value[some] for name, value in cond.items()}).float()

        jump = own["transition_matrix"](level.alpha_bar.flatten().expand(len(x0)), TOKENS)
        return own["d3pm_loss"](model, x0, _draw(jump[rows[:, None], x0], uniforms), rows)

    def step(x: Tensor, now: Level, after: Level, p_x0: Tensor, context: Context) -> Tensor:
        here, there = alpha_bar_of(now), alpha_bar_of(after)
        # Two levels are a chain of two steps, or of one where the second level is the data.
        chain = (here if there == 1 else torch.stack([there, here / there])).reshape(-1)
        t = torch.full((len(x),), len(chain) - 1, device=x.device)
        with torch.autocast(x.device.type, enabled=False):
            Q = own["transition_matrix"](chain.to(p_x0), p_x0.shape[-1])
            p = own["d3pm_posterior"](x, p_x0, t, Q, own["cumulative_transitions"](Q))
        return _draw(p, context.uniform(x))

    return {"schedule": schedule, "loss": loss, "step": step, "average": averaging(own["ema_update"])}


def bits_slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Loss, step and average of the variant "bits", in which boards are numbers: pieces of chapter 2."""

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        return own["ddim_step"](x, alpha_bar_of(now), alpha_bar_of(after), prediction.eps, 1.0, context.noise(x))

    return {"loss": discrete_loss(own["v_loss"]), "step": step, "average": averaging(own["ema_update"])}


VARIANTS = {"": slots, "uniform": uniform_slots, "bits": bits_slots}
"""variant -> its slots: the same boards by masks, by uniform tokens and by numbers."""


def token_schedule(alpha_bar: Callable[[Tensor], Tensor]) -> Schedule:
    """A schedule from betas of 1 / (T - t), by which alpha_bar falls in a straight line (D3PM, section 3.1)."""
    left = alpha_bar(1 / (STEPS - torch.arange(STEPS, dtype=torch.float64)))
    with torch.inference_mode(False):
        table = torch.cat([torch.ones(1, dtype=torch.float64), left.detach().cpu().double()])  # (T + 1,)

    def path(t: Tensor) -> tuple[Tensor, Tensor]:
        position = t * STEPS
        below = position.detach().floor().long().clamp(0, STEPS - 1)
        kept = table[below] + (position - below) * (table[below + 1] - table[below])
        return kept.clamp(min=0).sqrt(), (1 - kept).clamp(min=0).sqrt()

    # The ends of the chapter's own schedule, on which the bound has no step before the first.
    return replace(schedules.masking(), name="own", path=path)


def _chains(
    matrix: Callable[[Tensor], Tensor], schedule: Schedule, level: Level, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """t (B,), Q and Q_bar (2 B, S, S): a chain of two steps for each sample, from the data to s and from s to t.

    s is one step of the bound before the sample's own time. t picks the second steps.
    """
    time = level.t.detach().flatten().expand(count).cpu().double()
    here, there = (schedule.path(t.clamp(0, schedule.t_max))[0] ** 2 for t in (time, time - 1 / STEPS))
    steps = matrix(torch.stack([there, here / there], dim=1)).flatten(0, 1)
    jumps = matrix(torch.stack([there, here], dim=1)).flatten(0, 1)
    t = 2 * torch.arange(count, device=level.t.device) + 1
    return t, steps.to(level.t), jumps.to(level.t)


def _draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Tokens (...) by inverse transform, from (..., K) and (...)."""
    sums = probabilities.cumsum(dim=-1)
    return (sums <= uniforms.unsqueeze(-1) * sums[..., -1:]).sum(dim=-1).clamp(max=probabilities.shape[-1] - 1)
