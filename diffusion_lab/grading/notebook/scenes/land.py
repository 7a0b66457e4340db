"""Scenes of chapter 13, about satellite images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

from diffusion_lab.chapters.bands import FINE, fitted
from diffusion_lab.chapters.latent import images_of
from diffusion_lab.data import load
from diffusion_lab.data.landscapes import BANDS
from diffusion_lab.grading.notebook.scenes.stage import (
    Piece,
    Scene,
    data,
    generator,
    items,
    opened,
    predicting,
    table,
    trained,
)
from diffusion_lab.metrics import cloud_mask
from diffusion_lab.plots import Curves, Items, View

IMAGES, STEPS = 4, 12


def _grey() -> Tensor:
    """Held-out images (N, 64, 64), one band of each."""
    return images_of(opened("satellite").dataset).test[:60, 0]


def _radial_power(piece: Piece) -> list[View]:
    """In decibels: fine shapes have a ten-thousandth of the power of coarse ones."""
    white = torch.randn(60, 64, 64, generator=generator())
    lines = {name: piece(images) for name, images in (("landscapes", _grey()), ("white noise", white))}
    decibels = {name: 10 * torch.as_tensor(power).clamp(min=1e-8).log10() for name, power in lines.items()}
    return [Curves(torch.arange(33), decibels, "waves across the image", "power in dB")]


def _drowned_levels(piece: Piece) -> list[View]:
    from diffusion_lab.exercises import exercise

    power = exercise("radial_power").reference(_grey())[1:]
    return [Curves(torch.arange(len(power)), {"": piece(power)}, "level", "alpha_bar")]


def _sky() -> tuple[Tensor, Tensor, Tensor]:
    """Held-out images (N, 3, 64, 64), their latents, and clouds (N, 64, 64)."""
    run = opened("satellite")
    images, latents = images_of(run.dataset).test[:IMAGES], run.dataset.test[:IMAGES]
    clouds = torch.stack([cloud_mask(64, 0.2, generator(seed)) for seed in range(IMAGES)])
    return images, latents, clouds


def _cloud_step(piece: Piece) -> list[View]:
    """Down from noise to the data, with what no cloud hides held to the image."""
    run, kept, source = opened("satellite"), table("satellite"), generator()
    _, latents, clouds = _sky()
    model = predicting("satellite", "eps", labels=images_of(run.dataset).test_labels[:IMAGES])
    x = torch.randn(latents.shape, generator=source)
    levels = [*torch.linspace(0.95 * len(kept), 0, STEPS).long().tolist(), -1]
    for t, s in itertools.pairwise(levels):
        x = piece(model, x, t, s, latents, clouds, kept, torch.randn(x.shape, generator=source))
    return [items(run, run.decode(x))]


def _ground() -> Items:
    return items(opened("satellite"), _sky()[0])


@cache
def _spectra() -> tuple[Tensor, Tensor, Tensor]:
    """Held-out spectra (N, 13) of several landscapes, and the mean and covariance of those for training."""
    found = load("spectra", source="bundled")
    truth = fitted(found.train)
    return found.test[:: len(found.test) // 5][:5].double(), truth.mean, truth.cov


def _hidden_bands(piece: Piece) -> Iterator[View]:
    spectra, mean, cov = _spectra()
    places = torch.tensor([BANDS.index(band) for band in FINE])
    guess = torch.as_tensor(piece(mean, cov, spectra[:, places], places))
    for number in (0, 2):
        lines = {"the pixel": spectra[number], "from four of its bands": guess[number]}
        yield Curves(torch.arange(len(BANDS)), lines, "band, from blue to infrared", "reflectance")


SCENES: dict[str, Scene] = {
    "radial_power": Scene("The power of landscapes and of white noise at each wave number.", _radial_power),
    "drowned_levels": Scene("The levels at which the wave numbers of landscapes go under.", _drowned_levels),
    "latent_loss": Scene(
        "Landscapes by the shipped network after 8 more steps of training with each loss, on latents of unit variance. "
        "What a loss does with other units is not seen here; its check tells.",
        lambda piece: [trained("latent_loss", IMAGES, STEPS, steps=8, batch=16, rate=1e-3)(piece)],
        data("satellite", IMAGES),
    ),
    "cloud_step": Scene(
        "Four landscapes under clouds, walked down from noise with the function.", _cloud_step, _ground
    ),
    "hidden_bands": Scene("Two pixels, and what is guessed of them from four of their thirteen bands.", _hidden_bands),
}  # fmt: skip
