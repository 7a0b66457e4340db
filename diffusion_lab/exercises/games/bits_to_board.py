"""bits_to_board: from numbers back to tokens, and whether they are any."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def bits_to_board(bits: Tensor) -> tuple[Tensor, Tensor]:
    """Read the signs of analog bits as tokens.

    Args:
        bits: (B, 2 * cells), any numbers: for each cell in turn its high bit (worth 2), then its low bit (worth 1). A
            number above 0 is a bit of 1.

    Returns:
        The boards, (B, cells) int64, and which of them are valid, (B,) bool. Two bits of 1 are the code 3, which is no
        token: the cell keeps the 3, and its board is not valid.
    """
    pairs = (bits > 0).long().reshape(len(bits), -1, 2)  # (B, cells, 2)
    boards = 2 * pairs[..., 0] + pairs[..., 1]
    return boards, (boards < 3).all(dim=1)


def _pairs(bits):
    return (bits > 0).long().reshape(len(bits), -1, 2)


def low_bit_first(bits):
    """The two bits of a cell have changed places: the first one is worth 2."""
    boards = _pairs(bits)[..., 0] + 2 * _pairs(bits)[..., 1]
    return boards, (boards < 3).all(dim=1)


def border_at_one_half(bits):
    """A bit counted as 1 from 0.5 on, as for bits of 0 and 1. Analog bits are -1 and +1, and their border is 0."""
    pairs = (bits > 0.5).long().reshape(len(bits), -1, 2)
    boards = 2 * pairs[..., 0] + pairs[..., 1]
    return boards, (boards < 3).all(dim=1)


def invalid_code_as_an_o(bits):
    """The code 3 was turned into the token 2. A sampler that makes no boards would look as if it did: keep the 3, and
    say that the board is not valid."""
    boards = (2 * _pairs(bits)[..., 0] + _pairs(bits)[..., 1]).clamp(max=2)
    return boards, (boards < 3).all(dim=1)


def invalid_code_as_empty(bits):
    """The code 3 was turned into an empty cell. A sampler that makes no boards would look as if it did: keep the 3, and
    say that the board is not valid."""
    boards = (2 * _pairs(bits)[..., 0] + _pairs(bits)[..., 1]) % 3
    return boards, (boards < 3).all(dim=1)


def each_cell_judged_alone(bits):
    """There is a verdict for each cell. One for each board is asked for: valid where all of its cells are."""
    boards = 2 * _pairs(bits)[..., 0] + _pairs(bits)[..., 1]
    return boards, boards < 3


def one_good_cell_is_enough(bits):
    """A board counts as valid when any of its cells is. All of them must be."""
    boards = 2 * _pairs(bits)[..., 0] + _pairs(bits)[..., 1]
    return boards, (boards < 3).any(dim=1)


def high_bits_of_all_cells_first(bits):
    """The first half was read as high bits and the second as low bits. The two bits of a cell stand side by side."""
    high, low = (bits > 0).long().chunk(2, dim=1)
    boards = 2 * high + low
    return boards, (boards < 3).all(dim=1)


def zero_as_a_bit_of_one(bits):
    """A number of exactly 0 was read as a bit of 1. A bit is 1 above 0, and only there."""
    pairs = (bits >= 0).long().reshape(len(bits), -1, 2)
    boards = 2 * pairs[..., 0] + pairs[..., 1]
    return boards, (boards < 3).all(dim=1)


def rounded(bits):
    """The numbers were rounded to bits. A sampler can go far beyond -1 and 1, and then bits of 2 or -1 come out: look
    at the sign alone."""
    pairs = ((bits + 1) / 2).round().long().reshape(len(bits), -1, 2)
    boards = 2 * pairs[..., 0] + pairs[..., 1]
    return boards, (boards < 3).all(dim=1)


def below_zero_as_a_bit_of_one(bits):
    """The signs are turned around: a number above 0 is a bit of 1."""
    boards = 2 * _pairs(-bits)[..., 0] + _pairs(-bits)[..., 1]
    return boards, (boards < 3).all(dim=1)


def three_replaced_by_an_o(bits):
    """The verdict is right, and the code 3 became the token 2. Leave it in the board, so that
    anyone can see what the sampler did."""
    boards = 2 * _pairs(bits)[..., 0] + _pairs(bits)[..., 1]
    return boards.clamp(max=2), (boards < 3).all(dim=1)


def three_replaced_by_an_empty_cell(bits):
    """The verdict is right, and the code 3 became an empty cell. Leave it in the board, so
    that anyone can see what the sampler did."""
    boards = 2 * _pairs(bits)[..., 0] + _pairs(bits)[..., 1]
    return boards % 3, (boards < 3).all(dim=1)


def invalid_boards_marked(bits):
    """This says which boards have the code 3. Asked for is the opposite: True where a board is valid."""
    boards = 2 * _pairs(bits)[..., 0] + _pairs(bits)[..., 1]
    return boards, (boards == 3).any(dim=1)


def every_second_column(bits):
    on = bits > 0
    boards = torch.zeros(len(bits), bits.shape[1] // 2, dtype=torch.int64)
    boards[on[:, 0::2]] += 2
    boards[on[:, 1::2]] += 1
    return boards, ~(on[:, 0::2] & on[:, 1::2]).any(dim=1)


def nearest_code(bits):
    codes = torch.tensor([[-1, -1], [-1, 1], [1, -1], [1, 1]]).to(bits)
    signs = torch.where(bits > 0, 1.0, -1.0).to(bits).reshape(len(bits), -1, 2)
    boards = torch.einsum("bcd,kd->bck", signs, codes).argmax(dim=-1)
    return boards, boards.amax(dim=1) <= 2


def one_board_at_a_time(bits):
    boards = []
    for row in bits.tolist():
        boards.append([2 * int(high > 0) + int(low > 0) for high, low in zip(row[::2], row[1::2], strict=True)])
    return torch.tensor(boards), torch.tensor([3 not in board for board in boards])


def through_numpy(bits):
    import numpy as np

    boards = np.where(bits.numpy() > 0, 1, 0).reshape(len(bits), -1, 2) @ np.array([2, 1])
    return torch.from_numpy(boards), torch.from_numpy((boards != 3).all(axis=1))


def _bits(draw: Draw, codes: Tensor) -> Tensor:
    """Bits (B, 2 * cells) with the signs of these codes (B, cells) and sizes of all kinds, none near 0."""
    signs = 2.0 * torch.stack([codes // 2, codes % 2], dim=-1).flatten(1) - 1
    return signs * draw.uniform(*signs.shape, low=0.05, high=2.0)


def cases(draw: Draw):
    b, n = draw.integer(5, 7), draw.integer(3, 4)
    codes = draw.integers(0, 3, b, 9)
    yield Case("valid boards", (_bits(draw, codes),))
    spoiled = draw.integers(0, 3, b, 9)
    spoiled[0, draw.integer(0, 8)] = spoiled[-1, draw.integer(0, 8)] = 3
    spoiled[1] = 3
    yield Case("some boards with the code 3", (_bits(draw, spoiled),), "the code 3")
    yield Case("a single board", (_bits(draw, draw.integers(1, 3, 1, 9)),))
    yield Case("other boards", (_bits(draw, draw.integers(0, 4, 2 * n, n)),), "the code 3")
    far = _bits(draw, draw.integers(0, 3, b, 9)) * draw.uniform(b, 18, low=1.0, high=4.0)
    far[0, :3], far[1, 3:6] = draw.uniform(3, low=3.1, high=9.0), draw.uniform(3, low=-9.0, high=-3.1)
    far[2, :6] = 0
    yield Case("numbers far out, and exactly 0", (far,), "far out and 0")


def all_boards(piece, draw: Draw):
    """Every board of four cells, with the exact bits."""
    boards = torch.cartesian_prod(*[torch.arange(3)] * 4)
    found, valid = piece((2.0 * torch.stack([boards // 2, boards % 2], dim=-1) - 1).flatten(1))
    if not bool(valid.all()):
        return f"{int((~valid).sum())} of the 81 boards of four cells are said not to be valid"
    wrong_ones = int((found != boards).any(dim=1).sum())
    return f"{wrong_ones} of the 81 boards of four cells do not come back from their bits" if wrong_ones else None


EXERCISE = Exercise(
    chapter="games",
    kind="data",
    title="Bits back to boards",
    statement=r"""
