"""cumulative_transitions: many steps of a chain in one jump."""

from itertools import pairwise, product

import torch
from torch import Tensor

from diffusion_lab.exercises.games.inputs import transitions
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def cumulative_transitions(Q: Tensor) -> Tensor:
    """From the matrices of single steps to those from the data to x_t.

    Args:
        Q: (T, K, K), Q[t, i, j] = q(x_t = j | x_{t-1} = i); the step t = 0 starts at the data.

    Returns:
        (T, K, K): entry t is q(x_t = j | data = i), after the steps 0 to t.
    """
    Q_bar = [Q[0]]
    for step in Q[1:]:
        Q_bar.append(Q_bar[-1] @ step)
    return torch.stack(Q_bar)


def entry_by_entry(Q):
    """The entries were multiplied one by one. From i to j leads every token in between: the sum over them is the matrix
    product."""
    return torch.cumprod(Q, dim=0)


def wrong_order(Q):
    """The steps were multiplied in the opposite order. Rows say where a token comes from, so that the first step stands
    on the left."""
    found = [Q[0]]
    for step in Q[1:]:
        found.append(step @ found[-1])
    return torch.stack(found)


def one_step_behind(Q):
    """Entry t must include step t itself. Yours ends at step t - 1, and starts with the identity."""
    return torch.cat([torch.eye(Q.shape[-1], dtype=Q.dtype)[None], cumulative_transitions(Q)[:-1]])


def powers_of_the_first_step(Q):
    """These are powers of the first matrix. Every step has a matrix of its own."""
    return torch.stack([torch.linalg.matrix_power(Q[0], t + 1) for t in range(len(Q))])


def powers_of_each_step(Q):
    """Entry t is a power of the matrix of step t. It is the product of all matrices up to t, each once."""
    return torch.stack([torch.linalg.matrix_power(step, t + 1) for t, step in enumerate(Q)])


def only_the_whole_chain(Q):
    """This is the product of all steps, one matrix. One for every t is asked for."""
    return cumulative_transitions(Q)[-1]


def identity_in_front(Q):
    """There is one matrix too many: the identity stands in front. Entry t is after the steps 0 to t, so the first entry
    is Q[0]."""
    return torch.cat([torch.eye(Q.shape[-1], dtype=Q.dtype)[None], cumulative_transitions(Q)])


def from_here_to_the_end(Q):
    """Entry t is the product of the steps from t to the end. Asked for is the way from the data up to t."""
    found = [Q[-1]]
    for step in Q.flip(0)[1:]:
        found.append(step @ found[-1])
    return torch.stack(found[::-1])


def only_the_last_two_steps(Q):
    """Each step was multiplied by the one before it alone. Take the product of all before it, which you have
    already."""
    return torch.stack([Q[0], *(before @ step for before, step in pairwise(Q))])


def rows_and_columns_swapped(Q):
    """The matrices are transposed. Row i belongs to the data, column j to x_t."""
    return cumulative_transitions(Q).transpose(1, 2)


def each_step_transposed(Q):
    """The matrix of each step was transposed before it was multiplied. Its rows say where a token comes from already:
    multiply the matrices as they are."""
    return cumulative_transitions(Q.transpose(1, 2))


def from_the_left_each_time(Q):
    return torch.stack([torch.linalg.multi_dot([*Q[: t + 1]]) if t else Q[0] for t in range(len(Q))])


def row_by_row(Q):
    found = torch.empty_like(Q)
    for i in range(Q.shape[-1]):
        p = torch.zeros(Q.shape[-1], dtype=Q.dtype)
        p[i] = 1
        for t, step in enumerate(Q):
            p = torch.einsum("k,kj->j", p, step)
            found[t, i] = p
    return found


def through_numpy(Q):
    import numpy as np

    chain, found = np.eye(Q.shape[-1]), []
    for step in Q.numpy():
        chain = chain @ step
        found.append(chain)
    return torch.from_numpy(np.stack(found)).to(Q.dtype)


def cases(draw: Draw):
    k, n = draw.integer(3, 5), draw.integer(3, 4)
    yield Case("several steps", (transitions(draw, draw.integer(6, 9), k),))
    yield Case("two steps", (transitions(draw, 2, k),))
    yield Case("a single step", (transitions(draw, 1, k),))
    yield Case("as many steps as tokens", (transitions(draw, n, n),))
    yield Case("many steps", (transitions(draw, draw.integer(30, 50), 3),))


def every_way_counted(piece, draw: Draw):
    """The sum over all ways that a token can take."""
    k, steps = 3, draw.integer(3, 4)
    Q = transitions(draw, steps, k)
    truth = torch.zeros(k, k, dtype=torch.float64)
    for way in product(range(k), repeat=steps + 1):
        probability = 1.0
        for t, (i, j) in enumerate(pairwise(way)):
            probability *= float(Q[t, i, j])
        truth[way[0], way[-1]] += probability
    worst = float((piece(Q)[-1] - truth).abs().max())
    if worst < 1e-6:
        return None
    return f"counted over all {k ** (steps + 1)} ways of {steps} steps, the last matrix is off by up to {worst:.3g}"


EXERCISE = Exercise(
    chapter="games",
    kind="schedule",
    title="Many steps in one jump",
    statement=r"""
Any chain of tokens is a list of matrices, $(Q_t)_{ij} = q(x_t = j \mid x_{t-1} = i)$. To train at step $t$ you need the
jump from the data to $x_t$,

$$\bar Q_t = Q_0 Q_1 \cdots Q_t .$$

For numbers $\bar\alpha_t$ is a cumulative product of numbers; here it is one of matrices.
""",
    reference=cumulative_transitions,
    parts={"values": 3, CARE: 1},
    cases=cases,
    properties=(Property("a sum over all ways", every_way_counted),),
    wrong_answers=(
        wrong(entry_by_entry),
        wrong(wrong_order),
        wrong(one_step_behind),
        wrong(powers_of_the_first_step),
        wrong(powers_of_each_step),
        wrong(only_the_whole_chain),
        wrong(identity_in_front),
        wrong(from_here_to_the_end),
        wrong(only_the_last_two_steps),
        wrong(rows_and_columns_swapped),
        wrong(each_step_transposed),
    ),
    right_answers=(right(from_the_left_each_time), right(row_by_row), right(through_numpy)),
    hints=("Over which tokens must you sum between two steps?", "Which of two matrices acts first, in x @ A @ B?"),
    source="Austin et al. 2021 (D3PM), equation 3",
)
