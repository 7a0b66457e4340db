"""The autoencoder: it begins as principal components, learns more than they do, and gives latents of unit variance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from diffusion_lab.chapters.latent import Latent, train_autoencoder
from diffusion_lab.data.landscapes import RGB, as_picture, landscapes
from diffusion_lab.errors import PieceError, TrainingError
from diffusion_lab.networks import Autoencoder
from diffusion_lab.train import Settings


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return as_picture(landscapes(torch.arange(60) % 6, torch.Generator().manual_seed(0), side=32, bands=RGB))


def test_it_begins_as_the_principal_components_of_patches(images):
    net = Autoencoder((3, 32, 32), channels=5, width=16).start_from_pca(images)
    rows = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(-1, 48).double().numpy()
    known = PCA(5).fit(rows)
    wanted = known.inverse_transform(known.transform(rows))
    found = net.decode(net.encode(images))
    found = found.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(-1, 48).double().numpy()
    assert np.abs(found - wanted).max() < 1e-3
    raw = net.raw(images).detach()
    assert torch.allclose(raw.mean((0, 2, 3)), torch.zeros(5), atol=1e-4)
    assert torch.allclose(raw.std((0, 2, 3)), torch.ones(5), atol=1e-3)


def test_training_loses_less_than_principal_components_and_scales_latents():
    """Pictures of one straight edge each: two numbers, of which components make no more than a soft one."""
    generator, axis = torch.Generator().manual_seed(0), torch.linspace(-1, 1, 16)
    angle, place = 2 * np.pi * torch.rand(400, 1, 1, generator=generator), torch.rand(400, 1, 1, generator=generator)
    edges = (8 * (angle.cos() * axis + angle.sin() * axis[:, None] + place - 0.5)).clamp(-1, 1)[:, None]
    train, test = edges[:320], edges[320:]
    sizes = {"width": 16, "channels": 2}
    pca = Autoencoder((1, 16, 16), **sizes).start_from_pca(train)
    before = (pca.decode(pca.encode(test)) - test).square().mean()
    steps = []
    settings = Settings(steps=60, batch=32, learning_rate=5e-3)
    net = train_autoencoder(Latent(sizes), train, settings, 0, lambda what, done, total: steps.append(done))
    after = (net.decode(net.encode(test)) - test).square().mean()
    assert after < 0.5 * before and steps == [*range(1, 61)]
    latents = net.encode(train)
    assert latents.shape == (320, 2, 4, 4) and net.ratio == 8
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(2), atol=1e-3)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(2), atol=1e-2)


def test_the_seed_decides_and_the_global_generator_is_left_alone(images):
    state = torch.get_rng_state()

    def trained(seed: int):
        return train_autoencoder(Latent({"width": 16}), images, Settings(steps=3, batch=4), seed).encode(images[:2])

    assert torch.equal(trained(1), trained(1)) and not torch.equal(trained(1), trained(2))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "sizes", [{"patch": 5}, {"patch": 0}, {"patch": -4}, {"channels": 49}, {"width": 20}, {"width": 0}]
)
def test_sizes_that_do_not_fit_are_refused(sizes: dict):
    with pytest.raises(PieceError, match="the patch must be at least 1 and divide height and width, there can be 1 to"):
        Autoencoder((3, 32, 32), **sizes)


def test_other_images_and_images_that_are_not_finite_are_refused(images):
    with pytest.raises(PieceError, match=r"built for images \(B, \(3, 32, 32\)\), not \(2, 1, 32, 32\)"):
        Autoencoder((3, 32, 32), width=16).encode(images[:2, :1])
    bad = images[:4].clone()
    bad[3, 0, 0, 0] = float("inf")
    with pytest.raises(TrainingError, match="loss of the autoencoder is"):
        train_autoencoder(Latent({"width": 16}), bad, Settings(steps=2, batch=4), 0)
