"""How strong coarse and fine structure are in images: the power at each wave number, all directions together."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from diffusion_lab.errors import DataError
from diffusion_lab.metrics.checks import as_double

RINGS = 12
FLOOR = 1e-10
"""Power below this, in squared units of a pixel, counts as this: the logarithm of nothing would be infinite."""


def radial_spectrum(images: Tensor, *, window: bool = True) -> tuple[Tensor, Tensor]:
    """Wave numbers (R,) in waves across the image, and the mean power (C, R) of images (N, C, H, H) there.

    Power is E|F|^2 / H^2, so white noise of variance v has the power v everywhere, and the mean over all frequencies is
    the variance of a pixel. Each image's mean is taken off. The rings are as wide as each other in log k, from one wave
    across the image to H / 2; a ring without a frequency is left out.

    Args:
        window: fade the images out towards their edges (Hann), so that opposite edges, which do not fit together, are
            not taken for structure. False is exact for fields that repeat.

    Raises:
        DataError: for another shape, images under 8 pixels, or values that are not finite.
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3] or images.shape[2] < 8 or not len(images):
        raise DataError(f"images have shape {tuple(images.shape)}; expected (N, C, H, H) with H at least 8")
    if not bool(images.isfinite().all()):
        raise DataError(f"{int((~images.isfinite()).flatten(1).any(1).sum())} of {len(images)} images are not finite")
    side = images.shape[-1]
    fade = (
        torch.hann_window(side + 1, periodic=False, dtype=torch.float64)[:side] if window else torch.ones(side).double()
    )
    weights = fade[:, None] * fade
    k = np.fft.fftfreq(side, 1 / side)
    ring, numbers = _rings(np.hypot(k[:, None], k), side)
    power = torch.zeros(images.shape[1], side, side, dtype=torch.float64)
    for part in images.split(250):
        values = as_double(part)
        values = (values - values.mean(dim=(2, 3), keepdim=True)) * weights
        power += torch.from_numpy((np.abs(np.fft.fft2(values.numpy())) ** 2).sum(axis=0))
    power /= len(images) * float(weights.square().sum())
    flat, where = power.flatten(1), torch.from_numpy(ring.ravel())
    means = [flat[:, where == number].mean(dim=1) for number in range(len(numbers))]
    return torch.from_numpy(numbers), torch.stack(means, dim=1)


def _rings(k: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The ring of each frequency, -1 for none, and the mean wave number of each ring (R,)."""
    edges = np.geomspace(0.75, side / 2 + 0.25, RINGS + 1)
    ring = np.digitize(k, edges) - 1
    ring[ring >= RINGS] = -1
    used = [number for number in range(RINGS) if (ring == number).any()]
    renamed = np.full(k.shape, -1)
    for new, old in enumerate(used):
        renamed[ring == old] = new
    return renamed, np.array([k[renamed == new].mean() for new in range(len(used))])


def spectrum_distance(first: Tensor, second: Tensor) -> float:
    """The root mean square difference in dB between the radial spectra of images (N, C, H, H) and (M, C, H, H).

    Every ring and band counts the same, so weak fine detail weighs as much as strong coarse shapes: blurred samples,
    and those with a veil of noise, are far from the truth though every pixel is nearly right.

    Raises:
        DataError: the two do not have the same bands and size; see also `radial_spectrum`.
    """
    if first.shape[1:] != second.shape[1:]:
        raise DataError(f"images of shapes {tuple(first.shape[1:])} and {tuple(second.shape[1:])} cannot be compared")
    return decibels_apart(radial_spectrum(first)[1], radial_spectrum(second)[1])


def decibels_apart(first: Tensor, second: Tensor) -> float:
    """The root mean square difference in dB between two tables of power, such as (C, R) of `radial_spectrum`."""
    a, b = (10 * power.clamp(min=FLOOR).log10() for power in (first, second))
    return math.sqrt(float((a - b).square().mean()))
