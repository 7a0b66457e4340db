"""Nearest words against scikit-learn's search, and accuracies counted by hand."""

from __future__ import annotations

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from diffusion_lab.errors import DataError
from diffusion_lab.metrics import nearest_word, sentence_accuracy, word_accuracy, words


@pytest.mark.parametrize("chunk", [1, 100, 2**22])
@pytest.mark.parametrize("shape", [(37,), (5, 4), ()])
def test_nearest_word_against_scikit_learn(shape, chunk, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(60, 8, generator=generator) * (1 + 5 * torch.rand(60, 1, generator=generator))
    x = 5 + torch.randn(*shape, 8, generator=generator)
    monkeypatch.setattr(words, "CHUNK", chunk)
    expected = NearestNeighbors(n_neighbors=1).fit(vectors.numpy()).kneighbors(x.reshape(-1, 8).numpy())[1]
    found = nearest_word(x, vectors)
    assert found.shape == shape and found.dtype == torch.int64
    assert found.reshape(-1).tolist() == expected[:, 0].tolist()


def test_nearest_is_not_the_largest_dot_product():
    vectors = torch.tensor([[1.0, 0.0], [10.0, 0.0]])
    assert nearest_word(torch.tensor([[1.2, 0.0]]), vectors).tolist() == [0]


TRUTH = torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0], [0, 0, 0, 0]])
MASK = torch.tensor([[True, True, True, False], [True, True, False, False], [False] * 4])


def test_accuracies_count_real_words_only():
    predicted = torch.tensor([[1, 2, 3, 9], [4, 9, 0, 0], [0, 9, 9, 9]])
    assert word_accuracy(predicted, TRUTH, MASK) == pytest.approx(4 / 5)
    assert sentence_accuracy(predicted, TRUTH, MASK) == pytest.approx(1 / 2)
    assert word_accuracy(predicted, TRUTH) == pytest.approx(7 / 12)
    assert sentence_accuracy(predicted, TRUTH) == 0
    assert sentence_accuracy(TRUTH, TRUTH, MASK) == word_accuracy(TRUTH, TRUTH, MASK) == 1
    assert word_accuracy(torch.tensor([1, 2]), torch.tensor([1, 3])) == 0.5


def test_refusals():
    with pytest.raises(DataError, match="vectors"):
        nearest_word(torch.zeros(2, 3), torch.zeros(5, 4))
    with pytest.raises(DataError, match="not finite"):
        nearest_word(torch.full((2, 4), float("nan")), torch.zeros(5, 4))
    with pytest.raises(DataError, match="shapes"):
        word_accuracy(TRUTH[:2], TRUTH)
    with pytest.raises(DataError, match="leaves none"):
        word_accuracy(TRUTH, TRUTH, torch.zeros_like(MASK))
    with pytest.raises(DataError, match="int64"):
        word_accuracy(TRUTH, TRUTH, MASK.long())
    with pytest.raises(DataError, match=r"\(N, L\)"):
        sentence_accuracy(TRUTH[0], TRUTH[0])
