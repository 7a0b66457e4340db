"""Whose notebook it is, by its own cells; and `check`, which looks for the same bug as the notebook."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffusion_lab.cli import app
from diffusion_lab.exercises.bugs import bug_task
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading.notebook import load
from diffusion_lab.grading.notebook.naming import MOST_TYPED, typed
from diffusion_lab.grading.notebook.statements import statements

TASK = bug_task("text")
RELEASE = Path(__file__).resolve().parents[2] / "exercises" / "09_text_lab" / "09_text_lab.ipynb"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("student = 'ada'", {"student": "ada"}),
        ("student = ' ada '\nstudent = 'ben'  # the last one", {"student": "ben"}),
        ("lab = start('text_lab', globals(), student=student, course='01ab')", {"course": "01ab"}),
        ("lab = start('text_lab', globals(), student='ada', course='')", {"student": "ada", "course": ""}),
        ("student = 'a' + 'da'", {}),
        ("student = 3", {}),
        ("def f():\n    student = 'ada'", {}),
        ("students = 'ada'", {}),
        (f"student = '{'a' * 5000}'", {"student": "a" * MOST_TYPED}),  # which no owner may have
    ],
)
def test_what_a_notebook_says_of_its_owner(code, said):
    assert typed(statements(code)) == said


def written(tmp_path, name, course=""):
    document = json.loads(RELEASE.read_text(encoding="utf-8"))
    for cell in document["cells"]:
        if cell["id"] == "student":
            cell["source"] = f"student = {name!r}"
        elif cell["id"] == TASK.name:
            cell["source"] = inspect.getsource(TASK.reference)
        elif cell["id"] == "set-up":
            cell["source"] = "".join(cell["source"]).replace('course=""', f'course="{course}"')
    file = tmp_path / "09_text_lab.ipynb"
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def checked(file):
    return " ".join(CliRunner().invoke(app, ["check", str(file)]).output.split())


def test_check_takes_the_name_and_the_course_from_the_notebook(tmp_path):
    assert load(written(tmp_path, "ada", "01ab")).owner == Owner("ada", "01ab")
    assert f"{TASK.name}: 6 of 6 points" in checked(written(tmp_path, "ada"))
    assert "you will read when marks are given" in checked(written(tmp_path, "ada", "01ab"))
    assert "drawn for you, from your name, and the file does not say it" in checked(written(tmp_path, ""))
    assert "at most 200 characters" in checked(written(tmp_path, "a" * 300))
