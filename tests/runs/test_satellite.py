"""Chapter 13: checkpoints that bring their autoencoder, images as they are in figures, bands against exact answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LinearRegression

from diffusion_lab import open_checkpoint, run_chapter, samplers, schedules, targets
from diffusion_lab.chapters import bands, cloud_removal
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.latent import PREFIX, images_of
from diffusion_lab.chapters.pieces import Pieces
from diffusion_lab.chapters.satellite import PIXELS
from diffusion_lab.checkpoints import load_tensors, save_tensors
from diffusion_lab.data import Dataset
from diffusion_lab.devices import make_accelerator
from diffusion_lab.errors import CheckpointError
from diffusion_lab.exact import Gaussian
from diffusion_lab.levels import Prediction


def gaussian_bands() -> Gaussian:
    root = torch.randn(13, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 4
    return Gaussian(torch.linspace(-1, 1, 13, dtype=torch.float64), root @ root.T + 0.2 * torch.eye(13))


def test_the_linear_guess_is_least_squares():
    data = gaussian_bands().sample(500, torch.Generator().manual_seed(0)).double()
    guess = bands.linear_guess(bands.fitted(data), data[:9, [1, 3, 7]], [1, 3, 7])
    wanted = LinearRegression().fit(data[:, [1, 3, 7]], data).predict(data[:9, [1, 3, 7]])
    assert torch.allclose(guess, torch.from_numpy(wanted), atol=1e-8)


def test_reconstruction_by_the_true_denoiser_is_the_exact_answer_for_gaussian_bands():
    """A network that predicts v exactly stands for a perfectly trained one: what is left is drawing and steps."""
    truth, schedule, places = gaussian_bands(), schedules.cosine(), [1, 2, 3, 7]

    def network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        level = schedule.at(t.double(), like=x)
        found = truth.denoise(x, level)
        return level.alpha * found.eps - level.sigma * found.x0

    data = truth.sample(1000, torch.Generator().manual_seed(0))
    pieces = Pieces(schedule, targets.v, None, samplers.ddim(), network, {})
    chapter = replace(bands.BANDS_CHAPTER, decode=None)
    experiment = Experiment(
        chapter, Dataset("x", "bundled", "points", data, data), pieces, chapter.budgets["quick"], 0,
        make_accelerator("cpu", "float32"), network, None,
    )  # fmt: skip
    seen = data[:40, places]
    found = bands.reconstruct(experiment, seen, places, torch.Generator().manual_seed(1)).double()
    exact = bands.linear_guess(truth, seen, places)
    left = truth.given(torch.eye(13)[places].double(), seen[0].double(), bands.NOISE).cov.diag().mean().sqrt()
    error = (found - exact).square().mean().sqrt()
    assert error < 1.25 * left / bands.DRAWS**0.5  # what the mean of eight draws leaves
    assert (found[:, places] - seen).abs().max() < 5 * bands.NOISE


def test_a_denoiser_whose_derivative_is_no_covariance_reconstructs_as_well():
    """A learned denoiser wiggles a little; followed by its derivative, some spectra would run away."""
    truth, schedule, places = gaussian_bands(), schedules.cosine().limit_log_snr(-9.0, 9.0), [1, 2, 3, 7]
    seen = truth.sample(100, torch.Generator().manual_seed(0))[:, places]

    def wiggling(x: torch.Tensor, level) -> Prediction:
        found = truth.denoise(x, level)
        x0 = found.x0 + 0.03 * torch.sin(40 * x)
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)

    start = torch.randn(100, 13, generator=torch.Generator().manual_seed(1))
    denoise = bands.held_to(wiggling, truth, seen, places)
    with torch.no_grad():
        found, _ = samplers.sample(denoise, schedule, samplers.ddim(), start, steps=30)
    exact = bands.linear_guess(truth, seen, places)
    left = truth.given(torch.eye(13)[places].double(), seen[0].double(), bands.NOISE).cov.diag().mean().sqrt()
    assert (found - exact).square().mean().sqrt() < 1.3 * left


def test_in_pixels_the_network_is_asked_for_nothing_that_cannot_pass_it():
    """Noise of 48 numbers for each patch has no room in 32 channels; predicted, a third of it stays in every sample."""
    numbers = 3 * PIXELS.network["patch"] ** 2
    assert numbers <= PIXELS.network["width"] or PIXELS.target is targets.x0


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    return run_chapter("satellite", budget="smoke", source="bundled", out=tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
def test_a_checkpoint_brings_its_autoencoder(smoke, tmp_path):
    assert Path(smoke.files["restored"]).exists()
    opened = open_checkpoint(smoke.files["checkpoint"])
    assert opened.dataset.train.shape[1:] == (4, 16, 16) and torch.equal(opened.draw(), smoke.samples)
    assert smoke.samples.shape[1:] == images_of(opened.dataset).train.shape[1:] == (3, 64, 64)
    tensors, settings = load_tensors(Path(smoke.files["checkpoint"]))
    without = {name: value for name, value in tensors.items() if not name.startswith(PREFIX)}
    bare = save_tensors(tmp_path / "bare.safetensors", without, settings)
    with pytest.raises(CheckpointError, match=r"has no autoencoder for images of shape \(3, 64, 64\)"):
        open_checkpoint(bare)


@pytest.mark.slow
def test_what_is_seen_stays_and_what_clouds_hide_is_drawn(smoke):
    experiment = smoke.experiment
    images = images_of(experiment.dataset).test[:2]
    hidden = torch.zeros(64, 64, dtype=torch.bool)
    hidden[20:40, 10:30] = True
    filled = cloud_removal.filled_in(experiment, images, hidden, torch.zeros(2, dtype=torch.int64), 1)
    assert torch.equal(filled[..., ~hidden], images[..., ~hidden]) and bool((filled != images)[..., hidden].any())


@pytest.mark.slow
def test_the_bands_run(tmp_path):
    report = run_chapter("satellite", variant="bands", budget="smoke", source="bundled", out=tmp_path)
    assert report.samples.shape[1:] == (13,) and (tmp_path / "satellite" / "denoising.png").exists()
