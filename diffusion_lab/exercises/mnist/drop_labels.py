"""drop_labels: forget some of the labels, so that one network learns with and without them."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def drop_labels(labels: Tensor, p: float, null: int, uniform: Tensor) -> Tensor:
    """Replace a label by `null` with probability p, each sample by itself.

    Args:
        labels: (B,) int64 in 0..null-1.
        p: the probability of dropping a label, in [0, 1].
        null: the label that means "no label".
        uniform: (B,), uniform in [0, 1): sample b loses its label where uniform[b] < p, and keeps it at p itself.

    Returns:
        (B,) int64; `labels` is left as it is.
    """
    return torch.where(uniform < p, torch.full_like(labels, null), labels)


def zero_for_no_label(labels, p, null, uniform):
    """Dropped labels became 0, and 0 is the label of a class: the network would learn zeros as digits without a
    label. The label `null` stands for none."""
    return torch.where(uniform < p, torch.zeros_like(labels), labels)


def last_class_for_no_label(labels, p, null, uniform):
    """Dropped labels became the last class. `null` itself is free: the classes are 0 to null - 1."""
    return torch.where(uniform < p, torch.full_like(labels, null - 1), labels)


def probability_inverted(labels, p, null, uniform):
    """You keep a label with probability p. p is the probability of dropping it, and it is small: with .1 nine of ten
    labels stay."""
    return torch.where(uniform < p, labels, torch.full_like(labels, null))


def upper_end_dropped(labels, p, null, uniform):
    """The share is right, and the labels are not the ones that were asked for: those whose uniform is below p lose
    theirs."""
    return torch.where(uniform > 1 - p, torch.full_like(labels, null), labels)


def dropped_at_p_too(labels, p, null, uniform):
    """A label is lost where its uniform is p exactly, and at p = 0 where it is 0. Only those below p are dropped: the
    uniforms run from 0, included, to 1, excluded."""
    return torch.where(uniform <= p, torch.full_like(labels, null), labels)


def minus_one_for_no_label(labels, p, null, uniform):
    """Dropped labels became -1. An embedding has no row -1: the label that means none is `null`."""
    return labels.masked_fill(uniform < p, -1)


def one_beyond_null(labels, p, null, uniform):
    """Dropped labels became null + 1. `null` is the first number after the classes already."""
    return labels.masked_fill(uniform < p, null + 1)


def samples_removed(labels, p, null, uniform):
    """The dropped samples are gone, and the batch is shorter than its images. Every sample stays; only what it says
    about its class is replaced."""
    return labels[uniform >= p]


def always_the_same_share(labels, p, null, uniform):
    """The share p of the batch is dropped, those with the smallest uniforms. Each sample decides by itself, whatever
    the others have drawn: by chance more or fewer are dropped."""
    after = labels.clone()
    after[uniform.argsort()[: round(p * len(labels))]] = null
    return after


def one_coin_for_the_batch(labels, p, null, uniform):
    """One uniform decides for the whole batch. Each sample has its own."""
    return torch.full_like(labels, null) if bool(uniform[0] < p) else labels.clone()


def the_first_ones(labels, p, null, uniform):
    """The first p B samples lose their labels. `uniform` decides which: where it is below p."""
    dropped = torch.arange(len(labels)) < p * len(labels)
    return torch.where(dropped, torch.full_like(labels, null), labels)


def in_place(labels, p, null, uniform):
    """Your function writes into `labels`. They belong to the data: in every epoch more of them would be gone, until
    none is left."""
    labels[uniform < p] = null
    return labels


def floats(labels, p, null, uniform):
    """The labels are no integers any more. They are indices into a table of embeddings, so they must stay int64."""
    return torch.where(uniform < p, torch.full_like(uniform, null), labels.to(uniform))


def mask(labels, p, null, uniform):
    kept = labels.clone()
    kept[uniform < p] = null
    return kept


def arithmetic(labels, p, null, uniform):
    dropped = (uniform < p).long()
    return labels * (1 - dropped) + null * dropped


def masked_fill(labels, p, null, uniform):
    return labels.masked_fill(~(uniform >= p), null)


def loop(labels, p, null, uniform):
    return torch.tensor([null if float(u) < p else int(label) for label, u in zip(labels, uniform, strict=True)])


def through_numpy(labels, p, null, uniform):
    import numpy as np

    return torch.from_numpy(np.where(uniform.numpy() < p, null, labels.numpy()))


def cases(draw: Draw):
    for p in (0.1, draw.number(0.2, 0.4), draw.number(0.6, 0.8)):
        batch, null = draw.integer(40, 60), draw.choice((3, 7, 10))
        yield Case(f"p = {p:g}, null = {null}", (draw.integers(0, null, batch), p, null, draw.uniform(batch)))
    null = draw.choice((3, 7, 10))
    for u in (0.2, 0.7):
        yield Case(
            "one sample, p = 0.5", (draw.integers(1, null - 1, 1), 0.5, null, draw.uniform(1, low=u, high=u + 0.1))
        )
    batch = draw.integer(5, 9)
    labels = draw.integers(1, null, batch)
    yield Case("p = 0 drops none", (labels, 0.0, null, draw.uniform(batch)), "ends")
    yield Case("p = 1 drops all", (labels, 1.0, null, draw.uniform(batch)), "ends")
    p = draw.choice((0.25, 0.5, 0.75))  # held exactly in every dtype
    uniform = torch.tensor([0.0, p - 2**-20, p, p + 2**-20, 1 - 2**-24], dtype=torch.float64)[draw.permutation(5)]
    yield Case(f"0, {p:g} itself and its neighbours", (draw.integers(0, null, 5), p, null, uniform), "ends")
    uniform = torch.cat([torch.zeros(1, dtype=torch.float64), draw.uniform(3)])[draw.permutation(4)]
    yield Case("p = 0, with a uniform of 0", (draw.integers(0, null, 4), 0.0, null, uniform), "ends")


def share(piece, draw: Draw):
    """Uniforms at equal distances, in random order: exactly p N labels are dropped, and the others stay."""
    n, percent = 400, draw.integer(1, 9) * 10
    uniform = ((torch.arange(n, dtype=torch.float64) + 0.5) / n)[draw.permutation(n)]
    labels = draw.integers(0, 10, n)
    found = piece(labels, percent / 100, 10, uniform)
    dropped = int((found == 10).sum())
    if dropped != n * percent // 100:
        return f"with p = {percent / 100:g}, {dropped} of {n} labels were replaced by null"
    changed = int(((found != 10) & (found != labels)).sum())
    return None if changed == 0 else f"{changed} labels became other labels"


EXERCISE = Exercise(
    chapter="mnist",
    kind="loss",
    title="Labels that are dropped",
    statement=r"""
