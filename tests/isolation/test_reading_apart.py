"""A submission is read in a process of its own, and says there what it says here; what ends that process is refused."""

from __future__ import annotations

import json

import pytest
from handed_in import CHAPTER, cell, filled, right
from odd_notebooks import ODD

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.submission import IntakeError, parsed
from diffusion_lab.grading.notebook import apart
from diffusion_lab.grading.notebook.documents import of_notebook
from diffusion_lab.grading.notebook.intake import take_in

NAMES = [exercise.name for exercise in notebook(CHAPTER).exercises]


@pytest.mark.parametrize("name", ["split, helper first", "not there", "no Python", "a wrong attempt above", "format 3"])
def test_it_says_the_same(name: str):
    data = json.dumps(ODD[name].document).encode()
    assert apart.take_in_apart(data, NAMES) == (take_in(of_notebook(data), NAMES), CHAPTER)


HOSTILE = {
    "ends the parser": "alpha_bar = [x " + "for x in y " * 80_000 + "]",
    "takes its time": "alpha_bar = a" + " < b" * 250_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("case", HOSTILE)
def test_what_cannot_be_read_is_refused(case: str):
    document = filled(right())
    cell(document, "alpha_bar")["source"] = HOSTILE[case]
    with pytest.raises(IntakeError, match="than anybody"):
        parsed(json.dumps(document).encode(), notebook(CHAPTER))


def test_a_reader_that_ends_is_a_refusal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(apart.sys, "executable", "/bin/false")
    with pytest.raises(IntakeError, match="than anybody"):
        parsed(json.dumps(filled(right())).encode(), notebook(CHAPTER))
