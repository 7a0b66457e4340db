"""The references of chapter 11 against torchaudio, diffusers, SciPy and the project's mathematics."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch
import torchaudio
from diffusers import DDIMScheduler
from torch import Tensor

from diffusion_lab import targets, times
from diffusion_lab.chapters import run_chapter
from diffusion_lab.exercises import library
from diffusion_lab.exercises.heartbeats import NOTEBOOK
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.levels import Level

# Deprecations inside diffusers are its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

OWN = {item.name: item.reference for item in NOTEBOOK.exercises}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turned(levels: int) -> Tensor:
    """alpha_bar of evenly spaced angles."""
    return torch.cos(torch.linspace(0.05, 1.45, levels, dtype=torch.float64)).square()


def own_slots() -> dict:
    return NOTEBOOK.slots({name: item.reference for name, item in library().items()})


@pytest.mark.parametrize("count", [1, 2, 17])
def test_the_run_samples_where_the_chapter_does(count):
    schedule = own_slots()["schedule"]
    found = schedule.spacing(count, schedule)
    torch.testing.assert_close(found, times.log_snr_spacing(count, schedule), rtol=1e-9, atol=1e-12)
    if count > 1:
        steps = schedule.at(found).log_snr.flatten().diff()
        torch.testing.assert_close(steps, steps[:1].expand_as(steps), rtol=1e-6, atol=1e-9)


def test_noise_is_added_as_torchaudio_does():
    """torchaudio takes sums of squares of one row: the same for leads without an offset, laid end to end."""
    clean, noise = (x - x.mean(dim=-1, keepdim=True) for x in (normal(5, 2, 60), 3 * normal(5, 2, 60, seed=1)))
    decibels = torch.tensor([-6.0, 0.0, 3.0, 12.0, 20.0], dtype=torch.float64)
    theirs = torchaudio.functional.add_noise(clean.flatten(1), noise.flatten(1), decibels)
    torch.testing.assert_close(OWN["noise_at_snr"](clean, noise, decibels).flatten(1), theirs)


def test_without_gaps_the_loss_is_that_of_v():
    x0, noise, table = normal(4, 2, 30), normal(4, 2, 30, seed=1), turned(50)
    t, model = torch.tensor([0, 7, 20, 49]), Probe(3)
    kept = table[t].reshape(-1, 1, 1)
    blank = torch.zeros(())
    level = Level(t.reshape(-1, 1, 1), kept.sqrt(), (1 - kept).sqrt(), blank, blank)
    answer = model(level.noisy(x0, noise), t)
    found = OWN["observed_loss"](model, x0, t, noise, table, torch.ones(4, 2, 30, dtype=torch.bool))
    torch.testing.assert_close(found, (answer - targets.v.of(x0, noise, level)).square().flatten(1).mean(dim=1))


def test_with_gaps_it_is_numpy_s_masked_mean():
    x0, noise, table = normal(4, 2, 30), normal(4, 2, 30, seed=1), turned(50)
    t, model, seen = torch.tensor([0, 7, 20, 49]), Probe(3), normal(4, 2, 30, seed=2) > 0
    seen[3] = False
    x0 = np.where(seen.numpy(), x0.numpy(), 0.0)
    a, s = (np.sqrt(share.numpy())[:, None, None] for share in (table[t], 1 - table[t]))
    answer = model(torch.from_numpy(a * x0 + s * noise.numpy()), t).detach().numpy()
    error = np.ma.masked_array((answer - a * noise.numpy() + s * x0) ** 2, mask=~seen.numpy())
    true = error.reshape(4, -1).mean(axis=1).filled(0.0)
    wild = torch.where(seen, torch.from_numpy(x0), torch.tensor(1e4, dtype=torch.float64))
    found = OWN["observed_loss"](model, wild, t, noise, table, seen).detach()
    np.testing.assert_allclose(found.numpy(), true, rtol=1e-10)


@pytest.mark.parametrize(("t", "s"), [(499, 399), (99, -1)])
def test_where_nothing_is_trusted_the_step_is_ddim(t: int, s: int):
    """With as many curves as samples the recording does not count, and diffusers takes the same step."""
    scheduler = DDIMScheduler(1000, beta_schedule="linear", clip_sample=False, timestep_spacing="trailing")
    table = scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(10)
    x, recording, model = normal(3, 2, 16), normal(3, 2, 16, seed=1), Probe(5)
    eps = model(x, torch.full((3,), t)).detach()
    found = OWN["wander_step"](model, x, t, s, recording, torch.linalg.qr(normal(16, 16, seed=2)).Q, table)
    torch.testing.assert_close(found, scheduler.step(eps, t, x).prev_sample, rtol=1e-9, atol=1e-9)


def test_pairs_are_as_many_as_a_maximum_matching_has():
    rng = np.random.default_rng(0)
    for _ in range(50):
        true, found = (np.sort(rng.uniform(0, 4, rng.integers(1, 15))) for _ in range(2))
        near = scipy.sparse.csr_matrix(np.abs(true[:, None] - found) <= 0.15)
        pairs = (scipy.sparse.csgraph.maximum_bipartite_matching(near, perm_type="column") >= 0).sum()
        shares = OWN["matched_beats"](torch.from_numpy(true), torch.from_numpy(found), 0.15)
        np.testing.assert_allclose(shares.numpy(), [pairs / len(true), pairs / len(found)])


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_made_once")
def test_the_chapter_runs_on_the_pieces():
    report = run_chapter("heartbeats", budget="smoke", source="bundled", **own_slots())
    assert len(report.scores) == 4 and all(np.isfinite(score.value) for score in report.scores)
