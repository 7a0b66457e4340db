"""What a plot is given, checked once: shapes, counts and values that are not finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.errors import PieceError

ITEM = {
    "points": "D",
    "cloud": "N, 3",
    "image": "C, H, W",
    "audio": "1, L",
    "leads": "C, L",
    "words": "D",
    "phrases": "L, D",
    "board": "cells",
}
"""The kinds of data and the shape of one item of each."""


def check_kind(kind: str) -> None:
    """Raise PieceError, with the kinds there are, unless `kind` is one of them."""
    if kind not in ITEM:
        raise PieceError(f"unknown kind of data {kind!r}; the kinds are {', '.join(map(repr, ITEM))}")


def item_rank(kind: str) -> int:
    """The rank of one item of this kind, 3 for an image."""
    return ITEM[kind].count(",") + 1


def tensor(name: str, kind: str, values: Any, leading: str, notes: list[str]) -> Tensor:
    """`values` on the CPU without its graph: float32, or int64 for boards.

    Args:
        leading: the dimensions before those of one item, "N" or "steps, B".
        notes: gets a sentence if some of the values are not finite.

    Raises:
        PieceError: for a wrong rank, an empty batch, ragged lists, or channels that cannot be shown.
    """
    shape = f"({leading}, {ITEM[kind]})"
    try:
        if not isinstance(values, Tensor) and len(values) and isinstance(values[0], Tensor):
            values = torch.stack(list(values))
        values = torch.as_tensor(values).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise PieceError(f"{name} of kind {kind!r} must be a tensor {shape}: {error}") from error
    if values.ndim != leading.count(",") + 1 + item_rank(kind) or 0 in values.shape:
        raise PieceError(f"{name} of kind {kind!r} must have shape {shape}, none of them 0, not {tuple(values.shape)}")
    if kind == "image" and values.shape[-3] not in (1, 3):
        raise PieceError(f"{name}: an image has 1 channel (grey) or 3 (RGB), not {values.shape[-3]}")
    if kind == "audio" and values.shape[-2] != 1:
        raise PieceError(f"{name}: audio has 1 channel, not {values.shape[-2]}")
    if kind == "audio" and values.shape[-1] < 8:
        raise PieceError(f"{name}: a sound of {values.shape[-1]} values is too short for a spectrum; 8 are needed")
    if kind == "board":
        return values.long()
    values = values.float()
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        notes.append(f"{bad} of {values.numel()} values of {name} are not finite (NaN or infinite)")
    return values


def same_items(first: Tensor, second: Tensor, names: str, dims: int) -> None:
    """Raise PieceError unless both tensors agree in their last `dims` dimensions."""
    if first.shape[first.ndim - dims :] != second.shape[second.ndim - dims :]:
        raise PieceError(f"{names} must agree in shape, not {tuple(first.shape)} and {tuple(second.shape)}")


def same_count(name: str, values: Sequence, count: int, what: str) -> None:
    """Raise PieceError unless there is one of `values` for each `what`."""
    if len(values) != count:
        raise PieceError(f"{name} has {len(values)} entries, but there are {count} {what}")


def needed(info: Mapping[str, Any], key: str, meaning: str) -> Any:
    """The entry of `info`, or a PieceError that says what to put there."""
    if key not in info:
        raise PieceError(f"info[{key!r}] is needed: {meaning}; info has {sorted(info) or 'nothing'}")
    return info[key]


def spread(total: int, count: int) -> list[int]:
    """At most `count` indices, evenly from 0 to total - 1, both ends included."""
    if total <= count:
        return list(range(total))
    return torch.linspace(0, total - 1, count).round().long().tolist()


def finite_rows(x: Tensor) -> Tensor:
    """The rows of x (N, D) that are finite throughout."""
    return x[torch.isfinite(x).all(dim=1)]


def span(*points: Tensor, margin: float = 0.12) -> tuple[float, float]:
    """An interval that holds all but the outermost 0.5 % at each end of the given numbers; (-1, 1) for none."""
    values = torch.cat([p.flatten() for p in points])
    values = values[torch.isfinite(values)].double()
    if not len(values):
        return -1.0, 1.0
    if len(values) > 1_000_000:  # torch.quantile takes at most 2^24 numbers, and needs far fewer
        values = values[:: len(values) // 1_000_000 + 1]
    low, high = torch.quantile(values, torch.tensor([0.005, 0.995], dtype=values.dtype)).tolist()
    width = (high - low) or 1.0
    return low - margin * width, high + margin * width


def moments(x: Tensor) -> str:
    """The mean and standard deviation of the finite numbers of x, for the alternative text."""
    x = x[torch.isfinite(x)].double()
    if not len(x):
        return "no finite value"
    return f"mean {x.mean():.3g}, standard deviation {x.std(correction=0):.3g}"
