"""round_to_words: from vectors back to words."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong
from diffusion_lab.exercises.text.inputs import near, nearest, vocabulary


def round_to_words(x: Tensor, embeddings: Tensor) -> Tensor:
    """The nearest word of each vector, by Euclidean distance.

    Args:
        x: (B, D) words or (B, L, D) sentences.
        embeddings: (V, D), one row for each word.

    Returns:
        (B,) or (B, L), int64: row numbers of `embeddings`.
    """
    distance = torch.cdist(x.reshape(-1, x.shape[-1]), embeddings)  # (number of vectors, V)
    return distance.argmin(dim=1).reshape(x.shape[:-1])


def _squares(x, embeddings):
    return (x.unsqueeze(-2) - embeddings).square()  # (..., V, D)


def largest_dot_product(x, embeddings):
    """The word with the largest dot product was taken, which prefers long vectors. The nearest word has the smallest
    distance."""
    return (x @ embeddings.T).argmax(dim=-1)


def smallest_angle(x, embeddings):
    """Words were compared by their angle to x. Vectors in one direction can be far apart: compare distances."""
    directions = embeddings / embeddings.norm(dim=1, keepdim=True)
    return (x @ directions.T).argmax(dim=-1)


def farthest_word(x, embeddings):
    """This is the word at the largest distance."""
    return _squares(x, embeddings).sum(dim=-1).argmax(dim=-1)


def smallest_coordinate(x, embeddings):
    """The minimum was taken over the coordinates D, so that the answer is the number of a coordinate. It belongs over
    the words V."""
    return _squares(x, embeddings).sum(dim=-2).argmin(dim=-1)


def sum_of_absolute_differences(x, embeddings):
    """Distances were measured along the axes. The noise is as strong in every direction, so that the likeliest word is
    the nearest in a straight line."""
    return (x.unsqueeze(-2) - embeddings).abs().sum(dim=-1).argmin(dim=-1)


def distances_instead_of_words(x, embeddings):
    """This returns the smallest distances. The words that have them are asked for."""
    return _squares(x, embeddings).sum(dim=-1).min(dim=-1).values


def nearest_vector_of_each_word(x, embeddings):
    """This says for each word which vector is nearest. Asked for is the word nearest to each vector: the minimum goes
    over the vocabulary."""
    return torch.cdist(x.reshape(-1, x.shape[-1]), embeddings).argmin(dim=0)


def all_words_in_a_row(x, embeddings):
    """The sentences have become one long row. The ids have the shape of x without its last axis."""
    return torch.cdist(x.reshape(-1, x.shape[-1]), embeddings).argmin(dim=1)


def vectors_instead_of_words(x, embeddings):
    """These are the vectors of the nearest words. Asked for are their numbers, the rows of `embeddings`."""
    return embeddings[nearest(x, embeddings)]


def broadcasting(x, embeddings):
    return _squares(x, embeddings).sum(dim=-1).argmin(dim=-1)


def one_vector_at_a_time(x, embeddings):
    rows = x.reshape(-1, x.shape[-1])
    ids = [int(torch.linalg.vector_norm(row - embeddings, dim=1).argmin()) for row in rows]
    return torch.tensor(ids).reshape(x.shape[:-1])


def dot_product_less_half_the_square(x, embeddings):
    return torch.argmax(x @ embeddings.T - embeddings.square().sum(dim=1) / 2, dim=-1)


def through_numpy(x, embeddings):
    import numpy as np

    gaps = np.linalg.norm(x.numpy()[..., None, :] - embeddings.numpy(), axis=-1)
    return torch.from_numpy(np.asarray(gaps.argmin(axis=-1)))


def cases(draw: Draw):
    words, d = draw.integer(14, 20), draw.integer(4, 6)
    n = draw.integer(5, 6)
    shapes = [(draw.integer(20, 30),), (1,), (draw.integer(4, 6), draw.integer(7, 9)), (1, draw.integer(12, 15))]
    for shape in shapes:
        embeddings = vocabulary(draw, words, d)
        label, part = ("sentences", "sentences") if len(shape) == 2 else ("words", "words")
        yield Case(label, (near(draw, draw.integers(0, words, *shape), embeddings), embeddings), part)
    embeddings = vocabulary(draw, n, n)
    yield Case("every size equal", (near(draw, draw.integers(0, n, n, n), embeddings), embeddings), "sentences")


def words_are_their_own_nearest(piece, draw: Draw):
    embeddings = vocabulary(draw, draw.integer(10, 20), 6)
    order = draw.permutation(len(embeddings))
    found = piece(embeddings[order], embeddings)
    wrong_ones = int((found != order).sum())
    return f"{wrong_ones} of {len(order)} words without any noise are not rounded to themselves" if wrong_ones else None


def any_origin(piece, draw: Draw):
    """A shift of everything changes no distance."""
    embeddings = vocabulary(draw, draw.integer(10, 20), 6)
    x, shift = near(draw, draw.integers(0, len(embeddings), 40), embeddings), 5 * draw.normal(6)
    changed = int((piece(x + shift, embeddings + shift) != nearest(x, embeddings)).sum())
    return f"{changed} of 40 words are not the nearest when all vectors are shifted" if changed else None


EXERCISE = Exercise(
    chapter="text",
    kind="data",
    title="From vectors back to words",
    statement=r"""
Diffusion ends at vectors, not at words. Each vector becomes the word whose embedding is nearest,

$$w(x) = \arg\min_{v} \left\lVert x - e_v \right\rVert.$$

For noise that is as strong in every direction this is also the likeliest word. `x` is a batch of words `(B, D)` or of
sentences `(B, L, D)`.
""",
    reference=round_to_words,
    parts={"words": 2, "sentences": 2, CARE: 1},
    cases=cases,
    properties=(
        Property("each word is its own nearest", words_are_their_own_nearest, "words"),
        Property("a shift of all vectors changes nothing", any_origin, "words"),
    ),
    wrong_answers=(
        wrong(largest_dot_product),
        wrong(smallest_angle),
        wrong(farthest_word),
        wrong(smallest_coordinate),
        wrong(sum_of_absolute_differences),
        wrong(distances_instead_of_words),
        wrong(nearest_vector_of_each_word),
        wrong(all_words_in_a_row),
        wrong(vectors_instead_of_words),
    ),
    right_answers=(
        right(broadcasting),
        right(one_vector_at_a_time),
        right(dot_product_less_half_the_square),
        right(through_numpy),
    ),
    hints=(
        "Which axis of the table of distances counts the words?",
        "A long vector has large dot products with many others.",
    ),
    source="Li et al. 2022 (Diffusion-LM), section 4.2",
)
