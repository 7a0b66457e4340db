"""The loss curves, the field of scores, and how a figure is saved."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from matplotlib.quiver import Quiver
from PIL import Image
from plot_examples import texts

from diffusion_lab import plots
from diffusion_lab.errors import PieceError
from diffusion_lab.plots.figure import to_png
from diffusion_lab.plots.losses import running_mean

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("width", [1, 4, 50])
def test_the_running_mean_is_the_mean_of_the_last_values(width):
    values = np.random.default_rng(0).random(37)
    expected = [values[max(0, i + 1 - width) : i + 1].mean() for i in range(37)]
    assert np.allclose(running_mean(torch.tensor(values), width), expected)


def test_the_running_mean_passes_over_what_is_not_finite():
    values = torch.tensor([1.0, torch.inf, 3.0, torch.nan]).double()
    assert running_mean(values, 3).tolist() == pytest.approx([1, np.nan, 2, np.nan], nan_ok=True)


def test_the_floor_is_a_line_with_its_number():
    figure = plots.loss_curve(torch.linspace(1, 0.6, 100), floor=0.51234, dataset="normal")
    (floor,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert set(floor.get_ydata()) == {0.51234}
    assert "exact floor: 0.5123" in texts(figure) and "exact floor 0.5123" in figure.alt and "normal" in figure.alt
    assert figure.axes[0].get_ylim()[0] == 0
    to_png(figure)


@pytest.mark.parametrize(
    ("losses", "floor", "scale"),
    [
        ([1.0, 0.5, 0.2], None, "linear"),
        ([1.0, 0.5, 0.01], None, "log"),
        ([1.0, 0.5, 0.2], 0.01, "log"),
        ([1.0, 0.01, -0.2], None, "linear"),
        ([1.0, 0.5, 0.2], 0.0, "linear"),
        ([2.0], None, "linear"),
    ],
)
def test_the_axis_is_logarithmic_where_that_serves(losses, floor, scale):
    figure = plots.loss_curve(losses, floor=floor, dataset="numbers", smoothing=1)
    assert figure.axes[0].get_yscale() == scale
    to_png(figure)


@pytest.mark.parametrize("losses", [[1.0, 0.5, float("nan")], [float("nan")] * 3, [float("inf"), 1.0]])
def test_a_loss_that_is_not_finite_is_said(losses):
    figure = plots.loss_curve(losses, dataset="numbers", floor=0.1)
    bad = sum(not np.isfinite(value) for value in losses)
    assert f"{bad} of {len(losses)} values of the losses are not finite" in figure.alt
    step = next(i for i, value in enumerate(losses, 1) if not np.isfinite(value))
    assert f"first not finite: step {step}" in texts(figure)
    to_png(figure)


def test_the_loss_at_each_level():
    figure = plots.loss_by_time([0.1, 0.5, 0.9], [0.3, 0.5, 1.0], [0.1, 0.4, 1.0], dataset="normal")
    assert "0.6 for the network and 0.5 for the exact floor" in figure.alt
    learned, exact = figure.axes[0].lines
    assert list(learned.get_ydata()) == [0.3, 0.5, 1.0] and list(exact.get_ydata()) == [0.1, 0.4, 1.0]
    to_png(figure)
    alone = plots.loss_by_time([0.5], [float("nan")], None, dataset="normal")
    assert "floor" not in alone.alt and "not finite" in alone.alt
    to_png(alone)


def test_what_cannot_be_a_loss_curve_is_refused():
    with pytest.raises(PieceError, match="empty"):
        plots.loss_curve([], dataset="numbers")
    with pytest.raises(PieceError, match="at least 1, not 0"):
        plots.loss_curve([1.0], dataset="numbers", smoothing=0)
    with pytest.raises(PieceError, match="learned has 1 entries, but there are 2 times"):
        plots.loss_by_time([0, 1], [1.0], None, dataset="numbers")


def test_arrows_point_along_the_field_and_grids_agree_with_functions():
    extent = (-2.0, 2.0, -1.0, 1.0)
    up, across = torch.linspace(-1, 1, 18), torch.linspace(-2, 2, 18)
    grid = torch.stack(torch.meshgrid(across, up, indexing="xy"), dim=-1)  # (18 up, 18 across, 2)
    scale = torch.tensor([-1.0, -4.0])
    figures = [
        plots.score_field_2d(lambda x: 1.1 * x * scale, exact, extent, dataset="normal")
        for exact in (grid * scale, lambda x: x * scale)
    ]
    for figure in figures:
        assert "10 % apart" in figure.get_suptitle() and "normal" in figure.alt
        (arrows,) = [c for c in figure.axes[1].collections if isinstance(c, Quiver)]
        x = torch.tensor(np.stack([arrows.X, arrows.Y], axis=1)).float() * scale
        drawn = torch.tensor(np.stack([arrows.U, arrows.V], axis=1)).float()
        assert torch.allclose(torch.cosine_similarity(x, drawn), torch.ones(len(x)), atol=1e-5)
        assert torch.allclose(drawn.norm(dim=1), x.norm(dim=1).sqrt(), atol=1e-5)
    assert to_png(figures[0]) == to_png(figures[1])


def test_a_field_of_another_shape_or_an_empty_extent_is_refused():
    with pytest.raises(PieceError, match="extent"):
        plots.score_field_2d(lambda x: x, lambda x: x, (1, 1, 0, 1), dataset="normal")
    with pytest.raises(PieceError, match="learned must give one vector"):
        plots.score_field_2d(lambda x: x[:, :1], lambda x: x, (0, 1, 0, 1), dataset="normal")
    with pytest.raises(PieceError, match=r"\(H, W, 2\)"):
        plots.score_field_2d(torch.zeros(5, 5), lambda x: x, (0, 1, 0, 1), dataset="normal")
    figure = plots.score_field_2d(lambda x: x / 0, lambda x: x, (0, 1, 0, 1), dataset="normal")
    assert "324 of 324 points" in figure.alt
    to_png(figure)


def test_a_saved_figure_is_a_png_with_its_alternative_text(tmp_path):
    figure = plots.loss_curve([1.0, 0.5], dataset="numbers α")
    path = plots.save(figure, tmp_path / "new" / "folder" / "loss.png")
    with Image.open(path) as png:
        assert png.format == "PNG" and png.width > 800 and png.text["Description"] == figure.alt
    assert [file.name for file in path.parent.iterdir()] == ["loss.png"]
    assert plots.save(figure, str(path)).read_bytes() == to_png(figure)


@pytest.mark.parametrize("broken", ["draw", "write", "replace"])
def test_a_failure_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch, broken):
    figure = plots.loss_curve([1.0, 0.5], dataset="numbers")
    path = plots.save(figure, tmp_path / "loss.png")
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("no space left")

    def half(self, data):
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        fail()

    if broken == "draw":
        monkeypatch.setattr(figure, "savefig", fail)
    elif broken == "write":
        monkeypatch.setattr("pathlib.Path.write_bytes", half)
    else:
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        plots.save(figure, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["loss.png"]


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(PieceError, match=r"\.png, not 'loss\.svg'"):
        plots.save(plots.loss_curve([1.0], dataset="numbers"), tmp_path / "loss.svg")
    assert not list(tmp_path.iterdir())
