"""Inputs of this chapter's exercises: vocabularies, sentences with padding, vectors near words."""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.exercises.record import Draw


def vocabulary(draw: Draw, words: int, dimensions: int) -> Tensor:
    """(V, D), some vectors much longer than others, so that the largest dot product is not the nearest word."""
    return draw.normal(words, dimensions) * draw.uniform(words, 1, low=0.4, high=2.5)


def near(draw: Draw, ids: Tensor, embeddings: Tensor, spread: float = 0.8) -> Tensor:
    """Vectors (..., D) scattered around the words `ids` (...), none of them on the border between two words.

    Each is moved a tenth of the way to its nearest word, so that rounding errors cannot change which word that is.
    """
    x = embeddings[ids] + spread * draw.normal(*ids.shape, embeddings.shape[1])
    return x + 0.1 * (embeddings[nearest(x, embeddings)] - x)


def nearest(x: Tensor, embeddings: Tensor) -> Tensor:
    """The ids (...) of the nearest rows."""
    return (x.unsqueeze(-2) - embeddings).square().sum(dim=-1).argmin(dim=-1)


def real_words(draw: Draw, sentences: int, length: int) -> Tensor:
    """(B, L) bool: True for the words of each sentence, False for its padding; a word and a padded place in each."""
    lengths = draw.integers(1, length, sentences)
    if sentences > 1:
        lengths[0], lengths[1] = 1, length - 1
    return torch.arange(length) < lengths[:, None]


def with_gaps(draw: Draw, sentences: int, length: int) -> Tensor:
    """(B, L) bool: padding before, between and after the words; a word and two padded places in each."""
    mask = draw.uniform(sentences, length) < 0.6
    mask[:, 0], mask[:, 1], mask[:, 2] = False, True, False
    return mask


def sentence_shapes(draw: Draw) -> list[tuple[int, int, int]]:
    """Shapes (B, L, D): several sentences, a single one, and one in which every size is equal."""
    b, length, d, n = draw.integer(3, 5), draw.integer(6, 8), draw.integer(9, 11), draw.integer(3, 5)
    return [(b, length, d), (1, length, d), (n, n, n)]
