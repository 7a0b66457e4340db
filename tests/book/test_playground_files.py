"""What the playground is made of: its scripts, its forms, and the files of the networks."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from book_source import BOOK, chapter_page
from bs4 import BeautifulSoup
from extension import playground
from extension.browser_networks import POINTS, packed, parts_of, settings_of

from diffusion_lab import schedules, times
from diffusion_lab.errors import PieceError
from diffusion_lab.exact import FiniteSet

FORMS = sorted((BOOK / "extension").glob("playground_*.html"))


def test_every_script_is_loaded():
    assert sorted(playground.SCRIPTS) == sorted(file.stem for file in (BOOK / "assets" / "playground").glob("*.js"))


@pytest.mark.parametrize("lab", playground.NEEDS)
def test_a_playground_loads_all_that_it_uses(lab: str):
    folder = BOOK / "assets" / "playground"
    code = "\n".join((folder / f"{name}.js").read_text(encoding="utf-8") for name in playground.NEEDS[lab])
    given = set(re.findall(r"^  lab\.(\w+) = ", code, re.MULTILINE))
    for names in re.findall(r"Object\.assign\(lab, \{([^}]*)\}\)", code):
        given |= set(re.findall(r"\w+", names))
    assert set(re.findall(r"\blab\.([a-zA-Z]\w*)", code)) <= given


@pytest.mark.parametrize("chapter", POINTS)
def test_a_chapter_of_points_runs_its_own_network(chapter: str):
    found = [body for name, _, body in chapter_page(chapter).directives if name == "playground"]
    assert found == [f":network: {chapter}"]


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.stem)
def test_every_control_has_a_label_and_every_slider_says_where_it_stands(file):
    form = BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")
    controls = {control["id"] for control in form.select("input, select")}
    assert controls == {label["for"] for label in form.select("label")}
    # An output may be for more than one control, so its attribute is a list.
    told = {name for output in form.select("output") for name in output["for"]}
    assert told == {slider["id"] for slider in form.select("input")}
    assert form.select_one("[role=status]") and all(canvas.get("aria-label") for canvas in form.select("canvas"))


@pytest.mark.parametrize(("weights", "precision"), [([1.5, -0.25, 0.0], "float16"), ([0.1, -7.3, 1e-6], "float32")])
def test_weights_are_packed_without_loss(weights: list[float], precision: str):
    tensors = [torch.tensor(weights[:2]).reshape(2, 1), torch.tensor(weights[2:])]
    chosen, text = packed(tensors)
    assert chosen == precision
    found = np.frombuffer(base64.b64decode(text), dtype={"float16": "<f2", "float32": "<f4"}[precision])
    assert found.astype(np.float32).tolist() == torch.tensor(weights).tolist()


def test_what_the_page_has_no_code_for_is_refused():
    schedule = replace(schedules.flow(), spacing=times.shifted_spacing(3.0))
    with pytest.raises(PieceError, match="no code for the spacing of schedule 'flow'"):
        settings_of(schedule)
    with pytest.raises(PieceError, match="no code for this truth: FiniteSet"):
        parts_of(FiniteSet(torch.zeros(3, 1, 4, 4)))
