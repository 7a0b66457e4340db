"""Radial spectra against known ones, and clouds: the linear guess against the exact Gaussian answer."""

from __future__ import annotations

import math

import pytest
import torch

from diffusion_lab.errors import DataError
from diffusion_lab.exact import Gaussian
from diffusion_lab.metrics import cloud_mask, image_covariance, kriging, radial_spectrum, spectrum_distance


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("window", [True, False])
def test_white_noise_has_its_variance_at_every_wave_number(window: bool):
    k, power = radial_spectrum(3 * noise(400, 2, 32, 32), window=window)
    assert power.shape == (2, len(k)) and bool((k.diff() > 0).all()) and k[0] < 1.5 and k[-1] > 12
    assert torch.allclose(power[:, 1:], torch.full_like(power[:, 1:], 9.0), rtol=0.08)


def test_a_wave_has_its_power_where_its_wave_number_is():
    x = torch.arange(32) / 32
    wave = torch.cos(2 * math.pi * 5 * x).expand(1, 1, 32, 32)
    k, power = radial_spectrum(wave, window=False)
    ring = int((k - 5).abs().argmin())
    assert power[0, ring] / power.sum() > 0.999
    turned = radial_spectrum(wave.transpose(2, 3), window=False)[1]
    assert torch.allclose(power, turned)


def test_a_known_factor_of_power_is_a_known_distance():
    images = noise(50, 3, 16, 16)
    assert spectrum_distance(images, 10 * images) == pytest.approx(20, abs=1e-6)
    blurred = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    assert spectrum_distance(images, blurred) > 3 > spectrum_distance(images, noise(50, 3, 16, 16, seed=1))


def test_what_has_no_spectrum_is_refused():
    with pytest.raises(DataError, match=r"expected \(N, C, H, H\)"):
        radial_spectrum(noise(2, 3, 16, 12))
    with pytest.raises(DataError, match="1 of 2 images are not finite"):
        radial_spectrum(torch.stack([noise(1, 16, 16), noise(1, 16, 16) * float("nan")]))
    with pytest.raises(DataError, match="cannot be compared"):
        spectrum_distance(noise(2, 3, 16, 16), noise(2, 1, 16, 16))


def test_clouds_hide_the_share_asked_for_in_one_piece_or_a_few():
    mask = cloud_mask(64, 0.2, torch.Generator().manual_seed(0))
    from scipy.ndimage import label

    assert mask.double().mean() == pytest.approx(0.2, abs=1e-3) and label(mask.numpy())[1] < 10
    for share in (0.0, 1.0):
        with pytest.raises(DataError, match="between 0 and 1"):
            cloud_mask(64, share, torch.Generator())


SIDE, LENGTH = 12, 3.0


def exponential() -> tuple[torch.Tensor, torch.Tensor]:
    """The covariance exp(-distance / 3) as a table of lags, and between all pixels of an image."""
    lag = torch.arange(-SIDE + 1, SIDE, dtype=torch.float64)
    table = torch.exp(-torch.hypot(lag[:, None], lag[None]) / LENGTH)
    axis = torch.arange(SIDE, dtype=torch.float64)
    places = torch.cartesian_prod(axis, axis)
    return table, torch.exp(-torch.cdist(places, places) / LENGTH)


def test_the_linear_guess_is_the_exact_mean_of_a_gaussian_field():
    table, full = exponential()
    field = Gaussian(torch.full((SIDE**2,), 0.7), full)
    images = field.sample(2, torch.Generator().manual_seed(0)).reshape(2, 1, SIDE, SIDE)
    hidden = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    hidden[4:8, 5:9] = True
    filled = kriging(images, hidden, torch.tensor([0.7]), table[None])
    look = torch.eye(SIDE**2)[~hidden.flatten()]
    for image, answer in zip(images, filled, strict=True):
        exact = field.given(look, image.flatten()[~hidden.flatten()]).mean.reshape(SIDE, SIDE)
        assert torch.allclose(answer[0].double(), exact, atol=5e-3)  # it looks 6 pixels far, the exact answer at all
        assert torch.equal(answer[0][~hidden], image[0][~hidden])


def test_the_covariance_of_images_is_that_of_the_field_they_are_drawn_from():
    table, full = exponential()
    images = Gaussian(torch.full((SIDE**2,), 2.0), full).sample(4000, torch.Generator().manual_seed(0))
    mean, covariance = image_covariance(images.reshape(-1, 1, SIDE, SIDE))
    near = slice(SIDE - 4, SIDE + 3)
    assert float(mean) == pytest.approx(2, abs=0.05)
    assert torch.allclose(covariance[0, near, near], table[near, near], atol=0.04)


def test_the_covariance_of_a_few_images_is_one_that_a_field_can_have():
    """No sum of pixels has a negative variance, or kriging could be off by any amount."""
    images = Gaussian(torch.zeros(SIDE**2), exponential()[1]).sample(3, torch.Generator().manual_seed(0))
    _, covariance = image_covariance(images.reshape(-1, 1, SIDE, SIDE))
    axis = torch.arange(SIDE)
    places = torch.cartesian_prod(axis, axis)
    rows, columns = (places[:, None] - places[None] + SIDE - 1).unbind(-1)
    variances = torch.linalg.eigvalsh(covariance[0][rows, columns])
    assert float(variances.min()) > -1e-9 and float(variances.max()) > 1


def test_masks_that_hide_nothing_or_do_not_fit_are_refused():
    images, table = noise(1, 1, SIDE, SIDE), exponential()[0][None]
    for mask in (torch.zeros(SIDE, SIDE).bool(), torch.ones(SIDE, SIDE).bool(), torch.ones(SIDE, SIDE)):
        with pytest.raises(DataError, match=r"hidden must be bool \(12, 12\)"):
            kriging(images, mask, torch.zeros(1), table)
    with pytest.raises(DataError, match=r"expected \(C, 2 H - 1, 2 H - 1\)"):
        kriging(images, torch.eye(SIDE).bool(), torch.zeros(1), table[:, 1:])
