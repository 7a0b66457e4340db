"""Chapter 13: satellite images. Diffusion in the latent space of a small autoencoder, and in pixels beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import avg_pool2d

from diffusion_lab import samplers, schedules, targets
from diffusion_lab.chapters.bands import BANDS_CHAPTER
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.cloud_removal import cloud_removal, clouds_removed
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.images import judge_of
from diffusion_lab.chapters.latent import Latent, images_of
from diffusion_lab.chapters.readiness import require_images
from diffusion_lab.data import load
from diffusion_lab.metrics import Score, decibels_apart, floor_of, frechet_distance, radial_spectrum, random_rows
from diffusion_lab.train import Settings


class Thresholds(NamedTuple):
    """What images must reach; see `images.Thresholds`."""

    frechet: float
    spectrum: float
    """In dB."""
    agreement: float
    lost: float
    """The largest Fréchet distance of what the autoencoder gives back."""
    clouds: float
    """How many times the error of the best linear guess under clouds passes."""


REAL = Thresholds(frechet=40.0, spectrum=8.0, agreement=0.4, lost=6.0, clouds=3.5)
BUNDLED = Thresholds(frechet=40.0, spectrum=6.0, agreement=0.6, lost=6.0, clouds=1.65)


def half(images: Tensor) -> Tensor:
    """Images (N, C, H, W) at half the resolution, which the judge looks at; finer detail is left to the spectrum."""
    return avg_pool2d(images, 2)


def evaluate(experiment: Experiment) -> list[Score]:
    """Features and spectra of the samples against held-out images, classes, the autoencoder alone, and clouds."""
    data, samples = images_of(experiment.dataset), experiment.samples
    limits = REAL if data.source == "real" else BUNDLED
    small = replace(data, train=half(data.train), test=half(data.test))
    judge = judge_of(replace(experiment, dataset=small), crop=2, flip=True)
    held_out, held_out_power = judge.features(small.test), radial_spectrum(data.test)[1]
    generator = experiment.generator("floor")
    count = min(len(samples), len(data.train))

    def draw() -> Tensor:
        return random_rows(data.train, count, generator)

    def frechet(images: Tensor) -> float:
        return frechet_distance(judge.features(half(images)), held_out)

    def spectrum(images: Tensor) -> float:
        return decibels_apart(radial_spectrum(images)[1], held_out_power)

    def agreement(images: Tensor, labels: Tensor) -> float:
        return float((judge.predict(half(images)).argmax(dim=1) == labels).double().mean())

    scores = [
        Score(
            "Fréchet distance of classifier features",
            frechet(samples),
            floor_of(frechet, draw),
            limits.frechet,
            note=f"{len(samples)} samples, {len(data.test)} held-out images; the judge sees half the resolution and "
            f"gets {judge.accuracy:.1%} right",
        ),
        Score("distance of radial spectra", spectrum(samples), floor_of(spectrum, draw), limits.spectrum, unit="dB"),
        Score(
            "samples of the class asked for",
            agreement(samples, experiment.sample_labels),
            agreement(data.test, data.test_labels),
            limits.agreement,
            better="higher",
        ),
    ]
    if experiment.dataset is not data:
        back = experiment.decode(experiment.dataset.test)
        error = float((back - data.test).square().mean().sqrt())
        scores.append(
            Score(
                "Fréchet distance of what the autoencoder gives back",
                frechet(back),
                0.0,
                limits.lost,
                note=f"held-out images against themselves; spectra {spectrum(back):.1f} dB apart, RMSE {error:.3f}",
            )
        )
    return [*scores, cloud_removal(experiment, limits.clouds)]


def pixel_error(experiment: Experiment, clean: Tensor, estimate: Tensor, noisy: Tensor, mask) -> tuple[str, float]:
    """The root of the mean squared error of pixels from -1 to 1, after decoding."""
    return "RMSE", float((experiment.decode(clean) - experiment.decode(estimate)).square().mean().sqrt())


PIXELS = Chapter(
    number=13,
    name="satellite",
    title="Satellite images",
    method="cosine, x0, DDIM, in pixels for about as many seconds",
    load=lambda source, root, seed: load("satellite", source=source, root=root, seed=seed),
    schedule=lambda dataset: schedules.cosine(),
    # No v: it has the noise in it, the 48 numbers of a patch, of which a third cannot pass through 32 channels.
    target=targets.x0,
    step=lambda dataset: samplers.ddim(),
    network={"width": 32, "patch": 4, "levels": 3},
    labelled=True,
    drop_labels=0.1,
    guidance=1.5,
    precision="bfloat16",
    require=require_images,
    evaluate=evaluate,
    denoise_log_snr=(2.0, 0.0, -2.0),
    denoise_score=pixel_error,
    restored=clouds_removed,
    budgets={
        "smoke": Budget(Settings(steps=15, batch=32), samples=70, sample_steps=5, judge_epochs=1),
        "quick": Budget(Settings(steps=1900, batch=32, ema_decay=0.99), samples=240, sample_steps=25, judge_epochs=8),
        "full": Budget(
            Settings(steps=11_400, batch=64, ema_decay=0.999), samples=480, sample_steps=50, judge_epochs=12
        ),
    },
)
AUTOENCODER = {
    "smoke": Settings(steps=10, batch=8),
    "quick": Settings(steps=400, batch=16),
    "full": Settings(steps=4000, batch=32),
}
STEPS = {"smoke": 15, "quick": 1000, "full": 6000}
"""Fewer than in pixels: the autoencoder has taken its time too."""
CHAPTER = replace(
    PIXELS,
    method="a small autoencoder; cosine, v, DDIM in its latent space",
    latent=Latent(),
    target=targets.v,
    network={"width": 32, "patch": 1, "levels": 3},
    budgets={
        name: replace(budget, training=replace(budget.training, steps=STEPS[name]), autoencoder=AUTOENCODER[name])
        for name, budget in PIXELS.budgets.items()
    },
    variants={"pixels": PIXELS, "bands": BANDS_CHAPTER},
)
