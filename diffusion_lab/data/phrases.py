"""The project's sentences as sequences of word vectors, from the vectors that ship with the package or from GloVe."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.glove import read_glove
from diffusion_lab.data.grammar import MAX_WORDS, sentences, vocabulary
from diffusion_lab.errors import DataError

EMBEDDINGS = Path(__file__).with_name("bundled") / "embeddings.safetensors"
PAD = "<pad>"


def load_phrases() -> Dataset:
    """4,000 + 1,000 sentences as (N, 8, 32) from embeddings that `scripts/embed_text.py` computed once.

    See `phrases_from_vectors` for `info`. The sentence vectors are the model's own, reduced by PCA.

    Raises:
        DataError: the shipped embeddings do not belong to the sentences of this version.
    """
    from safetensors import safe_open

    train, test = sentences()
    with safe_open(EMBEDDINGS, "pt") as stored:
        metadata = stored.metadata()
        if metadata["sentences"] != fingerprint(train + test):
            raise DataError(f"{EMBEDDINGS} belongs to other sentences; scripts/embed_text.py makes it anew")
        vectors, whole = stored.get_tensor("words").float(), stored.get_tensor("sentences").float()
    dataset = phrases_from_vectors(vectors)
    centre, scale = moments(whole[: len(train)])
    whole = (whole - centre) / scale
    info = {"train_sentence_vectors": whole[: len(train)], "test_sentence_vectors": whole[len(train) :]}
    return Dataset(
        name=f"simple sentences, {metadata['model']} vectors",
        source="bundled",
        kind="phrases",
        train=dataset.train,
        test=dataset.test,
        info={**dataset.info, **info},
    )


def load_glove_phrases(path: Path) -> Dataset:
    """The same sentences as (N, 8, D) with GloVe's vectors; a sentence vector is the mean of its words' vectors.

    `info` also has `glove_words` and `glove_vectors` (V, D): the whole file, centred and scaled like the others.

    Raises:
        DataError: a corrupt file (see `read_glove`), or words of the sentences that it lacks.
    """
    glove_words, glove_vectors, notes = read_glove(path)
    place = {word: index for index, word in enumerate(glove_words)}
    words = vocabulary([text for split in sentences() for text in split])
    missing = [word for word in words if word not in place]
    if missing:
        raise DataError(f"{path} lacks {len(missing)} words of the sentences, among them {', '.join(missing[:10])}")
    vectors = glove_vectors[[place[word] for word in words]]
    dataset = phrases_from_vectors(vectors)
    centre, scale = moments(vectors)
    info = dict(dataset.info, glove_words=tuple(glove_words), glove_vectors=(glove_vectors - centre) / scale)
    for split, words_of in (("train", dataset.train), ("test", dataset.test)):
        # Padding is zero, so the sum over places is the sum over words.
        info[f"{split}_sentence_vectors"] = words_of.sum(dim=1) / info[f"{split}_mask"].sum(dim=1, keepdim=True)
    return Dataset(
        name=f"simple sentences, GloVe vectors ({path.name})",
        source="real",
        kind="phrases",
        train=dataset.train,
        test=dataset.test,
        info=info,
        notes=notes,
    )


def phrases_from_vectors(vectors: Tensor) -> Dataset:
    """The sentences as (N, 8, D), given one vector (V, D) for each word of the vocabulary, in alphabetical order.

    The vectors are centred and scaled by one number, so that a coordinate has a mean square of 1 and the nearest word
    stays the nearest. Word 0 is padding, its vector zero. `info` has

    - `words`, a tuple of V + 1 words, and their `vectors` (V + 1, D);
    - `train_ids`, `test_ids` (N, 8) int64, and `train_mask`, `test_mask` (N, 8) bool, True at a word;
    - `train_sentences`, `test_sentences`, tuples of text.
    """
    splits = dict(zip(("train", "test"), sentences(), strict=True))
    words = vocabulary([text for split in splits.values() for text in split])
    centre, scale = moments(vectors)
    rows = {split: [tuple(text.split()) for text in texts] for split, texts in splits.items()}
    info = as_phrases(rows, words, (vectors - centre) / scale, MAX_WORDS)
    return Dataset(
        name="simple sentences",
        source="generated",
        kind="phrases",
        train=info["vectors"][info["train_ids"]],  # (N, 8, D)
        test=info["vectors"][info["test_ids"]],
        info=info,
    )


def as_phrases(
    splits: Mapping[str, Sequence[tuple[str, ...]]], words: Sequence[str], vectors: Tensor, length: int
) -> dict[str, Any]:
    """The `info` of `phrases_from_vectors` for any sentences, given the vectors (V, D) of all their words.

    Args:
        splits: "train" and "test": each sentence as its words, at most `length`.
        words: (V,) in the order of the vectors.
    """
    index = {word: number for number, word in enumerate(words, start=1)}
    padding = torch.zeros(1, vectors.shape[1])
    info: dict[str, Any] = {"words": (PAD, *words), "vectors": torch.cat([padding, vectors])}
    for split, sentences_of in splits.items():
        rows = [[index[word] for word in sentence] for sentence in sentences_of]
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])  # (N, length)
        texts = tuple(" ".join(sentence) for sentence in sentences_of)
        info |= {f"{split}_ids": ids, f"{split}_mask": ids != 0, f"{split}_sentences": texts}
    return info


def fingerprint(texts: list[str]) -> str:
    """A hash of these sentences, by which shipped embeddings are matched to them."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def moments(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) of vectors (V, D), and the root mean square () of what is left without it."""
    centre = vectors.mean(dim=0)
    return centre, (vectors - centre).square().mean().sqrt()