A sampler of numbers ends near $\pm 1$, not at it, and sometimes far beyond. A number above 0 is a bit of 1, any other
one (0 itself too) a bit of 0, and a cell is
$2 \cdot \text{high} + \text{low}$. Two bits have four codes and a cell has three tokens. The code 3 is a mistake of the
sampler; return it as it is, and beside the boards return which of them are free of it.
""",
    reference=bits_to_board,
    parts={"values": 2, "the code 3": 2, "far out and 0": 1, CARE: 1},
    cases=cases,
    properties=(Property("all boards of four cells", all_boards),),
    wrong_answers=(
        wrong(low_bit_first),
        wrong(border_at_one_half),
        wrong(invalid_code_as_an_o),
        wrong(invalid_code_as_empty),
        wrong(each_cell_judged_alone),
        wrong(one_good_cell_is_enough),
        wrong(high_bits_of_all_cells_first),
        wrong(zero_as_a_bit_of_one),
        wrong(rounded),
        wrong(below_zero_as_a_bit_of_one),
        wrong(three_replaced_by_an_o),
        wrong(three_replaced_by_an_empty_cell),
        wrong(invalid_boards_marked),
    ),
    right_answers=(right(every_second_column), right(nearest_code), right(one_board_at_a_time), right(through_numpy)),
    hints=(
        "Bring the bits to the shape (B, cells, 2).",
        "What should a judge of samples know about a cell with code 3?",
    ),
    source="Chen, Zhang & Hinton 2023 (Analog Bits), section 2.1",
)
