"""Losses for sequences of word embeddings: padding that does not count, and rounding to words."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from diffusion_lab.errors import PieceError


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean over everything but the batch, shape (B,); with a mask (B, L) of real tokens, over those only.

    A padded position counts neither in the sum nor in the number of values.
    """
    if mask is None:
        return values.flatten(1).mean(dim=1)
    if mask.shape != values.shape[: mask.ndim]:
        raise PieceError(f"a mask of shape {tuple(mask.shape)} does not fit values of shape {tuple(values.shape)}")
    per_token = values.flatten(mask.ndim).mean(dim=mask.ndim) if values.ndim > mask.ndim else values
    return (per_token * mask).flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1).clamp(min=1)


def rounding_loss(x0: Tensor, vectors: Tensor, ids: Tensor, mask: Tensor | None = None, std: float = 0.5) -> Tensor:
    """-log p(word | x0), where a word is as likely as a normal of that std around its vector is dense; shape (B,).

    It keeps a denoised embedding close to its word (Li et al. 2022, "Diffusion-LM", section 4.2).

    Args:
        x0: estimated clean embeddings (B, L, D); the noisy ones would train the network for nothing.
        vectors: (V, D), one row a word.
        ids: (B, L) int64.
        mask: (B, L), True for real tokens.
        std: width of a word in embedding units.
    """
    distance = torch.cdist(x0.flatten(0, 1), vectors).square()  # (B L, V)
    nll = functional.cross_entropy(-distance / (2 * std**2), ids.flatten(), reduction="none")
    return masked_mean(nll.reshape(ids.shape), mask)
