"""What chapter 8 measures and a page has no time for: noise removal, samplers, guidance, short trainings."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import diffusion_lab
from diffusion_lab import losses, samplers, schedules, targets, times
from diffusion_lab.chapters.audio import decode, spectral_loss
from diffusion_lab.data import Dataset
from diffusion_lab.denoisers import from_network
from diffusion_lab.levels import Level
from diffusion_lab.metrics import (
    audio_frechet_distance,
    log_spectral_distance,
    pairwise_log_spectral_distance,
    power_spectral_density,
    random_rows,
    si_sdr,
    wiener_filter,
)
from diffusion_lab.networks import build_network
from diffusion_lab.train import Settings, Source, Trainer

OnStep = Callable[[str, int, int], None]

LOG_SNRS = (8.0, 6.0, 4.0, 2.0, 1.0, 0.0, -1.0, -2.0, -4.0, -6.0, -8.0)
WALK_STEPS = 20
SAMPLES = 500
BUDGETS = (5, 10, 20, 50)
"""Network evaluations for each sound; every sampler here takes one a step."""
STEPS = {
    "DDPM, even in t": (samplers.ddpm(), times.uniform_spacing),
    "DDIM, even in t": (samplers.ddim(), times.uniform_spacing),
    "DDIM, even in log-SNR": (samplers.ddim(), times.log_snr_spacing),
    "DPM-Solver++(2M), even in t": (samplers.dpmpp_2m(), times.uniform_spacing),
    "DPM-Solver++(2M), even in log-SNR": (samplers.dpmpp_2m(), times.log_snr_spacing),
}
BEST = STEPS["DPM-Solver++(2M), even in log-SNR"]
SCALES = (1.0, 1.5, 2.0, 3.0, 4.0)
GUIDED_STEPS = 20
BANDS = 64
LIKENESS = 100
"""Sounds of each kind that are held against all training recordings."""
SHORT = Settings(steps=300, batch=32, learning_rate=2e-3, ema_decay=0.99)
SHIFT = math.log(16_384 / 4_096)
"""The chapter's own, from the length at which the cosine schedule was found to be right to that of our sounds."""


def run(on_step: OnStep) -> dict[str, Any]:
    """All of it, with the shipped network; on spoken digits where they are on disk, else on the stand-in."""
    experiment = diffusion_lab.open_checkpoint(name="audio")
    data = experiment.dataset
    rate = data.info["sample_rate"]
    train, held_out = decode(data.train), decode(data.test)
    on_step("training the listener", 0, 1)
    listener = Listener(train, data.train_labels, rate)
    generator = torch.Generator().manual_seed(1)
    count = min(SAMPLES, len(train))
    real = [scores(random_rows(train, count, generator), None, held_out, listener, rate) for _ in range(10)]
    return {
        "data": data.name,
        "rate": rate,
        "training_sounds": len(train),
        "held_out_sounds": len(held_out),
        "listener_accuracy": agreement(listener(held_out), data.test_labels),
        "samples": SAMPLES,
        "floor": {name: mean(row[name] for row in real) for name in real[0]},
        "floor_spread": {name: spread(row[name] for row in real) for name in real[0]},
        "cells": cells(data.train),
        "removal": remove_noise(experiment, listener, on_step),
        "normal": normal_sounds(experiment, on_step),
        "samplers": compare_samplers(experiment, held_out, listener, on_step),
        **guide(experiment, train, held_out, listener, on_step),
        "short_steps": SHORT.steps,
        "trainings": train_briefly(experiment, held_out, listener, on_step),
    }


def mean(values: Any) -> float:
    return float(torch.tensor(list(values), dtype=torch.float64).mean())


def spread(values: Any) -> float:
    return float(torch.tensor(list(values), dtype=torch.float64).std())


def agreement(heard: Tensor, said: Tensor) -> float:
    return float((heard == said).double().mean())


