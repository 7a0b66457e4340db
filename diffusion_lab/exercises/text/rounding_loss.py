"""rounding_loss: how surely an estimated vector is read as the right word."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong
from diffusion_lab.exercises.text.inputs import real_words, sentence_shapes, vocabulary, with_gaps
from diffusion_lab.exercises.text.probes import Says


def rounding_loss(
    model: nn.Module, x_t: Tensor, t: Tensor, embeddings: Tensor, ids: Tensor, mask: Tensor, std: float
) -> Tensor:
    """-log p(word | estimated x0), where a word is as likely as a normal density around its vector is high.

    Args:
        model: called as model(x_t, t); returns its estimate of the clean embeddings, (B, L, D). The loss is
            differentiated by its weights.
        x_t: (B, L, D), noisy embeddings.
        t: (B,), the times of the sentences.
        embeddings: (V, D), one row for each word.
        ids: (B, L) int64, the right words; at padded places they mean nothing and can be any number, such as -1.
        mask: (B, L) bool, True for real words; at least one in each sentence.
        std: the standard deviation of the normal densities, in units of the embeddings; it can be much smaller than the
            distances.

    Returns:
        (B,), in nats: the mean over the real words of each sentence.
    """
    x0 = model(x_t, t)
    logits = -torch.cdist(x0, embeddings).square() / (2 * std**2)  # (B, L, V)
    words = ids.where(mask, 0).unsqueeze(-1)  # padding becomes some word: any will do
    log_p = logits.log_softmax(dim=-1).gather(-1, words).squeeze(-1)  # (B, L)
    return -(log_p * mask).sum(dim=1) / mask.sum(dim=1)


def _squares(x, embeddings):
    return (x.unsqueeze(-2) - embeddings).square().sum(dim=-1)  # (B, L, V)


def _surprise(logits, ids):
    """At padded places, where ids mean nothing, that of some word."""
    right = (ids % logits.shape[-1]).unsqueeze(-1)
    return -logits.log_softmax(dim=-1).gather(-1, right).squeeze(-1)


def _over_words(values, mask):
    return (values * mask).sum(dim=1) / mask.sum(dim=1)


def noisy_vectors(model, x_t, t, embeddings, ids, mask, std):
    """The noisy x_t was rounded, which no weight of the network can change. The loss is for the network's estimate of
    x0."""
    return _over_words(_surprise(-_squares(x_t, embeddings) / (2 * std**2), ids), mask)


def padding_counted(model, x_t, t, embeddings, ids, mask, std):
    """Padded places were counted. They have no right word: average over real words only."""
    return _surprise(-_squares(model(x_t, t), embeddings) / (2 * std**2), ids).mean(dim=1)


def padding_in_the_number(model, x_t, t, embeddings, ids, mask, std):
    """The padded places add nothing, but the sum is still divided by L. Divide by the number of words."""
    return (_surprise(-_squares(model(x_t, t), embeddings) / (2 * std**2), ids) * mask).mean(dim=1)


def dot_products(model, x_t, t, embeddings, ids, mask, std):
    """These logits are dot products, which favour words with long vectors. A normal density falls with the squared
    distance."""
    return _over_words(_surprise(model(x_t, t) @ embeddings.T / std**2, ids), mask)


def distance_without_its_square(model, x_t, t, embeddings, ids, mask, std):
    """The logits have the distance in them. The logarithm of a normal density has its square."""
    return _over_words(_surprise(-_squares(model(x_t, t), embeddings).sqrt() / (2 * std**2), ids), mask)


def std_for_variance(model, x_t, t, embeddings, ids, mask, std):
    """The squared distance was divided by 2 std. A squared length is measured against a variance, std squared."""
    return _over_words(_surprise(-_squares(model(x_t, t), embeddings) / (2 * std), ids), mask)


def softmax_over_the_places(model, x_t, t, embeddings, ids, mask, std):
    """The softmax was taken over the places of the sentence. At each place the words of the vocabulary compete."""
    logits = -_squares(model(x_t, t), embeddings) / (2 * std**2)
    right = (ids % logits.shape[-1]).unsqueeze(-1)
    return _over_words(-logits.log_softmax(dim=1).gather(-1, right).squeeze(-1), mask)


def ids_of_padding_looked_up(model, x_t, t, embeddings, ids, mask, std):
    """The ids of padded places were looked up in the vocabulary. They mean nothing and can be any number: put a word in
    their place first, or take the padding out with the mask."""
    logits = -_squares(model(x_t, t), embeddings) / (2 * std**2)
    return _over_words(-logits.log_softmax(dim=-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1), mask)


def densities_before_the_logarithm(model, x_t, t, embeddings, ids, mask, std):
    """The densities were computed and divided by their sum. Far from every word all of them are too small for the
    computer, and 0 / 0 is nan: stay with logarithms, by `log_softmax`."""
    density = (-_squares(model(x_t, t), embeddings) / (2 * std**2)).exp()
    p = density / density.sum(dim=-1, keepdim=True)
    return _over_words(-p.gather(-1, (ids % len(embeddings))[..., None])[..., 0].log(), mask)


def logarithm_of_the_softmax(model, x_t, t, embeddings, ids, mask, std):
    """Where the right word is far away, its probability is too small for the computer and the logarithm minus infinity.
    `log_softmax` never needs the probability."""
    p = (-_squares(model(x_t, t), embeddings) / (2 * std**2)).softmax(dim=-1)
    return _over_words(-p.gather(-1, (ids % len(embeddings))[..., None])[..., 0].log(), mask)


def logarithm_kept_finite(model, x_t, t, embeddings, ids, mask, std):
    """A small number was added to the probability before its logarithm. However far away the right word is, the loss is
    then the same, and nothing pulls the estimate to it: use `log_softmax`, which needs no such help."""
    p = (-_squares(model(x_t, t), embeddings) / (2 * std**2)).softmax(dim=-1)
    return _over_words(-(p.gather(-1, (ids % len(embeddings))[..., None])[..., 0] + 1e-8).log(), mask)


def density_without_the_two(model, x_t, t, embeddings, ids, mask, std):
    """The squared distance was divided by the variance alone. A normal density has twice the variance there."""
    return _over_words(_surprise(-_squares(model(x_t, t), embeddings) / std**2, ids), mask)


def mean_over_the_coordinates(model, x_t, t, embeddings, ids, mask, std):
    """The squared differences of a vector were averaged. A squared distance is their sum."""
    squares = _squares(model(x_t, t), embeddings) / embeddings.shape[1]
    return _over_words(_surprise(-squares / (2 * std**2), ids), mask)


def sum_over_the_words(model, x_t, t, embeddings, ids, mask, std):
    """The words of a sentence were added up. The mean keeps the loss at one scale for sentences of every length."""
    return (_surprise(-_squares(model(x_t, t), embeddings) / (2 * std**2), ids) * mask).sum(dim=1)


def cut_off_from_the_network(model, x_t, t, embeddings, ids, mask, std):
    """The estimate was detached, so that no gradient reaches the network's weights and nothing is learned."""
    return _over_words(_surprise(-_squares(model(x_t, t).detach(), embeddings) / (2 * std**2), ids), mask)


