"""d3pm_bound: one term of the bound on the likelihood of the data."""

import torch
from torch import Tensor
from torch.nn import functional

from diffusion_lab.exercises.games.inputs import belief, chained, masking, noisy, transitions
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def d3pm_bound(logits: Tensor, x0: Tensor, x_t: Tensor, t: Tensor, Q: Tensor, Q_bar: Tensor) -> Tensor:
    """How far the network's step back is from the step of one who knows the data: their KL divergence.

    Args:
        logits: (B, L, K), what the network says about x0 when it sees x_t and t; their softmax is its belief. The value
            is differentiated by them.
        x0, x_t: (B, L) int64, clean and noisy tokens.
        t: (B,) int64 in 0..T-1. One step before t = 0 are the data themselves.
        Q: (T, K, K), Q[t, i, j] = q(x_t = j | x_{t-1} = i).
        Q_bar: (T, K, K), Q_bar[t, i, j] = q(x_t = j | x0 = i).

    Returns:
        (B,), in nats: KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t)), the mean over the cells.
    """
    same = torch.eye(Q.shape[-1], dtype=Q.dtype, device=Q.device)
    before = torch.cat([same[None], Q_bar])[t]  # Q_bar[t - 1], (B, K, K)
    cells = torch.arange(len(x_t), device=x_t.device)[:, None]
    step = Q[t].transpose(1, 2)[cells, x_t]  # q(x_t | x_{t-1} = i), (B, L, K)
    evidence = Q_bar[t].transpose(1, 2)[cells, x_t]  # q(x_t | x0 = i), (B, L, K)
    # Two beliefs about x0, that of one who knows it and the network's; the same posterior for both.
    beliefs = torch.stack([same[x0], logits.softmax(dim=-1)])  # (2, B, L, K)
    weight = torch.where(evidence > 0, beliefs / evidence.clamp(min=1e-30), 0)
    joint = step * (weight @ before)
    truth, guess = joint / joint.sum(dim=-1, keepdim=True).clamp(min=1e-30)
    divergence = torch.xlogy(truth, truth) - truth * guess.clamp(min=1e-30).log()
    return divergence.sum(dim=-1).mean(dim=1)


def _tables(x_t, t, Q, Q_bar):
    """Q_bar[t - 1], then q(x_t | x_{t-1}) and q(x_t | x0) for every token (B, L, K)."""
    before = torch.cat([torch.eye(Q.shape[-1]).to(Q)[None], Q_bar])[t]
    cells = torch.arange(len(x_t))[:, None]
    return before, Q[t].transpose(1, 2)[cells, x_t], Q_bar[t].transpose(1, 2)[cells, x_t]


def _posterior(p_x0, step, evidence, before):
    weight = torch.where(evidence > 0, p_x0 / evidence.clamp(min=1e-30), 0)
    joint = step * (weight @ before)
    return joint / joint.sum(dim=-1, keepdim=True).clamp(min=1e-30)


def _known(x0, Q):
    return functional.one_hot(x0, Q.shape[-1]).to(Q)


def _divergence(truth, guess):
    return torch.xlogy(truth, truth) - truth * guess.clamp(min=1e-30).log()  # (B, L, K)


def _pair(p_x0, x0, x_t, t, Q, Q_bar, tables=_tables):
    before, step, evidence = tables(x_t, t, Q, Q_bar)
    return tuple(_posterior(p, step, evidence, before) for p in (_known(x0, Q), p_x0))


def logits_as_probabilities(logits, x0, x_t, t, Q, Q_bar):
    """The logits were used as if they were probabilities. They are any numbers: take their softmax first."""
    return _divergence(*_pair(logits, x0, x_t, t, Q, Q_bar)).sum(dim=-1).mean(dim=1)


def softmax_over_the_cells(logits, x0, x_t, t, Q, Q_bar):
    """The softmax was taken over the cells. In each cell the K tokens compete: the last axis."""
    return _divergence(*_pair(logits.softmax(dim=1), x0, x_t, t, Q, Q_bar)).sum(dim=-1).mean(dim=1)


