"""Spectra of generated audio against those of real audio.

Signals are (N, L) or (N, 1, L), real, with full scale 1. Spectra of whole signals use the unitary FFT
(`norm="ortho"`, a factor 1 / sqrt(L)), so that white noise of variance v has the power v in every bin, and the mean
over all L bins of a power spectrum is the mean square of the signal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffusion_lab.errors import DataError, importing
from diffusion_lab.metrics.checks import as_rows, same_shape
from diffusion_lab.metrics.frechet import frechet_distance

QUIET = 1e-6
"""Power that counts as silence, 60 dB below full scale or the loudest bin: a logarithm needs a smallest value."""
FRAME_SECONDS = 0.032
"""The length of a short-time frame: long enough to resolve a voice's pitch, short enough to follow its sounds."""
MEL_BANDS = 20


def as_signals(audio: Tensor, name: str) -> Tensor:
    """Signals (N, L) or (N, 1, L) as float64 (N, L) on the CPU. Raises DataError, naming `name`, for another shape."""
    if audio.ndim not in (2, 3) or (audio.ndim == 3 and audio.shape[1] != 1):
        raise DataError(f"{name} has shape {tuple(audio.shape)}; expected mono signals (N, L) or (N, 1, L)")
    return as_rows(audio, name)


def power_spectral_density(signals: Tensor) -> Tensor:
    """The mean power |FFT|^2 / L of signals (N, L) or (N, 1, L) in each of the L // 2 + 1 bins of `rfft`, in float64.

    Two-sided: bins other than the first (and, for even L, the last) stand for two of the L bins, and are not doubled.
    No window and no removal of the mean. It is the averaged periodogram (`scipy.signal.periodogram` at rate 1).
    """
    return torch.fft.rfft(as_signals(signals, "signals"), norm="ortho").abs().square().mean(0)


def log_spectral_distance(a: Tensor, b: Tensor) -> float:
    """How far the average spectrum of the set a (N, L) is from that of the reference set b (M, L), in dB.

    The root mean square over bins of the difference of the two power spectral densities in dB. Powers below 1e-6 of the
    loudest bin of b are raised to it, so that bins of digital silence do not decide. Phases, and how spectra vary
    within a set, do not enter: see `spectral_features`. The signals of both sets need one length.
    """
    psd_a, psd_b = power_spectral_density(a), power_spectral_density(b)
    same_shape(psd_a, psd_b, "the spectra of a and b")
    floor = QUIET * psd_b.max()
    if floor == 0:
        raise DataError("the reference signals b are all silent")
    return float((_decibel(psd_a, floor) - _decibel(psd_b, floor)).square().mean().sqrt())


def pairwise_log_spectral_distance(estimate: Tensor, reference: Tensor, sample_rate: int) -> Tensor:
    """The log-spectral distance (N,) in dB between each estimate (N, L) and its own reference (N, L).

    In each short-time frame the root mean square over bins of the difference in dB, then the mean over frames (Gray &
    Markel 1976, the root-mean-square log spectral measure). Powers are at least 1e-6, 60 dB below full scale.
    """
    same_shape(estimate, reference, "the estimate and the reference")
    difference = _decibel(_frames(estimate, "estimate", sample_rate), QUIET) - _decibel(
        _frames(reference, "reference", sample_rate), QUIET
    )  # (N, bins, frames)
    return difference.square().mean(dim=1).sqrt().mean(dim=1)


def spectral_features(audio: Tensor, sample_rate: int) -> Tensor:
    """Features (N, 40) of the sound of each signal (N, L): mean and standard deviation over time of 20 log-mel bands.

    Powers are in nats, at least log(1e-6). The mean says how loud each band is, the deviation how much it changes.
    Raises DataError for signals shorter than two frames of 32 ms.
    """
    with importing("torchaudio"):
        from torchaudio.functional import melscale_fbanks

    power = _frames(audio, "audio", sample_rate)  # (N, bins, frames)
    bank = melscale_fbanks(power.shape[1], 0.0, sample_rate / 2, MEL_BANDS, sample_rate, norm=None).to(power)
    weights = bank / bank.sum(0)  # (bins, bands): each band is a weighted mean of powers
    log_mel = torch.einsum("nkt,kb->nbt", power, weights).clamp(min=QUIET).log()
    return torch.cat([log_mel.mean(-1), log_mel.std(-1)], dim=1)


def audio_frechet_distance(a: Tensor, b: Tensor, sample_rate: int) -> float:
    """The Fréchet distance between the `spectral_features` of two sets of signals, which may differ in length.

    The idea of the Fréchet audio distance (Kilgour et al. 2019) on log-mel statistics instead of a trained network.
    Each set needs at least 41 signals.
    """
    return frechet_distance(spectral_features(a, sample_rate), spectral_features(b, sample_rate))


def _decibel(power: Tensor, floor: float | Tensor) -> Tensor:
    return 10 * torch.log10(power.clamp(min=floor))


def _frames(audio: Tensor, name: str, sample_rate: int) -> Tensor:
    """The power (N, bins, frames) in frames of about 32 ms with a Hann window and a hop of half a frame.

    Normalised by the energy of the window: white noise of variance v has the expected power v in every bin.
    """
    signals = as_signals(audio, name)
    if sample_rate <= 0:
        raise DataError(f"the sample rate is {sample_rate}; expected a positive number of samples a second")
    size = 2 ** max(6, round(math.log2(FRAME_SECONDS * sample_rate)))
    if signals.shape[1] < 2 * size:
        raise DataError(
            f"{name} has {signals.shape[1]} samples a signal; two frames at {sample_rate} Hz take {2 * size}"
        )
    window = torch.hann_window(size, dtype=signals.dtype)
    spectrum = torch.stft(signals, size, size // 2, window=window, center=False, return_complex=True)
    return spectrum.abs().square() / window.square().sum()