def logarithm_with_a_billionth(model, x_t, t, embeddings, ids, mask, std):
    """1e-9 was added to the probability before its logarithm, and so the loss of a word that is far away stays the same
    however far it is, and nothing pulls the estimate to it. `log_softmax` needs no such help."""
    p = (-_squares(model(x_t, t), embeddings) / (2 * std**2)).softmax(dim=-1)
    return _over_words(-(p.gather(-1, (ids % len(embeddings))[..., None])[..., 0] + 1e-9).log(), mask)


def logarithm_with_a_trillionth(model, x_t, t, embeddings, ids, mask, std):
    """1e-12 was added to the probability before its logarithm. A word that is far away then costs the same however far
    it is, and nothing pulls the estimate to it: `log_softmax` needs no such help."""
    p = (-_squares(model(x_t, t), embeddings) / (2 * std**2)).softmax(dim=-1)
    return _over_words(-(p.gather(-1, (ids % len(embeddings))[..., None])[..., 0] + 1e-12).log(), mask)


def cross_entropy_of_pytorch(model, x_t, t, embeddings, ids, mask, std):
    from torch.nn import functional

    logits = -_squares(model(x_t, t), embeddings) / (2 * std**2)
    words = ids.masked_fill(~mask, -100).flatten()  # what PyTorch leaves out
    values = functional.cross_entropy(logits.flatten(0, 1), words, reduction="none", ignore_index=-100)
    return _over_words(values.reshape(ids.shape), mask)