def cross_entropy_of_x0(logits, x0, x_t, t, Q, Q_bar):
    """This is -log p(x0 | x_t), the loss of chapter 10 that leaves the step out. The bound compares the two
    distributions of x_{t-1}."""
    return -logits.log_softmax(dim=-1).gather(-1, x0.unsqueeze(-1)).squeeze(-1).mean(dim=1)


def divergence_turned_around(logits, x0, x_t, t, Q, Q_bar):
    """The two distributions have changed places. The mean is taken under the true one, q: KL(q || p)."""
    truth, guess = _pair(logits.softmax(dim=-1), x0, x_t, t, Q, Q_bar)
    return _divergence(guess, truth).sum(dim=-1).mean(dim=1)


def entropy_left_out(logits, x0, x_t, t, Q, Q_bar):
    """This is the cross-entropy of the two posteriors. Its gradient is the same, but it is no divergence: for a perfect
    guess it must be 0."""
    truth, guess = _pair(logits.softmax(dim=-1), x0, x_t, t, Q, Q_bar)
    return -(truth * guess.clamp(min=1e-30).log()).sum(dim=-1).mean(dim=1)


def mean_over_the_tokens(logits, x0, x_t, t, Q, Q_bar):
    """The K terms of the divergence were averaged. A divergence is their sum; only the cells are averaged."""
    return _divergence(*_pair(logits.softmax(dim=-1), x0, x_t, t, Q, Q_bar)).mean(dim=-1).mean(dim=1)


def sum_over_the_cells(logits, x0, x_t, t, Q, Q_bar):
    """The cells of a sample were added up. The mean keeps the loss at one scale for boards of every size."""
    return _divergence(*_pair(logits.softmax(dim=-1), x0, x_t, t, Q, Q_bar)).sum(dim=-1).sum(dim=1)


def q_bar_of_this_step(logits, x0, x_t, t, Q, Q_bar):
    """Q_bar[t] was used where x_{t-1} is asked for. The data have gone through the steps up to t - 1 only."""

    def tables(x_t, t, Q, Q_bar):
        _, step, evidence = _tables(x_t, t, Q, Q_bar)
        return Q_bar[t], step, evidence

    return _divergence(*_pair(logits.softmax(dim=-1), x0, x_t, t, Q, Q_bar, tables)).sum(dim=-1).mean(dim=1)


def around_the_end_at_the_first_step(logits, x0, x_t, t, Q, Q_bar):
    """At t = 0 the index t - 1 is -1, the last matrix: pure noise. One step before t = 0 are the data: the identity."""

    def tables(x_t, t, Q, Q_bar):
        _, step, evidence = _tables(x_t, t, Q, Q_bar)
        return Q_bar[t - 1], step, evidence

    return _divergence(*_pair(logits.softmax(dim=-1), x0, x_t, t, Q, Q_bar, tables)).sum(dim=-1).mean(dim=1)


def transposed(logits, x0, x_t, t, Q, Q_bar):
    """The row of Q at x_t was taken: where x_t goes next. Needed is its column: how likely each token leads to x_t."""

    def tables(x_t, t, Q, Q_bar):
        before, _, evidence = _tables(x_t, t, Q, Q_bar)
        return before, Q[t][torch.arange(len(x_t))[:, None], x_t], evidence

    return _divergence(*_pair(logits.softmax(dim=-1), x0, x_t, t, Q, Q_bar, tables)).sum(dim=-1).mean(dim=1)


def belief_as_a_prior(logits, x0, x_t, t, Q, Q_bar):
    """This takes the belief for what was known before x_t, and counts x_t twice. p(x0 | x_t) knows x_t already: divide
    it by q(x_t | x0)."""
    before, step, evidence = _tables(x_t, t, Q, Q_bar)
    joint = step * (logits.softmax(dim=-1) @ before)
    guess = joint / joint.sum(dim=-1, keepdim=True).clamp(min=1e-30)
    truth = _posterior(_known(x0, Q), step, evidence, before)
    return _divergence(truth, guess).sum(dim=-1).mean(dim=1)


