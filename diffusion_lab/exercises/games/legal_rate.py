"""legal_rate: how many sampled boards can be reached by play."""

import torch
from torch import Tensor

from diffusion_lab.exercises.games.inputs import only_counted, reachable
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def legal_rate(boards: Tensor, legal: Tensor) -> float:
    """The share of boards that are legal.

    Args:
        boards: (B, cells) int64, sampled boards, some of them perhaps several times. Tokens are 0, 1 and 2, or 3 where
            a sampler has left a mask.
        legal: (M, cells) int64, all legal boards, each once.

    Returns:
        In [0, 1]: the number of rows of `boards` that are a row of `legal`, divided by B.
    """
    known = {tuple(board) for board in legal.tolist()}
    return sum(tuple(board) in known for board in boards.tolist()) / len(boards)


def _is_legal(boards, legal):
    place = 5 ** torch.arange(boards.shape[1])
    return torch.isin((boards * place).sum(dim=1), (legal * place).sum(dim=1))


def marks_alone(boards, legal):
    """Only the marks were counted: as many X as O, or one more. For nine cells that admits 6,046 boards, and play
    reaches 5,478: it stops at three in a row."""
    more = (boards == 1).sum(dim=1) - (boards == 2).sum(dim=1)
    return float(((more == 0) | (more == 1)).double().mean())


def base_three(boards, legal):
    """Boards were compared by a number in base 3. A token 3, a mask that is left, then counts as a 1 in the next cell,
    and a board that is none passes for another."""
    place = 3 ** torch.arange(boards.shape[1])
    return float(torch.isin((boards * place).sum(dim=1), (legal * place).sum(dim=1)).double().mean())


def entry_by_entry(boards, legal):
    """This asks whether each token occurs in legal boards. A board is legal as a whole: compare rows."""
    return float(torch.isin(boards, legal).all(dim=1).double().mean())


def how_many_legal_boards_occur(boards, legal):
    """This is the share of legal boards that were sampled, which tells of variety. Legal is how many samples are right:
    divide by the number of samples."""
    return float(_is_legal(legal, boards).double().mean())


def each_board_once(boards, legal):
    """Boards that occur several times were counted once. Every sample counts."""
    return float(_is_legal(boards.unique(dim=0), legal).double().mean())


def number_instead_of_share(boards, legal):
    """This is the number of legal boards. Divide it by the number of samples."""
    return float(_is_legal(boards, legal).sum())


def in_percent(boards, legal):
    """This is in percent. A rate lies between 0 and 1."""
    return 100 * float(_is_legal(boards, legal).double().mean())


def divided_by_the_legal_boards(boards, legal):
    """The number of legal samples was divided by the number of legal boards that there are. Divide by the number of
    samples."""
    return float(_is_legal(boards, legal).sum()) / len(legal)


def masks_taken_for_empty_cells(boards, legal):
    """A mask that is left was read as an empty cell. A board with a mask is unfinished, and none of the legal ones."""
    return float(_is_legal(boards % 3, legal).double().mean())


def boards_with_masks_left_out(boards, legal):
    """Boards with a mask were left out of the count. They are samples that went wrong: they belong to the number that
    you divide by."""
    return float(_is_legal(boards[(boards < 3).all(dim=1)], legal).double().mean())


def illegal_boards_counted(boards, legal):
    """This is the share of boards that are not legal. Asked for is the share of those that are."""
    return float((~_is_legal(boards, legal)).double().mean())


def each_legal_board_once(boards, legal):
    """Legal boards that occur several times were counted once, and divided by all samples. Every sample counts, above
    and below the line."""
    return float(_is_legal(boards.unique(dim=0), legal).sum()) / len(boards)


def one_board_at_a_time(boards, legal):
    found = [bool((legal == board).all(dim=1).any()) for board in boards]
    return sum(found) / len(found)


def by_numbers_in_base_five(boards, legal):
    return _is_legal(boards, legal).double().mean().item()


