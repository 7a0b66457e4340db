"""Thirteen bands of a satellite, pixel by pixel: those that see coarsely are found from the four that see finely."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from diffusion_lab import samplers, schedules, targets, times
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.readiness import require_count
from diffusion_lab.data import Dataset, load
from diffusion_lab.data.landscapes import BANDS, SIGNATURES
from diffusion_lab.denoisers import Denoiser
from diffusion_lab.exact import Gaussian
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.metrics import Score, energy_distance, floor_of, random_directions, random_rows, sliced_wasserstein
from diffusion_lab.train import Settings

CENTRE, SCALE = SIGNATURES.mean(dim=0), SIGNATURES.std(dim=0)
"""What spectra are scaled by, to about mean 0 and variance 1; the same for every data set, so that networks fit all."""
FINE = ("B02", "B03", "B04", "B08")
"""Bands with pixels of 10 m; Sentinel-2 sees the others with 20 m or 60 m."""
SPECTRA, DRAWS, STEPS = 256, 8, 30
NOISE = 0.02
"""Standard deviation, of the scaled bands, that what is seen may be off by; without any, the solution is brittle."""


def _load(source: str, root, seed: int) -> Dataset:
    dataset = load("spectra", source=source, root=root, seed=seed)
    return replace(dataset, train=(dataset.train - CENTRE) / SCALE, test=(dataset.test - CENTRE) / SCALE)


def decode(x: Tensor) -> Tensor:
    """Back to reflectance."""
    return x * SCALE + CENTRE


def fitted(data: Tensor) -> Gaussian:
    """The normal distribution with the mean and covariance of data (N, D)."""
    values = data.double()
    return Gaussian(values.mean(dim=0), torch.cov(values.T))


def linear_guess(truth: Gaussian, seen: Tensor, places: list[int]) -> Tensor:
    """E[all bands | the numbers seen (N, K) at those places] (N, D) for normal data, and the best linear guess for any.

    The mean is linear in what is seen, so K + 1 answers of `Gaussian.given` say what it is everywhere.
    """
    matrix = torch.eye(len(truth.mean), dtype=torch.float64)[places]
    start = truth.given(matrix, torch.zeros(len(places), dtype=torch.float64)).mean
    slopes = [truth.given(matrix, row).mean - start for row in torch.eye(len(places), dtype=torch.float64)]
    return start + seen.double() @ torch.stack(slopes)


def held_to(denoise: Denoiser, truth: Gaussian, seen: Tensor, places: list[int]) -> Denoiser:
    """The denoiser of spectra given the bands seen (B, K): its mean is moved as that of a normal distribution would be.

    For normal data x0 given x has the covariance C = (cov^-1 + alpha^2 / sigma^2 I)^-1, and bands that were seen move
    its mean by C_.a (C_aa + noise^2 I)^-1 times what they miss. So it is exact for such data. The network's derivative
    stands for C too (`observing`), but what a network has learned need not be a covariance, and a few spectra in a
    hundred then run away.
    """

    def given(x: Tensor, level: Level) -> Prediction:
        x0 = denoise(x, level).x0
        alpha, sigma = (field.flatten()[0] for field in (level.alpha, level.sigma))  # one level for all
        variances, axes = truth.variances.to(x), truth.axes.to(x)
        left = (axes * (variances * sigma**2 / (alpha**2 * variances + sigma**2))) @ axes.T
        spread = left[places][:, places] + NOISE**2 * torch.eye(len(places)).to(x)
        x0 = x0 + (seen - x0[:, places]) @ torch.linalg.solve(spread, left[places])
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)

    return given


def reconstruct(experiment: Experiment, seen: Tensor, places: list[int], generator: torch.Generator) -> Tensor:
    """The mean (N, D) of several draws of whole spectra that agree with the bands seen (N, K); see `held_to`."""
    target, network = experiment.pieces.target, experiment.network

    def denoise(x: Tensor, level: Level) -> Prediction:
        return target.solve(target.evaluate(network, x, level, None), x, level)

    seen = seen.repeat(DRAWS, 1).to(experiment.accelerator.device)
    with torch.no_grad():
        x, _ = samplers.sample(
            held_to(denoise, fitted(experiment.dataset.train), seen, places),
            experiment.pieces.schedule.limit_log_snr(-9.0, 9.0),
            experiment.pieces.step,
            experiment.start(len(seen), generator),
            steps=STEPS,
            generator=generator,
        )
    return x.float().cpu().unflatten(0, (DRAWS, -1)).mean(dim=0)


def band_reconstruction(experiment: Experiment, most: float) -> Score:
    """RMSE of the nine coarse bands from the four fine ones; the floor is the best linear guess, from all of train."""
    data = experiment.dataset
    places = [BANDS.index(band) for band in FINE]
    others = [place for place in range(len(BANDS)) if place not in places]
    truth = random_rows(data.test, SPECTRA, experiment.generator("spectra"))
    learned = reconstruct(experiment, truth[:, places], places, experiment.generator("bands"))
    linear = linear_guess(fitted(data.train), truth[:, places], places)
    value, floor = (float((x - truth)[:, others].square().mean().sqrt()) for x in (learned, linear))
    note = f"nine bands from {', '.join(FINE)}, all scaled to variance 1; the floor is the best linear guess"
    return Score("RMSE of bands that were hidden", value, floor, most * floor, note=note)


def evaluate(experiment: Experiment) -> list[Score]:
    """Distances of spectra to those held out, and bands that were hidden."""
    data, generator = experiment.dataset, experiment.generator("floor")
    samples = (experiment.samples - CENTRE) / SCALE
    held = random_rows(data.test, min(len(data.test), 2000), generator)
    directions = random_directions(64, data.test.shape[1], generator)

    def sliced(x: Tensor) -> float:
        return sliced_wasserstein(x, held, directions)

    def energy(x: Tensor) -> float:
        return energy_distance(x, held)

    def draw() -> Tensor:
        return random_rows(data.train, len(samples), generator)

    return [
        Score("energy distance of spectra", energy(samples), floor_of(energy, draw), 0.5),
        Score("sliced Wasserstein of spectra", sliced(samples), floor_of(sliced, draw), 0.5),
        band_reconstruction(experiment, 1.2),
    ]


BANDS_CHAPTER = Chapter(
    number=13,
    name="satellite",
    title="Satellite images, their bands",
    method="cosine, v, DDIM even in log-SNR, on the 13 bands of a pixel",
    load=_load,
    decode=decode,
    schedule=lambda dataset: replace(schedules.cosine(), spacing=times.log_snr_spacing),
    target=targets.v,
    step=lambda dataset: samplers.ddim(),
    network={"width": 128, "depth": 4},
    require=lambda dataset: require_count(dataset, SPECTRA),
    evaluate=evaluate,
    denoise_log_snr=(3.0, 0.0, -3.0),
    budgets={
        "smoke": Budget(Settings(steps=30, batch=128), samples=300, sample_steps=5),
        "quick": Budget(Settings(steps=3000, batch=512, ema_decay=0.995), samples=2000, sample_steps=30),
        "full": Budget(Settings(steps=20_000, batch=1024), samples=5000, sample_steps=50),
    },
)
