"""Chapter 11: heartbeats. Two leads of an electrocardiogram, by class, judged by what a cardiologist reads off them."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from diffusion_lab import samplers, schedules, targets, times
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.noise_removal import noise_removal
from diffusion_lab.chapters.own import TakesOwn
from diffusion_lab.chapters.readiness import require_heartbeats
from diffusion_lab.data import Dataset, load
from diffusion_lab.data.own_beats import load_own_beats
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.metrics import (
    Score,
    agreement,
    beat_features,
    floor_of,
    frechet_distance,
    random_rows,
    rhythm_distance,
    train_beat_judge,
)
from diffusion_lab.schedules import Schedule
from diffusion_lab.train import Settings

GAIN = 3.0
"""Two leads in mV have standard deviations near 1/3; the network sees them at about unit variance."""
NOISE_LOG_SNR = 0.0
"""The noise of the noise-removal task: as strong as the signal."""


def _load(source: str, root, seed: int) -> Dataset:
    return _amplified(load("heartbeats", source=source, root=root, seed=seed))


def _load_own(own: OwnData) -> Dataset:
    return _amplified(load_own_beats(own))


def _amplified(dataset: Dataset) -> Dataset:
    return replace(dataset, train=dataset.train * GAIN, test=dataset.test * GAIN)


def decode(x: Tensor) -> Tensor:
    """Back to mV."""
    return x / GAIN


def evaluate(experiment: Experiment) -> list[Score]:
    """Beats, rhythm and classes of the samples against held-out patients, and the gain of noise removal."""
    data, samples = experiment.dataset, experiment.samples
    rate, generator = data.info["sample_rate"], experiment.generator("floor")
    train, test = decode(data.train), decode(data.test)
    count = min(len(samples), len(train))
    held = beat_features(test, rate)

    def draw() -> Tensor:
        return random_rows(train, count, generator)

    def beats(x: Tensor) -> float:
        return frechet_distance(beat_features(x, rate), held)

    def rhythm(x: Tensor) -> float:
        return rhythm_distance(x, test, rate)

    scores = [
        Score("Fréchet distance of beats", beats(samples), floor_of(beats, draw), 8.0),
        Score("W1 of the intervals between beats", rhythm(samples), floor_of(rhythm, draw), 120.0, unit="ms"),
    ]
    if experiment.sample_labels is not None:
        judge = train_beat_judge(train, data.train_labels, rate)
        scores.append(
            Score(
                "samples that the judge puts into their class",
                agreement(judge, samples, experiment.sample_labels, rate),
                agreement(judge, test, data.test_labels, rate),
                0.6,
                better="higher",
                note="the floor is the share of held-out strips that it puts into theirs; guessing gives "
                f"{'a third' if len(data.classes) == 3 else 'a half'}",
            )
        )
    return [*scores, noise_removal(experiment, NOISE_LOG_SNR)]


def removal_score(experiment: Experiment, clean: Tensor, estimate: Tensor, noisy: Tensor, mask) -> tuple[str, float]:
    """The root of the mean squared error of the estimate in mV."""
    return "RMSE (mV)", float((decode(clean) - decode(estimate)).square().mean().sqrt())


def schedule(dataset: Dataset) -> Schedule:
    """The cosine schedule, sampled evenly in log-SNR: between beats the line is nearly flat, and small noise shows."""
    return replace(schedules.cosine(), spacing=times.log_snr_spacing)


CHAPTER = Chapter(
    number=11,
    name="heartbeats",
    title="Heartbeats",
    method="cosine, v, DDIM even in log-SNR, classifier-free guidance",
    load=_load,
    decode=decode,
    schedule=schedule,
    target=targets.v,
    step=lambda dataset: samplers.ddim(),
    # A strip has its beat in the middle, and a convolution alone does not know where the middle is.
    network={"width": 32, "patch": 4, "levels": 4, "places": 4},
    labelled=True,
    drop_labels=0.1,
    precision="bfloat16",
    require=require_heartbeats,
    own=TakesOwn("beats", _load_own, require_heartbeats),
    evaluate=evaluate,
    denoise_log_snr=(2.0, 0.0, -2.0),
    denoise_score=removal_score,
    budgets={
        "smoke": Budget(Settings(steps=15, batch=32), samples=60, sample_steps=5),
        "quick": Budget(Settings(steps=1200, batch=32, ema_decay=0.99), samples=240, sample_steps=30),
        "full": Budget(
            Settings(steps=6000, batch=64, learning_rate=2e-3, ema_decay=0.999), samples=480, sample_steps=50
        ),
    },
)