def one_sentence_at_a_time(model, x_t, t, embeddings, ids, mask, std):
    x0, values = model(x_t, t), []
    for sentence, words, real in zip(x0, ids, mask, strict=True):
        density = torch.distributions.Normal(sentence[real][:, None], std).log_prob(embeddings).sum(dim=-1)
        log_p = density - density.logsumexp(dim=1, keepdim=True)
        values.append(-log_p[torch.arange(len(log_p)), words[real]].mean())
    return torch.stack(values)


def dot_products_less_half_the_squares(model, x_t, t, embeddings, ids, mask, std):
    # |x|^2 is the same for all words and leaves the softmax as it is.
    logits = (torch.einsum("bld,vd->blv", model(x_t, t), embeddings) - embeddings.square().sum(1) / 2) / std**2
    words = torch.where(mask, ids, torch.zeros_like(ids))
    return _over_words(torch.logsumexp(logits, dim=-1) - logits.gather(-1, words[..., None])[..., 0], mask)


def cases(draw: Draw):
    for b, length, d in sentence_shapes(draw):
        words = length if b == length else draw.integer(9, 13)
        embeddings, ids = vocabulary(draw, words, d), draw.integers(0, words, b, length)
        # Vectors that are neither so near nor so far that a number added to a probability would show.
        embeddings = embeddings / embeddings.norm(dim=1, keepdim=True) * draw.uniform(words, 1, low=0.5, high=1.5)
        x_t = embeddings[ids] + 0.5 * draw.normal(b, length, d)
        mask, t, std = real_words(draw, b, length), draw.times(b, 20), draw.number(1.6, 2.2)
        label = "every size equal" if b == length else "sentences"
        yield Case(label, (Probe(draw.integer(0, 99)), x_t, t, embeddings, ids, mask, std))
    b, length, d = draw.integer(3, 4), draw.integer(6, 7), draw.integer(8, 9)
    embeddings, ids, mask = vocabulary(draw, 10, d), draw.integers(0, 10, b, length), with_gaps(draw, b, length)
    x_t, t = embeddings[ids] + 0.5 * draw.normal(b, length, d), draw.times(b, 20)
    # -1 is the last word to some look-ups, so there is a number beyond the last one too.
    other = torch.where(mask, ids, torch.where(torch.arange(length) < 2, 10, -1))
    yield Case("ids at padded places", (Probe(5), x_t, t, embeddings, other, mask, 1.8), "ids of padding")
    # The estimates are far from every word, and farther still from the right one.
    x0, std = 3 * draw.normal(b, length, d), draw.number(0.04, 0.06)
    ids = (x0.unsqueeze(-2) - embeddings).square().sum(dim=-1).argmax(dim=-1)
    mask = torch.ones(b, length, dtype=torch.bool)
    arguments = Says(x0), draw.normal(b, length, d), torch.arange(b), embeddings, ids, mask, std
    yield Case(f"far from the right words, std = {std}", arguments, "far away")