def nan_for_certain_tokens(logits, x0, x_t, t, Q, Q_bar):
    """The value is nan. Where a true probability is 0 its term is 0, but 0 times the logarithm of 0 is nan."""
    truth, guess = _pair(logits.softmax(dim=-1), x0, x_t, t, Q, Q_bar)
    return (truth * (truth.log() - guess.log())).sum(dim=-1).mean(dim=1)


def logits_taken_for_the_belief(logits, x0, x_t, t, Q, Q_bar):
    """The logits were used as if they were probabilities, and negative ones have no logarithm. They are any numbers:
    take their softmax first."""
    before, step, evidence = _tables(x_t, t, Q, Q_bar)
    truth = _posterior(_known(x0, Q), step, evidence, before)
    joint = step * (torch.where(evidence > 0, logits / evidence.clamp(min=1e-30), 0) @ before)
    guess, some = joint / joint.sum(dim=-1, keepdim=True), truth > 0
    terms = truth * (truth.where(some, 1.0).log() - guess.where(some, 1.0).log())
    return terms.where(some, 0.0).sum(dim=-1).mean(dim=1)


def first_term_left_out(logits, x0, x_t, t, Q, Q_bar):
    """The term at t = 0 is 0 here. The last step leads to the data themselves, and they must be as likely as the
    network can make them: -log p(x0 | x_t)."""
    return d3pm_bound(logits, x0, x_t, t, Q, Q_bar) * (t > 0)


def plain_belief_at_the_first_step(logits, x0, x_t, t, Q, Q_bar):
    """At t = 0 the softmax was taken as it is. There too p comes from the posterior: a token that cannot have led to
    x_t has no weight, and the rest is scaled to sum 1."""
    plain = cross_entropy_of_x0(logits, x0, x_t, t, Q, Q_bar)
    return torch.where(t == 0, plain, d3pm_bound(logits, x0, x_t, t, Q, Q_bar))


def truth_without_x_t(logits, x0, x_t, t, Q, Q_bar):
    """The true step is q(x_{t-1} | x0) here, and x_t was forgotten. The step that knows the data knows x_t too: take
    the posterior for both."""
    before, step, evidence = _tables(x_t, t, Q, Q_bar)
    guess = _posterior(logits.softmax(dim=-1), step, evidence, before)
    return _divergence(before[torch.arange(len(x0))[:, None], x0], guess).sum(dim=-1).mean(dim=1)


def only_disturbed_cells(logits, x0, x_t, t, Q, Q_bar):
    """Only the cells that differ from x0 were counted. The network cannot see which those are, and pays for the others
    too: the mean goes over all cells."""
    truth, guess = _pair(logits.softmax(dim=-1), x0, x_t, t, Q, Q_bar)
    off = x_t != x0
    return (_divergence(truth, guess).sum(dim=-1) * off).sum(dim=1) / off.sum(dim=1).clamp(min=1)


def cut_off_from_the_logits(logits, x0, x_t, t, Q, Q_bar):
    """The logits were detached, so that no gradient reaches the network and nothing is learned."""
    return d3pm_bound(logits.detach(), x0, x_t, t, Q, Q_bar)


def divergence_of_pytorch(logits, x0, x_t, t, Q, Q_bar):
    truth, guess = _pair(logits.softmax(dim=-1), x0, x_t, t, Q, Q_bar)
    return functional.kl_div(guess.clamp(min=1e-30).log(), truth, reduction="none").sum(dim=(1, 2)) / x0.shape[1]


