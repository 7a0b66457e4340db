"""Every figure of every kind can be drawn, says what it shows, and refuses what it cannot show."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from plot_examples import SHAPES, example, texts

from diffusion_lab import plots
from diffusion_lab.errors import PieceError
from diffusion_lab.plots.figure import to_png

pytestmark = pytest.mark.filterwarnings("error")
NAME = "made-up data ($5, 日本)"  # neither a formula nor a character that the font lacks may hurt
LEVELS = [0.1, 0.9]


def compare(name: str, count: int, others: int, fault: float | None = None, **options) -> plots.LabFigure:
    data, samples = example(name, count), example(name, others, seed=1)
    if fault is not None:
        samples.x.flatten()[:2] = fault
    return plots.data_against_samples(data.kind, data.x, samples.x, dataset=NAME, info=data.info, **options)


def travel(name: str, steps: int, count: int, fault: float | None = None) -> plots.LabFigure:
    states = example(name, steps, count)
    if fault is not None:
        states.x[-1] = fault
    return plots.trajectory(states.kind, states.x, torch.linspace(1, 0, steps), dataset=NAME, info=states.info)


def denoise(name: str, count: int, exact: bool, fault: float | None = None) -> plots.LabFigure:
    clean, noisy, learned, best = (example(name, 2, count, seed=seed) for seed in range(4))
    if fault is not None:
        learned.x[1] = fault
    return plots.denoising(
        clean.kind,
        list(clean.x),
        noisy.x,
        learned.x,
        best.x if exact else None,
        LEVELS,
        dataset=NAME,
        scores={"error": [0.125, 1e-5]},
        info=clean.info,
    )


def check(figure: plots.LabFigure, drawn: bool = True) -> None:
    assert NAME in figure.alt and len(figure.alt) > len(NAME) + 40 and "  " not in figure.alt
    assert any(character.isdigit() for character in figure.alt.replace(NAME, ""))
    assert "made-up data" in figure.get_suptitle()
    assert not drawn or to_png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", SHAPES)
def test_each_figure_is_drawn_and_described(name):
    for figure in (compare(name, 3, 2), travel(name, 3, 3), denoise(name, 2, exact=True)):
        check(figure)


@pytest.mark.parametrize("name", SHAPES)
def test_every_kind_is_drawn_beside_another_answer(name):
    mine, theirs = (example(name, 3, seed=seed) for seed in (0, 1))
    views = [plots.Items(one.kind, one.x, one.info) for one in (mine, theirs)]
    figure = plots.beside([(*views, None)], title="what is drawn")
    assert to_png(figure).startswith(b"\x89PNG") and "Yours: 3 " in figure.alt


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("drawn", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_one_item_one_state_and_no_exact_answer_will_do(name, drawn):
    """They are made; larger ones of every kind are drawn too, and these at night."""
    for figure in (compare(name, 1, 1), travel(name, 1, 1), denoise(name, 1, exact=False)):
        check(figure, drawn)


@pytest.mark.parametrize(
    ("name", "fault"),
    [(name, torch.nan) for name in SHAPES if name != "board"] + [("line", torch.inf), ("rgb", -torch.inf)],
)
def test_values_that_are_not_finite_are_counted_in_the_figure(name, fault):
    figures = compare(name, 4, 3, fault), travel(name, 3, 2, fault), denoise(name, 2, exact=True, fault=fault)
    size = example(name, 2).x.numel()
    for figure, count in zip(figures, (2, size, size), strict=True):
        warning = f"{count} of "
        assert warning in figure.alt and "not finite" in figure.alt
        assert any(warning in text and "not finite" in text.replace("\n", " ") for text in texts(figure))


@pytest.mark.parametrize("name", ["line", "plane", "grey", "audio"])
def test_a_figure_of_nothing_finite_is_still_a_figure(name):
    nothing = torch.full_like(example(name, 4).x, torch.nan)
    case = example(name, 4)
    figure = plots.data_against_samples(case.kind, nothing, nothing, dataset=NAME, info=case.info)
    assert f"{nothing.numel()} of {nothing.numel()} values of samples are not finite" in figure.alt
    to_png(figure)
    check(plots.trajectory(case.kind, nothing[None], [1.0], dataset=NAME, info=case.info))


@pytest.mark.parametrize("draw", ["data_against_samples", "trajectory", "denoising"])
def test_an_unknown_kind_is_refused_with_the_kinds_there_are(draw):
    x = torch.zeros(2, 3, 4)
    arguments = {"data_against_samples": (x, x), "trajectory": (x, [1, 0]), "denoising": (x, x, x, x, [0, 1])}[draw]
    with pytest.raises(PieceError) as error:
        getattr(plots, draw)("video", *arguments, dataset=NAME)
    for kind in ("'video'", "points", "cloud", "image", "audio", "leads", "words", "phrases", "board"):
        assert kind in str(error.value)


@pytest.mark.parametrize(
    ("kind", "shape", "says"),
    [
        ("points", (4,), r"\(N, D\)"),
        ("points", (0, 2), "none of them 0"),
        ("image", (4, 2, 8, 8), "1 channel"),
        ("image", (4, 8, 8), r"\(N, C, H, W\)"),
        ("audio", (4, 2, 100), "1 channel"),
        ("audio", (4, 1, 3), "too short"),
        ("board", (4, 8), "square"),
        ("phrases", (4, 5), r"\(N, L, D\)"),
    ],
)
def test_a_wrong_shape_is_refused(kind, shape, says):
    x = torch.zeros(shape)
    with pytest.raises(PieceError, match=says):
        plots.data_against_samples(kind, x, x, dataset=NAME, info={"sample_rate": 8000})


def test_what_disagrees_or_is_missing_is_named():
    x = torch.zeros(3, 2)
    with pytest.raises(PieceError, match="agree in shape"):
        plots.data_against_samples("points", x, torch.zeros(3, 1), dataset=NAME)
    with pytest.raises(PieceError, match="times has 2 entries, but there are 3 states"):
        plots.trajectory("points", torch.zeros(3, 4, 2), [1, 0], dataset=NAME)
    levels = torch.zeros(2, 3, 2)
    with pytest.raises(PieceError, match="clean and learned"):
        plots.denoising("points", levels, levels, torch.zeros(2, 4, 2), None, [0, 1], dataset=NAME)
    with pytest.raises(PieceError, match="'MSE'"):
        plots.denoising("points", levels, levels, levels, None, [0, 1], dataset=NAME, scores={"MSE": [1.0]})
    with pytest.raises(PieceError, match="sample_rate"):
        plots.data_against_samples("audio", torch.zeros(1, 1, 99), torch.zeros(1, 1, 99), dataset=NAME)
    with pytest.raises(PieceError, match="vectors"):
        plots.data_against_samples("words", x, x, dataset=NAME)
    with pytest.raises(PieceError, match="legal"):
        boards = torch.zeros(3, 9, dtype=torch.long)
        plots.data_against_samples("board", boards, boards, dataset=NAME, info={"legal": [True]})
    with pytest.raises(PieceError, match="0 to 2"):
        plots.data_against_samples("board", boards, boards + 4, dataset=NAME)


def test_inputs_are_left_alone_and_gradients_are_no_obstacle():
    x = example("plane", 20).x.requires_grad_()
    before = x.detach().clone()
    plots.data_against_samples(
        "points", x, x.double(), dataset=NAME, density=lambda grid: grid.square().sum(1) * x.sum()
    )
    assert torch.equal(x, before)


def test_the_title_given_still_names_the_data():
    figure = compare("plane", 9, 9, title="After 10 steps")
    assert figure.get_suptitle().startswith("After 10 steps: made-up data")


def test_no_figure_is_left_open_and_the_settings_of_matplotlib_stay():
    # In a fresh interpreter, for another test may have imported pyplot.
    code = """
import sys, matplotlib, torch
before = dict(matplotlib.rcParams)
from diffusion_lab import plots
figure = plots.data_against_samples("points", torch.zeros(3, 2), torch.ones(4, 2), dataset="zeros")
assert figure._repr_png_().startswith(b"\\x89PNG")
assert dict(matplotlib.rcParams) == before
assert "matplotlib.pyplot" not in sys.modules
import matplotlib.pyplot as plt
assert plt.get_fignums() == []
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
