"""Cells that a student has added: what they define counts, and the course's own calls in them do no harm."""

from __future__ import annotations

import json

import pytest
from handed_in import CHAPTER, cell, filled, right

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.marking import mark
from diffusion_lab.grading.classroom.submission import parsed

NAME = notebook(CHAPTER).exercises[1].name
SOURCE = right()[NAME]
OWN = [
    "HALF = 0.5\nlab.show()\ndef start(x):\n    return x\n",
    "from diffusion_lab.grading import start\nlab = start('normal_1d', globals())\nHALF = 0.5\npoints = lab.check(1)\n"
    "def start(x):\n    return x\n",
]


@pytest.mark.parametrize("own", OWN)
def test_what_stands_beside_the_courses_own_calls_counts(own: str, sandbox):
    leaning = SOURCE.replace("    return ", "    assert start(HALF) == 0.5\n    return ", 1)
    assert leaning != SOURCE
    document = filled(right() | {NAME: leaning})
    place = document["cells"].index(cell(document, NAME))
    document["cells"].insert(place, {"cell_type": "code", "source": own, "metadata": {}})
    intake = parsed(json.dumps(document).encode(), notebook(CHAPTER))
    assert not intake.notes
    marked = mark(sandbox, notebook(CHAPTER), intake, seed=1)
    assert all(verdict.passed for verdict in marked.verdicts) and not marked.notes


def test_cells_of_the_release_that_only_call_the_course_are_left_out():
    intake = parsed(json.dumps(filled(right())).encode(), notebook(CHAPTER))
    assert not intake.notes
    assert [cell.text for cell in intake.own] == ["import torch", "from torch import Tensor, nn"]
    assert [cell.gives for cell in intake.order if cell.gives] == [(item.name,) for item in notebook(CHAPTER).exercises]
