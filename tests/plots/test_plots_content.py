"""What the figures show is the data: numbers in them against numpy, scikit-learn and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import to_hex, to_rgb
from plot_examples import VOCABULARY, example, texts
from sklearn.decomposition import PCA

from diffusion_lab import plots
from diffusion_lab.plots import audio, image, space
from diffusion_lab.plots.style import FAULT

pytestmark = pytest.mark.filterwarnings("error")


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def test_histograms_are_densities_beside_the_exact_one():
    figure = plots.data_against_samples(
        "points",
        normal(4000, 1),
        2 * normal(3000, 1),
        dataset="normal",
        density=lambda grid: torch.exp(-(grid[:, 0] ** 2)),
    )
    (axes,) = figure.axes
    for stairs, inside in zip(axes.patches, (1.0, 0.99), strict=True):
        heights, edges, _ = stairs.get_data()
        assert (heights * np.diff(edges)).sum() == pytest.approx(inside, abs=0.012)
    (curve,) = axes.lines
    assert np.allclose(curve.get_ydata(), np.exp(-(curve.get_xdata() ** 2)), atol=1e-6)


def test_the_alternative_text_gives_the_moments():
    x = torch.tensor([[1.0], [2.0], [6.0]])
    alt = plots.data_against_samples("points", x, x + 10, dataset="three numbers").alt
    assert f"mean 3, standard deviation {np.std([1, 2, 6]):.3g}" in alt and "mean 13" in alt


def test_covariances_and_principal_axes():
    data = normal(300, 4) @ torch.tensor([[2.0, 0, 0, 1], [0, 1, 0.5, 0], [0, 0, 0.3, 0], [0, 0, 0, 0.1]])
    figure = plots.data_against_samples("points", data, data[:50], dataset="normal")
    pictures = [np.asarray(ax.images[0].get_array()) for ax in figure.axes[:2]]
    for picture, x in zip(pictures, (data, data[:50]), strict=True):
        assert np.allclose(picture, np.cov(x.numpy().T), atol=1e-5)
    axes = space.principal_axes(data)[1].numpy()
    assert np.allclose(np.abs(axes.T @ PCA(2).fit(data.numpy()).components_.T), np.eye(2), atol=1e-4)


def test_points_outside_the_panel_are_counted():
    samples = normal(200, 2).clamp(-1, 1)
    samples[:7] = 50.0
    figure = plots.data_against_samples("points", normal(500, 2), samples, dataset="normal")
    assert "7 outside" in figure.axes[1].get_title()


def test_clouds_stand_in_squares_of_their_own_to_the_scale_of_the_second_answer():
    theirs = torch.rand(4, 50, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mine = theirs.clone()
    mine[1] += 100.0  # far outside of its square, and in nobody else's
    views = [plots.Items("cloud", one) for one in (mine, theirs)]
    panels = plots.beside([(*views, None)], title="clouds").axes
    assert panels[0].get_xlim() == panels[1].get_xlim() and panels[0].get_ylim() == panels[1].get_ylim()
    (low, high), (bottom, top) = panels[1].get_xlim(), panels[1].get_ylim()
    places = panels[1].collections[0].get_offsets()
    assert len(places) > 0.9 * 200
    squares = [((x > (low + high) / 2) + 2 * (y < (bottom + top) / 2)) for x, y in places]
    kept = panels[0].collections[0].get_offsets()
    assert np.bincount(squares, minlength=4).min() > 45 and len(kept) == len(places) - squares.count(1)
    assert "50 of 200 outside" in [text.get_text() for text in panels[0].texts]


def test_images_lie_in_rows_and_what_is_not_finite_has_the_colour_of_a_fault():
    images = torch.linspace(-1, 1, 5)[:, None, None, None].expand(5, 1, 10, 10).clone()
    images[4, 0, 0, 0] = torch.nan
    page = image.tile(images, 3)  # (10 + 1 + 10, 3 * 10 + 2, 3)
    assert page.shape == (21, 32, 3)
    assert [round(page[5, 5 + 11 * i, 0].item(), 3) for i in range(3)] == [0, 0.25, 0.5]
    assert [round(page[16, 5 + 11 * i, 0].item(), 3) for i in range(3)] == [0.75, 1, 1]
    assert page[11, 11].tolist() == pytest.approx(to_rgb(FAULT))
    assert image.tile(torch.full((1, 3, 4, 4), 9.0), 1).max() == 1  # clipped, not scaled


def test_images_are_ordered_by_class():
    values = torch.tensor([0.9, -0.9, 0.0, 0.4])
    labels = torch.tensor([3, 0, 1, 2])
    images = values[:, None, None, None].expand(4, 1, 8, 8)
    figure = plots.data_against_samples("image", images, images, dataset="squares", info={"data_labels": labels})
    shown = [np.asarray(ax.images[0].get_array()) for ax in figure.axes]  # two by two, a gap of 1
    corners = [[picture[row, column, 0] * 2 - 1 for row in (0, 9) for column in (0, 9)] for picture in shown]
    assert corners[0] == pytest.approx([-0.9, 0.0, 0.4, 0.9], abs=1e-6)
    assert corners[1] == pytest.approx(values.tolist(), abs=1e-6)


def test_a_sine_stands_at_its_frequency_and_level():
    rate, frequency, amplitude = 8000, 1250.0, 0.1
    wave = amplitude * torch.sin(2 * math.pi * frequency * torch.arange(4096) / rate)
    decibels = audio.log_spectrogram(wave)
    middle = decibels[:, decibels.shape[1] // 2]
    assert middle.argmax().item() * rate / 256 == frequency
    assert middle.max().item() == pytest.approx(20 * math.log10(amplitude), abs=0.05)


def test_text_is_read_as_its_nearest_words_without_padding():
    case = example("phrases", 1)
    vectors = case.info["vectors"]
    phrase = torch.stack([vectors[1], vectors[2] + 0.01, vectors[3], torch.zeros(7)])
    figure = plots.data_against_samples("phrases", phrase[None], ["old dogs ran"], dataset="text", info=case.info)
    assert "cat sat on" in texts(figure) and "old dogs ran" in texts(figure)
    assert "“cat sat on”" in figure.alt


def test_wrong_words_are_counted_and_red():
    case = example("words", 1)
    clean = case.info["vectors"][:3].expand(2, 3, 7)
    learned = clean.clone()
    learned[1, 2] = case.info["vectors"][7]
    figure = plots.denoising("words", clean, clean, learned, clean, ["low", "high"], dataset="words", info=case.info)
    assert "0 of 6 noisy, 1 of 6 learned, 0 of 6 exact" in figure.alt
    red = [text.get_text() for ax in figure.axes for text in ax.texts if to_hex(text.get_color()) == FAULT.lower()]
    assert red == [VOCABULARY[7]]


def test_words_are_coloured_once_they_are_what_they_end_as():
    states = [["the dog sat"], ["the cat ran"], ["the cat sat"]]
    figure = plots.trajectory("phrases", states, [1, 0.5, 0], dataset="strings")
    words = [text for text in figure.axes[0].texts if text.get_text() and not text.get_text().startswith("t =")]
    final = to_hex(words[-1].get_color())
    assert [text.get_text() for text in words if to_hex(text.get_color()) != final] == ["dog", "ran"]


@pytest.mark.parametrize(("name", "shown"), [("grey", "64 of 70"), ("board", "36 of 70"), ("phrases", "12 of 70")])
def test_of_many_items_some_are_shown_and_the_title_says_how_many(name, shown):
    data = example(name, 70)
    figure = plots.data_against_samples(data.kind, data.x, data.x[:37], dataset="much", info=data.info)
    assert shown in figure.axes[0].get_title() + figure.axes[0].get_title(loc="left")


def collections(axes, kind):
    return [len(c.get_paths()) for c in axes.collections if isinstance(c, kind)]


def test_boards_have_their_marks_and_illegal_ones_an_outline():
    boards = torch.tensor([[1, 1, 2, 0, 0, 0, 0, 0, 3], [2, 2, 2, 0, 1, 0, 0, 0, 0]])
    figure = plots.data_against_samples("board", boards, boards, dataset="games", info={"legal": [True, False]})
    data, samples = figure.axes
    lines, crosses, circles = collections(samples, LineCollection)
    assert (lines, crosses, circles) == (2 * 8, 2 * 3, 4)  # a cross is two strokes
    assert collections(samples, PatchCollection) == [0, 1] and collections(data, PatchCollection) == [0, 0]
    assert [text.get_text() for text in samples.texts] == ["?"]
    assert "1 illegal" in samples.get_title() and "1 of them illegal" in figure.alt


def test_cells_that_differ_from_the_clean_board_are_shaded():
    clean = torch.zeros(1, 2, 9, dtype=torch.long)
    learned = clean.clone()
    learned[0, 1, 4] = 2
    figure = plots.denoising("board", clean, clean, learned, None, [0.5], dataset="games")
    assert [collections(ax, PatchCollection)[0] for ax in figure.axes] == [0, 0, 1]
    assert "0 % noisy, 5.56 % learned" in figure.alt


def test_other_games_bring_their_own_symbols():
    figure = plots.data_against_samples(
        "board", torch.tensor([[0, 1, 2, 0]]), torch.tensor([[3, 3, 3, 3]]), dataset="chess", info={"symbols": " ♔♟"}
    )
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [["♔", "♟"], ["?"] * 4]
