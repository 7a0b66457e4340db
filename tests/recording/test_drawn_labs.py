"""What is drawn for each student: the course's text in releases, names in notebooks, and the class report's bugs."""

from __future__ import annotations

import copy
import shutil

import nbformat
import pytest
from recorded_course import ROOT, result
from typer.testing import CliRunner

from diffusion_lab.cli import app
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.bugs import EVIDENCE, IDEA, PIECE, bug_task
from diffusion_lab.exercises.owner import Owner, course_text
from diffusion_lab.grading.classroom.gradebook import drawn_from
from diffusion_lab.grading.classroom.gradebook.inscription import inscribed
from diffusion_lab.grading.classroom.gradebook.rebuilding import named, rebuilt
from diffusion_lab.grading.classroom.gradebook.recording import Book
from diffusion_lab.grading.classroom.gradebook.verdict_notebook import rebuilt as with_verdicts
from diffusion_lab.grading.classroom.records import name_fault
from diffusion_lab.grading.classroom.reports.class_report import page
from diffusion_lab.grading.classroom.result import Result, without_marks
from diffusion_lab.grading.notebook.authoring import CONFIGURATION, path_of

LAB, NAME = "normal_2d_lab", "02_normal_2d_lab"
TASK = bug_task(LAB)


@pytest.fixture
def course(tmp_path):
    (tmp_path / "solutions" / NAME).mkdir(parents=True)
    shutil.copy(ROOT / CONFIGURATION, tmp_path)
    shutil.copy(ROOT / "solutions" / path_of(LAB), tmp_path / "solutions" / NAME)
    for name in ("one", "other"):
        (tmp_path / f"{name}.txt").write_text(f"{name} secret\n")
    return tmp_path


def run(course, *words):
    return CliRunner().invoke(app, [*words, "--course", str(course)])


def released(course):
    return nbformat.read(course / "exercises" / path_of(LAB), as_version=4)


@pytest.mark.slow
def test_a_release_holds_what_its_students_bugs_are_drawn_from(course):
    secret = ("--secret-file", str(course / "one.txt"))
    assert run(course, "release", LAB, *secret).exit_code == 0
    text = inscribed(released(course))
    assert text == course_text("one secret") == drawn_from(course, LAB) and "one secret" not in str(released(course))
    assert not any("find_bug" in cell.source and "found.append" in cell.source for cell in released(course).cells)
    # A new gradebook, for which nbgrader makes the release again, and a release without a secret keep it.
    (course / "gradebook.db").unlink()
    Book(course, LAB).prepare()
    assert inscribed(released(course)) == text
    assert "another secret" not in run(course, "release", LAB).output and inscribed(released(course)) == text
    with Book(course, LAB).gradebook() as gradebook:  # what nbgrader's own autograding puts back
        assert text in gradebook.find_source_cell("set-up", NAME, NAME).source

    (course / "submitted" / "ada" / NAME).mkdir(parents=True)
    refused = run(course, "grade", LAB, "--secret-file", str(course / "other.txt"))
    assert refused.exit_code == 2 and "made with another secret" in " ".join(refused.output.split())
    assert not (course / ".diffusion-lab" / "grading").exists() and not (course / "grades.csv").exists()
    changed = run(course, "release", LAB, "--secret-file", str(course / "other.txt"))
    assert "another secret" in changed.output and drawn_from(course, LAB, "other secret") != text


@pytest.mark.slow
def test_without_a_secret_a_release_draws_one_and_a_source_without_a_place_is_refused(course):
    assert run(course, "release", LAB).exit_code == 0
    assert len(inscribed(released(course))) == 16
    source = course / "solutions" / path_of(LAB)
    source.write_text(source.read_text(encoding="utf-8").replace(', course=\\"\\"', ""), encoding="utf-8")
    refused = run(course, "release", LAB)
    assert refused.exit_code == 2 and 'does not say course=""' in " ".join(refused.output.split())
    with pytest.raises(LabError, match="no release"):
        drawn_from(course / "elsewhere", LAB, "one secret")
    assert drawn_from(course / "elsewhere", LAB) == "" and drawn_from(course, "normal_2d", "any") == ""


def test_nbgraders_own_way_takes_the_folders_name_too():
    release = nbformat.read(ROOT / "exercises" / path_of(LAB), as_version=4)
    submission = copy.deepcopy(release)
    for cell in submission.cells:
        if cell.id == "student":
            cell.source = "student = 'eve'"
    document = named(rebuilt(release, submission), "o'hara")
    space: dict = {}
    for cell in document.cells:
        if cell.source.startswith("student = "):
            exec(cell.source, space)
    assert space["student"] == "o'hara"


@pytest.mark.parametrize("name", ["ada", "Zoë O’Hara", "علی‌رضا", "x" * 200, "名前", "a.b@c-d_e (2)"])
def test_every_name_that_a_folder_may_have_has_a_bug(name):
    assert name_fault(name) == ""
    assert TASK.drawn_for(Owner(name, "x")).bug in TASK.bugs


def came(student, course="c", **parts):
    items = list(without_marks(notebook(LAB), "not there"))
    place = next(i for i, item in enumerate(items) if item["name"] == TASK.name)
    if parts:
        points = {PIECE: [parts["piece"], 2], IDEA: [parts["idea"], 2], EVIDENCE: [parts["evidence"], 2]}
        items[place] = items[place] | {"state": "failed", "parts": points}
    return Result(**result(student, tuple(items)).as_dict() | {"chapter": LAB, "course": course, "exercises": items})


def test_the_class_report_says_who_had_which_bug_and_who_found_it():
    class_ = [
        came("ada", piece=2, idea=2, evidence=2),
        came("ben", piece=2, idea=2, evidence=0),
        came("cy", piece=2, idea=0, evidence=0),
        came("<b>dee", piece=0, idea=0, evidence=0),
        came("eve"),
    ]
    told = page(LAB, class_)
    assert "5 students had" in told and "<b>dee" not in told and "&lt;b&gt;dee looked elsewhere" in told
    for one, words in (("ada", "found it and proved it"), ("cy", "found the piece only"), ("eve", "gave no answer")):
        bug = TASK.drawn_for(Owner(one, "c")).bug
        line = next(line for line in told.splitlines() if f"{one} {words}" in line)
        assert f"<code>{bug.piece}</code>" in line
    assert "ben named it, and the number does not show it" in told


def test_feedback_has_the_name_that_counts_and_not_the_courses_own_cells():
    release = nbformat.read(ROOT / "exercises" / path_of(LAB), as_version=4)
    pages = ("student = 'eve'", "bug = lab.hunt()\nbug.show()", "mine = 3")
    document = with_verdicts(release, Result(**came("ada").as_dict() | {"pages": pages}))
    own = [cell.source for cell in document.cells if cell.metadata.get("diffusion_lab") == "own"]
    assert own == ["student = 'eve'", "mine = 3"]
    assert any(cell.source == "student = 'ada'" for cell in document.cells)