def cell_by_cell(logits, x0, x_t, t, Q, Q_bar):
    K, values = Q.shape[-1], []
    for b in range(len(x0)):
        before = Q_bar[t[b] - 1] if t[b] > 0 else torch.eye(K, dtype=Q.dtype)
        total = torch.zeros((), dtype=Q.dtype)
        for cell in range(x0.shape[1]):
            joint = before * Q[t[b], :, x_t[b, cell]]  # (x0, x_{t-1})
            given = joint / joint.sum(dim=1, keepdim=True).clamp(min=1e-30)
            p = logits[b, cell].softmax(dim=0) * (joint.sum(dim=1) > 0)
            truth, guess = given[x0[b, cell]], (p[:, None] * given).sum(dim=0) / p.sum()
            there = truth > 0
            total = total + (truth[there] * (truth[there] / guess[there]).log()).sum()
        values.append(total / x0.shape[1])
    return torch.stack(values)


def by_logarithms(logits, x0, x_t, t, Q, Q_bar):
    before, step, evidence = _tables(x_t, t, Q, Q_bar)
    # Products of probabilities are sums of logarithms, and a sum over x0 is a logsumexp.
    way = before.clamp(min=1e-300 if Q.dtype == torch.float64 else 1e-37).log()[:, None]  # (B, 1, x0, x_{t-1})
    weight = torch.where(evidence > 0, logits.log_softmax(dim=-1) - evidence.log(), -torch.inf)
    guess = (step.log() + torch.logsumexp(weight[..., None] + way, dim=-2)).log_softmax(dim=-1)
    truth = _posterior(_known(x0, Q), step, evidence, before)
    terms = torch.where(truth > 0, truth * (truth.clamp(min=1e-30).log() - guess), 0)
    return torch.einsum("blk->b", terms) / x0.shape[1]


def cases(draw: Draw):
    k, steps, n = draw.integer(3, 5), draw.integer(5, 6), draw.integer(3, 4)
    cells = draw.integer(6, 7)
    for b, length, states, label in ((4, cells, k, "several samples"), (1, cells, k, "one sample"), (n, n, n, "")):
        Q = transitions(draw, steps, states)
        # Late steps have hardly anything to tell, and rounding errors would drown their gradients.
        Q_bar, t = chained(Q), draw.integers(1, 3, b)
        x0 = draw.integers(0, states, b, length)
        arguments = 1.5 * draw.normal(b, length, states), x0, noisy(draw, x0, t, Q_bar), t, Q, Q_bar
        yield Case(label or "every size equal", arguments, "t > 0")
    Q, t, x0 = transitions(draw, steps, k), draw.times(4, steps), draw.integers(0, k, 4, cells)
    Q_bar = chained(Q)
    arguments = 1.5 * draw.normal(4, cells, k), x0, noisy(draw, x0, t, Q_bar), t, Q, Q_bar
    yield Case("t = 0 among others", arguments, "t = 0")
    Q, t, x0 = masking(draw, steps, k + 1), draw.integers(1, steps, 5), draw.integers(0, k, 5, cells)
    Q_bar = chained(Q)
    logits = 1.5 * draw.normal(5, cells, k + 1)
    logits[..., -1] = -1000.0  # no data are masks
    x_t = noisy(draw, x0, t, Q_bar)
    x_t[0, 0] = x0[0, 0]
    yield Case("tokens that become a mask", (logits, x0, x_t, t, Q, Q_bar), "tokens that become a mask")
    first = torch.cat([torch.zeros(2, dtype=torch.int64), t[2:]])
    x_t = noisy(draw, x0, first, Q_bar)
    x_t[:2, 0], x_t[:2, 1] = x0[:2, 0], k  # at t = 0 a cell that is open, and one that is not
    arguments = logits, x0, x_t, first, Q, Q_bar
    yield Case("tokens that become a mask, t = 0", arguments, "tokens that become a mask")
    # Where some steps only replace tokens, no true probability is 0.
    Q = torch.cat([transitions(draw, 2, k + 1), Q[2:]])
    Q_bar, t = chained(Q), torch.tensor([1, 1, steps - 1, steps - 1, 1])
    x_t = noisy(draw, x0, t, Q_bar)
    x_t[2:4, 0] = x0[2:4, 0]
    arguments = 1.5 * draw.normal(5, cells, k + 1), x0, x_t, t, Q, Q_bar
    yield Case("a mask after other steps", arguments, "tokens that become a mask")


