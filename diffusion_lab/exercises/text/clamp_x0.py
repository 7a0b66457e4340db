"""clamp_x0: each estimated vector becomes a word, before the step is taken."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong
from diffusion_lab.exercises.text.inputs import near, nearest, vocabulary


def clamp_x0(x0: Tensor, x: Tensor, alpha_bar_t: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Move estimated vectors to their nearest words, and find the noise that agrees with them.

    Args:
        x0: (B, D) words or (B, L, D) sentences, the estimate of the clean embeddings.
        x: shaped like x0, the noisy embeddings from which it was made.
        alpha_bar_t: (B,), the level of x, in (0, 1).
        embeddings: (V, D), one row for each word.

    Returns:
        x0, now rows of `embeddings`, and eps, such that sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps is x again.
        Both are shaped like x.
    """
    words = torch.cdist(x0.reshape(-1, x0.shape[-1]), embeddings).argmin(dim=1)
    clamped = embeddings[words].reshape(x0.shape)
    kept = alpha_bar_t.reshape(-1, *[1] * (x.ndim - 1))  # (B, 1, ..., 1)
    return clamped, (x - kept.sqrt() * clamped) / (1 - kept).sqrt()


def _kept(x, alpha_bar_t):
    return alpha_bar_t.reshape(-1, *[1] * (x.ndim - 1))


def _eps(x0, x, alpha_bar_t):
    kept = _kept(x, alpha_bar_t)
    return (x - kept.sqrt() * x0) / (1 - kept).sqrt()


def clamped_late(x0, x, alpha_bar_t, embeddings):
    """eps was found before x0 was clamped, so that x0 and eps no longer make x. The step would follow two different
    estimates: clamp first."""
    return embeddings[nearest(x0, embeddings)], _eps(x0, x, alpha_bar_t)


def noisy_x_clamped(x0, x, alpha_bar_t, embeddings):
    """The words nearest to the noisy x were taken. The estimate of x0 is clamped: it is the one that knows the
    neighbours."""
    clamped = embeddings[nearest(x, embeddings)]
    return clamped, _eps(clamped, x, alpha_bar_t)


def not_clamped(x0, x, alpha_bar_t, embeddings):
    """x0 came back as it was. It must become a row of `embeddings`."""
    return x0.clone(), _eps(x0, x, alpha_bar_t)


def largest_dot_product(x0, x, alpha_bar_t, embeddings):
    """The word with the largest dot product was taken, which prefers long vectors. Take the nearest word."""
    clamped = embeddings[(x0 @ embeddings.T).argmax(dim=-1)]
    return clamped, _eps(clamped, x, alpha_bar_t)


def mean_of_likely_words(x0, x, alpha_bar_t, embeddings):
    """This is a weighted mean of words, which is no word. Clamping commits to the one word that is nearest."""
    squares = (x0.unsqueeze(-2) - embeddings).square().sum(dim=-1)
    clamped = (-squares / 2).softmax(dim=-1) @ embeddings
    return clamped, _eps(clamped, x, alpha_bar_t)


def clipped_to_the_box(x0, x, alpha_bar_t, embeddings):
    """The coordinates were clipped to the range of the embeddings, as pixels are. To clamp means here: to the nearest
    word."""
    clamped = torch.minimum(torch.maximum(x0, embeddings.min(dim=0).values), embeddings.max(dim=0).values)
    return clamped, _eps(clamped, x, alpha_bar_t)


def missing_roots(x0, x, alpha_bar_t, embeddings):
    """eps was found with alpha_bar and 1 - alpha_bar. Vectors are multiplied by their square roots."""
    clamped, kept = embeddings[nearest(x0, embeddings)], _kept(x, alpha_bar_t)
    return clamped, (x - kept * clamped) / (1 - kept)


