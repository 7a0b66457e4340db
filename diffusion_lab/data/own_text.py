"""Sentences of the user's own, as rows of word vectors like those of chapter 9."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.glove import read_glove
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.data.own_lines import read_lines
from diffusion_lab.data.phrases import PAD, as_phrases, moments
from diffusion_lab.data.storage import held_out
from diffusion_lab.errors import DataError

LONGEST = 16
"""The most words of a sentence; longer ones are left out."""
WIDTH = 32
"""Numbers in a vector that is drawn at random."""


def load_own_sentences(own: OwnData) -> Dataset:
    """A text file with a sentence on each line, as (N, L, D); L is the longest sentence's count of words, at most 16.

    Words are what stands between spaces, in small letters, without punctuation at their ends. Each word has a random
    normal vector of 32 numbers that depends on the word alone, or its vector of the file `own.vectors`. `info` is that
    of `phrases_from_vectors`. Sentences that are there again are left out, and a fixed tenth is held out.

    Raises:
        DataError: a file that is no text in UTF-8; fewer than two sentences of at most 16 words; no sentence of two
            words; words that the file of vectors lacks, in more than half of the sentences.
    """
    lines = [words for line in read_lines(own.path) if (words := words_of(line))]
    sentences = list(dict.fromkeys(words for words in lines if len(words) <= LONGEST))
    if len(sentences) < 2:
        raise DataError(f"{own.path} has {len(sentences)} sentences of 1 to {LONGEST} words; at least 2 are needed")
    if max(map(len, sentences)) < 2:
        raise DataError(f"{own.path} has no line of two words; write one sentence a line, with spaces between words")
    notes = [f"{len(lines):,} sentences: small letters, and no punctuation at the ends of words"]
    long = sum(len(words) > LONGEST for words in lines)
    if long:
        notes.append(f"{long:,} of them have more than {LONGEST} words and are left out")
    repeated = len(lines) - long - len(sentences)
    if repeated:
        notes.append(f"{repeated:,} of them repeat others and are left out")
    if own.vectors is None:
        vocabulary = sorted({word for words in sentences for word in words})
        vectors = random_vectors(vocabulary)
        notes.append(f"each of the {len(vocabulary):,} words has a random vector, which says nothing of its meaning")
    else:
        sentences, vocabulary, vectors, more = _from_glove(own.vectors, sentences)
        notes += more
    train, test = ([sentences[i] for i in rows.tolist()] for rows in held_out(len(sentences), where=own.path))
    info = as_phrases({"train": train, "test": test}, vocabulary, vectors, max(map(len, sentences)))
    return Dataset(
        name=f"{own.name} ({len(train):,} to train on)",
        source="own",
        kind="phrases",
        train=info["vectors"][info["train_ids"]],
        test=info["vectors"][info["test_ids"]],
        info=info,
        notes=tuple(notes),
    )


def words_of(line: str) -> tuple[str, ...]:
    """The words of a line, in small letters, without punctuation at their ends."""
    words = []
    for word in unicodedata.normalize("NFC", line).lower().split():
        inside = [i for i, sign in enumerate(word) if not unicodedata.category(sign).startswith("P")]
        if inside:
            words.append(word[inside[0] : inside[-1] + 1])
    return tuple(words)


def random_vectors(words: list[str]) -> Tensor:
    """Standard normal vectors (V, 32); a word has the same one in every file."""
    hashes = (hashlib.sha256(word.encode()).digest() for word in words)
    draws = (np.random.default_rng(int.from_bytes(seed[:8], "little")) for seed in hashes)
    return torch.from_numpy(np.stack([draw.standard_normal(WIDTH, np.float32) for draw in draws]))


def _from_glove(
    file: Path, sentences: list[tuple[str, ...]]
) -> tuple[list[tuple[str, ...]], list[str], Tensor, list[str]]:
    """The sentences whose words all have vectors, their vocabulary, its vectors (V, D) at unit variance, and notes."""
    known, table, notes = read_glove(file)
    place = {word: index for index, word in enumerate(known) if word != PAD}
    kept = [words for words in sentences if all(word in place for word in words)]
    lacking = [word for words in sentences for word in words if word not in place]
    if 2 * len(kept) < len(sentences) or len(kept) < 2:
        raise DataError(
            f"{file} lacks words of {len(sentences) - len(kept):,} of {len(sentences):,} sentences, among them "
            f"{', '.join(dict.fromkeys(lacking[:10]))}; leave out the vectors, and each word gets one of its own"
        )
    if lacking:
        notes = (
            *notes,
            f"{len(sentences) - len(kept):,} sentences have words that {file.name} lacks ({lacking[0]!r} is one) and "
            "are left out",
        )
    vocabulary = sorted({word for words in kept for word in words})
    vectors = table[[place[word] for word in vocabulary]]
    centre, scale = moments(vectors)
    return kept, vocabulary, (vectors - centre) / scale, list(notes)
