"""Generated landscapes: their texture against its known spectrum and covariance, and what the classes show."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffusion_lab.data import landscapes as land
from diffusion_lab.errors import DataError


def test_the_textures_measured_spectrum_is_the_known_one():
    fields = land.gaussian_fields((600, 32, 32), torch.Generator().manual_seed(0)).double().numpy()
    measured = (np.abs(np.fft.fft2(fields)) ** 2).mean(0) / 32**2
    k = np.fft.fftfreq(32) * 32
    known = (1 + (k[:, None] ** 2 + k**2) / 9) ** -1.5
    known /= known.mean()
    ratio = measured / known
    assert abs(ratio.mean() - 1) < 0.01 and 0.7 < ratio.min() < ratio.max() < 1.35  # each one mean of 600 squares
    assert fields.std() == pytest.approx(1, abs=0.02)


def test_the_textures_bands_covary_as_they_should():
    def woods(ground):
        return ground.all_of("forest")

    images = land._draw(woods, 60, 64, torch.arange(13), torch.Generator().manual_seed(0)).double()
    rest = (images - images.mean(dim=(2, 3), keepdim=True)).transpose(0, 1).flatten(1)
    measured = rest @ rest.T / rest.shape[1]
    power = land.texture_spectrum(64)
    wanted = land.texture_covariance() * (1 - power[0, 0] / 64**2)  # the mean of each picture is taken off
    scale = wanted.diag().sqrt()
    assert ((measured - wanted) / scale / scale[:, None]).abs().max() < 0.06


def test_every_class_has_what_its_name_says():
    labels = torch.arange(60) % 6
    images = land.landscapes(labels, torch.Generator().manual_seed(0), bands=("B04", "B08"))
    dark = images[:, 1] < 0.06  # only water is dark beyond 700 nm
    share = [float(dark[labels == number].double().mean()) for number in range(6)]
    assert share[2] > 0.05 and share[5] > 0.2 and max(share[0], share[1], share[3], share[4]) < 0.005
    plants = (images[:, 1] - images[:, 0]) / (images[:, 1] + images[:, 0])
    assert plants[labels == 1].mean() > 0.55 > plants[labels == 4].mean()
    ups = (images[:, 0].diff(dim=-1).abs() > 0.02).double().mean(dim=(1, 2))
    assert ups[labels == 4].min() > 2 * ups[labels == 0].mean()  # a town is all edges


def test_bands_in_the_order_asked_for_and_the_seed_decides():
    def draw(seed: int, *bands: str):
        return land.landscapes(torch.tensor([3]), torch.Generator().manual_seed(seed), side=16, bands=bands)

    assert draw(0, "B02", "B12").shape == (1, 2, 16, 16)
    assert torch.equal(draw(0, "B02"), draw(0, "B02")) and not torch.equal(draw(0, "B02"), draw(1, "B02"))
    with pytest.raises(DataError, match=r"bands are B02, red; accepted are .*B8A"):
        draw(0, "B02", "red")
    with pytest.raises(DataError, match="16 pixels or more"):
        land.landscapes(torch.tensor([0]), torch.Generator(), side=8)


def test_spectra_hold_out_whole_pictures():
    images = torch.arange(6.0)[:, None, None, None].expand(6, 13, 4, 4)
    held = torch.tensor([True, False, False, True, False, False])
    pixels = land.some_pixels(images, 5, torch.Generator().manual_seed(0))
    data = land.spectra(pixels, torch.arange(6), held, [*"abcdef"])
    assert data.test.unique().tolist() == [0, 3] and data.train.unique().tolist() == [1, 2, 4, 5]
    assert torch.equal(data.train[:, 0].long(), data.train_labels) and data.train.shape == (20, 13)


def test_spectra_are_those_of_their_materials():
    coasts = land.landscapes(torch.full((20,), 5), torch.Generator().manual_seed(0)).transpose(0, 1).flatten(1)
    sea = coasts[:, coasts[7] < 0.05].median(dim=1).values
    assert torch.allclose(sea, land.SIGNATURES[0], atol=0.02)
