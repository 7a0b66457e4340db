"""Losses for tokens: how badly the network guesses x0, and the bound on the likelihood of the data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from diffusion_lab.discrete.process import DiscreteProcess
from diffusion_lab.levels import Level
from diffusion_lab.schedules import Schedule


def cross_entropy_loss(process: DiscreteProcess) -> Callable[..., Tensor]:
    """-log p(x0 | x_t) from the network's logits, averaged over the cells, (B,) nats (D3PM, equation 5, second term).

    The loss has the signature of every loss here, with uniforms (B, cells) in the place of eps.
    """

    def loss(network: Callable[..., Tensor], x0: Tensor, uniforms: Tensor, level: Level, cond: dict) -> Tensor:
        x = process.noisy(x0, level, uniforms)
        return _negative_log_likelihood(network(x, _time(level, x), **cond), x0).mean(dim=1)

    return loss


def variational_bound(process: DiscreteProcess, schedule: Schedule, T: int = 100) -> Callable[..., Tensor]:
    """An upper bound on -log p(x0) per cell, (B,) nats, that is unbiased over times drawn uniformly in (0, 1].

    For "absorbing" in continuous time: -alpha_bar' / (1 - alpha_bar) times the cross-entropy of the masked cells
    (Sahoo et al. 2024, "MDLM", equation 10). For "uniform" with T steps: T KL(q(x_s | x_t, x0) | p(x_s | x_t)) with
    s = t - 1/T (D3PM, equation 1). The exact denoiser of N equally likely states with n cells reaches about log(N) / n.
    """
    if process.kind == "absorbing":
        return _absorbing_bound(process)

    def loss(network: Callable[..., Tensor], x0: Tensor, uniforms: Tensor, level: Level, cond: dict) -> Tensor:
        # Times on the grid 1/T, ..., 1.
        t = (torch.ceil(level.t.flatten().double() * T) / T).clamp(1 / T, 1)
        like = uniforms
        now, after = schedule.at(t, like=like), schedule.at(t - 1 / T, like=like)
        x = process.noisy(x0, now, uniforms)
        p_x0 = network(x, _time(now, x), **cond).softmax(dim=-1)
        truth = process.posterior(x, functional.one_hot(x0, process.categories).to(p_x0), now, after)
        guess = process.posterior(x, p_x0, now, after)
        return T * functional.kl_div(guess.clamp(min=1e-12).log(), truth, reduction="none").sum(dim=-1).mean(dim=1)

    return loss


def _absorbing_bound(process: DiscreteProcess) -> Callable[..., Tensor]:
    def loss(network: Callable[..., Tensor], x0: Tensor, uniforms: Tensor, level: Level, cond: dict) -> Tensor:
        x = process.noisy(x0, level, uniforms)
        nll = _negative_log_likelihood(network(x, _time(level, x), **cond), x0)
        rate = -2 * level.alpha * level.dalpha / (1 - level.alpha_bar)  # -alpha_bar' / (1 - alpha_bar)
        return (rate * nll * (x == process.categories)).mean(dim=1)

    return loss


def _negative_log_likelihood(logits: Tensor, x0: Tensor) -> Tensor:
    """(B, cells, categories) and (B, cells) to (B, cells)."""
    return functional.cross_entropy(logits.transpose(1, 2), x0, reduction="none")


def _time(level: Level, x: Tensor) -> Tensor:
    return level.t.flatten().expand(len(x)).float()
