"""The slider: its pictures, its words, and HTML that needs nothing beside it. tests/book moves it in a browser."""

from __future__ import annotations

import base64
import json
from io import BytesIO

import matplotlib
import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image, ImageChops, ImageStat

from diffusion_lab.errors import PieceError
from diffusion_lab.plots import Slider
from diffusion_lab.plots.figure import DPI, finish, new_figure, styled
from diffusion_lab.plots.style import RC


@styled
def drawn(power: int, width: float = 6, alt: str = "A curve that rises to the power of {}"):
    figure = new_figure(width, 3)
    # The labels of the axis change their width from figure to figure.
    figure.subplots().plot([0, 1, 2, 3], [value**power for value in range(4)])
    return finish(figure, f"x to the power of {power}", alt.format(power))


@pytest.fixture(scope="module")
def slider() -> Slider:
    return Slider([drawn(power) for power in (1, 2, 7)], ["p = 1", "p = 2", 'p < "8"'], "power </script>", start=1)


def test_its_pictures_are_webp_of_one_size(slider: Slider):
    pictures = [Image.open(BytesIO(frame)) for frame in slider.frames]
    assert {(picture.format, picture.size) for picture in pictures} == {("WEBP", (720, 360))}
    assert len({picture.tobytes() for picture in pictures}) == 3


@styled
def shaded():
    figure = new_figure(6, 3)
    figure.subplots().imshow(np.random.default_rng(0).random((30, 60)), interpolation="bicubic")
    return finish(figure, "Clouds", "Soft clouds")


def test_a_frame_is_what_matplotlib_saves_and_exact_where_that_is_smaller():
    def saved(figure) -> Image.Image:
        file = BytesIO()
        with matplotlib.rc_context(RC):
            figure.savefig(file, format="png", dpi=DPI)
        return Image.open(file).convert("RGB")

    flat, soft = saved(drawn(2)), saved(shaded())
    frames = Slider([drawn(2), shaded()], ["flat", "soft"], "kind").frames
    exact, close = (Image.open(BytesIO(frame)).convert("RGB") for frame in frames)
    assert exact.tobytes() == flat.tobytes()
    assert close.tobytes() != soft.tobytes()
    assert max(ImageStat.Stat(ImageChops.difference(close, soft)).mean) < 4  # of 255
    file = BytesIO()
    soft.save(file, format="WEBP", lossless=True, method=6)
    assert len(frames[1]) < file.tell()


def test_its_page_is_whole_and_starts_where_it_should(slider: Slider):
    text = slider._repr_html_()
    page = BeautifulSoup(text, "html.parser")
    assert "http" not in text and not page.find_all("link") and not page.find_all("script", src=True)
    control, picture, said = page.find("input"), page.find("img"), page.find("output")
    assert control["type"] == "range" and (control["min"], control["max"], control["value"]) == ("0", "2", "1")
    assert page.find("label")["for"] == control["id"] and said["for"] == [control["id"]]
    assert page.find("label").get_text() == "power </script>"
    assert said.get_text() == control["aria-valuetext"] == "p = 2"
    assert picture["alt"] == "A curve that rises to the power of 2"
    assert base64.b64decode(picture["src"].partition(",")[2]) == slider.frames[1]


def test_it_carries_every_frame_with_its_words(slider: Slider):
    page = BeautifulSoup(slider._repr_html_(), "html.parser")
    frames = json.loads(page.find("script", type="application/json").string)
    assert [frame["value"] for frame in frames] == ["p = 1", "p = 2", 'p < "8"']
    assert [frame["alt"] for frame in frames] == slider.alts
    assert [base64.b64decode(frame["src"].partition(",")[2]) for frame in frames] == slider.frames


def test_two_on_a_page_have_names_of_their_own(slider: Slider):
    names = [BeautifulSoup(slider._repr_html_(), "html.parser").find("figure")["id"] for _ in range(2)]
    assert names[0] != names[1]


@pytest.mark.parametrize(
    ("figures", "values", "start", "words"),
    [
        ([drawn(1)], ["1"], 0, "2 to 64 figures, not 1"),
        ([drawn(1), drawn(2)], ["1"], 0, "2 figures need as many values, not 1"),
        ([drawn(1), drawn(2, width=7)], ["1", "2"], 0, "one size"),
        ([drawn(1), drawn(2, alt="")], ["1", "second"], 0, "missing at 'second'"),
        ([drawn(1), drawn(2)], ["1", "2"], 2, "0 to 1, not 2"),
    ],
)
def test_what_does_not_fit_is_refused(figures: list, values: list[str], start: int, words: str):
    with pytest.raises(PieceError, match=words):
        Slider(figures, values, "power", start)