def rows_and_their_first_places(boards, legal):
    rows, place = torch.cat([legal, boards]).unique(dim=0, return_inverse=True)
    known = torch.zeros(len(rows), dtype=torch.bool)
    known[place[: len(legal)]] = True
    return float(known[place[len(legal) :]].sum()) / len(boards)


def through_numpy(boards, legal):
    import numpy as np

    known = {row.tobytes() for row in np.ascontiguousarray(legal.numpy())}
    return float(np.mean([row.tobytes() in known for row in np.ascontiguousarray(boards.numpy())]))


def _question(draw: Draw, cells: int, samples: int):
    every = torch.cartesian_prod(*[torch.arange(3)] * cells)
    every = every[draw.permutation(len(every))]
    legal, others = every[: len(every) // 2], every[len(every) // 2 :]
    rows = [
        legal[draw.integers(0, len(legal), samples)],
        others[draw.integers(0, len(others), samples // 2)],
        legal[:1].expand(4, -1),
    ]
    # A mask in cell i that base 3 takes for one more in cell i + 1.
    for board in legal:
        places = ((board[:-1] == 0) & (board[1:] > 0)).nonzero().flatten().tolist()
        if places:
            twin = board.clone()
            twin[places[0]], twin[places[0] + 1] = 3, board[places[0] + 1] - 1
            rows.append(twin[None])
    boards = torch.cat(rows)
    return boards[draw.permutation(len(boards))], legal


def cases(draw: Draw):
    yield Case("boards of four cells", _question(draw, 4, draw.integer(30, 40)))
    yield Case("boards of five cells", _question(draw, 5, draw.integer(60, 90)))
    boards, legal = _question(draw, 3, 12)
    yield Case("as many samples as legal boards", (boards[: len(legal)], legal))
    some = reachable()[draw.integers(0, 5478, draw.integer(4, 6))]
    several = some[draw.integers(0, len(some), 30)].clone()
    several[:9] = draw.integers(0, 3, 9, 9)
    yield Case("tic-tac-toe", (several, some.unique(dim=0)))


def marks_are_not_enough(piece, draw: Draw):
    """Counting marks admits 6,046 boards, 568 of which no play reaches."""
    good = reachable()[draw.permutation(5478)[:432]]
    boards = torch.cat([good, only_counted()])[draw.permutation(1000)]
    found = piece(boards, reachable())
    if abs(found - 0.432) < 1e-9:
        return None
    return (
        f"432 of 1000 boards can be reached by play, and the other 568 only have the right marks; it says {found:.4g}"
    )


EXERCISE = Exercise(
    chapter="games",
    kind="data",
    title="Legal boards",
    statement=r"""
For tic-tac-toe nothing need be estimated: all boards that play can reach are known, 5,478 of them. Counting marks (as
many X as O, or one more) admits 6,046, among them boards on which play went on after three in a row. Given
sampled `boards` and the list of all `legal` ones, which share of the samples is legal?
""",
    reference=legal_rate,
    parts={"values": 3, "568 boards that only have the right marks": 1, CARE: 1},
    cases=cases,
    properties=(Property("marks are not enough", marks_are_not_enough, "568 boards that only have the right marks"),),
    wrong_answers=(
        wrong(marks_alone),
        wrong(base_three),
        wrong(entry_by_entry),
        wrong(how_many_legal_boards_occur),
        wrong(each_board_once),
        wrong(number_instead_of_share),
        wrong(in_percent),
        wrong(divided_by_the_legal_boards),
        wrong(masks_taken_for_empty_cells),
        wrong(boards_with_masks_left_out),
        wrong(illegal_boards_counted),
        wrong(each_legal_board_once),
    ),
    right_answers=(
        right(one_board_at_a_time),
        right(by_numbers_in_base_five),
        right(rows_and_their_first_places),
        right(through_numpy),
    ),
    hints=("Divide by the number of samples.", "A set of tuples knows quickly what is in it."),
    source="The 5,478 boards come from enumerating play; the 6,046 from counting marks",
)