def terms_add_up_to_the_entropy(piece, draw: Draw):
    """With the exact belief, the terms of all steps add up to the entropy that is left at the end, H(x0 | x_{T-1})."""
    k, steps = draw.integer(2, 4), draw.integer(3, 5)
    Q, prior = transitions(draw, steps, k), belief(draw, k)
    Q_bar = chained(Q)
    joint = prior[:, None] * Q_bar  # (T, x0, x_t)
    exact = joint / joint.sum(dim=1, keepdim=True)  # p(x0 | x_t)
    t, x0, x_t = (grid.flatten() for grid in torch.meshgrid(*map(torch.arange, (steps, k, k)), indexing="ij"))
    logits = exact[t, :, x_t].log()
    found = piece(logits[:, None], x0[:, None], x_t[:, None], t, Q, Q_bar)
    total = float((joint[t, x0, x_t] * found).sum())
    entropy = float(-(joint[-1] * exact[-1].log()).sum())
    if abs(total - entropy) < 1e-5:
        return None
    return (
        f"with the exact belief the terms of {steps} steps add up to {total:.5g} nats, and {entropy:.5g} nats are left"
    )


EXERCISE = Exercise(
    chapter="games",
    kind="loss",
    title="The variational bound",
    statement=r"""
How likely does the model hold the data? The negative log-likelihood has an upper bound, a sum over the steps of

$$
\begin{aligned}
L_t &= \operatorname{KL}\left( q \; \Vert\; p_\theta \right) = \sum_j q_j \log \frac{q_j}{p_{\theta, j}}, \\
q_j &= q(x_{t-1} = j \mid x_t, x_0), \\
p_{\theta, j} &= p_\theta(x_{t-1} = j \mid x_t).
\end{aligned}
$$

Both come from the posterior of `d3pm_posterior`: $q$ with a belief that knows $x_0$, and $p_\theta$ with the softmax of
the logits. At $t = 0$ the step before are the data, and the term is $-\log p_\theta$ of $x_0$ by the same posterior: a
token that cannot have led to $x_t$ has no weight there either. What is summed over $j$ is 0 where $q_j = 0$. The value
trains the network, so a gradient must reach the logits.
""",
    reference=d3pm_bound,
    parts={"t > 0": 4, "t = 0": 1, "tokens that become a mask": 1, CARE: 1},
    cases=cases,
    properties=(Property("the terms add up to an entropy", terms_add_up_to_the_entropy, "t > 0"),),
    trains=True,
    time="t",
    wrong_answers=(
        wrong(logits_as_probabilities),
        wrong(softmax_over_the_cells),
        wrong(cross_entropy_of_x0),
        wrong(divergence_turned_around),
        wrong(entropy_left_out),
        wrong(mean_over_the_tokens),
        wrong(sum_over_the_cells),
        wrong(q_bar_of_this_step),
        wrong(around_the_end_at_the_first_step),
        wrong(transposed),
        wrong(belief_as_a_prior),
        wrong(nan_for_certain_tokens),
        wrong(logits_taken_for_the_belief),
        wrong(first_term_left_out),
        wrong(plain_belief_at_the_first_step),
        wrong(truth_without_x_t),
        wrong(only_disturbed_cells),
        wrong(cut_off_from_the_logits),
    ),
    right_answers=(right(divergence_of_pytorch), right(cell_by_cell), right(by_logarithms)),
    hints=(
        "Someone who knows x0 has a belief too: 1 for that token, 0 for the others.",
        "Make both posteriors by the same code.",
        "What is 0 log 0 in a divergence, and what does a computer say?",
    ),
    source="Austin et al. 2021 (D3PM), equations 1 and 3",
)
