"""d3pm_loss: how surely the network names the clean tokens."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.games.probes import Says
from diffusion_lab.exercises.probes import TokenProbe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def d3pm_loss(model: nn.Module, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """The cross-entropy of the clean tokens, -log p(x0 | x_t).

    Args:
        model: called as model(x_t, t); returns logits, (B, L, K): any numbers, however large, whose softmax over K is
            p(x0 | x_t). The loss is differentiated by its weights.
        x0: (B, L) int64 in 0..K-1, clean tokens.
        x_t: (B, L) int64, noisy tokens; a mask is the token K.
        t: (B,) int64.

    Returns:
        (B,), in nats: the mean over the cells, disturbed or not.
    """
    log_p = model(x_t, t).log_softmax(dim=-1)  # (B, L, K)
    return -log_p.gather(-1, x0.unsqueeze(-1)).squeeze(-1).mean(dim=1)


def _surprise(log_p, tokens):
    return -log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def probabilities_for_logits(model, x0, x_t, t):
    """The softmax was applied twice: `cross_entropy` and `log_softmax` take logits. After a second softmax even a sure
    and right network has a large loss."""
    return _surprise(model(x_t, t).softmax(dim=-1).log_softmax(dim=-1), x0).mean(dim=1)


def softmax_over_the_cells(model, x0, x_t, t):
    """The softmax was taken over the cells. In each cell the K tokens compete: the last axis. `cross_entropy` wants
    classes on axis 1, and takes the cells for them without an error where L = K."""
    return _surprise(model(x_t, t).log_softmax(dim=1), x0).mean(dim=1)


def sees_the_data(model, x0, x_t, t):
    """The network was given x0, and learns to copy. It must see the noisy x_t."""
    return _surprise(model(x0, t).log_softmax(dim=-1), x0).mean(dim=1)


def guesses_its_input(model, x0, x_t, t):
    """The loss asks for x_t, which the network sees. It must name x0."""
    return _surprise(model(x_t, t).log_softmax(dim=-1), x_t.clamp(max=int(x0.max()))).mean(dim=1)


def only_disturbed_cells(model, x0, x_t, t):
    """Only the cells that differ from x0 were counted. Where tokens became other tokens the network cannot see which
    those are: it must also learn what to keep."""
    off = x_t != x0
    values = _surprise(model(x_t, t).log_softmax(dim=-1), x0)
    return (values * off).sum(dim=1) / off.sum(dim=1).clamp(min=1)


def sum_over_the_cells(model, x0, x_t, t):
    """The cells of a sample were added up. The mean keeps the loss at one scale for boards of every size."""
    return _surprise(model(x_t, t).log_softmax(dim=-1), x0).sum(dim=1)


def mean_over_the_batch(model, x0, x_t, t):
    """The batch was averaged too. One value for each sample is asked for."""
    return _surprise(model(x_t, t).log_softmax(dim=-1), x0).mean()


def share_of_errors(model, x0, x_t, t):
    """This is 1 - p. The cross-entropy is -log p: its mean is lowest for the true probabilities."""
    return (1 - (-_surprise(model(x_t, t).log_softmax(dim=-1), x0)).exp()).mean(dim=1)


def logits_as_logarithms(model, x0, x_t, t):
    """The logits were taken for logarithms of probabilities. They need not sum to anything: `log_softmax` makes them
    so."""
    return _surprise(model(x_t, t), x0).mean(dim=1)


def logarithm_of_the_softmax(model, x0, x_t, t):
    """Where a network is sure and wrong, the softmax is too small for the computer and its logarithm minus infinity.
    `log_softmax` works on the logits and never needs the probability."""
    return _surprise(model(x_t, t).softmax(dim=-1).log(), x0).mean(dim=1)


def logarithm_kept_finite(model, x0, x_t, t):
    """A small number was added to the probability before its logarithm. However wrong a sure network is, it then pays
    the same, and has nothing to learn from it: use `log_softmax`, which needs no such help."""
    return _surprise((model(x_t, t).softmax(dim=-1) + 1e-8).log(), x0).mean(dim=1)


def only_masked_cells(model, x0, x_t, t):
    """Only the cells under a mask were counted. The mean goes over all cells, hidden or not."""
    logits = model(x_t, t)
    return (_surprise(logits.log_softmax(dim=-1), x0) * (x_t == logits.shape[-1])).mean(dim=1)


def reshaped_to_classes_first(model, x0, x_t, t):
    """The logits were reshaped to (B, K, L) for `cross_entropy`, which mixes tokens and cells. Swap the two axes with
    `transpose(1, 2)`."""
    logits = model(x_t, t)
    mixed = logits.reshape(len(logits), logits.shape[2], logits.shape[1])
    return _surprise(mixed.log_softmax(dim=1).transpose(1, 2), x0).mean(dim=1)


def logarithm_of_the_mean(model, x0, x_t, t):
    """The probabilities of the cells were averaged before the logarithm. Every cell has its own -log p: average
    those."""
    return -(-_surprise(model(x_t, t).log_softmax(dim=-1), x0)).exp().mean(dim=1).log()


def cut_off_from_the_network(model, x0, x_t, t):
    """The network's output was detached, so that no gradient reaches its weights and nothing is learned."""
    return _surprise(model(x_t, t).detach().log_softmax(dim=-1), x0).mean(dim=1)


