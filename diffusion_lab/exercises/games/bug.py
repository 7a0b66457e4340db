"""Chapter 10's pipeline with one wrong piece: transitions of tokens, the step back, masks, analog bits."""

import itertools

import torch

from diffusion_lab.exercises.bugs import Bug, BugTask, Part
from diffusion_lab.exercises.games import (
    bits_to_board,
    board_to_bits,
    cumulative_transitions,
    d3pm_posterior,
    legal_rate,
    transition_matrix,
    unmask_step,
)


def find_bug_games(
    transition_matrix, cumulative_transitions, d3pm_posterior, unmask_step, board_to_bits, bits_to_board, legal_rate
):
    """Say which piece is wrong, and prove it with a number.

    Args:
        transition_matrix, cumulative_transitions, d3pm_posterior, unmask_step, board_to_bits, bits_to_board,
            legal_rate: the pipeline's pieces; their arguments are those of the chapter's exercises.

    Returns:
        (piece, idea, found, expected): the name of a piece; an idea, one of the list; a number that you computed with
        the piece; and the number that a right piece would give.
    """
    found = []  # (piece, idea, found, expected): the first that is off tells
    matrix = transition_matrix(torch.tensor([0.7]), 3)[0]
    idea = "the probabilities do not add up to 1"
    found.append(("transition_matrix", idea, matrix[0].sum(), 1.0))
    swapped = "the share that stays is the share that is lost"
    found.append(
        (
            "transition_matrix",
            swapped if matrix[0, 0] < 0.6 else "a token is never replaced by itself",
            matrix[0, 0],
            0.8,
        )
    )
    Q = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.4, 0.6]]])
    Q_bar = torch.stack([Q[0], Q[0] @ Q[1]])
    chain = cumulative_transitions(Q)
    late = abs(chain[0, 0, 0] - 1) < 1e-3
    idea = "the table is one step behind" if late else "the steps are multiplied in the wrong order"
    entries = "matrices are multiplied entry by entry"
    found.append(
        ("cumulative_transitions", entries if abs(chain[1, 0, 0] - 0.63) < 1e-3 else idea, chain[1, 0, 0], 0.67)
    )
    # Bayes' rule, entry by entry: token 1 is seen after step 1.
    belief = torch.tensor([0.5, 0.5])
    share = belief / Q_bar[1, :, 1]
    joint = [float(Q[1, i, 1] * sum(share[k] * Q_bar[0, k, i] for k in range(2))) for i in range(2)]
    answer = d3pm_posterior(torch.tensor([[1]]), belief.reshape(1, 1, 2), torch.tensor([1]), Q, Q_bar)[0, 0]
    found.append(("d3pm_posterior", "the probabilities do not add up to 1", answer.sum(), 1.0))
    prior = [float(Q[1, i, 1] * sum(belief[k] * Q_bar[0, k, i] for k in range(2))) for i in range(2)]
    twice = abs(answer[0] - prior[0] / sum(prior)) < 1e-3
    idea = "what was seen is not divided out of the belief" if twice else "rows and columns change places"
    here = [float(Q[1, i, 1] * sum(share[k] * Q_bar[1, k, i] for k in range(2))) for i in range(2)]
    idea = "the table of this step is used for the step before" if abs(answer[0] - here[0] / sum(here)) < 1e-3 else idea
    found.append(("d3pm_posterior", idea, answer[0], joint[0] / sum(joint)))
    half, three = torch.tensor(0.5), torch.tensor(0.75)
    hidden, odds = torch.full((1, 4), 3), torch.tensor([0.2, 0.5, 0.3]).expand(1, 4, 3)
    when, what = torch.tensor([[0.1, 0.3, 0.45, 0.7]]), torch.tensor([[0.1, 0.9, 0.3, 0.3]])
    after = unmask_step(hidden, odds, half, three, when, what)[0]
    found.append(("unmask_step", "the chance is not divided by what is still hidden", (after < 3).sum(), 3))
    found.append(("unmask_step", "the likeliest token is taken instead of a drawn one", after[0], 0))
    found.append(("unmask_step", "one random number decides when and what", after[1], 2))
    bits = board_to_bits(torch.tensor([[1, 2]]))[0]
    idea = "bits are 0 and 1" if (bits == 0).any() else "the two bits of a token change places"
    found.append(("board_to_bits", idea, bits[0], -1.0))
    board = bits_to_board(torch.tensor([[-0.2, 0.3]]))[0][0, 0]
    border = "the border between the bits is wrong" if board == 0 else "the two bits of a token change places"
    found.append(("bits_to_board", border, board, 1))
    boards = torch.tensor([[0, 1], [0, 1], [2, 2]])
    rate = legal_rate(boards, torch.tensor([[0, 1], [1, 0]]))
    idea = "equal boards count once" if abs(rate - 0.5) < 0.01 else "the number of boards is given instead of a share"
    found.append(("legal_rate", idea, rate, 2 / 3))
    for piece, idea, number, right in found:
        if abs(float(number) - right) > 1e-3:
            return piece, idea, float(number), float(right)
    return piece, idea, float(number), float(right)


