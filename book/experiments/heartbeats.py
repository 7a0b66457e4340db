"""What chapter 11 measures and a page has no time for: noise of five kinds, gaps, guidance, two ways to split."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.signal import butter, iirnotch, sosfiltfilt, tf2sos
from torch import Tensor

import diffusion_lab
from diffusion_lab import samplers
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.heartbeats import decode
from diffusion_lab.data import Dataset, load
from diffusion_lab.denoisers import from_network
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.metrics import (
    agreement,
    beat_features,
    frechet_distance,
    power_spectral_density,
    r_peaks,
    rhythm_distance,
    train_beat_judge,
    wiener_filter,
)

OnStep = Callable[[str, int, int], None]

STRIPS = 96
"""Held-out strips of each measurement."""
DECIBELS = (12.0, 6.0, 0.0, -6.0)
WALK = 30
"""Steps of every walk."""
SLOWEST = 8
"""Curves that a baseline is made of: cosines of 0 to 0.875 Hz over four seconds."""
GAPS = (0.25, 0.5, 1.0)
"""In seconds, on both leads."""
FILLS = 8
SCALES = (1.0, 1.5, 2.0, 3.0)
SAMPLES = 150
RATE, LENGTH = 128, 512
MAINS = 50.0


def run(on_step: OnStep) -> dict[str, Any]:
    """All of it, with the shipped network on synthetic hearts, and the two splits on patients.

    Raises:
        DataError: the records of patients are not on disk; the page needs all of it.
    """
    patients = load("heartbeats", source="real")
    experiment = diffusion_lab.open_checkpoint(name="heartbeats", device="cpu")
    clean = experiment.dataset.test[:STRIPS]
    noises = recordings_of_noise(len(clean), torch.Generator().manual_seed(11))
    return {
        "data": experiment.dataset.name,
        "strips": STRIPS,
        "walk": WALK,
        "white": white_noise(experiment, clean, on_step),
        "kinds": kinds_of_noise(experiment, clean, noises, on_step),
        "gaps": gaps(experiment, on_step),
        "guidance": guide(experiment, on_step),
        "samples": SAMPLES,
        "splits": splits(patients, on_step),
    }


def rmse(clean: Tensor, estimate: Tensor) -> float:
    """Root of the mean squared error in mV; an offset of a lead does not count."""
    away = decode(estimate - clean)
    return float((away - away.mean(dim=-1, keepdim=True)).square().mean().sqrt())


def asked_once(experiment: Experiment, noisy: Tensor, sigma: Tensor) -> Tensor:
    """The network's mean of the clean strips behind y = x0 + sigma z, sigma (B,) one for each; no class is told."""
    schedule = experiment.pieces.schedule
    level = schedule.at(schedule.time_at(-2 * sigma.double().log()), like=noisy)
    none = torch.full((len(noisy),), len(experiment.classes))
    with torch.no_grad(), experiment.accelerator.autocast():
        return experiment.conditional(none, None)(level.alpha * noisy, level).x0.float()


def guessed_sigma(noisy: Tensor) -> Tensor:
    """The deviation (B,) of white noise, read off the strip: the median of its second differences is all noise."""
    second = noisy[..., 2:] - 2 * noisy[..., 1:-1] + noisy[..., :-2]
    return second.abs().flatten(1).median(dim=1).values / (0.6745 * math.sqrt(6))


def clinic(noisy: Tensor) -> Tensor:
    """What monitors do: 0.5 to 40 Hz, and a notch at the mains; forwards and backwards, so that no peak moves."""
    values = noisy.double().numpy()
    for section in (butter(2, (0.5, 40.0), "bandpass", fs=RATE, output="sos"), tf2sos(*iirnotch(MAINS, 20, fs=RATE))):
        values = sosfiltfilt(section, values, axis=-1)
    return torch.from_numpy(values.copy()).to(noisy)


def wiener(experiment: Experiment, noisy: Tensor, sigma: float) -> Tensor:
    train = experiment.dataset.train
    channels = (wiener_filter(noisy[:, c], power_spectral_density(train[:, c]), sigma) for c in range(noisy.shape[1]))
    return torch.stack([*channels], dim=1)


def white_noise(experiment: Experiment, clean: Tensor, on_step: OnStep) -> list[dict[str, float]]:
    """White noise at a known level and at one read off the strip, beside the best linear filter and the clinic's."""
    generator, rows = torch.Generator().manual_seed(1), []
    power = float(clean.var(dim=-1, correction=0).mean())
    for number, decibels in enumerate(DECIBELS):
        on_step("white noise", number, len(DECIBELS))
        sigma = math.sqrt(power / 10 ** (decibels / 10))
        noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
        guess = guessed_sigma(noisy)
        rows.append(
            {
                "decibels": decibels,
                "noisy": rmse(clean, noisy),
                "clinic": rmse(clean, clinic(noisy)),
                "wiener": rmse(clean, wiener(experiment, noisy, sigma)),
                "known": rmse(clean, asked_once(experiment, noisy, torch.full((len(clean),), sigma))),
                "guessed": rmse(clean, asked_once(experiment, noisy, guess)),
                "sigma_error": float((guess / sigma - 1).abs().mean()),
            }
        )
    return rows


