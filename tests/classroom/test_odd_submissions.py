"""What is no submission gets no marks and a reason, and the class goes on."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from handed_in import CHAPTER, cell, filled, put, right

from diffusion_lab.errors import LabError
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import folder_name
from diffusion_lab.grading.classroom.parallel import Classroom
from diffusion_lab.grading.classroom.records import find, name_fault
from diffusion_lab.grading.classroom.result import Result

FOLDER = folder_name(CHAPTER)
NAMES = ["Zoë", "Zoe\u0308", "नीता", "สมชาย", "Nguyễn Văn Ân", "O'Brien, Ann (2)", "علی\u200cرضا", "李 明"]
"""Of students: composed and decomposed, with vowel signs, marks of tone, and what joins letters."""


def _of_format_3(document: dict) -> dict:
    cells = [dict(given) for given in document["cells"]]
    for given in cells:
        if given["cell_type"] == "code":
            given["input"] = given.pop("source")
    return {"cells": cells}


POINTS = notebook(CHAPTER).points
ONE = notebook(CHAPTER).exercises[0]
SOME = {name: right()[name] for name in (ONE.name, "alpha_bar")}
"""What the honest have answered; the rest is not written, which is quick."""
EARNED = sum(item.points for item in notebook(CHAPTER).exercises if item.name in SOME)


@pytest.fixture(scope="module")
def graded(workers: Classroom, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Odd submissions between honest ones, graded in one run."""
    course = tmp_path_factory.mktemp("course")
    submitted = course / "submitted"
    honest = put(submitted, "a_honest", filled(SOME))
    put(submitted, "z_honest", filled(SOME))
    put(submitted, "empty", b"")
    put(submitted, "no_json", b"{cells: []}")
    put(submitted, "a_number", b"3")
    put(submitted, "no_cells", b"{}")
    put(submitted, "latin", "{'ü'}".encode("latin-1"))
    put(submitted, "binary", bytes(range(256)) * 100)
    put(submitted, "deep", b"[" * 200_000)
    put(submitted, "digits", b'{"cells": [' + b"9" * 10_000 + b"]}")
    put(submitted, "utf_16", honest.read_text().encode("utf-16"))
    put(submitted, "old_format", json.dumps({"nbformat": 2, "worksheets": 2}).encode())
    put(submitted, "format_3", json.dumps({"nbformat": 3, "worksheets": [_of_format_3(filled(SOME))]}).encode())
    put(submitted, "many_cells", b'{"cells": [' + b'{"cell_type": "code", "source": "1"}, ' * 3000 + b"0]}")
    put(submitted, "other_chapter", filled({}, "normal_2d"))
    large = put(submitted, "large", b"")
    os.truncate(large, 100 << 20)
    for student in ("linked_file", "folder_in_its_place", "pipe", "wrong_name"):
        (submitted / student / FOLDER).mkdir(parents=True)
    name = f"{FOLDER}.ipynb"
    (submitted / "linked_file" / FOLDER / name).symlink_to(honest)
    (submitted / "folder_in_its_place" / FOLDER / name).mkdir()
    os.mkfifo(submitted / "pipe" / FOLDER / name)
    for name in ("final (2).ipynb", "final (3).ipynb"):
        (submitted / "wrong_name" / FOLDER / name).write_bytes(honest.read_bytes())
    (submitted / "another_name" / FOLDER).mkdir(parents=True)
    (submitted / "another_name" / FOLDER / f"{FOLDER} (1).ipynb").write_bytes(honest.read_bytes())
    (put(submitted, "with_a_copy", filled(SOME)).parent / f"{FOLDER}-Copy1.ipynb").write_bytes(b"")
    for student in NAMES:
        put(submitted, student, filled({ONE.name: SOME[ONE.name]}))
    (submitted / "linked_chapter").mkdir()
    (submitted / "linked_chapter" / FOLDER).symlink_to(honest.parent)
    (submitted / "linked_student").symlink_to(submitted / "a_honest")
    (submitted / "file_for_folder").mkdir()
    (submitted / "file_for_folder" / FOLDER).write_text("x")
    (submitted / "elsewhere").mkdir()

    put(submitted, "with_a_mark", b"\xef\xbb\xbf" + honest.read_bytes())
    halves = filled(SOME)
    cell(halves, "alpha_bar")["source"] += '\nname = "\ud800"'
    put(submitted, "half_characters", halves)
    strange = filled(SOME)
    strange["cells"] += [None, 3, [], {"cell_type": "code"}, {"cell_type": "code", "source": [1], "metadata": 0}]
    strange["cells"] += [{"cell_type": "code", "source": "1", "metadata": {"nbgrader": {"grade_id": ["alpha_bar"]}}}]
    put(submitted, "strange_cells", strange)
    twice = json.dumps(filled(SOME))
    put(submitted, "names_twice", (twice[:-1] + f', "metadata": NaN, {twice[1:]}').encode())
    long = filled(SOME)
    cell(long, "alpha_bar")["source"] = "# ä\n" * 30_000 + SOME["alpha_bar"]
    put(submitted, "long_cell", long)
    noisy = filled(SOME)
    cell(noisy, "alpha_bar")["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * (15 << 20)}]
    put(submitted, "much_output", noisy)
    (submitted / "*").mkdir()
    put(submitted, "*", filled(SOME))

    found = find(submitted, [CHAPTER])
    workers.course = course
    return {result.student: result for result in workers.grade(found)}


@pytest.mark.parametrize(
    ("student", "reason"),
    [
        ("empty", "no JSON, at line 1"),
        ("no_json", "no JSON, at line 1"),
        ("a_number", "no list of cells"),
        ("no_cells", "no list of cells"),
        ("latin", "not text in UTF-8"),
        ("binary", "not text in UTF-8"),
        ("utf_16", "not text in UTF-8"),
        ("old_format", "no list of cells"),
        ("many_cells", "more than 2000 cells"),
        ("deep", "nested too deeply"),
        ("digits", "no JSON"),
        ("other_chapter", "another chapter"),
        ("large", "it has 105 MB"),
        ("linked_file", "not a plain file"),
        ("folder_in_its_place", "not a plain file"),
        ("pipe", "not a plain file"),
        ("wrong_name", "it has final (2).ipynb"),
        ("linked_chapter", "symbolic link"),
        ("linked_student", "symbolic link"),
        ("file_for_folder", "is not a folder"),
    ],
)
def test_it_is_refused_with_a_reason(graded: dict[str, Result], student: str, reason: str):
    result = graded[student]
    assert result.state == "refused" and reason in result.reason
    assert (result.points, result.out_of) == (0, POINTS)
    assert all(item["points"] == 0 and reason in item["text"] for item in result.exercises)
    assert len(result.exercises) == len(notebook(CHAPTER).exercises)


@pytest.mark.parametrize(
    "student",
    [
        "a_honest",
        "z_honest",
        "with_a_mark",
        "half_characters",
        "format_3",
        "another_name",
        "with_a_copy",
        "strange_cells",
        "names_twice",
        "long_cell",
        "much_output",
    ],
)
def test_what_can_be_graded_is(graded: dict[str, Result], student: str):
    assert (graded[student].state, graded[student].points) == ("graded", EARNED), graded[student]


def test_a_name_that_nbgrader_cannot_use_is_the_teachers_to_mend(graded: dict[str, Result]):
    assert graded["*"].state == "not graded" and "'*' (ASTERISK)" in graded["*"].reason


@pytest.mark.parametrize("student", NAMES)
def test_names_in_any_script_are_graded(graded: dict[str, Result], student: str):
    assert (graded[student].state, graded[student].points) == ("graded", ONE.points)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("*", r"holds '\*' \(ASTERISK\)"),
        ("a[b]", r"holds '\[' \(LEFT SQUARE BRACKET\)"),
        ("a\u202eb", "holds RIGHT-TO-LEFT OVERRIDE"),
        ("a\nb", "holds U\\+000A"),
        ("a\udc80", "holds U\\+DC80"),
        ("नी" * 40, "has 240 bytes"),
        ("ann ", "ends with a space"),
        ("(a)", r"begins with '\(' \(LEFT PARENTHESIS\)"),
        *((name, "^$") for name in NAMES),
    ],
)
def test_what_a_name_cannot_have_is_named(name: str, said: str):
    assert re.search(said, name_fault(name)), name_fault(name)


def test_a_file_of_another_name_and_a_copy_are_told(graded: dict[str, Result]):
    assert graded["another_name"].notes == (f"its file is called {FOLDER} (1).ipynb",)
    assert graded["with_a_copy"].notes == (f"its folder also has {FOLDER}-Copy1.ipynb",)


def test_who_handed_nothing_in_is_not_there(graded: dict[str, Result]):
    assert "elsewhere" not in graded


def test_results_are_text_that_every_file_can_hold(graded: dict[str, Result]):
    for result in graded.values():
        text = json.dumps(result.as_dict(), ensure_ascii=False)
        assert Result.from_dict(json.loads(text.encode())) == Result.from_dict(json.loads(text))


def test_a_missing_folder_is_said(tmp_path: Path):
    with pytest.raises(LabError, match="there is no folder"):
        find(tmp_path / "submitted")
