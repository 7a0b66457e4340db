"""Spectra against scipy and closed forms, and noise removal against the theory of the Wiener filter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import torch

from diffusion_lab.errors import DataError
from diffusion_lab.metrics import (
    audio_frechet_distance,
    log_spectral_distance,
    pairwise_log_spectral_distance,
    power_spectral_density,
    si_sdr,
    spectral_features,
    wiener_filter,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_sided(psd: torch.Tensor, length: int) -> torch.Tensor:
    """The power in all L bins from that in the L // 2 + 1 bins of rfft."""
    return torch.cat([psd, psd[1 : (length + 1) // 2].flip(0)])


@pytest.mark.parametrize("length", [64, 65])
def test_psd_is_scipys_periodogram_and_keeps_the_power(length):
    signals = noise(7, 1, length) + 0.3
    psd = power_spectral_density(signals)
    _, expected = scipy.signal.periodogram(
        signals[:, 0].numpy(), window="boxcar", detrend=False, return_onesided=False, scaling="density"
    )
    np.testing.assert_allclose(psd, expected.mean(0)[: length // 2 + 1], rtol=1e-10)
    assert float(two_sided(psd, length).mean()) == pytest.approx(float(signals.square().mean()))


def test_log_spectral_distance():
    a = noise(50, 256)
    assert log_spectral_distance(a, a) == 0
    assert log_spectral_distance(10 * a, a) == pytest.approx(20)  # ten times the amplitude is 20 dB everywhere
    assert log_spectral_distance(a, a.roll(17, dims=1)) == pytest.approx(0, abs=1e-9)  # phase does not enter
    time = torch.arange(256) / 256
    low, high = torch.sin(2 * math.pi * 10 * time)[None], torch.sin(2 * math.pi * 90 * time)[None]
    # Two bins of 129 differ, each by the 60 dB between the tone and silence.
    assert log_spectral_distance(low, high) == pytest.approx(60 * math.sqrt(2 / 129), rel=1e-6)


def test_pairwise_log_spectral_distance():
    a = noise(3, 1, 2048)
    gain = torch.tensor([1.0, 2.0, 10.0], dtype=torch.float64)[:, None, None]
    expected = 20 * gain.flatten().log10()
    torch.testing.assert_close(pairwise_log_spectral_distance(gain * a, a, 8000), expected)


def test_spectral_features_know_pitch_loudness_and_rhythm():
    time = torch.arange(8000, dtype=torch.float64) / 8000
    tones = torch.stack([torch.sin(2 * math.pi * pitch * time) for pitch in (200.0, 800.0, 3000.0)])
    features = spectral_features(tones[:, None], 8000)
    assert features.shape == (3, 40)
    loudest = features[:, :20].argmax(dim=1)
    assert (loudest.diff() > 0).all()  # higher bands for higher tones
    quieter = spectral_features(tones / 10, 8000)
    band = loudest[:, None]
    torch.testing.assert_close((features - quieter).gather(1, band), torch.full((3, 1), math.log(100.0)).double())
    beating = spectral_features(tones * (torch.sin(2 * math.pi * 4 * time) > 0), 8000)
    assert (beating.gather(1, 20 + band) > features.gather(1, 20 + band) + 1).all()


def test_spectral_features_of_white_noise_have_its_power():
    features = spectral_features(0.1 * noise(20, 16_000), 8000)
    # The logarithm of a mean of few exponential powers is low by at most Euler's constant.
    level = features[:, :20].mean(0)
    assert (level < math.log(0.01)).all() and (level > math.log(0.01) - 0.5773).all()
    # The highest bands average many bins, and are hardly low at all.
    assert (level[-4:] > math.log(0.01) - 0.12).all()


def test_audio_frechet_distance_orders_colours_of_noise():
    white, fresh = noise(100, 2000, seed=1), noise(100, 2000, seed=2)
    slightly, strongly = (fresh + c * fresh.roll(1, dims=1) for c in (0.2, 0.8))
    floor, near, far = (audio_frechet_distance(x, white, 8000) for x in (fresh, slightly, strongly))
    assert floor < near / 2 < far / 4


def test_si_sdr_is_known_when_the_error_is_orthogonal():
    time = torch.arange(1000, dtype=torch.float64) / 1000
    reference, error = torch.sin(2 * math.pi * 5 * time), torch.cos(2 * math.pi * 5 * time)
    estimates = torch.stack([reference + 0.1 * error, -3 * (reference + 0.1 * error), reference + error])
    found = si_sdr(estimates[:, None], reference.expand(3, 1, 1000))
    torch.testing.assert_close(found, torch.tensor([20.0, 20.0, 0.0]).double(), atol=1e-6, rtol=0)


def test_si_sdr_at_its_ends():
    reference = torch.tensor([[1.0, 1.0, 0.0, 0.0]]).expand(3, 4)
    estimate = torch.tensor([[2.0, 2.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    assert si_sdr(estimate, reference).tolist() == [math.inf, -math.inf, -math.inf]
    with pytest.raises(DataError, match="1 of the 2 references are silent"):
        si_sdr(torch.ones(2, 4), torch.tensor([[0.0] * 4, [1.0] * 4]))


@pytest.mark.parametrize("length", [128, 129])
def test_wiener_filter_reaches_its_mse_and_nothing_linear_is_better(length):
    sigma = 0.7
    psd = 4 / (1 + (torch.arange(length // 2 + 1, dtype=torch.float64) / 8) ** 2)
    # A circular normal process: white noise coloured by the square root of the PSD.
    clean = torch.fft.irfft(torch.fft.rfft(noise(4000, 1, length)) * psd.sqrt(), n=length)
    noisy = clean + sigma * noise(4000, 1, length, seed=1)
    torch.testing.assert_close(power_spectral_density(clean), psd, rtol=0.12, atol=0)

    def error(power: torch.Tensor, level: float, scale: float = 1.0) -> float:
        return float((scale * wiener_filter(noisy, power, level) - clean).square().mean())

    best = error(psd, sigma)
    expected = float(two_sided(psd * sigma**2 / (psd + sigma**2), length).mean())
    assert best == pytest.approx(expected, rel=0.01)
    wiggle = 1 + 0.5 * torch.sin(torch.arange(len(psd)) / 3)
    others = [error(psd, sigma, 0.95), error(psd, sigma, 1.05), error(psd, 0.8 * sigma), error(psd, 1.25 * sigma)]
    others += [error(psd * wiggle, sigma), error(psd.sqrt(), sigma), error(psd * length, sigma)]
    assert best < min(others)


def test_wiener_filter_is_the_exact_posterior_mean_of_the_process():
    length, sigma = 16, 0.5
    psd = torch.linspace(3, 0, length // 2 + 1, dtype=torch.float64)
    covariance = torch.fft.irfft(psd.to(torch.complex128), n=length)  # of samples 0, 1, 2, ... apart, round a circle
    cov = torch.stack([covariance.roll(k) for k in range(length)])
    y = noise(5, length)
    expected = y @ torch.linalg.solve(cov + sigma**2 * torch.eye(length, dtype=torch.float64), cov)
    torch.testing.assert_close(wiener_filter(y, psd, sigma), expected)


def test_wiener_filter_keeps_shape_and_type_and_its_limits():
    noisy = noise(2, 1, 32).float()
    psd = torch.ones(17)
    assert wiener_filter(noisy, psd, 1.0).dtype == torch.float32
    torch.testing.assert_close(wiener_filter(noisy, psd, 1.0), noisy / 2)
    torch.testing.assert_close(wiener_filter(noisy, psd, 0.0), noisy)
    assert wiener_filter(noisy, torch.zeros(17), 0.0).abs().max() == 0


def test_refusals():
    with pytest.raises(DataError, match="mono"):
        power_spectral_density(torch.zeros(3, 2, 10))
    with pytest.raises(DataError, match="silent"):
        log_spectral_distance(noise(2, 8), torch.zeros(2, 8))
    with pytest.raises(DataError, match=r"shapes \(5,\) and \(6,\)"):
        log_spectral_distance(noise(2, 8), noise(2, 10))
    with pytest.raises(DataError, match="take 512"):
        spectral_features(noise(2, 500), 8000)
    with pytest.raises(DataError, match="sample rate is 0"):
        spectral_features(noise(2, 500), 0)
    with pytest.raises(DataError, match=r"need \(17,\)"):
        wiener_filter(noise(2, 32), torch.ones(32), 1.0)
    with pytest.raises(DataError, match="sigma is -1"):
        wiener_filter(noise(2, 32), torch.ones(17), -1.0)
