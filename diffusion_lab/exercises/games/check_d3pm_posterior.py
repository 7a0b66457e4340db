"""check_d3pm_posterior: a check by enumeration."""

import torch

from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.games import d3pm_posterior


def check_d3pm_posterior(piece) -> None:
    """Fail where the piece is not the step back by Bayes.

    Args:
        piece: called as piece(x_t, p_x0, t, Q, Q_bar), like `d3pm_posterior` in chapter 10.
    """
    generator = torch.Generator().manual_seed(0)
    for masks in (False, True):  # the last token as a mask, which nothing leaves: then some data are impossible
        k, steps = 4, 5
        Q = torch.rand(steps, k, k, generator=generator, dtype=torch.float64) ** 2
        if masks:
            Q = 0.7 * torch.eye(k, dtype=torch.float64).repeat(steps, 1, 1)
            Q[..., -1] += 0.3
        Q = Q / Q.sum(dim=-1, keepdim=True)
        Q_bar = torch.stack([torch.linalg.multi_dot([torch.eye(k).double(), *Q[: t + 1]]) for t in range(steps)])
        t, x_t = torch.tensor([4, 0, 1, 3, 0]), torch.arange(k).repeat(5, 1)
        belief = torch.rand(5, k, k, generator=generator, dtype=torch.float64)
        belief = belief / belief.sum(dim=-1, keepdim=True)
        found = piece(x_t, belief, t, Q, Q_bar)
        assert found.shape == belief.shape and found.isfinite().all(), "probabilities for each cell"
        for b in range(5):
            before = Q_bar[t[b] - 1] if t[b] > 0 else torch.eye(k, dtype=torch.float64)
            for cell in range(k):
                # Every pair (x0, x_{t-1}), counted one by one: how likely it is, given the token seen here.
                exact = torch.zeros(k, dtype=torch.float64)
                for x0 in range(k):
                    ways = [float(before[x0, j] * Q[t[b], j, x_t[b, cell]]) for j in range(k)]
                    if sum(ways) > 0:
                        exact += belief[b, cell, x0] * torch.tensor(ways).double() / sum(ways)
                assert torch.allclose(found[b, cell], exact / exact.sum(), atol=1e-6), f"at t = {int(t[b])}"


def sums_to_one(piece):
    """A wrong distribution is a distribution too."""
    Q = torch.full((3, 3, 3), 0.2, dtype=torch.float64) + 0.4 * torch.eye(3, dtype=torch.float64)
    Q_bar = torch.stack([Q[0], Q[0] @ Q[1], Q[0] @ Q[1] @ Q[2]])
    belief = torch.full((2, 4, 3), 1 / 3, dtype=torch.float64)
    found = piece(torch.zeros(2, 4, dtype=torch.int64), belief, torch.tensor([1, 2]), Q, Q_bar)
    assert torch.allclose(found.sum(dim=-1), torch.ones(2, 4, dtype=torch.float64))


def shapes_alone(piece):
    """Nearly every mistake has the right shape."""
    Q = torch.full((3, 3, 3), 1 / 3, dtype=torch.float64)
    belief = torch.full((2, 4, 3), 1 / 3, dtype=torch.float64)
    assert piece(torch.zeros(2, 4, dtype=torch.int64), belief, torch.tensor([1, 2]), Q, Q).shape == (2, 4, 3)


def the_token_stays(piece):
    """With little noise nearly every formula says: the token that is there."""
    eye = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    Q = 0.999 * eye + 0.001 / 3
    belief = torch.full((1, 3, 3), 1 / 3, dtype=torch.float64)
    found = piece(torch.arange(3)[None], belief, torch.tensor([1]), Q, Q)
    assert torch.equal(found.argmax(dim=-1), torch.arange(3)[None])


TASK = CheckTask(
    exercise=d3pm_posterior.EXERCISE,
    title="Check Bayes by counting",
    statement=r"""
The piece is `d3pm_posterior` of chapter 10, called as `piece(x_t, p_x0, t, Q, Q_bar)`. It promises $p(x_{t-1} \mid
x_t)$ of each cell for a belief $p(x_0 \mid x_t)$: the mean over $x_0$ of what Bayes says of $x_{t-1}$. Matrices need
not be symmetric; each sample has a time of its own; at $t = 0$ the step before are the data; a belief in an $x_0$
that cannot have led to $x_t$ is left out, and the rest is scaled to sum 1.

Test by **enumeration**. With four tokens there are sixteen pairs $(x_0, x_{t-1})$ for each cell: go through all of
them with loops, and add up what is likely. No formula of the piece is needed, and nothing is left to chance. Make
matrices that are not symmetric, and also one with zeros, such as tokens that turn into a mask and stay one.
""",
    reference=check_d3pm_posterior,
    naive=(sums_to_one, shapes_alone, the_token_stays),
    hints=("Is your Q its own transpose?", "Which x0 can have led to an open cell when tokens turn into masks?"),
    source="Austin et al. 2021 (D3PM), equation 3",
)
