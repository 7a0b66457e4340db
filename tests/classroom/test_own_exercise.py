"""An exercise of a course's own, from its file to marks, hints and a complaint; and files that will not do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from handed_in import CHAPTER, ROOT, right
from typer.testing import CliRunner

from diffusion_lab.cli import app
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import folder_name
from diffusion_lab.grading.classroom.gradebook import record, release, write_feedback
from diffusion_lab.grading.classroom.platforms.alone import Settings, grade_folder
from diffusion_lab.grading.classroom.platforms.exporting import gradescope_zip
from diffusion_lab.grading.classroom.records import find
from diffusion_lab.grading.classroom.rules import ruled, rules_of
from diffusion_lab.grading.classroom.rules.own_exercise import examined
from diffusion_lab.grading.notebook.authoring import CONFIGURATION, SOLUTIONS, path_of

OWN = Path(__file__).parent / "decibels.py"
NAME = folder_name(CHAPTER)
NATURAL = "def decibels(alpha_bar):\n    return 10 * torch.log(alpha_bar / (1 - alpha_bar))"


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """One exercise of the chapter, and one of the course's own."""
    place = tmp_path / SOLUTIONS / path_of(CHAPTER)
    place.parent.mkdir(parents=True)
    shutil.copy(ROOT / SOLUTIONS / path_of(CHAPTER), place)
    shutil.copy(ROOT / CONFIGURATION, tmp_path)
    shutil.copy(OWN, tmp_path / "decibels.py")
    others = [task.name for task in notebook(CHAPTER).exercises if task.name != "alpha_bar"]
    text = f"[{CHAPTER}]\nleave_out = {others!r}\npoints = {{decibels = 9}}\n"
    text += f"\n[[{CHAPTER}.exercises]]\nfile = 'decibels.py'\nafter = 'alpha_bar'\n"
    (tmp_path / "course.toml").write_text(text)
    return tmp_path


@pytest.mark.slow
def test_from_a_file_to_marks_hints_and_a_complaint(course: Path, room):
    path, _ = release(course, CHAPTER)
    document = nbformat.read(path, as_version=4)
    cells = {cell.id: cell for cell in document.cells}
    assert list(cells)[3:9] == [f"{name}{end}" for name in ("alpha_bar", "decibels") for end in ("-text", "", "-check")]
    assert "Write `decibels`. 9 points: 6 for values, 3 for any input." in cells["decibels-text"].source
    assert "log10" not in cells["decibels"].source and "(T,), in (0, 1)." in cells["decibels"].source
    cells["alpha_bar"].source, cells["decibels"].source = right()["alpha_bar"], NATURAL
    handed_in = course / "submitted" / "ada" / NAME / f"{NAME}.ipynb"
    handed_in.parent.mkdir(parents=True)
    nbformat.write(document, handed_in)
    with ruled(course) as rules:
        (result,) = room.grade(find(course / "submitted", [CHAPTER]), seed="a text")
        record(course, CHAPTER, [result])
        write_feedback(course, CHAPTER)
    assert (result.points, result.out_of) == (4, 13)
    own = result.exercises[1]
    assert (own["name"], own["points"], own["out_of"]) == ("decibels", 0, 9)
    assert "`log` is computed where `log10` belongs" in own["ideas"][0]["hint"]  # nobody has listed it
    feedback = (course / "feedback" / "ada" / NAME / f"{NAME}.html").read_text(encoding="utf-8")
    assert "log10" in feedback and "Decibels" in feedback
    (course / "seed.txt").write_text("a text")
    asked = ["check", str(handed_in), "--seed-file", str(course / "seed.txt"), "--course", str(course)]
    shown = CliRunner().invoke(app, asked).output
    numbers = [line for line in own["text"].splitlines() if line.strip().startswith(("expected", "yours"))]
    assert numbers and all(line in shown for line in numbers) and "4 of 13 points" in shown
    settings = Settings(CHAPTER, seed="a text", offers=(rules.of(CHAPTER).offer.as_dict(),))
    gradescope_zip(settings, course / "grader.zip")
    (course / "grader.json").write_bytes(settings.written())
    there = grade_folder(handed_in.parent, Settings.read(course / "grader.json"))
    assert json.dumps(there.exercises) == json.dumps(result.exercises)


def changed(folder: Path, old: str, new: str) -> Path:
    text = OWN.read_text(encoding="utf-8")
    assert old in text
    path = folder / "decibels.py"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_a_file_of_ours_will_do(tmp_path: Path):
    assert examined(OWN)[1] == "decibels"


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("ratio = alpha_bar /", "ratio = torch.rand(()) * alpha_bar /", 9, "the reference fails"),
        ("ratio = alpha_bar /", "ratio = alpha_bars /", 9, "its own case 'twelve steps': NameError: name 'alpha_bars'"),
        ("torch.log10(ratio)", "torch.log10(-ratio)", 9, "answers nan in its own case 'twelve steps'"),
        ("wrong_answers=()", "wrong_answers=(decibels,)", 9, "is a tuple of what wrong(function) makes"),
        ("right_answers=()", "right_answers=[decibels]", 9, "is a tuple of what right(function) makes"),
        ("import torch\n", "import torch\nimport nothing_of_the_kind\n", 4, "nothing_of_the_kind"),
        ("def cases(draw: Draw):", "def cases(draw: Draw:", 22, "SyntaxError"),
        ("EXERCISE =", "OTHER =", 0, "makes no EXERCISE"),
        ('kind="schedule"', 'kind="table"', 9, "kinds are schedule"),
        ('parts={"values": 2, CARE: 1}', 'parts={"values": 2}', 9, "must be one of them"),
        ('parts={"values": 2,', 'parts={"values": 2, "ends": 1,', 9, "ends"),
        ("wrong_answers=()", "wrong_answers=(__import__('diffusion_lab').exercises.record.wrong(decibels),)", 9,
         "passes the checks"),
        ("draw.alpha_bar(12)", "draw.nothing(12)", 9, "AttributeError"),
        ("def decibels(", "@torch.no_grad()\ndef decibels(", 9, "decorator"),
    ],
)  # fmt: skip
def test_a_file_that_will_not_do_is_told_with_its_line(old: str, new: str, line: int, words: str, tmp_path: Path):
    with pytest.raises(LabError) as told:
        examined(changed(tmp_path, old, new))
    assert "decibels.py" in str(told.value) and words in str(told.value), told.value
    assert not line or f"decibels.py, line {line}:" in str(told.value), told.value


def test_a_name_that_is_taken_is_told_before_anything_changes(course: Path):
    path = course / "decibels.py"
    path.write_text(path.read_text().replace("decibels", "q_sample"))
    with pytest.raises(LabError, match=r"course.toml, line 6: another exercise is called 'q_sample'"):
        rules_of(course)
    with pytest.raises(LabError, match="line 6"):
        release(course, CHAPTER)
    assert not (course / "exercises").exists() and not (course / "gradebook.db").exists()
