"""Board scores against an enumeration of tic-tac-toe made here, by playing every game."""

from __future__ import annotations

import math

import pytest
import torch

from diffusion_lab.errors import DataError
from diffusion_lab.metrics import (
    board_codes,
    board_total_variation,
    floor_of,
    legality_rate,
    pair_total_variation,
    random_rows,
    reconstruction_accuracy,
)

LINES = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]


@pytest.fixture(scope="module")
def reachable() -> torch.Tensor:
    found = set()

    def play(board: tuple[int, ...], mover: int) -> None:
        if board in found:
            return
        found.add(board)
        if any(board[a] == board[b] == board[c] != 0 for a, b, c in LINES):
            return
        for cell in range(9):
            if board[cell] == 0:
                play((*board[:cell], mover, *board[cell + 1 :]), 3 - mover)

    play((0,) * 9, 1)
    return torch.tensor(sorted(found))


def every_board() -> torch.Tensor:
    return torch.cartesian_prod(*[torch.arange(3)] * 9)


def test_codes_of_all_boards_are_all_numbers():
    assert board_codes(every_board()).sort().values.tolist() == list(range(3**9))
    assert board_codes(torch.tensor([[0, 1, 3]])).tolist() == [-1]  # a cell left masked


def test_legality_is_stricter_than_counting_marks(reachable):
    assert len(reachable) == 5478
    crosses, noughts = (every_board() == 1).sum(1), (every_board() == 2).sum(1)
    counted = every_board()[(crosses - noughts >= 0) & (crosses - noughts <= 1)]
    assert len(counted) == 6046
    assert legality_rate(counted, reachable) == pytest.approx(5478 / 6046)
    assert legality_rate(every_board(), reachable.flip(0)) == pytest.approx(5478 / 3**9)
    assert legality_rate(torch.full((4, 9), 3), reachable) == 0
    assert legality_rate(reachable, reachable) == 1


def test_total_variation_by_hand():
    legal = torch.tensor([[0, 0], [1, 0], [1, 2], [2, 1]])
    boards = torch.tensor([[1, 2], [1, 2], [0, 0], [2, 2]])  # shares .25, 0, .5, 0 and .25 illegal
    assert board_total_variation(boards, legal) == pytest.approx((0 + 0.25 + 0.25 + 0.25 + 0.25) / 2)
    weights = torch.tensor([2.0, 0.0, 4.0, 0.0])  # 1/3 and 2/3
    assert board_total_variation(boards, legal, weights) == pytest.approx((1 / 12 + 1 / 6 + 1 / 4) / 2)
    order = torch.tensor([2, 0, 3, 1])
    assert board_total_variation(boards, legal[order], weights[order]) == pytest.approx((1 / 12 + 1 / 6 + 1 / 4) / 2)
    assert board_total_variation(legal, legal) == 0
    assert board_total_variation(torch.tensor([[2, 2]]), legal) == 1


def test_the_floor_of_total_variation(reachable):
    """Uniform draws hit a board Poisson(1) times, and half the mean of |Poisson(1) - 1| is 1/e."""
    generator = torch.Generator().manual_seed(0)

    def draw():
        return reachable[torch.randint(len(reachable), (len(reachable),), generator=generator)]

    assert floor_of(lambda x: board_total_variation(x, reachable), draw) == pytest.approx(1 / math.e, abs=0.01)
    half = random_rows(reachable, 2739, generator)
    assert board_total_variation(half, reachable) == pytest.approx(0.5)


def test_reconstruction_accuracy_counts_hidden_cells():
    truth = torch.tensor([[0, 1, 2], [2, 2, 1]])
    predicted = torch.tensor([[0, 1, 1], [2, 0, 1]])
    hidden = torch.tensor([[False, True, True], [False, True, False]])
    assert reconstruction_accuracy(predicted, truth, hidden) == pytest.approx(1 / 3)
    assert reconstruction_accuracy(predicted, truth) == pytest.approx(4 / 6)


def test_refusals(reachable):
    with pytest.raises(DataError, match="token -1"):
        legality_rate(reachable - 1, reachable)
    with pytest.raises(DataError, match="float32"):
        legality_rate(torch.zeros(3, 9), reachable)
    with pytest.raises(DataError, match="8 cells and the legal ones 9"):
        legality_rate(reachable[:, :8], reachable)
    with pytest.raises(DataError, match="different boards"):
        legality_rate(reachable, torch.cat([reachable, reachable[:1]]))
    with pytest.raises(DataError, match="at most 39"):
        board_codes(torch.zeros(1, 40, dtype=torch.int64))
    with pytest.raises(DataError, match="expected 5478 weights"):
        board_total_variation(reachable, reachable, torch.ones(3))
    with pytest.raises(DataError, match="no cell"):
        reconstruction_accuracy(reachable, reachable, torch.zeros_like(reachable, dtype=torch.bool))


def test_pairs_of_cells_tell_coupled_boards_from_free_ones():
    free = torch.cartesian_prod(*[torch.arange(2)] * 3)  # all eight boards: every pair of cells is uniform
    equal = torch.tensor([[0, 0, 0], [1, 1, 1]])  # two of the four outcomes, each twice as often
    assert pair_total_variation(free, free, 2) == 0
    assert pair_total_variation(equal, free, 2) == pytest.approx(1 / 2)
    half = torch.cat([equal, equal, equal, equal, free])
    assert pair_total_variation(half, free, 2) == pytest.approx(1 / 4)
    assert pair_total_variation(torch.full((5, 3), 2), free, 2) == 1  # masks that were left behind
    with pytest.raises(DataError, match="two sets of boards of one kind"):
        pair_total_variation(free, free[:, :2], 2)
