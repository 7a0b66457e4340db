"""Scores for generated tic-tac-toe boards against the list of all that can be reached."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from diffusion_lab.errors import DataError
from diffusion_lab.metrics.checks import as_double, same_shape
from diffusion_lab.metrics.mixture import total_variation

STATES = 3
"""What a cell can hold: empty, X or O."""


def board_codes(boards: Tensor) -> Tensor:
    """The number (N,) int64 that has the cells of each board (N, cells) as its digits in base 3.

    A board holding a token of 3 or more, such as a mask that a sampler left behind, is no board and has the code -1.
    Raises DataError for another shape, tokens that are not whole numbers, or negative ones.
    """
    if boards.ndim != 2 or boards.is_floating_point() or boards.numel() == 0:
        raise DataError(f"boards are {boards.dtype} of shape {tuple(boards.shape)}; expected integers of (N, cells)")
    if boards.min() < 0:
        raise DataError(f"a board holds the token {boards.min()}; cells hold 0 to {STATES - 1}")
    boards, cells = boards.cpu().long(), boards.shape[1]
    if STATES**cells >= 2**63:
        raise DataError(f"boards have {cells} cells; a 64-bit code holds at most 39")
    place = STATES ** torch.arange(cells)
    codes = (boards * place).sum(dim=1)
    return torch.where((boards >= STATES).any(dim=1), -1, codes)


def legality_rate(boards: Tensor, legal_boards: Tensor) -> float:
    """The fraction of boards (N, cells) that are among legal_boards (M, cells), in [0, 1], better higher."""
    return float((_index_among(boards, legal_boards) >= 0).to(torch.float64).mean())


def board_total_variation(boards: Tensor, legal_boards: Tensor, weights: Tensor | None = None) -> float:
    """Total variation between how often boards (N, cells) occur and `weights` (M,) over legal_boards (M, cells).

    Weights are uniform by default, and need not be normalised. All illegal boards together are one more outcome, of
    true probability 0. In [0, 1], better lower. With fewer boards than outcomes the floor is high even for the truth
    (N = M uniform draws score about 1/e), so read it beside `floor_of`.
    """
    legal = len(legal_boards)
    weights = torch.ones(legal) if weights is None else weights
    if weights.shape != (legal,) or not (weights >= 0).all() or not weights.sum() > 0:
        raise DataError(
            f"weights have shape {tuple(weights.shape)}; expected {legal} weights, none negative, not all 0"
        )
    counts = torch.bincount(_index_among(boards, legal_boards) + 1, minlength=legal + 1)  # illegal boards come first
    truth = torch.cat([torch.zeros(1, dtype=torch.float64), as_double(weights)])
    return total_variation(counts.to(torch.float64) / len(boards), truth / truth.sum())


def pair_total_variation(boards: Tensor, reference: Tensor, tokens: int) -> float:
    """How far the joint distribution of two cells is from that of reference boards, averaged over all pairs of cells.

    For boards (N, cells) and (M, cells) int64 of any kind, where the legal ones cannot be listed: the total variation
    between the frequencies of the `tokens` x `tokens` outcomes of two different cells, then the mean over such pairs. A
    token outside 0 to tokens - 1, such as a mask that a sampler left behind, agrees with nothing. In [0, 1], better
    lower; its floor falls as one over the root of N and M. Raises DataError where the boards differ in their cells.
    """
    if boards.ndim != 2 or boards.shape[1:] != reference.shape[1:] or boards.shape[-1] < 2:
        shapes = f"{tuple(boards.shape)} and {tuple(reference.shape)}"
        raise DataError(f"expected two sets of boards of one kind, of 2 cells or more; got {shapes}")
    ours, theirs = (_joint(x, tokens) for x in (boards, reference))  # (cells, K + 1, cells, K + 1)
    # Total variation is the sum of what is too much: an outcome that the other lacks counts whole.
    excess = (ours - theirs).clamp(min=0).sum(dim=(1, 3))
    cells = boards.shape[1]
    return float(excess[~torch.eye(cells, dtype=torch.bool)].mean())


def _joint(boards: Tensor, tokens: int) -> Tensor:
    """The share of boards with token a in cell i and b in cell j: (cells, K + 1, cells, K + 1), K for no token."""
    known = torch.where((boards >= 0) & (boards < tokens), boards, tokens)
    flat = functional.one_hot(known, tokens + 1).flatten(1).to(torch.float32)
    cells = boards.shape[1]
    return (flat.T @ flat / len(boards)).double().reshape(cells, tokens + 1, cells, tokens + 1)


def reconstruction_accuracy(predicted: Tensor, truth: Tensor, hidden: Tensor | None = None) -> float:
    """The fraction of cells restored rightly, in [0, 1], for boards (N, cells).

    `hidden` (N, cells) bool is True for the cells that had to be restored; trusted cells would only flatter the score.
    By default all are counted. Raises DataError when shapes differ or nothing was hidden.
    """
    same_shape(predicted, truth, "the predicted and the true boards")
    hidden = torch.ones_like(truth, dtype=torch.bool) if hidden is None else hidden
    same_shape(hidden, truth, "hidden and the boards")
    if hidden.dtype != torch.bool:
        raise DataError(f"hidden is {hidden.dtype}; expected bool, True for the cells to restore")
    if not hidden.any():
        raise DataError("hidden is False everywhere: no cell had to be restored")
    return float(as_double((predicted == truth)[hidden]).mean())


def _index_among(boards: Tensor, legal_boards: Tensor) -> Tensor:
    """The position (N,) of each board (N, cells) in legal_boards (M, cells), or -1 where it is not among them.

    Raises DataError when the numbers of cells differ, or a legal board is repeated or impossible.
    """
    codes, legal = board_codes(boards), board_codes(legal_boards)
    if boards.shape[1] != legal_boards.shape[1]:
        raise DataError(f"boards have {boards.shape[1]} cells and the legal ones {legal_boards.shape[1]}")
    ordered, order = legal.sort()
    if ordered[0] < 0 or (ordered.diff() == 0).any():
        raise DataError(f"legal_boards must be different boards with tokens 0 to {STATES - 1}")
    place = torch.searchsorted(ordered, codes).clamp(max=len(ordered) - 1)
    return torch.where(ordered[place] == codes, order[place], -1)
