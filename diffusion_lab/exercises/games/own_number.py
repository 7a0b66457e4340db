"""What it costs to uncover cells of one's own together."""

import torch

from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.exercises.record import right, wrong


def boards_that_agree(pairs: int, share: float, steps: int) -> float:
    """The share of legal boards, where cells come in pairs that must be equal.

    Args:
        pairs: how many. The pairs have nothing to do with each other.
        share: of pairs that are both X; the others are both O.
        steps: each cell is uncovered in one of these, drawn evenly and independently, from its exact probabilities
            given the cells that are open before the step.

    Returns:
        The probability that the two cells of every pair are equal.
    """
    together = 1 / steps  # both cells of a pair in the same step: then they are drawn without seeing each other
    differ = 2 * share * (1 - share)
    return (1 - together * differ) ** pairs


def one_pair(pairs, share, steps):
    """This is the share of pairs that agree. A board is legal if all of its pairs do."""
    return boards_that_agree(1, share, steps)


def never_together(pairs, share, steps):
    """Cells are uncovered one by one here. With a clock, two cells of a pair may come in the same step."""
    return 1.0


def always_together(pairs, share, steps):
    """All cells come in one step here. With more steps, the second cell of a pair mostly sees the first."""
    return boards_that_agree(pairs, share, 1)


def only_x_agrees(pairs, share, steps):
    """Two cells that are drawn apart also agree where both are O."""
    return (1 - (1 - share**2) / steps) ** pairs


def steps_squared(pairs, share, steps):
    """Both cells of a pair must come in the same step, and it may be any step: that is one in `steps`."""
    return (1 - 2 * share * (1 - share) / steps**2) ** pairs


def by_all_cases(pairs, share, steps):
    legal = 0.0
    for first in range(steps):
        for second in range(steps):
            legal += (share**2 + (1 - share) ** 2 if first == second else 1.0) / steps**2
    return legal**pairs


def by_the_logarithm(pairs, share, steps):
    agree = torch.tensor([share, 1 - share], dtype=torch.float64).square().sum()
    return (pairs * torch.log1p((agree - 1) / steps)).exp()


def numbers(draw):
    return {"pairs": draw.integer(2, 9), "share": round(draw.number(0.2, 0.8), 2), "steps": draw.integer(2, 12)}


TASK = OwnNumber(
    chapter="games",
    title="How many of your boards are legal?",
    question="""
On a hidden board {pairs} pairs of cells must be equal: both X with probability {share}, else both O. You are perfect,
and uncover the board in {steps} steps: each cell comes in one of them, drawn evenly. What share of your boards is
legal?
""",
    about=r"""
The book asks what share of boards is legal when a perfect player uncovers them in four steps. Here the board is
simpler, so that there is a closed form, and its numbers are your own.

`boards_that_agree` computes the share. Cells that come in the same step are drawn from their own exact probabilities,
without seeing each other. Cells that come in a later step see all that is open.
""",
    reference=boards_that_agree,
    numbers_from=numbers,
    wrong_answers=(
        wrong(one_pair),
        wrong(never_together),
        wrong(always_together),
        wrong(only_x_agrees),
        wrong(steps_squared),
    ),
    right_answers=(right(by_all_cases), right(by_the_logarithm)),
    hints=("How likely do both cells of a pair come in the same step?",),
    source="the chapter's section on uncovering cells together",
)
