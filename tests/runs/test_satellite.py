"""Chapter 13: checkpoints that bring their autoencoder, images as they are in figures, bands against exact answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LinearRegression

from diffusion_lab import open_checkpoint, run_chapter, samplers, schedules, targets
from diffusion_lab.chapters import bands, cloud_removal, satellite
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.latent import PREFIX, Latent, autoencoder_from, images_of
from diffusion_lab.chapters.pieces import Pieces
from diffusion_lab.chapters.satellite import PIXELS
from diffusion_lab.checkpoints import load_tensors, save_tensors
from diffusion_lab.data import Dataset
from diffusion_lab.devices import make_accelerator
from diffusion_lab.errors import CheckpointError, PieceError
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


def test_clouds_are_filled_as_the_ground_around_them_says():
    """The exact denoiser of a Gaussian field of 8 x 8 pixels, 36 of them seen: draws lie around the exact mean."""
    places = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0)).double()
    truth, schedule = Gaussian(torch.zeros(64).double(), (-torch.cdist(places, places) / 4).exp()), schedules.cosine()

    def network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return truth.denoise(x.flatten(1), schedule.at(t.double(), like=x.flatten(1))).x0.reshape(x.shape)

    images = truth.sample(20, torch.Generator().manual_seed(0)).reshape(20, 1, 8, 8)
    chapter = replace(PIXELS, labelled=False, guidance=1.0)
    experiment = Experiment(
        chapter, Dataset("x", "bundled", "image", images, images),
        Pieces(schedule, targets.x0, None, samplers.ddim(), network, {}), chapter.budgets["quick"], 0,
        make_accelerator("cpu", "float32"), network, None,
    )  # fmt: skip
    hidden = torch.zeros(8, 8, dtype=torch.bool)
    hidden[2:6, 0:7] = True
    rows = torch.eye(64, dtype=torch.float64)[~hidden.flatten()]
    given = [truth.given(rows, image[0][~hidden].double()) for image in images]
    exact, left = torch.stack([one.mean for one in given])[:, hidden.flatten()], given[0].cov.diag()[hidden.flatten()]
    errors = {}
    for draws in (1, 16):
        filled = cloud_removal.filled_in(experiment, images, hidden, None, draws)
        assert torch.equal(filled[..., ~hidden], images[..., ~hidden])
        errors[draws] = (filled[:, 0, hidden] - exact).square().mean()
    assert 0.5 < errors[1] / left.mean() < 2  # one draw is about as far from the mean as the ground may be
    assert errors[16] < 0.2 * exact.square().mean()  # a mean that ignores what is seen has more than all of it


def test_in_pixels_the_network_is_asked_for_nothing_that_cannot_pass_it():
    """Noise of 48 numbers for each patch has no room in 32 channels; predicted, a third of it stays in every sample."""
    numbers = 3 * PIXELS.network["patch"] ** 2
    assert numbers <= PIXELS.network["width"] or PIXELS.target is targets.x0


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ({"network": "nonsense"}, "there is no network 'nonsense'"),
        ({"network": "transformer"}, r"takes no network 'transformer'; its data have shape \(4, 16, 16\)"),
        ({"target": "nonsense"}, "slot 'target': there is no 'nonsense'"),
    ],
    ids="name shape target".split(),
)
def test_what_does_not_fit_is_refused_before_the_autoencoder_is_trained(monkeypatch, pieces, said):
    images, labels = torch.rand(200, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 2
    few = Dataset("x", "bundled", "image", images, images, labels, labels, ("a", "b"))
    monkeypatch.setattr(satellite, "load", lambda *_, **__: few)
    done = []
    with pytest.raises(PieceError, match=said):
        run_chapter("satellite", budget="smoke", on_step=lambda what, *_: done.append(what), **pieces)
    assert done == ["loading data"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    return run_chapter("satellite", budget="smoke", source="bundled", out=tmp_path_factory.mktemp("runs"))


def test_a_checkpoint_of_images_that_no_autoencoder_takes_is_refused():
    images = torch.zeros(4, 3, 30, 32)
    with pytest.raises(CheckpointError, match=r"x.safetensors has no autoencoder for images of shape \(3, 30, 32\)"):
        autoencoder_from(Latent(), Dataset("x", "bundled", "image", images, images), {}, "x.safetensors")


@pytest.mark.slow
def test_the_seconds_of_the_autoencoder_are_told_apart(smoke):
    parts = {name: value for name, value in smoke.seconds.items() if name != "total"}
    assert parts["autoencoder"] > 0 and sum(parts.values()) == pytest.approx(smoke.seconds["total"], abs=0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_made_once")
def test_a_checkpoint_brings_its_autoencoder(smoke, tmp_path):
    assert smoke.source == "bundled" and smoke.samples.isfinite().all()
    assert all(Path(smoke.files[name]).exists() for name in ("samples", "denoising", "restored"))
    opened = open_checkpoint(smoke.files["checkpoint"])
    assert opened.dataset.train.shape[1:] == (4, 16, 16) and torch.equal(opened.draw(), smoke.samples)
    assert smoke.samples.shape[1:] == images_of(opened.dataset).train.shape[1:] == (3, 64, 64)
    tensors, settings = load_tensors(Path(smoke.files["checkpoint"]))
    without = {name: value for name, value in tensors.items() if not name.startswith(PREFIX)}
    bare = save_tensors(tmp_path / "bare.safetensors", without, settings)
    with pytest.raises(CheckpointError, match=r"has no autoencoder for images of shape \(3, 64, 64\)"):
        open_checkpoint(bare)


@pytest.mark.slow
def test_the_bands_run(tmp_path):
    report = run_chapter("satellite", variant="bands", budget="smoke", source="bundled", out=tmp_path)
    assert report.samples.shape[1:] == (13,) and (tmp_path / "satellite" / "denoising.png").exists()
