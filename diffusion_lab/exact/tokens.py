"""Finitely many states of tokens: the exact denoiser by enumeration."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from diffusion_lab.discrete import DiscreteProcess
from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level


class FiniteTokens:
    """x0 is one of N states of `cells` tokens, all equally likely, disturbed by `process`.

    Args:
        states: int64 (N, cells), tokens in 0..categories-1.
    """

    def __init__(self, states: Tensor, process: DiscreteProcess):
        if states.ndim != 2 or states.min() < 0 or states.max() >= process.categories:
            raise PieceError(
                f"expected states (N, cells) with tokens in 0..{process.categories - 1}, got {tuple(states.shape)}"
            )
        self.states, self.process = states, process
        self._one_hot = functional.one_hot(states, process.categories).float()  # (N, cells, K)

    def posterior(self, x: Tensor, level: Level) -> Tensor:
        """The probability of each state given the noisy tokens x (B, cells), (B, N)."""
        # log q(x | state) is a sum over cells of a table's entries: one matrix product.
        table = self.process.likelihood(x, level.alpha_bar)[..., : self.process.categories]
        logs = table.clamp(min=1e-30).log()  # (B, cells, K); the floor stands for an impossible cell
        return torch.softmax(logs.flatten(1) @ self._one_hot.flatten(1).to(logs).T, dim=1)

    def denoise(self, x: Tensor, level: Level) -> Tensor:
        """The exact p(x0 | x) of each cell, (B, cells, K)."""
        posterior = self.posterior(x, level)
        return (posterior @ self._one_hot.flatten(1).to(posterior)).reshape(len(x), *self._one_hot.shape[1:])
