"""check_round_to_words: a check of rounding."""

import torch

from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.text import round_to_words


def check_round_to_words(piece) -> None:
    """Fail where the piece does not find the nearest words.

    Args:
        piece: called as piece(x, embeddings), like `round_to_words` in chapter 9.
    """
    generator = torch.Generator().manual_seed(0)
    for words, size in ((20, 3), (6, 6), (9, 2)):
        embeddings = torch.randn(words, size, generator=generator, dtype=torch.float64)
        embeddings *= torch.linspace(0.3, 3, words, dtype=torch.float64)[:, None]  # short vectors and long ones
        assert torch.equal(piece(embeddings, embeddings), torch.arange(words)), "a word is nearest to itself"
        for shape in ((40,), (6, 6), (1, 5)):
            x = 2 * torch.randn(*shape, size, generator=generator, dtype=torch.float64)
            ids = piece(x, embeddings)
            assert ids.shape == shape and ids.dtype == torch.int64, "a number for each vector"
            assert ids.min() >= 0 and ids.max() < words, "rows of the embeddings"
            chosen = (x - embeddings[ids]).square().sum(dim=-1)
            for word in embeddings:
                assert (chosen <= (x - word).square().sum(dim=-1) + 1e-9).all(), "no word is nearer"


def words_to_themselves(piece):
    """Words of one length, rounded to themselves: every sort of nearness agrees."""
    embeddings = torch.eye(4)
    assert torch.equal(piece(embeddings, embeddings), torch.arange(4))


def whole_numbers(piece):
    """The kind of the answer is not the answer."""
    ids = piece(torch.ones(5, 3), torch.eye(3))
    assert ids.dtype == torch.int64 and ids.shape == (5,)


def rows_that_exist(piece):
    """Any row exists."""
    ids = piece(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.eye(3))
    assert 0 <= ids.min() and ids.max() < 3


TASK = CheckTask(
    exercise=round_to_words.EXERCISE,
    title="Check rounding",
    statement=r"""
The piece is `round_to_words` of chapter 9, called as `piece(x, embeddings)` with `x` of shape `(B, D)` or `(B, L, D)`
and embeddings `(V, D)`. It promises the number of the nearest row for each vector, in a straight line, as int64 of
the shape of `x` without its last axis.

Test **what makes an answer the best one**. You need no second way to find the nearest word: it is enough that no
other is nearer, and that can be asked of every answer. Choose inputs on which other sorts of nearness disagree:
vectors of very different lengths, points between words, and sizes that could be taken for each other.
""",
    reference=check_round_to_words,
    naive=(words_to_themselves, whole_numbers, rows_that_exist),
    hints=("When is the largest dot product not the nearest word?", "Try as many words as coordinates."),
    source="Li et al. 2022 (Diffusion-LM), section 4.2",
)
