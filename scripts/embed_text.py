"""Compute the word and sentence embeddings that ship with the package. Needs sentence-transformers (the `text` extra).

    python scripts/embed_text.py [--model NAME_OR_FOLDER] [--out FILE]

Each set is reduced by principal components and stored as float16, with the model's name and a hash of the sentences.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import diffusion_lab  # noqa: F401 - before torch, whose threads it keeps from spinning long

# isort: split
import torch
from safetensors.torch import save_file
from torch import Tensor

from diffusion_lab.data.grammar import sentences, vocabulary
from diffusion_lab.data.own_sentences import MODEL, embed_sentences
from diffusion_lab.data.phrases import EMBEDDINGS, fingerprint

WORD_DIMENSIONS, SENTENCE_DIMENSIONS = 32, 64


def reduce(vectors: Tensor, dimensions: int) -> tuple[Tensor, float]:
    """The first principal components (N, dimensions) of (N, D), and the share of the variance that they keep."""
    centred = (vectors - vectors.mean(dim=0)).double()
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    # A direction's sign is arbitrary; the largest entry is made positive, so that a rerun gives the same numbers.
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    directions = directions * largest.sign()
    kept = float(singular[:dimensions].square().sum() / singular.square().sum())
    return (centred @ directions[:dimensions].T).half().contiguous(), kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=MODEL, help="a model's name on the hub or its folder")
    parser.add_argument("--out", type=Path, default=EMBEDDINGS)
    chosen = parser.parse_args()
    train, test = sentences()
    words, words_kept = reduce(embed_sentences(vocabulary(train + test), chosen.model), WORD_DIMENSIONS)
    whole, whole_kept = reduce(embed_sentences(train + test, chosen.model), SENTENCE_DIMENSIONS)
    metadata = {"model": Path(chosen.model).name, "sentences": fingerprint(train + test)}
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    save_file({"words": words, "sentences": whole}, chosen.out, metadata=metadata)
    print(f"{len(words)} words keep {words_kept:.1%} of their variance, {len(whole):,} sentences {whole_kept:.1%}")
    print(f"{chosen.out}: {chosen.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
