"""Sentences of the user's own, embedded by a sentence-transformers model (the `text` extra)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.storage import held_out
from diffusion_lab.errors import DataError

SPACE = " \t\r\n\v\f\xa0\ufeff"
"""What does not count around a sentence: a file's first line may begin with a byte-order mark."""
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def embed_sentences(sentences: Sequence[str], model: str = MODEL) -> Tensor:
    """The embeddings (N, D) float32 of these sentences, as the model gives them.

    Args:
        model: a name on the model hub, or a folder that holds the model.

    Raises:
        DataError: no sentences, an empty one, sentence-transformers is not installed, or the model cannot be loaded.
    """
    _check(sentences)
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as fault:
        raise DataError(
            "sentence-transformers is needed for your own sentences; `pip install diffusion-lab[text]` adds it"
        ) from fault
    except RuntimeError as fault:  # of a library that it imports, such as a torchvision of another release than torch
        raise DataError(f"sentence-transformers cannot be imported: {fault}") from fault
    try:
        encoder = SentenceTransformer(model, device="cpu")
    except (OSError, ValueError) as fault:
        raise DataError(f"the model {model!r} cannot be loaded: {fault}") from fault
    with torch.inference_mode():
        vectors = encoder.encode(list(sentences), show_progress_bar=False, convert_to_tensor=True)
    return vectors.float().clone()


def load_sentences(sentences: Sequence[str], model: str = MODEL) -> Dataset:
    """The user's sentences as points (N, D), centred and scaled by one number; a fixed tenth is held out.

    A sentence that is there again, white space around it aside, is left out, so that none is trained on and held out
    too; a note says how many. `info` has `train_sentences` and `test_sentences`.

    Raises:
        DataError: see `embed_sentences`; fewer than two sentences.
    """
    _check(sentences)
    given = len(sentences)
    first: dict[str, str] = {}
    for sentence in sentences:
        first.setdefault(sentence.strip(SPACE), sentence.lstrip("\ufeff"))
    sentences = list(first.values())
    train, test = held_out(len(sentences))
    vectors = embed_sentences(sentences, model)
    vectors = vectors - vectors[train].mean(dim=0)
    vectors = vectors / vectors[train].square().mean().sqrt()
    repeated = given - len(sentences)
    texts = {"train_sentences": train, "test_sentences": test}
    return Dataset(
        name=f"your {len(sentences):,} sentences, {model.rsplit('/', 1)[-1]} vectors",
        source="real",
        kind="words",
        train=vectors[train],
        test=vectors[test],
        info={name: tuple(sentences[index] for index in indices) for name, indices in texts.items()},
        notes=(f"{repeated:,} of {given:,} sentences repeat others and are left out",) if repeated else (),
    )


def _check(sentences: Sequence[str]) -> None:
    if isinstance(sentences, str) or not len(sentences):
        raise DataError(f"a list of one or more sentences is needed, got {sentences!r}")
    strange = next((sentence for sentence in sentences if not isinstance(sentence, str)), None)
    if strange is not None:
        raise DataError(f"sentences are texts, and among them is a {type(strange).__name__}: {strange!r:.60}")
    empty = [number for number, sentence in enumerate(sentences, start=1) if not sentence.strip(SPACE)]
    if empty:
        raise DataError(f"sentence {empty[0]} of {len(sentences)} is empty")