def recordings_of_noise(count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """What disturbs an electrocardiogram, (count, 2, 512) each, made from its description."""

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    time = torch.arange(LENGTH) / RATE
    hertz, phase = uniform(count, 1, 3, 1, low=0.05, high=0.4), uniform(count, 2, 3, 1, high=2 * math.pi)
    wander = (uniform(count, 2, 3, 1) * torch.cos(2 * math.pi * hertz * time + phase)).sum(dim=2)
    white = torch.randn(count, 2, LENGTH, generator=generator)
    muscle = sosfiltfilt(butter(2, (20.0, 60.0), "bandpass", fs=RATE, output="sos"), white.double().numpy(), axis=-1)
    start = uniform(count, 2, 3, 1, high=LENGTH / RATE)
    after = (time - start).clamp(min=0)
    bumps = (
        (time > start) * (1 - torch.exp(-after / 0.03)) * torch.exp(-after / uniform(count, 2, 3, 1, low=0.1, high=0.4))
    )
    sizes = torch.randn(count, 2, 3, 1, generator=generator)
    mains = torch.cos(2 * math.pi * MAINS * time + uniform(count, 2, 1, high=2 * math.pi))
    return {
        "wandering baseline": wander,
        "muscles": torch.from_numpy(muscle.copy()).float(),
        "moving electrode": (sizes * bumps).sum(dim=2),
        "mains": mains,
    }


def at_ratio(clean: Tensor, noise: Tensor, decibels: float) -> Tensor:
    """The noise, scaled so that each strip has this ratio of powers, offsets left out."""
    ours, theirs = (x.var(dim=-1, correction=0).mean(dim=1) for x in (clean, noise))
    return (ours / theirs / 10 ** (decibels / 10)).sqrt().reshape(-1, 1, 1) * noise


def kinds_of_noise(
    experiment: Experiment, clean: Tensor, noises: dict[str, Tensor], on_step: OnStep
) -> list[dict[str, Any]]:
    """Noise that is not white, at 0 dB: the clinic's filter, the network as if it were white, and held to the rest."""
    rows = []
    for number, (kind, noise) in enumerate(noises.items()):
        on_step(f"noise: {kind}", number, len(noises))
        scaled = at_ratio(clean, noise, 0.0)
        noisy = clean + scaled
        sigma = scaled.var(dim=-1, correction=0).mean(dim=1).sqrt()
        row = {
            "kind": kind,
            "noisy": rmse(clean, noisy),
            "clinic": rmse(clean, clinic(noisy)),
            "once": rmse(clean, asked_once(experiment, noisy, sigma)),
        }
        if kind == "wandering baseline":
            row["held"] = rmse(clean, without_baseline(experiment, noisy, torch.Generator().manual_seed(2)))
            row["untouched"] = rmse(clean, clinic(clean))
        rows.append(row)
    return rows


def slow_curves(count: int = SLOWEST) -> Tensor:
    """(count, 512) orthonormal cosines, from an offset to (count - 1) / 8 Hz."""
    k, n = torch.arange(count).unsqueeze(1), torch.arange(LENGTH)
    rows = torch.cos(math.pi * k * (n + 0.5) / LENGTH)
    return rows / rows.norm(dim=1, keepdim=True)


def without_baseline(experiment: Experiment, recording: Tensor, generator: torch.Generator) -> Tensor:
    """A walk whose estimate is the recording outside of the slow curves, and the network's along them."""
    none = torch.full((len(recording),), len(experiment.classes))
    told, curves = from_network(experiment.network, experiment.pieces.target, {"labels": none}), slow_curves()

    def held(x: Tensor, level: Level) -> Prediction:
        x0, eps = told(x, level)
        return Prediction(recording + (x0 - recording) @ curves.T @ curves, eps)

    return walk(experiment, held, torch.randn(recording.shape, generator=generator))


def walk(
    experiment: Experiment,
    estimate: Callable,
    noise: Tensor,
    step: samplers.Step | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    schedule = experiment.pieces.schedule
    with torch.no_grad(), experiment.accelerator.autocast():
        start = samplers.initial_noise(schedule, noise)
        x, _ = samplers.sample(estimate, schedule, step or samplers.ddim(), start, steps=WALK, generator=generator)
    return x.float()


def gaps(experiment: Experiment, on_step: OnStep) -> list[dict[str, Any]]:
    """Both leads missing for a while: a straight line, the best linear answer, and the network's strips that fit."""
    data = experiment.dataset
    clean, count = data.test[:32], 32
    flat = data.train.flatten(1).double()
    mean, cov = flat.mean(dim=0), torch.cov(flat.T) + 1e-3 * torch.eye(flat.shape[1], dtype=torch.float64)
    generator, rows = torch.Generator().manual_seed(3), []
    for number, seconds in enumerate(GAPS):
        on_step("gaps", number, len(GAPS))
        width = round(seconds * RATE)
        starts = torch.randint(RATE // 2, LENGTH - width - RATE // 2, (count,), generator=generator)
        place = torch.arange(LENGTH)
        missing = ((place >= starts[:, None]) & (place < starts[:, None] + width)).unsqueeze(1).expand_as(clean)
        fills = torch.stack([filled(experiment, clean, missing, generator) for _ in range(FILLS)])

        def error(x: Tensor, missing: Tensor = missing) -> float:
            return float(decode(x - clean)[missing].square().mean().sqrt())

        low, high = fills.amin(dim=0), fills.amax(dim=0)
        rows.append(
            {
                "seconds": seconds,
                "line": error(straight(clean, starts, width)),
                "linear": error(linear(clean, missing, mean, cov)),
                "one": error(fills[0]),
                "mean": error(fills.mean(dim=0)),
                "inside": float(((clean >= low) & (clean <= high))[missing].double().mean()),
                "beats": beats_in_gap(clean, fills[0], starts, width),
            }
        )
    return rows


def filled(experiment: Experiment, clean: Tensor, missing: Tensor, generator: torch.Generator) -> Tensor:
    """One strip that fits what is known: after each step the recording is put back outside of the gap, noised."""
    none = torch.full((len(clean),), len(experiment.classes))
    told = from_network(experiment.network, experiment.pieces.target, {"labels": none})
    step = samplers.replacing(samplers.ddim(), clean, ~missing)
    return walk(experiment, told, torch.randn(clean.shape, generator=generator), step, generator)


def straight(clean: Tensor, starts: Tensor, width: int) -> Tensor:
    """A straight line over the gap."""
    rows, share = clean.clone(), (torch.arange(width) + 1) / (width + 1)
    for row, start in zip(rows, starts.tolist(), strict=True):
        ends = row[:, [start - 1]], row[:, [start + width]]
        row[:, start : start + width] = ends[0] + (ends[1] - ends[0]) * share
    return rows


def linear(clean: Tensor, missing: Tensor, mean: Tensor, cov: Tensor) -> Tensor:
    """The conditional mean if strips were normal with the mean and covariance of the training strips."""
    rows = clean.flatten(1).double().clone()
    for row, gap in zip(rows, missing.flatten(1), strict=True):
        weights = torch.linalg.solve(cov[~gap][:, ~gap], row[~gap] - mean[~gap])
        row[gap] = mean[gap] + cov[gap][:, ~gap] @ weights
    return rows.reshape(clean.shape).to(clean)


def beats_in_gap(clean: Tensor, fill: Tensor, starts: Tensor, width: int) -> float:
    """The share of gaps with as many beats in the filled strip as in the true one."""
    right = []
    for true, made, start in zip(
        r_peaks(decode(clean), RATE), r_peaks(decode(fill), RATE), starts.tolist(), strict=True
    ):
        counts = [int(((t >= start / RATE) & (t < (start + width) / RATE)).sum()) for t in (true, made)]
        right.append(counts[0] == counts[1])
    return float(np.mean(right))


def guide(experiment: Experiment, on_step: OnStep) -> list[dict[str, float]]:
    """Samples at several guidance scales: what the judge says, and how far they are from held-out strips."""
    data = experiment.dataset
    train, test = decode(data.train), decode(data.test)
    judge, held, rows = train_beat_judge(train, data.train_labels, RATE), beat_features(test, RATE), []
    for number, scale in enumerate(SCALES):
        on_step("guidance", number, len(SCALES))
        run = diffusion_lab.open_checkpoint(name="heartbeats", device="cpu", guidance=scale)
        samples = run.draw(SAMPLES, WALK)
        rows.append(
            {
                "scale": scale,
                "agreement": agreement(judge, samples, run.sample_labels, RATE),
                "frechet": frechet_distance(beat_features(samples, RATE), held),
                "rhythm": rhythm_distance(samples, test, RATE),
            }
        )
    few = train[:SAMPLES]
    rows.append(
        {
            "scale": 0.0,  # the truth itself
            "agreement": agreement(judge, test, data.test_labels, RATE),
            "frechet": frechet_distance(beat_features(few, RATE), held),
            "rhythm": rhythm_distance(few, test, RATE),
        }
    )
    return rows


def splits(data: Dataset, on_step: OnStep) -> dict[str, Any]:
    """One judge of beats, split by beat and by patient, on records of patients."""
    on_step("two ways to split", 0, 1)
    rate, records = data.info["sample_rate"], data.info["train_records"]
    strips, labels = torch.cat([data.train, data.test]), torch.cat([data.train_labels, data.test_labels])
    order = torch.randperm(len(strips), generator=torch.Generator().manual_seed(0))
    learn, ask = order[: len(data.train)], order[len(data.train) :]
    by_beat = agreement(train_beat_judge(strips[learn], labels[learn], rate), strips[ask], labels[ask], rate)
    judge = train_beat_judge(data.train, data.train_labels, rate)
    return {
        "data": data.name,
        "patients": len(data.info["records"]),
        "held_out_patients": len(data.info["records"]) - len(records.unique()),
        "strips": len(strips),
        "by_beat": by_beat,
        "by_patient": agreement(judge, data.test, data.test_labels, rate),
        "seen": agreement(judge, data.train, data.train_labels, rate),
    }
