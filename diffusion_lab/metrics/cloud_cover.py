"""Clouds over images, and what the best linear guess makes of the ground below them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor

from diffusion_lab.errors import DataError
from diffusion_lab.metrics.checks import as_double

REACH = 6
"""Pixels around a cloud that the linear guess looks at. Those further off are nearly hidden by the nearer ones."""


def cloud_mask(side: int, share: float, generator: Generator) -> Tensor:
    """Where clouds are, bool (side, side): the `share` of pixels in which a smooth random field is highest.

    Raises:
        DataError: unless 0 < share < 1.
    """
    from scipy.ndimage import gaussian_filter

    if not 0 < share < 1:
        raise DataError(f"clouds cover a share between 0 and 1 of an image, not {share:g}")
    field = gaussian_filter(torch.randn(side, side, generator=generator, dtype=torch.float64).numpy(), side / 12)
    count = max(1, round(share * side**2))
    mask = np.zeros(side**2, dtype=bool)
    mask[np.argsort(field.ravel())[-count:]] = True
    return torch.from_numpy(mask.reshape(side, side))


def image_covariance(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (C,) and covariance (C, 2 H - 1, 2 H - 1) of pixels so far apart, over all of images (N, C, H, H).

    Entry [c, H - 1 + dy, H - 1 + dx] belongs to pixels dy rows and dx columns apart. Every pair of pixels that an image
    has counts once, and from many images of a field without a preferred place the estimate is nearly unbiased.

    From a few images such an estimate need be no covariance at all, and guesses made with it can be off by any amount.
    So what is negative in its spectrum is set to zero, which makes it one; the variance grows by what was taken away
    (as in the approximate simulation of fields, Wood & Chan 1994).
    """
    values = as_double(images)
    mean = values.mean(dim=(0, 2, 3))
    values = values - mean[:, None, None]
    side = values.shape[-1]
    total = torch.zeros(values.shape[1], 2 * side, 2 * side, dtype=torch.float64)
    for part in values.split(250):
        total += torch.from_numpy((np.abs(np.fft.fft2(part.numpy(), s=(2 * side,) * 2)) ** 2).sum(axis=0))
    sums = np.fft.fftshift(np.fft.ifft2(total.numpy()).real, axes=(1, 2))[:, 1:, 1:]  # lags -H + 1 to H - 1
    pairs = side - np.abs(np.arange(-side + 1, side))
    unbiased = sums / (len(values) * pairs[:, None] * pairs)
    spectrum = np.fft.fft2(np.fft.ifftshift(unbiased, axes=(1, 2))).real
    covariance = np.fft.fftshift(np.fft.ifft2(spectrum.clip(min=0)).real, axes=(1, 2))
    return mean, torch.from_numpy(covariance)


def kriging(images: Tensor, hidden: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Images (N, C, H, H) whose `hidden` pixels (H, H) are the best linear guess from those around (Matheron 1963).

    It looks at each band by itself, and at pixels no further than `REACH` from a cloud. For a Gaussian field it is the
    mean given these, and no guess from them is better; other bands and pixels further off might add a little.

    Args:
        mean, covariance: of `image_covariance`, or known.

    Raises:
        DataError: the mask is not bool (H, H), hides nothing or all, or the covariance does not fit.
    """
    side = images.shape[-1]
    if hidden.shape != images.shape[2:] or hidden.dtype != torch.bool or hidden.all() or not hidden.any():
        raise DataError(f"hidden must be bool {tuple(images.shape[2:])} and hide some pixels, not all")
    if covariance.shape != (images.shape[1], 2 * side - 1, 2 * side - 1):
        raise DataError(f"covariance has shape {tuple(covariance.shape)}; expected (C, 2 H - 1, 2 H - 1)")
    wide = torch.nn.functional.max_pool2d(hidden[None, None].float(), 2 * REACH + 1, 1, REACH)[0, 0] > 0
    seen, gone = (wide & ~hidden).nonzero(), hidden.nonzero()  # (S, 2), (G, 2)
    between, among = (
        (a[:, None] - seen[None] + side - 1).unbind(-1) for a in (gone, seen)
    )  # rows and columns of the covariance
    filled = as_double(images).clone()
    for band in range(images.shape[1]):
        table = covariance[band]
        jitter = 1e-6 * table[side - 1, side - 1] * torch.eye(len(seen), dtype=torch.float64)
        weights = torch.linalg.solve(table[among] + jitter, table[between].T)  # (S, G)
        values = filled[:, band, seen[:, 0], seen[:, 1]] - mean[band]
        filled[:, band, gone[:, 0], gone[:, 1]] = mean[band] + values @ weights
    return filled.to(images.dtype)
