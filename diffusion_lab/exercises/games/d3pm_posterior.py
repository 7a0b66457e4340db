"""d3pm_posterior: one step back, as probabilities."""

from itertools import pairwise, product

import torch
from torch import Tensor

from diffusion_lab.exercises.games.inputs import belief, chained, masking, noisy, transitions
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def d3pm_posterior(x_t: Tensor, p_x0: Tensor, t: Tensor, Q: Tensor, Q_bar: Tensor) -> Tensor:
    """p(x_{t-1} | x_t) of each cell, for a belief about the data.

    Args:
        x_t: (B, L) int64, noisy tokens.
        p_x0: (B, L, K), the belief p(x0 | x_t).
        t: (B,) int64 in 0..T-1. One step before t = 0 are the data themselves.
        Q: (T, K, K), Q[t, i, j] = q(x_t = j | x_{t-1} = i).
        Q_bar: (T, K, K), Q_bar[t, i, j] = q(x_t = j | x0 = i).

    Returns:
        (B, L, K), with sum 1 over the last axis. An x0 that cannot have led to x_t has no weight.
    """
    same = torch.eye(Q.shape[-1], dtype=Q.dtype, device=Q.device)
    before = torch.cat([same[None], Q_bar])[t]  # Q_bar[t - 1], (B, K, K)
    cells = torch.arange(len(x_t), device=x_t.device)[:, None]
    step = Q[t].transpose(1, 2)[cells, x_t]  # q(x_t | x_{t-1} = i), (B, L, K)
    evidence = Q_bar[t].transpose(1, 2)[cells, x_t]  # q(x_t | x0 = i), (B, L, K)
    weight = torch.where(evidence > 0, p_x0 / evidence.clamp(min=1e-30), 0)
    joint = step * (weight @ before)
    return joint / joint.sum(dim=-1, keepdim=True)


def _tables(x_t, t, Q, Q_bar):
    """Q_bar[t - 1], then q(x_t | x_{t-1}) and q(x_t | x0) for every token (B, L, K)."""
    before = torch.cat([torch.eye(Q.shape[-1]).to(Q)[None], Q_bar])[t]
    cells = torch.arange(len(x_t))[:, None]
    return before, Q[t].transpose(1, 2)[cells, x_t], Q_bar[t].transpose(1, 2)[cells, x_t]


def _shares(values):
    return values / values.sum(dim=-1, keepdim=True)


def _weight(p_x0, evidence):
    return torch.where(evidence > 0, p_x0 / evidence.clamp(min=1e-30), 0)


def transposed(x_t, p_x0, t, Q, Q_bar):
    """The row of Q at x_t was taken: where x_t goes next. Needed is its column: how likely each token leads to x_t."""
    before, _, evidence = _tables(x_t, t, Q, Q_bar)
    step = Q[t][torch.arange(len(x_t))[:, None], x_t]
    return _shares(step * (_weight(p_x0, evidence) @ before))


def q_bar_transposed(x_t, p_x0, t, Q, Q_bar):
    """Q_bar[t - 1] was multiplied from the wrong side. Its rows belong to x0, over which the sum goes."""
    before, step, evidence = _tables(x_t, t, Q, Q_bar)
    return _shares(step * (_weight(p_x0, evidence) @ before.transpose(1, 2)))


def q_bar_of_this_step(x_t, p_x0, t, Q, Q_bar):
    """Q_bar[t] was used where x_{t-1} is asked for. The data have gone through the steps up to t - 1 only."""
    _, step, evidence = _tables(x_t, t, Q, Q_bar)
    return _shares(step * (_weight(p_x0, evidence) @ Q_bar[t]))


def around_the_end_at_the_first_step(x_t, p_x0, t, Q, Q_bar):
    """At t = 0 the index t - 1 is -1, the last matrix: pure noise. One step before t = 0 are the data: the identity."""
    _, step, evidence = _tables(x_t, t, Q, Q_bar)
    return _shares(step * (_weight(p_x0, evidence) @ Q_bar[t - 1]))


def belief_as_a_prior(x_t, p_x0, t, Q, Q_bar):
    """This takes the belief for what was known before x_t, and counts x_t twice. p(x0 | x_t) knows x_t already: divide
    it by q(x_t | x0)."""
    before, step, _ = _tables(x_t, t, Q, Q_bar)
    return _shares(step * (p_x0 @ before))


def no_normalisation(x_t, p_x0, t, Q, Q_bar):
    """The probabilities do not sum to 1. Bayes divides by q(x_t | x0), for each x0."""
    before, step, _ = _tables(x_t, t, Q, Q_bar)
    return step * (p_x0 @ before)


