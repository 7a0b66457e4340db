"""How the pieces of chapter 1 take their places in its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lab import schedules
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, loss and step of `run_chapter`, made of these functions."""

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        # Two levels of the path are a chain of two steps, or of one where the second level is the data.
        here, there = alpha_bar_of(now), alpha_bar_of(after)
        betas = (1 - here).reshape(1) if there == 1 else torch.stack([1 - there, 1 - here / there])
        # The last step is handed noise like all others: whether to use it is for the piece to know.
        return own["ddpm_step"](x, len(betas) - 1, prediction.eps, betas, context.noise(x), "posterior")

    table = own["alpha_bar"](own["linear_betas"](1000, 1e-4, 0.02))
    return {
        "schedule": schedules.from_alpha_bar(table, "own"),
        "loss": discrete_loss(own["eps_loss"]),
        "step": step,
    }


def alpha_bar_of(level: Level) -> Tensor:
    """alpha_bar of a level that the batch shares: one float64 number on the CPU, exactly 1 for clean data.

    It is taken from alpha or from sigma, whichever is smaller: the float32 square of the other one would lose the
    digits of 1 - alpha_bar, or those of alpha_bar.
    """
    alpha, sigma = (field.detach().cpu().double().flatten()[0] for field in (level.alpha, level.sigma))
    return alpha**2 if alpha < sigma else 1 - sigma**2


def ddim_slot(piece: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The step of a run from a DDIM step (x, alpha_bar_t, alpha_bar_s, eps, eta, noise), taken without noise."""

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        return piece(x, alpha_bar_of(now), alpha_bar_of(after), prediction.eps, 0.0, torch.zeros_like(x))

    return step


def averaging(piece: Callable[..., dict[str, Tensor]]) -> Callable[[nn.Module, nn.Module, float], None]:
    """The average of a run, from a function that returns the new state of the averaged network."""

    def average(averaged: nn.Module, online: nn.Module, decay: float) -> None:
        averaged.load_state_dict(piece(averaged, online, decay))

    return average


def discrete_loss(piece: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A loss for `run_chapter` from a loss over discrete steps, (model, x0, t, noise, alpha_bar) -> (B,).

    Every sample has a level of its own, so the table has one row for each of them, and t counts the rows. The piece may
    call its model on some of the rows only.
    """

    def loss(network: Callable[..., Tensor], x0: Tensor, eps: Tensor, level: Level, cond: dict) -> Tensor:
        times = level.t.flatten().expand(len(x0))

        def model(x: Tensor, t: Tensor) -> Tensor:
            rows = t.long()
            return network(x.to(x0.dtype), times[rows], **{name: value[rows] for name, value in cond.items()})

        rows = torch.arange(len(x0), device=x0.device)
        return piece(model, x0, rows, eps, level.alpha_bar.flatten().expand(len(x0)))

    return loss
