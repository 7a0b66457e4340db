"""Inputs of this chapter's exercises: transition matrices, tokens that went through them, uniforms, boards."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from diffusion_lab.data.games import enumerate_tic_tac_toe
from diffusion_lab.exercises.record import Draw

SIXTEENTHS = 16
"""Probabilities of single steps are multiples of 1/16, so that products of six matrices are exact in float32 too."""


def transitions(draw: Draw, steps: int, states: int) -> Tensor:
    """(T, S, S): one matrix for each step, Q[t, i, j] = q(x_t = j | x_{t-1} = i); all positive, none symmetric."""
    Q = torch.ones(steps, states, states, dtype=torch.float64)
    Q += torch.diag_embed(draw.integers(3, 6, steps, states).double())
    while bool((Q.sum(dim=-1) < SIXTEENTHS).any()):
        more = torch.nn.functional.one_hot(draw.integers(0, states, steps, states), states)
        Q += more * (Q.sum(dim=-1, keepdim=True) < SIXTEENTHS)
    return Q / SIXTEENTHS


def masking(draw: Draw, steps: int, states: int) -> Tensor:
    """(T, S, S): each token stays or becomes the last state, the mask, and a mask stays one."""
    keep = draw.integers(8, 14, steps).double().reshape(-1, 1, 1) / SIXTEENTHS
    mask = torch.zeros(states, states, dtype=torch.float64)
    mask[:, -1] = 1
    return keep * torch.eye(states, dtype=torch.float64) + (1 - keep) * mask


def chained(Q: Tensor) -> Tensor:
    """(T, S, S): entry t leads from the data to x_t."""
    found = [Q[0]]
    for step in Q[1:]:
        found.append(found[-1] @ step)
    return torch.stack(found)


def noisy(draw: Draw, x0: Tensor, t: Tensor, Q_bar: Tensor) -> Tensor:
    """Tokens (B, L) that x0 (B, L) can have become at t (B,)."""
    probabilities = Q_bar[t].gather(1, x0.unsqueeze(-1).expand(-1, -1, Q_bar.shape[-1]))  # (B, L, S)
    return pick(probabilities, draw.uniform(*x0.shape))


def pick(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Tokens (...) by inverse transform from probabilities (..., S)."""
    last = probabilities.shape[-1] - 1
    return (probabilities.cumsum(dim=-1) <= uniforms.unsqueeze(-1)).sum(dim=-1).clamp(max=last)


def uniforms_for(draw: Draw, probabilities: Tensor) -> Tensor:
    """Uniforms (...) that lie well inside the interval of some token of probabilities (..., S).

    Rounding errors of a cumulative sum cannot change which token they pick.
    """
    token = pick(probabilities, draw.uniform(*probabilities.shape[:-1])).unsqueeze(-1)
    width = probabilities.gather(-1, token).squeeze(-1)
    end = probabilities.cumsum(dim=-1).gather(-1, token).squeeze(-1)
    return end - width * draw.uniform(*end.shape, low=0.1, high=0.9)


def belief(draw: Draw, *shape: int) -> Tensor:
    """Probabilities of that shape, positive; multiples of 1/1024, so that the sum over the last axis is exactly 1."""
    counts = (1000 * draw.normal(*shape).softmax(dim=-1)).floor() + 1
    counts[..., -1] += 1024 - counts.sum(dim=-1)
    return counts / 1024


@functools.cache
def reachable() -> Tensor:
    """The 5,478 boards (5478, 9) of tic-tac-toe that play can reach."""
    return enumerate_tic_tac_toe()


@functools.cache
def only_counted() -> Tensor:
    """The 568 boards (568, 9) with as many X as O, or one more, that no play can reach."""
    boards = torch.cartesian_prod(*[torch.arange(3)] * 9)
    more = (boards == 1).sum(dim=1) - (boards == 2).sum(dim=1)
    counted = boards[(more == 0) | (more == 1)]
    place = 3 ** torch.arange(9)
    return counted[~torch.isin(counted @ place, reachable() @ place)]
