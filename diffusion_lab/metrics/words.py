"""Accuracy of words that were recovered from noisy embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.errors import DataError
from diffusion_lab.metrics.checks import as_double, as_rows, same_shape

CHUNK = 2**22
"""The most pairs of a query and a word held at once: 32 MiB in float64."""


def nearest_word(x: Tensor, vectors: Tensor) -> Tensor:
    """The index (...) int64 of the row of `vectors` (V, D) nearest to each of x (..., D), by Euclidean distance.

    Not the largest dot product, which prefers long vectors. Ties go to one of the nearest rows.
    Raises DataError when the widths disagree or a value is not finite.
    """
    if vectors.ndim != 2 or x.ndim == 0 or x.shape[-1] != vectors.shape[-1]:
        raise DataError(
            f"x has shape {tuple(x.shape)} and vectors {tuple(vectors.shape)}; expected (..., D) and (V, D)"
        )
    words = as_rows(vectors, "vectors")
    queries = as_rows(x.reshape(-1, x.shape[-1]), "x")
    # |x - v|^2 = |x|^2 - 2 (x.v - |v|^2 / 2), so the nearest word has the largest bracket.
    half_norm = words.square().sum(1) / 2
    ids = [(part @ words.T - half_norm).argmax(dim=1) for part in queries.split(max(1, CHUNK // len(words)))]
    return torch.cat(ids).reshape(x.shape[:-1]).to(x.device)


def word_accuracy(predicted: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """The fraction of word ids that are right, in [0, 1]. All (N,) or (N, L); where `mask` is False nothing is counted.

    Raises DataError when shapes differ or nothing is left to count.
    """
    right, real = _compared(predicted, truth, mask)
    return float(as_double(right[real]).mean())


def sentence_accuracy(predicted: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """The fraction of sentences (N, L) in which every real word is right, in [0, 1].

    `mask` (N, L) is True for real words; a sentence without any is not counted.
    Raises DataError when shapes differ or nothing is left to count.
    """
    right, real = _compared(predicted, truth, mask)
    if right.ndim != 2:
        raise DataError(f"sentences have shape (N, L), and these have {tuple(right.shape)}")
    return float(as_double((right | ~real).all(dim=1)[real.any(dim=1)]).mean())


def _compared(predicted: Tensor, truth: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Which ids agree, and which are counted, both bool and shaped like `truth`."""
    same_shape(predicted, truth, "the predicted and the true ids")
    real = torch.ones_like(truth, dtype=torch.bool) if mask is None else mask
    same_shape(real, truth, "the mask and the true ids")
    if real.dtype != torch.bool:
        raise DataError(f"the mask is {real.dtype}; expected bool, True for real words")
    if not real.any():
        raise DataError("there is no word to count: the mask leaves none")
    return predicted == truth, real