class Listener:
    """Tells which digit is said, by a support vector machine on log-mel spectrograms: (N, 1, L) -> (N,) int64."""

    def __init__(self, sounds: Tensor, labels: Tensor, rate: int):
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        self.rate = rate
        self.machine = make_pipeline(StandardScaler(), SVC(C=10.0))
        self.machine.fit(self.features(sounds), labels.numpy())

    def features(self, sounds: Tensor) -> Any:
        """20 log-mel powers in each 32 ms, as one row for each sound."""
        from torchaudio.functional import melscale_fbanks

        window = torch.hann_window(256, dtype=torch.float64)
        spectrum = torch.stft(sounds.flatten(1).double(), 256, 128, window=window, center=False, return_complex=True)
        power = spectrum.abs().square() / window.square().sum()
        bank = melscale_fbanks(power.shape[1], 0.0, self.rate / 2, 20, self.rate, norm=None).to(power)
        return torch.einsum("nkt,kb->nbt", power, bank / bank.sum(0)).clamp(min=1e-6).log().flatten(1).numpy()

    def __call__(self, sounds: Tensor) -> Tensor:
        return torch.from_numpy(self.machine.predict(self.features(sounds)))


def scores(sounds: Tensor, said: Tensor | None, held_out: Tensor, listener: Listener, rate: int) -> dict[str, float]:
    """Fréchet distance and distance of average spectra; with labels, also how often the listener hears them."""
    result = {
        "rms": float(sounds.square().mean().sqrt()),
        "frechet": audio_frechet_distance(sounds, held_out, rate),
        "spectrum": log_spectral_distance(sounds, held_out),
    }
    return result if said is None else result | {"agreement": agreement(listener(sounds), said)}


def remove_noise(experiment: Any, listener: Listener, on_step: OnStep) -> dict[str, Any]:
    """Held-out speech in white noise: the Wiener filter, one guess of the network, and a walk down from there."""
    data, schedule = experiment.dataset, experiment.pieces.schedule
    rate, clean, labels = data.info["sample_rate"], data.test, data.test_labels
    spectrum = power_spectral_density(data.train)
    denoiser = experiment.conditional(labels, None)
    generator = torch.Generator().manual_seed(2)
    names = ("noisy", "Wiener filter", "network", "network without label", "walk")
    result: dict[str, Any] = {"log_snr": list(LOG_SNRS), "steps": WALK_STEPS, "variance": float(clean.square().mean())}
    result |= {name: {score: [] for score in ("si_sdr", "mse", "distance", "heard")} for name in names}
    for done, log_snr in enumerate(LOG_SNRS):
        on_step("removing noise", done, len(LOG_SNRS))
        t = float(schedule.time_at(torch.tensor(log_snr)))
        level = schedule.at(torch.tensor(t), like=clean)
        noisy = level.noisy(clean, torch.randn(clean.shape, generator=generator))
        heard = noisy / level.alpha
        with experiment.accelerator.autocast():
            answers = {
                "noisy": heard,
                "Wiener filter": wiener_filter(heard, spectrum, float(level.sigma / level.alpha)),
                "network": denoiser(noisy, level).x0.float(),
                "network without label": experiment.denoiser()(noisy, level).x0.float(),
                "walk": samplers.denoise_from(denoiser, schedule, samplers.ddim(), noisy, t, steps=WALK_STEPS).float(),
            }
        for name, x in answers.items():
            result[name]["si_sdr"].append(float(si_sdr(x, clean).mean()))
            result[name]["mse"].append(float((x - clean).square().mean()))
            result[name]["distance"].append(
                float(pairwise_log_spectral_distance(decode(x), decode(clean), rate).mean())
            )
            result[name]["heard"].append(agreement(listener(decode(x)), labels))
    return result