def forgets_the_token(x_t, p_x0, t, Q, Q_bar):
    """The belief was made noisy again up to t - 1, and x_t was forgotten. x_{t-1} must also be able to lead to x_t."""
    before, _, _ = _tables(x_t, t, Q, Q_bar)
    return p_x0 @ before


def impossible_data(x_t, p_x0, t, Q, Q_bar):
    """Something was divided by 0. Where q(x_t | x0) is 0, that x0 cannot have led to x_t: its weight is 0."""
    before, step, evidence = _tables(x_t, t, Q, Q_bar)
    return _shares(step * ((p_x0 / evidence) @ before))


def first_step_kept_as_it_is(x_t, p_x0, t, Q, Q_bar):
    """At t = 0 the belief came back as it was. x_t can rule out tokens there too: they lose their weight, and the rest
    is scaled to sum 1."""
    before, step, evidence = _tables(x_t, t, Q, Q_bar)
    return torch.where((t == 0)[:, None, None], p_x0, _shares(step * (_weight(p_x0, evidence) @ before)))


def first_step_like_the_second(x_t, p_x0, t, Q, Q_bar):
    """At t = 0 the matrix Q_bar[0] was taken for the way to the step before. One step before t = 0 are the data: the
    identity."""
    _, step, evidence = _tables(x_t, t, Q, Q_bar)
    return _shares(step * (_weight(p_x0, evidence) @ Q_bar[(t - 1).clamp(min=0)]))


def most_likely_data(x_t, p_x0, t, Q, Q_bar):
    """Only the likeliest x0 was used. The belief is spread over all tokens: take the mean over it."""
    before, step, evidence = _tables(x_t, t, Q, Q_bar)
    certain = torch.nn.functional.one_hot(p_x0.argmax(dim=-1), p_x0.shape[-1]).to(p_x0)
    return _shares(step * (_weight(certain, evidence) @ before))


def one_time_for_the_batch(x_t, p_x0, t, Q, Q_bar):
    """The matrices of the first sample's t were used for all. Each sample has a time of its own."""
    before, step, evidence = _tables(x_t, t[:1].expand_as(t), Q, Q_bar)
    return _shares(step * (_weight(p_x0, evidence) @ before))


def impossible_share_left_out(x_t, p_x0, t, Q, Q_bar):
    """Beliefs that x_t rules out are gone, but the rest was not scaled up. The probabilities must sum to 1."""
    before, step, evidence = _tables(x_t, t, Q, Q_bar)
    return step * (_weight(p_x0, evidence) @ before)


def cell_by_cell(x_t, p_x0, t, Q, Q_bar):
    found = torch.zeros_like(p_x0)
    for b in range(len(x_t)):
        before = Q_bar[t[b] - 1] if t[b] > 0 else torch.eye(Q.shape[-1], dtype=Q.dtype)
        for cell, token in enumerate(x_t[b]):
            for x0 in range(Q.shape[-1]):
                joint = before[x0] * Q[t[b], :, token]  # over x_{t-1}
                if joint.sum() > 0:
                    found[b, cell] += p_x0[b, cell, x0] * joint / joint.sum()
    return found / found.sum(dim=-1, keepdim=True)


def whole_table(x_t, p_x0, t, Q, Q_bar):
    # q(x_{t-1} = j, x_t | x0 = i) for all i and j, (B, L, i, j).
    before, step, _ = _tables(x_t, t, Q, Q_bar)
    joint = torch.einsum("bij,blj->blij", before, step)
    given = joint / joint.sum(dim=-1, keepdim=True).clamp(min=1e-30)
    return _shares(torch.einsum("bli,blij->blj", p_x0, given))


def by_one_hot_rows(x_t, p_x0, t, Q, Q_bar):
    chosen = torch.nn.functional.one_hot(x_t, Q.shape[-1]).to(Q)
    before = torch.where((t > 0)[:, None, None], Q_bar[(t - 1).clamp(min=0)], torch.eye(Q.shape[-1]).to(Q))
    evidence = torch.einsum("blj,bij->bli", chosen, Q_bar[t])
    weight = p_x0 / torch.where(evidence > 0, evidence, torch.full_like(evidence, float("inf")))
    return _shares(torch.einsum("blj,bij->bli", chosen, Q[t]) * torch.bmm(weight, before))


