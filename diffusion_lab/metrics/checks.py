"""The checks of shape and value that every metric makes on what it is given."""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.errors import DataError


def as_double(values: Tensor) -> Tensor:
    """The same values in float64 on the CPU, without a gradient."""
    return values.detach().cpu().to(torch.float64)


def as_rows(samples: Tensor, name: str, at_least: int = 1) -> Tensor:
    """Samples (N, *S), or (N,) for numbers, as float64 rows (N, D) on the CPU without a gradient.

    Metrics are computed in float64 because they are small differences of large sums, and on the CPU because some
    accelerators have no float64.
    Raises DataError, naming `name`, when there is no axis of samples, fewer than `at_least` of them, or a value that is
    not finite.
    """
    if samples.ndim == 0:
        raise DataError(f"{name} is a single number; expected a tensor of shape (N, ...)")
    if len(samples) < at_least:
        raise DataError(f"{name} has {len(samples)} samples; at least {at_least} are needed")
    rows = as_double(samples).reshape(len(samples), -1)  # (N, *S) -> (N, D)
    bad = ~rows.isfinite().all(dim=1)
    if bad.any():
        raise DataError(f"{int(bad.sum())} of the {len(rows)} samples in {name} hold values that are not finite")
    return rows


def same_width(a: Tensor, b: Tensor, names: str) -> None:
    """Raise DataError unless the rows (N, D) and (M, D) have the same number of columns."""
    if a.shape[1] != b.shape[1]:
        raise DataError(f"{names} have {a.shape[1]} and {b.shape[1]} values a sample; they must have the same number")


def same_shape(a: Tensor, b: Tensor, names: str) -> None:
    """Raise DataError unless the two tensors have one shape."""
    if a.shape != b.shape:
        raise DataError(f"{names} have shapes {tuple(a.shape)} and {tuple(b.shape)}; they must be the same")