def normal_sounds(experiment: Any, on_step: OnStep) -> dict[str, Any]:
    """Normal noise with the spectrum of speech, for which the Wiener filter is exact, given to the network."""
    data, schedule = experiment.dataset, experiment.pieces.schedule
    spectrum, length = power_spectral_density(data.train), data.train.shape[-1]
    generator = torch.Generator().manual_seed(3)
    white = torch.randn(300, 1, length, generator=generator, dtype=torch.float64)
    sounds = torch.fft.irfft(torch.fft.rfft(white) * spectrum.sqrt(), n=length).float()
    result: dict[str, Any] = {"log_snr": list(LOG_SNRS), "network": [], "Wiener filter": [], "exact": []}
    twice = torch.full((len(spectrum),), 2.0, dtype=torch.float64)
    twice[0] = twice[-1] = 1.0  # all other bins stand for two
    for done, log_snr in enumerate(LOG_SNRS):
        on_step("normal sounds", done, len(LOG_SNRS))
        level = schedule.at(schedule.time_at(torch.tensor(log_snr)), like=sounds)
        noisy = level.noisy(sounds, torch.randn(sounds.shape, generator=generator))
        variance = math.exp(-log_snr)
        with experiment.accelerator.autocast():
            learned = experiment.denoiser()(noisy, level).x0.float()
        linear = wiener_filter(noisy / level.alpha, spectrum, variance**0.5)
        result["network"].append(float((learned - sounds).square().mean()))
        result["Wiener filter"].append(float((linear - sounds).square().mean()))
        result["exact"].append(float((twice * spectrum * variance / (spectrum + variance)).sum() / length))
    return result


def draw(experiment: Any, way: tuple[samplers.Step, times.Spacing], steps: int, *, scale: float = 1.0) -> Tensor:
    """`SAMPLES` sounds (N, 1, L), every digit in turn, always from the same noise; `way` is a sampler and a spacing."""
    run, (step, spacing) = copy.copy(experiment), way
    run.pieces = replace(experiment.pieces, step=step, schedule=replace(experiment.pieces.schedule, spacing=spacing))
    run.guidance = scale
    return run.draw(SAMPLES, steps=steps)


def compare_samplers(experiment: Any, held_out: Tensor, listener: Listener, on_step: OnStep) -> list[dict[str, Any]]:
    """Scores by sampler and budget, without guidance."""
    said, rate = torch.arange(SAMPLES) % 10, experiment.dataset.info["sample_rate"]
    result = []
    for name, way in STEPS.items():
        for budget in BUDGETS:
            on_step("comparing samplers", len(result), len(STEPS) * len(BUDGETS))
            sounds = draw(experiment, way, budget)
            result.append({"sampler": name, "budget": budget, **scores(sounds, said, held_out, listener, rate)})
    return result


def guide(experiment: Any, train: Tensor, held_out: Tensor, listener: Listener, on_step: OnStep) -> dict[str, Any]:
    """What guidance does to the scores and to the spectrum, and whether samples are recordings learned by heart."""
    said, rate = torch.arange(SAMPLES) % 10, experiment.dataset.info["sample_rate"]
    bands: dict[str, list[float]] = {"training": in_bands(train), "held-out": in_bands(held_out)}
    result, guided = [], held_out
    for scale in SCALES:
        on_step("guidance", len(result), len(SCALES))
        sounds = draw(experiment, BEST, GUIDED_STEPS, scale=scale)
        result.append({"scale": scale, **scores(sounds, said, held_out, listener, rate)})
        bands[f"{scale:g}"] = in_bands(sounds)
        if scale == 2:
            guided = sounds
    generator = torch.Generator().manual_seed(4)
    on_step("looking for copies", 0, 1)
    likeness = {
        name: likest(x[torch.randperm(len(x), generator=generator)[:LIKENESS]], train)
        for name, x in (("held-out", held_out), ("samples", guided))
    }
    return {"guidance": result, "bands": bands, "likeness": likeness}