def cases(draw: Draw):
    k, steps, n = draw.integer(3, 5), draw.integer(5, 6), draw.integer(3, 4)
    later = draw.integer(6, 7)
    for b, cells, states, label in ((4, later, k, "several samples"), (1, later, k, "one sample"), (n, n, n, "")):
        Q = transitions(draw, steps, states)
        t = draw.integers(1, steps, b)
        x_t, p_x0 = draw.integers(0, states, b, cells), belief(draw, b, cells, states)
        yield Case(label or "every size equal", (x_t, p_x0, t, Q, chained(Q)), "t > 0")
    Q, t = transitions(draw, steps, k), draw.times(4, steps)
    yield Case(
        "t = 0 among others", (draw.integers(0, k, 4, later), belief(draw, 4, later, k), t, Q, chained(Q)), "t = 0"
    )
    Q = masking(draw, steps, k + 1)
    Q_bar, x0, t = chained(Q), draw.integers(0, k, 5, later), draw.integers(1, steps, 5)
    p_x0 = torch.cat([belief(draw, 5, later, k), torch.zeros(5, later, 1, dtype=torch.float64)], dim=-1)
    yield Case("tokens that become a mask", (noisy(draw, x0, t, Q_bar), p_x0, t, Q, Q_bar), "impossible data")
    t = torch.cat([torch.zeros(2, dtype=torch.int64), draw.integers(1, steps, 3)])
    x_t = noisy(draw, x0, t, Q_bar)
    x_t[:2, 0], x_t[:2, 1] = x0[:2, 0], k  # at t = 0 a cell that is open, and one that is not
    yield Case("tokens that become a mask, t = 0", (x_t, p_x0, t, Q, Q_bar), "impossible data")


def every_way_counted(piece, draw: Draw):
    """With the exact belief, the exact answer: counted over all ways that a token can take."""
    k, steps = 3, 4
    Q = transitions(draw, steps, k)
    prior = belief(draw, k)
    for t in range(steps):
        # Over data, x_0, ..., x_t: the joint probabilities of (data, x_t) and of (x_{t-1}, x_t).
        of_data, of_last = torch.zeros(k, k, dtype=torch.float64), torch.zeros(k, k, dtype=torch.float64)
        for way in product(range(k), repeat=t + 2):
            probability = float(prior[way[0]])
            for s, (i, j) in enumerate(pairwise(way)):
                probability *= float(Q[s, i, j])
            of_data[way[0], way[-1]] += probability
            of_last[way[-2], way[-1]] += probability
        x_t = torch.arange(k)[None]  # as many cells as tokens
        exact = (of_data / of_data.sum(dim=0)).T[None]
        found = piece(x_t, exact, torch.tensor([t]), Q, chained(Q))
        truth = (of_last / of_last.sum(dim=0)).T[None]
        worst = float((found - truth).abs().max())
        if not worst < 1e-6:
            return f"at t = {t}, counted over all {k ** (t + 2)} ways, a probability is off by {worst:.3g}"
    return None


EXERCISE = Exercise(
    chapter="games",
    kind="sampler",
    title="One step back, by Bayes",
    statement=r"""
If the data were known, the step back would follow from Bayes:

$$
\begin{aligned}
&q(x_{t-1} \mid x_t, x_0) \\
&\quad = \frac{q(x_t \mid x_{t-1})\; q(x_{t-1} \mid x_0)}{q(x_t \mid x_0)}.
\end{aligned}
$$

The network has a belief about them, so average over it, cell by cell:

$$
\begin{aligned}
&p(x_{t-1} \mid x_t) \\
&\quad = \sum_{x_0} q(x_{t-1} \mid x_t, x_0)\; p(x_0 \mid x_t).
\end{aligned}
$$

For $t = 0$ the step before are the data themselves. The matrices need not be symmetric, and some entries can be 0: at
every $t$, a belief in an $x_0$ that cannot have led to $x_t$ is left out, and the rest is scaled to sum 1.
""",
    reference=d3pm_posterior,
    parts={"t > 0": 4, "t = 0": 1, "impossible data": 1, CARE: 1},
    cases=cases,
    properties=(Property("a sum over all ways", every_way_counted, "t > 0"),),
    time="t",
    wrong_answers=(
        wrong(transposed),
        wrong(q_bar_transposed),
        wrong(q_bar_of_this_step),
        wrong(around_the_end_at_the_first_step),
        wrong(belief_as_a_prior),
        wrong(no_normalisation),
        wrong(forgets_the_token),
        wrong(impossible_data),
        wrong(first_step_kept_as_it_is),
        wrong(first_step_like_the_second),
        wrong(most_likely_data),
        wrong(one_time_for_the_batch),
        wrong(impossible_share_left_out),
    ),
    right_answers=(right(cell_by_cell), right(whole_table), right(by_one_hot_rows)),
    hints=(
        "Row or column: is x_t where the step starts, or where it ends?",
        "Which matrix leads from the data to x_{t-1}, and which one when t = 0?",
        "Divide the belief by q(x_t | x0) first; the sum over x0 is then a matrix product.",
    ),
    source="Austin et al. 2021 (D3PM), equation 3",
)
