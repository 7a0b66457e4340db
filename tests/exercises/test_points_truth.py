"""The references of chapter 12 against the project's mathematics, trimesh, and the network that it trains."""

from __future__ import annotations

import pytest
import torch

from diffusion_lab import losses, samplers, schedules, targets
from diffusion_lab.chapters import run_chapter
from diffusion_lab.exercises import library
from diffusion_lab.exercises.points import NOTEBOOK
from diffusion_lab.exercises.points.probes import Crowd
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.metrics import chamfer_distance
from diffusion_lab.networks import build_network

trimesh = pytest.importorskip("trimesh")
OWN = {item.name: item.reference for item in NOTEBOOK.exercises}


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("settings", [(-3.0, 3.0, 1.0), (-1.0, 2.5, 0.6), (0.0, 3.0, 0.9)])
def test_the_schedule_is_the_projects(settings):
    schedule = schedules.sigmoid(*settings)
    t = torch.arange(1, 41, dtype=torch.float64) / 40
    wanted = schedule.path(t)[0].square().clamp(min=1e-3)
    torch.testing.assert_close(OWN["sigmoid_alpha_bar"](40, *settings, 1e-3), wanted)


def test_points_lie_on_a_mesh_as_trimesh_measures_it():
    mesh = trimesh.creation.annulus(0.4, 1.0, 0.3, sections=12)
    vertices, faces = torch.from_numpy(mesh.vertices.copy()), torch.from_numpy(mesh.faces.copy())
    line = (torch.arange(3000, dtype=torch.float64) + 0.5) / 3000
    numbers = torch.cat([line[:, None], torch.rand(3000, 2, generator=torch.Generator().manual_seed(0))], dim=1)
    points = OWN["area_points"](vertices, faces, numbers)
    _, off, rows = trimesh.proximity.closest_point_naive(mesh, points.numpy())
    assert off.max() < 1e-9
    # The first numbers are spread evenly, so triangles come in the proportion of their areas.
    shares = torch.from_numpy(rows).bincount(minlength=len(faces)) / 3000
    assert (shares - torch.from_numpy(mesh.area_faces / mesh.area)).abs().max() < 1e-3


def test_without_padding_the_loss_is_that_of_v_and_with_it_each_clouds_own():
    network = build_network((9, 3), kind="set", width=32, depth=1, seed=1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * normal(*weight.shape, seed=2, dtype=torch.float32))
    x0, noise, table = (
        normal(4, 9, 3, dtype=torch.float32),
        normal(4, 9, 3, seed=1, dtype=torch.float32),
        torch.linspace(0.99, 0.01, 50),
    )
    t = torch.tensor([0, 7, 20, 49])

    def model(x, t, mask):
        return network(x, t / 50, mask=mask)

    kept = table[t].reshape(-1, 1, 1)
    level = Level(t[:, None, None] / 50, kept.sqrt(), (1 - kept).sqrt(), *2 * [torch.zeros(())])
    wanted = losses.prediction_loss(targets.v)(network, x0, noise, level, {})
    found = OWN["padded_loss"](model, x0, t, noise, table, torch.full((4,), 9))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    counts = torch.tensor([9, 4, 1, 6])
    padded = OWN["padded_loss"](model, x0, t, noise, table, counts)
    for row, count in enumerate(counts.tolist()):
        one = slice(row, row + 1)
        alone = OWN["padded_loss"](model, x0[one, :count], t[one], noise[one, :count], table, counts[one])
        torch.testing.assert_close(padded[one], alone, rtol=1e-4, atol=1e-6)


def test_a_step_is_ddim_seen_from_the_centre():
    table, model, x = torch.linspace(0.95, 0.05, 30, dtype=torch.float64), Crowd(2), normal(3, 8, 3)
    x = x - x.mean(dim=1, keepdim=True)
    with torch.no_grad():
        eps = model(x, torch.full((3,), 20))
        assert eps.mean(dim=1).abs().min() > 1e-3  # the network does not keep the centre by itself
    for s in (5, -1):
        now, after = (
            Level(None, a.sqrt(), (1 - a).sqrt(), None, None)
            for a in (table[20], table[s] if s >= 0 else torch.ones(()))
        )
        plain = samplers.ddim()(x, now, after, Prediction((x - now.sigma * eps) / now.alpha, eps), None)
        found = OWN["centred_step"](model, x, 20, s, table)
        torch.testing.assert_close(found, plain - plain.mean(dim=1, keepdim=True))


def test_the_distance_is_the_metrics():
    a, b = normal(4, 12, 3), normal(4, 17, 3, seed=1)
    torch.testing.assert_close(OWN["chamfer"](a, b), chamfer_distance(a, b))


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_made_once")
def test_the_chapter_runs_on_the_references():
    report = run_chapter(
        "points", budget="smoke", source="bundled", **NOTEBOOK.slots({n: i.reference for n, i in library().items()})
    )
    assert report.samples.isfinite().all()