def cells(sounds: Tensor) -> dict[str, Any]:
    """Where the energy is among the cells of short-time spectra, in units in which noise of variance 1 has power 1.

    The powers below which lie 0.5 %, 1.5 % ... 99.5 % of all energy, and the share of cells that hold half of it.
    """
    window = torch.hann_window(256, dtype=torch.float64)
    spectrum = torch.stft(sounds.flatten(1).double(), 256, 64, window=window, center=False, return_complex=True)
    power = (spectrum.abs().square() / window.square().sum()).flatten().sort().values
    below = power.cumsum(0) / power.sum()
    wanted = (torch.arange(100, dtype=torch.float64) + 0.5) / 100
    half = int(torch.searchsorted(below, 0.5))
    return {"powers": power[torch.searchsorted(below, wanted)].tolist(), "half_share": 1 - half / len(power)}


def in_bands(sounds: Tensor) -> list[float]:
    """The power spectrum at full scale 1, averaged in 64 bands of equal width."""
    return power_spectral_density(sounds)[1:].reshape(BANDS, -1).mean(dim=1).tolist()


def likest(sounds: Tensor, recordings: Tensor) -> list[float]:
    """For each sound the largest correlation with any recording at any delay, in size."""

    def spectra(x: Tensor) -> Tensor:
        x = x.flatten(1)
        return torch.fft.rfft(x / x.norm(dim=1, keepdim=True), n=2 * x.shape[1])

    known = spectra(recordings)
    return [
        max(float(torch.fft.irfft(part * one.conj()).abs().max()) for part in known.split(300))
        for one in spectra(sounds)
    ]


def train_briefly(experiment: Any, held_out: Tensor, listener: Listener, on_step: OnStep) -> list[dict[str, Any]]:
    """Short trainings from the same start: with and without the loss on spectra, with other shifts of the log-SNR."""
    data = experiment.dataset
    kinds = {
        "as in this chapter": (SHIFT, True),
        "loss of v alone": (SHIFT, False),
        "no shift": (0.0, True),
        "shift of images, twice": (2 * SHIFT, True),
    }
    result = []
    for number, (name, (shift, with_stft)) in enumerate(kinds.items()):
        schedule = schedules.shift_log_snr(schedules.cosine(), shift)
        base = losses.prediction_loss(targets.v)
        trainer = Trainer(
            network=build_network(tuple(data.train.shape[1:]), classes=10, seed=0, **experiment.chapter.network),
            loss=spectral_loss(targets.v, schedule, data) if with_stft else base,
            schedule=schedule,
            source=Source(data.train, data.train_labels, classes=10, drop_share=experiment.chapter.drop_labels),
            settings=SHORT,
            accelerator=experiment.accelerator,
        )
        trainer.fit(
            on_step=lambda done, loss, number=number: on_step(
                "training briefly", number * SHORT.steps + done, len(kinds) * SHORT.steps
            )
        )
        result.append({"name": name, "shift": shift, **judged(experiment, trainer.average, schedule, data, listener)})
    return result


def judged(
    experiment: Any, network: Any, schedule: schedules.Schedule, data: Dataset, listener: Listener
) -> dict[str, float]:
    """Noise removal at three levels that all schedules know, and the scores of samples."""
    run = copy.copy(experiment)
    run.network, run.pieces = network, replace(experiment.pieces, schedule=schedule)
    clean, labels, rate = data.test, data.test_labels, data.info["sample_rate"]
    result = {}
    for log_snr in (4.0, 0.0, -4.0):
        generator = torch.Generator().manual_seed(5)
        level: Level = schedule.at(schedule.time_at(torch.tensor(log_snr)), like=clean)
        noisy = level.noisy(clean, torch.randn(clean.shape, generator=generator))
        with experiment.accelerator.autocast():
            x = from_network(network, targets.v, {"labels": labels})(noisy, level).x0.float()
        result[f"si_sdr {log_snr:g}"] = float(si_sdr(x, clean).mean())
        result[f"distance {log_snr:g}"] = float(pairwise_log_spectral_distance(decode(x), decode(clean), rate).mean())
    sounds = draw(run, BEST, GUIDED_STEPS)
    return result | scores(sounds, torch.arange(SAMPLES) % 10, decode(clean), listener, rate)
