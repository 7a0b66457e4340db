"""board_to_bits: tokens as numbers that noise can be added to."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def board_to_bits(boards: Tensor) -> Tensor:
    """Each token as two analog bits.

    Args:
        boards: (B, cells) int64, tokens 0, 1 and 2.

    Returns:
        (B, 2 * cells) float32 of -1 and +1: for each cell in turn its high bit (worth 2), then its low bit (worth 1).
        Token 0 is (-1, -1), 1 is (-1, +1), 2 is (+1, -1).
    """
    bits = torch.stack([boards // 2, boards % 2], dim=-1)  # (B, cells, 2)
    return (2 * bits - 1).flatten(1).float()


def low_bit_first(boards):
    """The two bits of a cell have changed places: the high bit, worth 2, comes first."""
    return (2 * torch.stack([boards % 2, boards // 2], dim=-1) - 1).flatten(1).float()


def zeros_for_minus_ones(boards):
    """These bits are 0 and 1. Noise is added to numbers with mean near 0 and size 1: -1 and +1."""
    return torch.stack([boards // 2, boards % 2], dim=-1).flatten(1).float()


def high_bits_of_all_cells_first(boards):
    """All high bits come before all low bits. The two bits of a cell stand side by side."""
    return (2 * torch.cat([boards // 2, boards % 2], dim=1) - 1).float()


def plus_one_for_zero(boards):
    """A bit of 0 became +1 and a bit of 1 became -1. It is the other way round."""
    return (1 - 2 * torch.stack([boards // 2, boards % 2], dim=-1)).flatten(1).float()


def one_entry_for_each_token(boards):
    """This has three entries for a cell, one for each token. Two bits are enough for three tokens."""
    return (2 * torch.nn.functional.one_hot(boards, 3) - 1).flatten(1).float()


def one_number_for_each_token(boards):
    """Each token became one number. That puts token 1 between 0 and 2, as if O were more X than X; bits have no such
    order."""
    return (boards - 1).float()


def divided_with_a_remainder(boards):
    """The high bit was found with `/`, which leaves halves. A bit is all or nothing: divide by 2 with `//`."""
    return (2 * torch.stack([boards / 2, boards % 2], dim=-1) - 1).flatten(1).float()


def low_bit_of_every_mark(boards):
    """The low bit is on for X and for O. O is the token 2, in base two 10: its low bit is 0."""
    return (2 * torch.stack([(boards == 2).long(), (boards > 0).long()], dim=-1) - 1).flatten(1).float()


def by_a_table(boards):
    table = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0]])
    return table[boards].reshape(len(boards), -1)


def column_by_column(boards):
    bits = -torch.ones(boards.shape[0], 2 * boards.shape[1])
    bits[:, 0::2][boards == 2] = 1
    bits[:, 1::2][boards == 1] = 1
    return bits


def by_shifts(boards):
    places = torch.tensor([1, 0])
    on = (boards[:, :, None] >> places) & 1
    return torch.where(on == 1, 1.0, -1.0).reshape(boards.shape[0], 2 * boards.shape[1])


def through_numpy(boards):
    import numpy as np

    high, low = np.divmod(boards.numpy(), 2)
    return torch.from_numpy(np.stack([high, low], axis=2).reshape(len(boards), -1) * 2.0 - 1).float()


def cases(draw: Draw):
    first = draw.integers(0, 3, draw.integer(4, 7), 9)
    first[0, :3] = draw.permutation(3)
    yield Case("boards of nine cells", (first,))
    yield Case("a single board", (torch.cat([draw.permutation(3), draw.integers(0, 3, 6)])[None],))
    n = draw.integer(3, 5)
    yield Case("other boards", (torch.cat([draw.permutation(3), draw.integers(0, 3, n * n)])[: n * n].reshape(n, n),))
    yield Case("one cell for each token", (draw.permutation(3)[:, None],))


def bits_read_in_base_two(piece, draw: Draw):
    boards = draw.integers(0, 3, 20, draw.integer(5, 9))
    bits = piece(boards).reshape(20, -1, 2)
    read = ((bits + 1) / 2 * torch.tensor([2.0, 1.0])).sum(dim=-1)
    wrong_ones = int((read != boards).sum())
    return f"read in base two, {wrong_ones} of {boards.numel()} cells are not their token" if wrong_ones else None


EXERCISE = Exercise(
    chapter="games",
    kind="data",
    title="Boards as analog bits",
    statement=r"""
The other way to tokens is to turn them into numbers and use what you have: each token in base two, with $-1$ for a bit
of 0 and $+1$ for a bit of 1. Empty, X and O are the tokens 0, 1 and 2, so a cell is two numbers, high bit first, and a
board of 9 cells is a point with 18 coordinates.
""",
    reference=board_to_bits,
    parts={"values": 3, CARE: 1},
    cases=cases,
    properties=(Property("bits are read in base two", bits_read_in_base_two),),
    wrong_answers=(
        wrong(low_bit_first),
        wrong(zeros_for_minus_ones),
        wrong(high_bits_of_all_cells_first),
        wrong(plus_one_for_zero),
        wrong(one_entry_for_each_token),
        wrong(one_number_for_each_token),
        wrong(divided_with_a_remainder),
        wrong(low_bit_of_every_mark),
    ),
    right_answers=(right(by_a_table), right(column_by_column), right(by_shifts), right(through_numpy)),
    hints=("A token is 2 high + low.", "Stack the two bits on a new last axis, then flatten."),
    source="Chen, Zhang & Hinton 2023 (Analog Bits), section 2.1",
)
