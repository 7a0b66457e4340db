"""The data: the range that schedules, clipping and everyone's defaults are made for."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from diffusion_lab.doctor.findings import Finding

PIECE = "data"
PAGE = "05_mnist#a-picture-is-one-point"


def examine_data(data: Tensor, scaled_by_the_loss: bool) -> Iterator[Finding]:
    """Finite, of a size like the noise, and centred.

    Args:
        scaled_by_the_loss: whether the loss itself brings data from [0, 1] to [-1, 1].
    """
    x = data.double()
    if not bool(x.isfinite().all()):
        yield Finding("not-finite", PIECE, "Some entries are not finite.", "entries that are not",
                      int((~x.isfinite()).sum()), 0, PAGE)  # fmt: skip
        return
    low, high, deviation = float(x.min()), float(x.max()), float(x.std())
    if deviation == 0:
        yield Finding("data-constant", PIECE, "All entries are the same number.", "standard deviation", 0.0, 0.5, PAGE)
    elif max(-low, high) > 1 and deviation > 2:
        yield Finding("data-range", PIECE, f"The data run from {low:.4g} to {high:.4g}. The noise has deviation 1, and "
                      "schedules are made for data in [-1, 1]: at the last level such data are still there.",
                      "standard deviation", deviation, 0.5, PAGE)  # fmt: skip
    elif low >= 0 and 0.9 < high <= 1 and not scaled_by_the_loss:
        yield Finding("data-range", PIECE, "The data run from 0 to 1, half of the range. Their mean is far from that "
                      "of the noise, and samples that are clipped to [-1, 1] may be half out of range: scale by "
                      "2 x - 1.", "smallest entry", low, -1.0, PAGE)  # fmt: skip
    elif deviation < 0.05:
        yield Finding("data-range", PIECE, "The data vary very little beside noise of deviation 1, so that only the "
                      "last steps see them. Scale them to [-1, 1].", "standard deviation", deviation, 0.5,
                      PAGE)  # fmt: skip
