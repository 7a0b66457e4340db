"""Tic-tac-toe, enumerated: every board that play can reach, and boards as bits.

The nine cells are numbered row by row; a token is 0 for an empty cell, 1 for X and 2 for O; X moves first.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.errors import DataError

CELLS, TOKENS = 9, 3
LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
_PLACE_VALUES = torch.tensor([TOKENS**cell for cell in range(CELLS)])


def enumerate_tic_tac_toe() -> Tensor:
    """All 5,478 boards that legal play can reach, the empty one among them: (5478, 9) int64, sorted by cells.

    Play stops at three in a row, so a board with a finished line has no move after it. Counting marks alone
    (as many X as O, or one more) admits 6,046 boards.
    """
    seen = {(0,) * CELLS}
    frontier = list(seen)
    while frontier:
        board = frontier.pop()
        if any(board[a] and board[a] == board[b] == board[c] for a, b, c in LINES):
            continue
        mark = 1 if board.count(1) == board.count(2) else 2
        for cell in (cell for cell in range(CELLS) if not board[cell]):
            after = (*board[:cell], mark, *board[cell + 1 :])
            if after not in seen:
                seen.add(after)
                frontier.append(after)
    return torch.tensor(sorted(seen))


def is_legal(boards: Tensor) -> Tensor:
    """Whether each board of int64 tokens (B, 9) is one of the reachable 5,478: (B,) bool.

    Raises:
        DataError: the boards do not have the shape (B, 9) or are not integers.
    """
    _check_boards(boards, CELLS)
    in_range = ((boards >= 0) & (boards < TOKENS)).all(dim=1)  # (B,)
    number = (boards.clamp(0, TOKENS - 1) * _PLACE_VALUES.to(boards.device)).sum(dim=1)
    return _reachable().to(boards.device)[number] & in_range


def board_to_bits(boards: Tensor) -> Tensor:
    """Tokens (B, cells) as analog bits (B, 2 * cells) float32 of -1 and +1, the high bit of a cell before its low bit.

    0 is (-1, -1), 1 is (-1, +1), 2 is (+1, -1) (Chen, Zhang and Hinton 2022, "Analog Bits", section 2).

    Raises:
        DataError: a token outside 0..2, a wrong rank or a dtype that is not an integer.
    """
    _check_boards(boards)
    if boards.numel() and (boards.min() < 0 or boards.max() >= TOKENS):
        raise DataError(f"tokens must be 0, 1 or 2, got {int(boards.min())}..{int(boards.max())}")
    bits = torch.stack([boards // 2, boards % 2], dim=-1)  # (B, cells, 2)
    return (bits * 2 - 1).flatten(1).float()


def bits_to_board(bits: Tensor) -> tuple[Tensor, Tensor]:
    """The signs of analog bits (B, 2 * cells) read as tokens: boards (B, cells) int64 and whether each is valid, (B,).

    Two bits can say 3, which is no token. Such a cell keeps the 3, so that no legality check takes the board for legal.

    Raises:
        DataError: the last axis is not a whole number of cells.
    """
    if bits.ndim != 2 or bits.shape[1] % 2:
        raise DataError(f"bits must have the shape (B, 2 * cells), got {tuple(bits.shape)}")
    high, low = (bits.unflatten(1, (-1, 2)) > 0).long().unbind(dim=-1)  # (B, cells) each
    boards = 2 * high + low
    return boards, (boards < TOKENS).all(dim=1)


def load_tic_tac_toe() -> Dataset:
    """Every reachable board, as training and as test set: the enumeration is the whole truth; nothing is held out."""
    boards = enumerate_tic_tac_toe()
    return Dataset(
        name="tic-tac-toe, all reachable boards",
        source="generated",
        kind="board",
        train=boards,
        test=boards,
        info={"K": TOKENS, "tokens": ("empty", "X", "O")},
    )


@functools.cache
def _reachable() -> Tensor:
    """(3^9,) bool: whether the board of this number, in base 3, is reachable."""
    known = torch.zeros(TOKENS**CELLS, dtype=torch.bool)
    known[enumerate_tic_tac_toe() @ _PLACE_VALUES] = True
    return known


def _check_boards(boards: Tensor, cells: int | None = None) -> None:
    expected = f"(B, {cells})" if cells else "(B, cells)"
    if boards.ndim != 2 or (cells and boards.shape[1] != cells):
        raise DataError(f"boards must have the shape {expected}, got {tuple(boards.shape)}")
    if boards.is_floating_point() or boards.is_complex() or boards.dtype == torch.bool:
        raise DataError(f"boards must hold integer tokens, got {boards.dtype}")