Guidance needs two guesses: one that knows the label $y$ and one that does not. One network learns both if its label is
replaced, now and then, by a label that means "none":

$$
\begin{gathered}
\tilde y_b = \begin{cases} \varnothing & \text{if } u_b < p \\ y_b & \text{else,} \end{cases} \\
u_b \sim \mathcal U[0, 1).
\end{gathered}
$$

$\varnothing$ is `null`, the first number after the classes: with ten digits it is 10. A uniform can be 0 and is
never 1, so $p = 0$ drops no label and $p = 1$ drops all of them.
""",
    reference=drop_labels,
    parts={"values": 3, "ends": 1, CARE: 1},
    cases=cases,
    properties=(Property("the share of dropped labels", share),),
    wrong_answers=(
        wrong(zero_for_no_label),
        wrong(last_class_for_no_label),
        wrong(probability_inverted),
        wrong(upper_end_dropped),
        wrong(dropped_at_p_too),
        wrong(minus_one_for_no_label),
        wrong(one_beyond_null),
        wrong(samples_removed),
        wrong(always_the_same_share),
        wrong(one_coin_for_the_batch),
        wrong(the_first_ones),
        wrong(in_place, "modified"),
        wrong(floats, "dtype"),
    ),
    right_answers=(right(mask), right(arithmetic), right(masked_fill), right(loop), right(through_numpy)),
    hints=("Which labels are already taken by a class?", "Choose between two tensors of labels by a condition."),
    source="Ho & Salimans 2022, algorithm 1",
)