def cross_entropy_of_pytorch(model, x0, x_t, t):
    from torch.nn import functional

    return functional.cross_entropy(model(x_t, t).transpose(1, 2), x0, reduction="none").mean(dim=1)


def one_sample_at_a_time(model, x0, x_t, t):
    values = []
    for i in range(len(x0)):
        logits = model(x_t[i : i + 1], t[i : i + 1])[0]
        log_p = torch.log_softmax(logits, dim=-1)[torch.arange(x0.shape[1]), x0[i]]
        values.append(-log_p.mean())
    return torch.stack(values)


def by_one_hot_rows(model, x0, x_t, t):
    logits = model(x_t, t)
    right = torch.nn.functional.one_hot(x0, logits.shape[-1]).to(logits)
    return (logits.logsumexp(dim=-1) - torch.einsum("blk,blk->bl", logits, right)).sum(dim=1) / x0.shape[1]


def cases(draw: Draw):
    k, n = draw.integer(3, 5), draw.integer(3, 5)
    shapes = ((draw.integer(3, 5), draw.integer(7, 9), k), (1, draw.integer(7, 9), k), (n, n, n), (5, 6, 2))
    for b, cells, tokens in shapes:
        model, x0, t = TokenProbe(tokens, draw.integer(0, 99)), draw.integers(0, tokens, b, cells), draw.times(b, 20)
        changed = draw.uniform(b, cells) < 0.5
        # The first sample has no mask, the others may.
        other = torch.cat([(x0[:1] + 1) % tokens, draw.integers(0, tokens + 1, b - 1, cells)])
        x_t = torch.where(changed, other, x0)
        # No clean token is so unlikely that a number added to its probability would show.
        p = model(x_t, t).detach().softmax(dim=-1)
        x0 = torch.where(p.gather(-1, x0[..., None])[..., 0] > 0.05, x0, p.argmax(dim=-1))
        label = "every size equal" if b == n == cells else f"{tokens} tokens"
        yield Case(label, (model, x0, x_t, t))
    b, cells = draw.integer(3, 5), draw.integer(7, 9)
    x0, logits = draw.integers(0, k, b, cells), 300 * draw.normal(b, cells, k)
    logits[:, 0].scatter_(1, x0[:, :1], -3000.0)
    x_t = draw.integers(0, k + 1, b, cells)
    yield Case("a network that is very sure, and sometimes wrong", (Says(logits), x0, x_t, torch.arange(b)), "sure")


def nothing_known(piece, draw: Draw):
    """Equal logits, whatever they are, mean that each token is as likely: log K."""
    k, cells = draw.integer(3, 6), draw.integer(7, 9)
    x0, x_t = draw.integers(0, k, 4, cells), draw.integers(0, k, 4, cells)
    logits = draw.normal(4, cells, 1).expand(4, cells, k).contiguous()
    found = piece(Says(logits), x0, x_t, torch.arange(4))
    truth = float(torch.tensor(float(k)).log())
    worst = float((found - truth).abs().max())
    return (
        None if worst < 1e-6 else f"with equal logits the loss is log {k} = {truth:.4f}, and it is off by {worst:.3g}"
    )


def sure_and_right(piece, draw: Draw):
    k, cells = draw.integer(3, 6), draw.integer(7, 9)
    x0 = draw.integers(0, k, 3, cells)
    logits = 50 * torch.nn.functional.one_hot(x0, k).double()
    found = piece(Says(logits), x0, draw.integers(0, k, 3, cells), torch.arange(3))
    worst = float(found.abs().max())
    return None if worst < 1e-6 else f"a network that is sure and right has the loss 0; it is {worst:.3g}"


EXERCISE = Exercise(
    chapter="games",
    kind="loss",
    title="Naming the clean tokens",
    statement=r"""
The network sees noisy tokens and gives logits for the clean token of every cell. Its loss is

$$
\begin{gathered}
L = -\frac{1}{L_{\text{cells}}} \sum_l \log p_\theta(x_{0,l} \mid x_t), \\
p_\theta(\cdot \mid x_t) = \operatorname{softmax}(\text{logits}_l).
\end{gathered}
$$

Its minimum is reached by the true $p(x_0 \mid x_t)$, from which every step back follows. Logits can be large: a network
that is sure and wrong has a loss of hundreds of nats, and a finite one.
""",
    reference=d3pm_loss,
    parts={"values": 3, "sure": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("equal logits give log K", nothing_known),
        Property("sure and right gives 0", sure_and_right),
    ),
    trains=True,
    time="t",
    wrong_answers=(
        wrong(probabilities_for_logits),
        wrong(softmax_over_the_cells),
        wrong(sees_the_data),
        wrong(guesses_its_input),
        wrong(only_disturbed_cells),
        wrong(sum_over_the_cells),
        wrong(mean_over_the_batch),
        wrong(share_of_errors),
        wrong(cut_off_from_the_network),
        wrong(logits_as_logarithms),
        wrong(logarithm_of_the_softmax),
        wrong(logarithm_kept_finite),
        wrong(only_masked_cells),
        wrong(reshaped_to_classes_first),
        wrong(logarithm_of_the_mean),
    ),
    right_answers=(right(cross_entropy_of_pytorch), right(one_sample_at_a_time), right(by_one_hot_rows)),
    hints=(
        "Are the network's outputs probabilities?",
        "On which axis do the tokens compete, and on which does PyTorch's `cross_entropy` expect them?",
    ),
    source="Austin et al. 2021 (D3PM), equation 5, second term",
)
