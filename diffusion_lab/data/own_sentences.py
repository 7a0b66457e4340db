"""Sentences of the user's own, embedded by a sentence-transformers model (the `text` extra)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.storage import held_out
from diffusion_lab.errors import DataError

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def embed_sentences(sentences: Sequence[str], model: str = MODEL) -> Tensor:
    """The embeddings (N, D) float32 of these sentences, as the model gives them.

    Args:
        model: a name on the model hub, or a folder that holds the model.

    Raises:
        DataError: no sentences, an empty one, sentence-transformers is not installed, or the model cannot be loaded.
    """
    if isinstance(sentences, str) or not len(sentences):
        raise DataError(f"a list of one or more sentences is needed, got {sentences!r}")
    empty = [number for number, sentence in enumerate(sentences, start=1) if not sentence.strip()]
    if empty:
        raise DataError(f"sentence {empty[0]} of {len(sentences)} is empty")
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as fault:
        raise DataError(
            "sentence-transformers is needed for your own sentences; `pip install diffusion-lab[text]` adds it"
        ) from fault
    try:
        encoder = SentenceTransformer(model, device="cpu")
    except (OSError, ValueError) as fault:
        raise DataError(f"the model {model!r} cannot be loaded: {fault}") from fault
    with torch.inference_mode():
        vectors = encoder.encode(list(sentences), show_progress_bar=False, convert_to_tensor=True)
    return vectors.float().clone()


def load_sentences(sentences: Sequence[str], model: str = MODEL) -> Dataset:
    """The user's sentences as points (N, D), centred and scaled by one number; a fixed tenth is held out.

    `info` has `train_sentences` and `test_sentences`.

    Raises:
        DataError: see `embed_sentences`; fewer than two sentences.
    """
    train, test = held_out(len(sentences))
    vectors = embed_sentences(sentences, model)
    vectors = vectors - vectors[train].mean(dim=0)
    vectors = vectors / vectors[train].square().mean().sqrt()
    texts = {"train_sentences": train, "test_sentences": test}
    return Dataset(
        name=f"your {len(sentences):,} sentences, {model.rsplit('/', 1)[-1]} vectors",
        source="real",
        kind="words",
        train=vectors[train],
        test=vectors[test],
        info={name: tuple(sentences[index] for index in indices) for name, indices in texts.items()},
    )