def two_words(piece, draw: Draw):
    """With two words, log(1 + exp((d_right^2 - d_wrong^2) / (2 std^2)))."""
    embeddings, x0, std = draw.normal(2, 3), draw.normal(4, 1, 3), draw.number(0.8, 1.6)
    ids, mask = draw.integers(0, 2, 4, 1), torch.ones(4, 1, dtype=torch.bool)
    found = piece(Says(x0), draw.normal(4, 1, 3), torch.arange(4), embeddings, ids, mask, std)
    gap = [(x0[:, 0] - embeddings[word]).square().sum(dim=1) for word in (ids[:, 0], 1 - ids[:, 0])]
    truth = torch.log1p(torch.exp((gap[0] - gap[1]) / (2 * std**2)))
    worst = float((found - truth).abs().max())
    return None if worst < 1e-5 else f"with a vocabulary of two words the loss is off by up to {worst:.3g} nats"


def one_place_for_all_words(piece, draw: Draw):
    """Where all words have the same distance, each is as likely: log V."""
    words = draw.integer(4, 9)
    embeddings, x0 = torch.eye(words, dtype=torch.float64), torch.zeros(2, 3, words, dtype=torch.float64)
    ids, mask = draw.integers(0, words, 2, 3), torch.ones(2, 3, dtype=torch.bool)
    found = piece(Says(x0), draw.normal(2, 3, words), torch.arange(2), embeddings, ids, mask, 0.7)
    truth = float(torch.tensor(float(words)).log())
    worst = float((found - truth).abs().max())
    return None if worst < 1e-5 else f"for {words} words at one distance the loss is log {words} = {truth:.4f} nats"


EXERCISE = Exercise(
    chapter="text",
    kind="loss",
    title="Estimates that are words",
    statement=r"""
The mean square error lets an estimate lie between two words. The rounding loss asks how likely the right word $w_l$ is,
when every word is a normal density of standard deviation $\sigma$ (`std`) around its embedding:

$$
\begin{gathered}
p(v \mid \hat x) \propto \exp\left( -\frac{\lVert \hat x - e_v \rVert^2}{2 \sigma^2} \right), \\
L = -\frac{1}{\sum_l m_l} \sum_l m_l \log p(w_l \mid \hat x_{0,l}).
\end{gathered}
$$

$\hat x_0$ is what the network makes of $x_t$, and $m_l = 1$ for real words. At padded places `ids` can be numbers that
are no words. An estimate can be many $\sigma$ away from every word: the loss is large there, and finite.
""",
    reference=rounding_loss,
    parts={"values": 3, "ids of padding": 1, "far away": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("two words in closed form", two_words),
        Property("words at one distance are equally likely", one_place_for_all_words),
    ),
    trains=True,
    time="t",
    wrong_answers=(
        wrong(noisy_vectors),
        wrong(padding_counted),
        wrong(padding_in_the_number),
        wrong(dot_products),
        wrong(distance_without_its_square),
        wrong(std_for_variance),
        wrong(softmax_over_the_places),
        wrong(cut_off_from_the_network),
        wrong(ids_of_padding_looked_up),
        wrong(densities_before_the_logarithm),
        wrong(logarithm_of_the_softmax),
        wrong(logarithm_kept_finite),
        wrong(density_without_the_two),
        wrong(mean_over_the_coordinates),
        wrong(sum_over_the_words),
        wrong(logarithm_with_a_billionth),
        wrong(logarithm_with_a_trillionth),
    ),
    right_answers=(
        right(cross_entropy_of_pytorch),
        right(one_sentence_at_a_time),
        right(dot_products_less_half_the_squares),
    ),
    hints=(
        "Which vectors can the network change?",
        "Write the logits as (B, L, V): the softmax goes over V.",
        "A loss of words is averaged like the loss of embeddings: over real words.",
    ),
    source="Li et al. 2022 (Diffusion-LM), section 4.2",
)
