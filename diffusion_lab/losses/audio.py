"""A loss on spectra, for sounds: two waveforms that differ in phase sound alike and yet have a large square error."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffusion_lab.errors import PieceError


def multiresolution_stft_loss(a: Tensor, b: Tensor, fft_sizes: Sequence[int] = (64, 256, 1024)) -> Tensor:
    """Distance of magnitude spectra at several window lengths, shape (B,) (Yamamoto et al. 2020, equations 4 to 6).

    For each size, with a Hann window and a hop of a quarter of it: the spectral convergence
    |A - B|_F / |B|_F of the magnitudes plus the mean of |log A - log B|; then the mean over the sizes.

    Args:
        a: estimated waveforms (B, 1, L).
        b: reference waveforms (B, 1, L); the spectral convergence is relative to these.
        fft_sizes: window lengths in samples, each at most L.

    Raises:
        PieceError: where the shapes differ or a window is longer than the signal.
    """
    if a.shape != b.shape or a.ndim != 3:
        raise PieceError(f"expected two (B, 1, L) waveforms of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    if max(fft_sizes) > a.shape[-1]:
        raise PieceError(f"an FFT of {max(fft_sizes)} samples is longer than the signal of {a.shape[-1]}")
    total = a.new_zeros(len(a))
    for size in fft_sizes:
        magnitude_a, magnitude_b = _magnitude(a, size), _magnitude(b, size)
        convergence = (magnitude_a - magnitude_b).flatten(1).norm(dim=1) / magnitude_b.flatten(1).norm(dim=1).clamp(
            min=1e-6
        )
        logs = (magnitude_a.log() - magnitude_b.log()).abs().flatten(1).mean(dim=1)
        total = total + convergence + logs
    return total / len(fft_sizes)


def _magnitude(x: Tensor, size: int) -> Tensor:
    window = torch.hann_window(size, dtype=x.dtype, device=x.device)
    spectrum = torch.stft(x.flatten(0, 1), size, hop_length=size // 4, window=window, return_complex=True)
    # The floor is inside the root: it keeps log finite in silence and the gradient of |.| finite at zero.
    return torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-6).reshape(len(x), -1, spectrum.shape[-1])
