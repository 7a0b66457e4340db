"""Noise removal from audio: the score, and the linear filter that a learned denoiser has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.errors import DataError
from diffusion_lab.metrics.audio import as_signals
from diffusion_lab.metrics.checks import same_shape


def si_sdr(estimate: Tensor, reference: Tensor) -> Tensor:
    """The scale-invariant signal-to-distortion ratio (N,) in dB of estimates (N, L) or (N, 1, L), in float64.

        10 log10( |s|^2 / |s - estimate|^2 ),   s = <estimate, reference> / |reference|^2 * reference

    (Le Roux et al. 2019, section 2.) The mean is not removed. A multiple of the reference scores +inf, a signal
    orthogonal to it -inf. Raises DataError when shapes differ or a reference is silent.
    """
    same_shape(estimate, reference, "the estimate and the reference")
    estimate, reference = as_signals(estimate, "estimate"), as_signals(reference, "reference")
    energy = reference.square().sum(dim=1, keepdim=True)
    if (energy == 0).any():
        raise DataError(f"{int((energy == 0).sum())} of the {len(reference)} references are silent")
    target = (estimate * reference).sum(dim=1, keepdim=True) / energy * reference
    signal, distortion = target.square().sum(dim=1), (target - estimate).square().sum(dim=1)
    # An estimate of silence is 0 / 0: it holds nothing of the reference.
    return torch.where(signal == 0, -torch.inf, 10 * torch.log10(signal / distortion))


def wiener_filter(noisy: Tensor, psd: Tensor, sigma: float) -> Tensor:
    """The best linear estimate of x in noisy = x + sigma * eps, eps ~ N(0, I). Shaped (N, L) or (N, 1, L) like it.

    Every frequency is multiplied by psd / (psd + sigma^2) (Wiener 1949). `psd` (L // 2 + 1,) is the power of the clean
    signals in the normalisation of `power_spectral_density`, in which the noise has the power sigma^2. For a stationary
    (circular) normal process of mean 0 it is the exact posterior mean, with the mean squared error
    psd sigma^2 / (psd + sigma^2) averaged over all L bins; for other signals it is the floor that linear methods reach.
    Raises DataError when `psd` has another length or `sigma` or a power is negative.
    """
    length = as_signals(noisy, "noisy").shape[1]
    if psd.shape != (length // 2 + 1,):
        raise DataError(f"psd has shape {tuple(psd.shape)}; signals of {length} samples need ({length // 2 + 1},)")
    if sigma < 0 or not (psd >= 0).all():
        raise DataError(f"sigma is {sigma} and the least power is {psd.min():.3g}; neither may be negative")
    psd = psd.to(noisy)
    total = psd + sigma**2
    # Where there is neither signal nor noise there is nothing to keep.
    gain = torch.where(total > 0, psd / total, 0.0)
    return torch.fft.irfft(torch.fft.rfft(noisy) * gain, n=length)
