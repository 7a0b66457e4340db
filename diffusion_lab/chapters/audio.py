"""Chapter 8: spoken digits. A shifted log-SNR, a loss on spectra, and noise removal against the Wiener filter."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from diffusion_lab import losses, samplers, schedules, targets, times
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.noise_removal import noise_removal
from diffusion_lab.chapters.own import TakesOwn
from diffusion_lab.chapters.readiness import require_labelled_sounds, require_sounds
from diffusion_lab.data import Dataset, load
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.data.own_sounds import load_own_sounds
from diffusion_lab.metrics import (
    Score,
    audio_frechet_distance,
    floor_of,
    log_spectral_distance,
    random_rows,
    si_sdr,
)
from diffusion_lab.schedules import Schedule
from diffusion_lab.targets import Target
from diffusion_lab.train import Settings

GAIN = 6.0
"""Speech that peaks at 1 has a standard deviation near 1/6; the network sees it at unit variance."""
REFERENCE_LENGTH = 16_384
"""The length at which the cosine schedule was found to be right; longer signals need more noise, shorter ones less."""
NOISE_LOG_SNR = 0.0
"""The noise of the noise-removal task: as loud as the speech."""


def _load(source: str, root, seed: int) -> Dataset:
    return _at_unit_variance(load("audio", source=source, root=root, seed=seed))


def _load_own(own: OwnData) -> Dataset:
    return _at_unit_variance(load_own_sounds(own))


def _at_unit_variance(dataset: Dataset) -> Dataset:
    return replace(dataset, train=dataset.train * GAIN, test=dataset.test * GAIN)


def decode(x: Tensor) -> Tensor:
    """Back to full scale 1."""
    return x / GAIN


def evaluate(experiment: Experiment) -> list[Score]:
    """Spectra of the samples against held-out speech, and the gain of noise removal over the Wiener filter's."""
    data, samples = experiment.dataset, experiment.samples
    rate, generator = data.info["sample_rate"], experiment.generator("floor")
    train, test = decode(data.train), decode(data.test)
    count = min(len(samples), len(train))

    def draw() -> Tensor:
        return random_rows(train, count, generator)

    def spectra(x: Tensor) -> float:
        return audio_frechet_distance(x, test, rate)

    def average(x: Tensor) -> float:
        return log_spectral_distance(x, test)

    return [
        Score("Fréchet distance of log-mel features", spectra(samples), floor_of(spectra, draw), 100.0),
        Score(
            "log-spectral distance of the average spectrum", average(samples), floor_of(average, draw), 6.0, unit="dB"
        ),
        noise_removal(experiment, NOISE_LOG_SNR),
    ]


def removal_score(experiment: Experiment, clean: Tensor, estimate: Tensor, noisy: Tensor, mask) -> tuple[str, float]:
    """Mean SI-SDR of the estimate in dB."""
    return "SI-SDR (dB)", float(si_sdr(estimate, clean).mean())


def shifted_cosine(dataset: Dataset) -> Schedule:
    """The cosine schedule moved to the length of the sounds, sampled evenly in log-SNR.

    Most of speech is silence and the rest far louder than its mean: steps even in t lose much of its energy. What is
    quiet takes shape where there is little noise, so most training times lie there, around a log-SNR of 2.4.
    """
    shift = math.log(REFERENCE_LENGTH / dataset.train.shape[-1])
    whole = replace(schedules.shift_log_snr(schedules.cosine(), shift), spacing=times.log_snr_spacing)
    return replace(whole, density=times.mixed_density(times.log_normal_density(-1.2, 1.2), whole.density, share=0.8))


def spectral_loss(target: Target, schedule: Schedule, dataset: Dataset) -> losses.Loss:
    """The mean-square error of the target, plus a little of the STFT loss of the estimated sound."""

    def spectra(estimate: Tensor, x0: Tensor, cond: dict) -> Tensor:
        return losses.multiresolution_stft_loss(estimate, x0)

    return losses.with_penalty(losses.prediction_loss(target), target, spectra, amount=0.02)


CHAPTER = Chapter(
    number=8,
    name="audio",
    title="Audio time series",
    method="cosine with shifted log-SNR, v with an STFT loss, DPM-Solver++(2M), classifier-free guidance",
    load=_load,
    decode=decode,
    schedule=shifted_cosine,
    target=targets.v,
    loss=spectral_loss,
    step=lambda dataset: samplers.dpmpp_2m(),
    network={"width": 32, "patch": 4, "levels": 6},
    labelled=True,
    drop_labels=0.1,
    # What ships has a Fréchet distance of 4.6 at this scale and 10.9 without guidance. Guidance stretches errors as
    # well: a network that has learned too little is farther off with it, so the quick run does without.
    guidance=2.0,
    precision="bfloat16",
    require=require_labelled_sounds,
    own=TakesOwn("sounds", _load_own, require_sounds),
    evaluate=evaluate,
    denoise_log_snr=(2.0, 0.0, -2.0),
    denoise_score=removal_score,
    budgets={
        "smoke": Budget(Settings(steps=15, batch=32), samples=50, sample_steps=5),
        "quick": Budget(
            Settings(steps=430, batch=16, learning_rate=0.016, ema_decay=0.99, optimizer="muon"),
            samples=250,
            sample_steps=25,
            guidance=1.0,
        ),
        "full": Budget(
            Settings(steps=9000, batch=32, learning_rate=0.016, ema_decay=0.999, optimizer="muon"),
            samples=500,
            sample_steps=25,
        ),
    },
)