def settings(draw):
    return {"steps": draw.integer(6, 12), "cells": draw.integer(4, 6), "last level": draw.number(0.02, 0.1)}


def run(pieces, numbers, draw):
    """Rows in which no two neighbours are equal, drawn by uncovering cells and by stepping back from random tokens."""
    steps, cells, n, K = numbers["steps"], numbers["cells"], 300, 3
    every = torch.cartesian_prod(*[torch.arange(K)] * cells)
    legal = every[(every[:, 1:] != every[:, :-1]).all(dim=1)]
    levels = torch.linspace(1, numbers["last level"], steps + 1, dtype=torch.float64)
    Q = pieces["transition_matrix"](levels[1:] / levels[:-1], K)
    Q = Q * torch.tensor([1.0, 0.6, 0.8], dtype=torch.float64)  # some tokens come more often than others
    Q = Q / Q.sum(dim=-1, keepdim=True)
    Q_bar = pieces["cumulative_transitions"](Q)
    uniform = torch.full((n, cells, K), 1 / K, dtype=torch.float64)
    x = draw.integers(0, K, n, cells)
    for t in reversed(range(steps)):
        odds = pieces["d3pm_posterior"](x, uniform, torch.full((n,), t), Q, Q_bar)
        x = (odds.cumsum(dim=-1) <= draw.uniform(n, cells).unsqueeze(-1)).sum(dim=-1).clamp(max=K - 1)
    hidden = torch.full((n, cells), K)
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    skewed = uniform * torch.tensor([1.5, 1.0, 0.5], dtype=torch.float64)
    for now, after in itertools.pairwise(share):
        hidden = pieces["unmask_step"](hidden, skewed, now, after, draw.uniform(n, cells), draw.uniform(n, cells))
    bits = pieces["board_to_bits"](legal[:n])
    return {
        "samples": x,
        "uncovered": hidden,
        "shares of legal rows": torch.tensor([pieces["legal_rate"](rows, legal) for rows in (x, hidden)]),
        "bits": bits,
        "boards read back": pieces["bits_to_board"](bits + 0.6 * draw.normal(*bits.shape))[0],
        "levels": Q_bar.diagonal(dim1=1, dim2=2),
    }


TASK = BugTask(
    chapter="games",
    title="Find the bug",
    about=r"""
The pipeline draws rows of tokens in two ways. It steps back from random tokens, with `transition_matrix`,
`cumulative_transitions` and `d3pm_posterior`; and it uncovers hidden cells with `unmask_step`. `legal_rate` counts the
rows in which no two neighbours are equal. `board_to_bits` and `bits_to_board` write tokens in analog bits and read them
back under noise.
""",
    pipeline=(
        Part(transition_matrix.EXERCISE),
        Part(cumulative_transitions.EXERCISE),
        Part(d3pm_posterior.EXERCISE),
        Part(unmask_step.EXERCISE),
        Part(board_to_bits.EXERCISE),
        Part(bits_to_board.EXERCISE),
        Part(legal_rate.EXERCISE),
    ),
    bugs=(
        Bug("transition_matrix", "rows above one", "the probabilities do not add up to 1"),
        Bug("transition_matrix", "kept and disturbed swapped", "the share that stays is the share that is lost"),
        Bug("transition_matrix", "always another token", "a token is never replaced by itself"),
        Bug("cumulative_transitions", "entry by entry", "matrices are multiplied entry by entry"),
        Bug("cumulative_transitions", "one step behind", "the table is one step behind"),
        Bug("cumulative_transitions", "wrong order", "the steps are multiplied in the wrong order"),
        Bug("d3pm_posterior", "no normalisation", "the probabilities do not add up to 1"),
        Bug("d3pm_posterior", "transposed", "rows and columns change places"),
        Bug("d3pm_posterior", "belief as a prior", "what was seen is not divided out of the belief"),
        Bug("d3pm_posterior", "q bar of this step", "the table of this step is used for the step before"),
        Bug("unmask_step", "chance not divided", "the chance is not divided by what is still hidden"),
        Bug("unmask_step", "most likely token", "the likeliest token is taken instead of a drawn one"),
        Bug("unmask_step", "one uniform for both", "one random number decides when and what"),
        Bug("board_to_bits", "zeros for minus ones", "bits are 0 and 1"),
        Bug("board_to_bits", "low bit first", "the two bits of a token change places"),
        Bug("bits_to_board", "border at one half", "the border between the bits is wrong"),
        Bug("bits_to_board", "low bit first", "the two bits of a token change places"),
        Bug("legal_rate", "each board once", "equal boards count once"),
        Bug("legal_rate", "number instead of share", "the number of boards is given instead of a share"),
    ),
    decoys=(
        "cells that are open already are hidden again",
        "all cells of a row are drawn from one cell's probabilities",
        "logits are taken for probabilities",
        "a row is legal when most of it is",
    ),
    settings=settings,
    run=run,
    reference=find_bug_games,
)
