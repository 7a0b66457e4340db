"""White noise removed from held-out sounds or heartbeats by the network, beside the best linear filter."""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.data import Dataset
from diffusion_lab.levels import Level
from diffusion_lab.metrics import Score, power_spectral_density, si_sdr, wiener_filter

CLIPS = 128


def noise_removal(experiment: Experiment, log_snr: float) -> Score:
    """SI-SDR gained on held-out signals in white noise of a known level; the floor is what the Wiener filter gains.

    Every channel of a signal (N, C, L) counts by itself, and has a spectrum and so a filter of its own.
    """
    schedule, data = experiment.pieces.schedule, experiment.dataset
    clean = data.test[:CLIPS]
    level = schedule.at(schedule.time_at(torch.tensor(log_snr)), like=clean)
    noisy = level.noisy(clean, torch.randn(clean.shape, generator=experiment.generator("noise")))
    labels = data.test_labels[:CLIPS] if experiment.chapter.labelled else None
    device = experiment.accelerator.device
    there = Level(*(f.to(device) for f in level))
    with experiment.accelerator.autocast():
        learned = experiment.conditional(labels, None)(noisy.to(device), there).x0.float().cpu()
    before = si_sdr(noisy.flatten(0, 1), clean.flatten(0, 1))
    gain, linear = (
        float((si_sdr(x.flatten(0, 1), clean.flatten(0, 1)) - before).mean())
        for x in (learned, _wiener(data, noisy, level))
    )
    note = "the floor is the Wiener filter, the best linear one; a learned denoiser passes it"
    return Score("SI-SDR gained by removing noise", gain, linear, linear, better="higher", unit="dB", note=note)


def _wiener(data: Dataset, noisy: Tensor, level: Level) -> Tensor:
    sigma = float(level.sigma / level.alpha)
    scaled = noisy / float(level.alpha)
    channels = (
        wiener_filter(scaled[:, c], power_spectral_density(data.train[:, c]), sigma) for c in range(noisy.shape[1])
    )
    return torch.stack([*channels], dim=1)  # (N, C, L)
