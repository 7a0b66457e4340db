"""The references of chapter 13 against NumPy, scikit-learn, diffusers and the project's mathematics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from sklearn.linear_model import LinearRegression

from diffusion_lab import targets
from diffusion_lab.chapters import run_chapter
from diffusion_lab.data.landscapes import gaussian_fields, texture_spectrum
from diffusion_lab.exercises import library
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.satellite import NOTEBOOK
from diffusion_lab.losses import prediction_loss
from diffusion_lab.schedules import from_alpha_bar

# Deprecations inside diffusers are its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

OWN = {item.name: item.reference for item in NOTEBOOK.exercises}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_power_of_the_texture_is_the_one_that_it_was_drawn_with():
    fields = gaussian_fields((400, 32, 32), torch.Generator().manual_seed(0))
    found = OWN["radial_power"](fields.double())
    k = np.fft.fftfreq(32, 1 / 32)
    ring = np.rint(np.hypot(k[:, None], k))
    known = torch.tensor([texture_spectrum(32).numpy()[ring == n].mean() for n in range(17)])
    assert torch.allclose(found[1:], known[1:], rtol=0.08) and found[0] == pytest.approx(float(known[0]), rel=0.3)


def test_images_drown_wave_by_wave_at_the_levels_that_they_should():
    """In noisy fields of that level the wave number's power is half signal, half noise."""
    clean, noise = gaussian_fields((400, 32, 32), torch.Generator().manual_seed(0)).double(), normal(400, 32, 32)
    power = OWN["radial_power"](clean)
    levels = OWN["drowned_levels"](power)
    for k in (1, 4, 12):
        kept = levels[(levels - 1 / (1 + power[k])).abs().argmin()]
        found = OWN["radial_power"](kept.sqrt() * clean + (1 - kept).sqrt() * noise)[k]
        assert found == pytest.approx(float(2 * (1 - kept)), rel=0.1)


def test_the_loss_is_that_of_v_on_latents_at_unit_variance():
    latents, noise, table = (
        5 + 3 * normal(4, 2, 5, 6),
        normal(4, 2, 5, 6, seed=1),
        torch.linspace(0.99, 0.05, 50).double(),
    )
    t, model, mean, std = torch.tensor([0, 7, 20, 49]), Probe(3), torch.tensor([5.0, 4.0]), torch.tensor([3.0, 2.0])
    found = OWN["latent_loss"](model, latents, t, noise, table, mean.double(), std.double())
    schedule = from_alpha_bar(table, "table")
    level = schedule.at((t + 1).double() / len(table), like=latents)
    assert torch.allclose(level.alpha.flatten() ** 2, table[t], atol=1e-9)
    scaled = torch.stack([(latents[:, 0] - 5) / 3, (latents[:, 1] - 4) / 2], dim=1)
    loss = prediction_loss(targets.v)
    wanted = loss(lambda x, _: model(x, t), scaled, noise, level, {})
    assert torch.allclose(found, wanted, atol=1e-9)


def test_under_clouds_everywhere_the_step_is_that_of_diffusers():
    scheduler = DDIMScheduler(num_train_timesteps=50, clip_sample=False, set_alpha_to_one=True)
    table, model = scheduler.alphas_cumprod.double(), Probe(1)
    x, sky = normal(2, 3, 4, 4), torch.ones(2, 16, 16, dtype=torch.bool)
    scheduler.set_timesteps(5)
    for t, s in ((40, 30), (10, 0)):
        theirs = scheduler.step(model(x, torch.full((2,), t)).detach(), t, x).prev_sample
        found = OWN["cloud_step"](model, x, t, s, 9 * x, sky, table, x)
        assert torch.allclose(found, theirs.double(), atol=1e-5)


def test_hidden_bands_are_those_of_least_squares():
    data, places = normal(500, 6) @ normal(6, 6, seed=1) + 2, torch.tensor([4, 0, 3])
    found = OWN["hidden_bands"](data.mean(dim=0), torch.cov(data.T), data[:9, places], places)
    wanted = LinearRegression().fit(data[:, places], data).predict(data[:9, places])
    assert torch.allclose(found, torch.from_numpy(wanted), atol=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_made_once")
def test_the_chapter_runs_on_the_references():
    own = {name: item.reference for name, item in library().items()}
    report = run_chapter("satellite", budget="smoke", source="bundled", **NOTEBOOK.slots(own))
    assert report.samples.isfinite().all()
