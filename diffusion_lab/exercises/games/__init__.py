"""Chapter 10, game states: discrete diffusion, boards as bits, and the truth by enumeration."""

from diffusion_lab.exercises.games import (
    bits_to_board,
    board_to_bits,
    cumulative_transitions,
    d3pm_bound,
    d3pm_loss,
    d3pm_posterior,
    legal_rate,
    transition_matrix,
    unmask_step,
)
from diffusion_lab.exercises.games.slots import slots
from diffusion_lab.exercises.record import Notebook

RECALL = r"""
A cell of a board is empty, X or O, and nothing lies between. It cannot get a little noisy; but it can be *replaced*
with some probability, and that probability can grow in many small steps.

**Forward.** Step $t$ is a matrix $Q_t$ whose row $i$ says what becomes of token $i$:
$(Q_t)_{ij} = q(x_t = j \mid x_{t-1} = i)$. Steps are matrix products, $\bar Q_t = Q_0 \cdots Q_t$. Two kinds are
common. A disturbed token becomes *any* token,
$\bar Q_t = \bar\alpha_t I + (1 - \bar\alpha_t)\, \mathbf 1 \mathbf 1^\top / K$. Or it becomes a *mask*,
one more token $K$, which stays to the end. In both, $\bar\alpha_t$ is the probability to have been left alone.

**What is learned.** The network sees $x_t$ and says for each cell how likely each clean token is, $p(x_0 \mid x_t)$. It
gives logits, and is trained by the cross-entropy or by the variational bound, which adds up how far each of its steps
back is from that of one who knows the data.

**Back.** The step back is Bayes, averaged over the network's belief. With a mask it becomes very simple: some hidden
cells are revealed, and a revealed cell stays.

**Or numbers after all.** Write each token in bits of $\pm 1$, and every chapter before this one applies.

You will write:

1. `transition_matrix`: the jump from the data to $x_t$ for uniform tokens.
2. `cumulative_transitions`: the same jump for any chain.
3. `d3pm_posterior`: the step back.
4. `d3pm_loss`: the cross-entropy.
5. `d3pm_bound`: a term of the variational bound.
6. `unmask_step`: the step back where tokens are hidden by a mask.
7. `board_to_bits` and 8. `bits_to_board`: boards as numbers and back.
9. `legal_rate`: how many samples are boards that play can reach.

5 trains and 6 samples the model with masks; 1 to 4 do both for uniform tokens; 7 and 8 belong to the bits. 9 judges all
three: tic-tac-toe has 5,478 boards that play can reach, all are known, and so is the exact answer to every question.
"""

CLOSING = r"""
The cell below trains a small transformer with your `d3pm_bound` and draws boards with your `unmask_step`, on levels
from the `alpha_bar` of chapter 1.

Look at three numbers. Legal boards: a board of random tokens is legal in 28 of 100 cases, so compare with that, not
with 0. The total variation stands beside the one that as many boards of the true distribution have. The reconstruction,
from six cells that are trusted, stands beside the exact posterior. Then run the chapter's variants "uniform" and "bits"
with the same budget: which way to tokens is the best, and by how much?
"""

NOTEBOOK = Notebook(
    chapter="games",
    recall=RECALL,
    exercises=(
        transition_matrix.EXERCISE,
        cumulative_transitions.EXERCISE,
        d3pm_posterior.EXERCISE,
        d3pm_loss.EXERCISE,
        d3pm_bound.EXERCISE,
        unmask_step.EXERCISE,
        board_to_bits.EXERCISE,
        bits_to_board.EXERCISE,
        legal_rate.EXERCISE,
    ),
    slots=slots,
    closing=CLOSING,
)