def factors_along_the_last_axis(x0, x, alpha_bar_t, embeddings):
    """The (B,) factors were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    clamped = embeddings[nearest(x0, embeddings)]
    return clamped, (x - alpha_bar_t.sqrt() * clamped) / (1 - alpha_bar_t).sqrt()


def clean_estimate_for_x(x0, x, alpha_bar_t, embeddings):
    """eps was found from the estimate as it came in, not from x. The noise that agrees is what is left of x."""
    clamped, kept = embeddings[nearest(x0, embeddings)], _kept(x, alpha_bar_t)
    return clamped, (x0 - kept.sqrt() * clamped) / (1 - kept).sqrt()


def noise_with_the_factor_of_the_data(x0, x, alpha_bar_t, embeddings):
    """The factors of data and noise have changed places. Data have the root of alpha_bar, noise that of
    1 - alpha_bar."""
    clamped, kept = embeddings[nearest(x0, embeddings)], _kept(x, alpha_bar_t)
    return clamped, (x - (1 - kept).sqrt() * clamped) / kept.sqrt()


def in_place(x0, x, alpha_bar_t, embeddings):
    """The estimate handed in was itself overwritten. It is carried to the next step: make a new tensor."""
    x0.copy_(embeddings[nearest(x0, embeddings)])
    return x0, _eps(x0, x, alpha_bar_t)


def one_sample_at_a_time(x0, x, alpha_bar_t, embeddings):
    words, noises = [], []
    for estimate, noisy, kept in zip(x0, x, alpha_bar_t, strict=True):
        squares = torch.stack([(estimate - vector).pow(2).sum(dim=-1) for vector in embeddings])
        words.append(embeddings[squares.min(dim=0).indices])
        noises.append((noisy - kept**0.5 * words[-1]) / (1 - kept) ** 0.5)
    return torch.stack(words), torch.stack(noises)


def by_one_hot_rows(x0, x, alpha_bar_t, embeddings):
    ids = (torch.einsum("...d,vd->...v", x0, embeddings) - embeddings.square().sum(dim=1) / 2).argmax(dim=-1)
    clamped = torch.nn.functional.one_hot(ids, len(embeddings)).to(x0) @ embeddings
    signal = torch.einsum("b,b...->b...", alpha_bar_t.sqrt(), clamped)
    return clamped, torch.einsum("b,b...->b...", (1 - alpha_bar_t).rsqrt(), x - signal)


def float64_inside(x0, x, alpha_bar_t, embeddings):
    clamped = embeddings[nearest(x0.double(), embeddings.double())]
    return clamped, _eps(clamped.double(), x.double(), alpha_bar_t.double()).to(x.dtype)


def cases(draw: Draw):
    n = draw.integer(4, 5)
    b, length, d, words = draw.integer(4, 6), draw.integer(6, 8), draw.integer(4, 5), draw.integer(12, 18)
    for shape, size in (((4 * b, d), words), ((b, length, d), words), ((1, length, d), words), ((n, n, n), n)):
        embeddings = vocabulary(draw, size, d if size == words else n)
        ids = draw.integers(0, size, *shape[:-1])
        x0, kept = near(draw, ids, embeddings), draw.uniform(shape[0], low=0.05, high=0.95)
        if shape[0] > 1:
            kept[0], kept[-1] = 0.99, 0.01
        column = kept.reshape(-1, *[1] * (len(shape) - 1))
        x = column.sqrt() * embeddings[ids] + (1 - column).sqrt() * draw.normal(*shape)
        label = {2: "words", 3: "sentences"}[len(shape)] if size == words else "every size equal"
        yield Case(label, (x0, x, kept, embeddings))


def agrees_with_x(piece, draw: Draw):
    """The pair makes x again, and x0 is made of words."""
    b, length, d = 3, draw.integer(4, 6), draw.integer(5, 7)
    embeddings, kept = vocabulary(draw, 12, d), draw.uniform(b, low=0.1, high=0.9)
    x0, x = near(draw, draw.integers(0, 12, b, length), embeddings), draw.normal(b, length, d)
    clamped, eps = piece(x0, x, kept, embeddings)
    away = float(torch.cdist(clamped.reshape(-1, d), embeddings).min(dim=1).values.max())
    if away > 1e-6:
        return f"an entry of x0 is {away:.3g} away from the nearest word"
    column = kept.reshape(-1, 1, 1)
    worst = float((column.sqrt() * clamped + (1 - column).sqrt() * eps - x).abs().max())
    return None if worst < 1e-5 else f"x0 and eps together miss x by up to {worst:.3g}"


EXERCISE = Exercise(
    chapter="text",
    kind="sampler",
    title="The clamping trick",
    statement=r"""
An estimate that lies between two words stays there, step after step, and is rounded to a random one at the end. The
clamping trick commits at every step: each vector of $\hat x_0$ becomes its nearest embedding. The step needs the noise
too, so find the one that agrees with the clamped estimate,

$$\hat\varepsilon = \frac{x_t - \sqrt{\bar\alpha_t}\; \hat x_0}{\sqrt{1 - \bar\alpha_t}}.$$

Any step, such as your `ddim_step`, can go on from this pair.
""",
    reference=clamp_x0,
    parts={"values": 4, "the pair makes x": 1, CARE: 1},
    cases=cases,
    properties=(Property("x0 is made of words, and with eps makes x", agrees_with_x, "the pair makes x"),),
    wrong_answers=(
        wrong(clamped_late),
        wrong(noisy_x_clamped),
        wrong(not_clamped),
        wrong(largest_dot_product),
        wrong(mean_of_likely_words),
        wrong(clipped_to_the_box),
        wrong(missing_roots),
        wrong(factors_along_the_last_axis),
        wrong(clean_estimate_for_x),
        wrong(noise_with_the_factor_of_the_data),
        wrong(in_place, "modified"),
    ),
    right_answers=(right(one_sample_at_a_time), right(by_one_hot_rows), right(float64_inside)),
    hints=(
        "In which order do the two happen: clamping, and finding eps?",
        "Your `round_to_words` finds the rows.",
        "x0 and eps must make x again.",
    ),
    source="Li et al. 2022 (Diffusion-LM), section 4.3",
)
