"""Marks in a platform's own export: the column is filled in, and nothing else has changed."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from downloads import CHAPTER, NAME
from typer.testing import CliRunner

from diffusion_lab.cli import app
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.gradebook import Book
from diffusion_lab.grading.classroom.platforms import fill_in

MOST = notebook(CHAPTER).points
MARKS = {"ada": 33.0, "ben": 30.5}


@pytest.fixture
def graded(course: Path) -> Path:
    """A course in whose gradebook two have marks, and `cy` handed nothing in."""
    book = Book(course, CHAPTER)
    names = {"ada": ("Ada", "Adams", "1001"), "ben": ("Ben", "Núñez", "1002"), "cy": ("Cy", "Cole", "1003")}
    book.enter_students(
        {
            id: {"first_name": a, "last_name": b, "lms_user_id": n, "email": f"{id}@x.edu"}
            for id, (a, b, n) in names.items()
        }
    )
    with book.gradebook() as gradebook:
        gradebook.add_assignment(NAME)
        gradebook.add_notebook(NAME, NAME)
        gradebook.add_grade_cell("all-check", NAME, NAME, max_score=float(MOST), cell_type="code")
        for student, mark in MARKS.items():
            gradebook.add_submission(NAME, student)
            gradebook.find_grade("all-check", NAME, NAME, student).manual_score = mark
        gradebook.db.commit()
    return course


CANVAS = (
    "Student,ID,SIS User ID,SIS Login ID,Section,Essay (17),01_normal_1d (18),Quiz (19),Final Score (read only)\r\n"
    f'"    Points Possible",,,,,10,{MOST}.00,5,(read only)\r\n'
    '"Adams, Ada",1001,,ada.adams,"A, ""early""",9,,5,\r\n'
    '"Núñez, Ben",1002,,ben,B,,,,\r\n'
    '"Cole, Cy",1003,,cy,B,,,,\r\n'
    '"Student, Test",999,,test,B,,,,\r\n'
)
MOODLE = (
    '\ufeffIdentifier,"Full name","Email address",Status,Grade,"Maximum Grade","Grade can be changed",Feedback\n'
    f'"Participant 4711","Ada Adams",ada@x.edu,"Submitted, late",-,"{MOST},00",Yes,"first\nsecond"\n'
    f'"Participant 4712","Ben Núñez",ben@x.edu,Submitted,,"{MOST},00",Yes,\n'
)
BLACKBOARD = (
    f'"Last Name"\t"First Name"\t"Username"\t"01_normal_1d [Total Pts: {MOST} Score] |77"\t"Notes"\n'
    '"Adams"\t"Ada"\t"ada"\t""\t"x"\n"Núñez"\t"Ben"\t"ben"\t"12"\t""\n'
)
CLASSROOM = (
    "assignment_name,github_username,roster_identifier,points_awarded,points_available\n"
    f"sheet-1,octoada,ada,,{MOST}\nsheet-1,ben,,0,{MOST}\n"
)
ILIAS = "Nachname;Vorname;Benutzername;Note;Blatt 1\nAdams;Ada;ada;;\nNúñez;Ben;ben;;\n"
EXPORTS = {
    "Canvas": (CANVAS, "utf-8", [",9,,5", ",B,,,,"], [",9,33,5", ",B,,30.5,,"]),
    "Moodle": (MOODLE, "utf-8", [",-,", "Submitted,,"], [",33,", 'Submitted,"30,5",']),
    "Blackboard": (BLACKBOARD, "utf-16", ['""\t"x"', '"12"'], ['"33"\t"x"', '"30.5"']),
    "Classroom": (CLASSROOM, "utf-8", ["ada,,", "0,"], ["ada,33,", "30.5,"]),
    "Ilias": (ILIAS, "cp1252", ["ada;;", "ben;;"], ["ada;;33", "ben;;30.5"]),
}


@pytest.mark.parametrize("platform", EXPORTS)
def test_only_the_marks_have_changed(graded: Path, tmp_path: Path, platform: str):
    text, encoding, was, becomes = EXPORTS[platform]
    file, to = tmp_path / "export.csv", tmp_path / "new.csv"
    file.write_bytes(text.encode(encoding))
    filled = fill_in(graded, CHAPTER, file, to, column="Blatt 1" if platform == "Ilias" else "")
    assert filled.marks.keys() == MARKS.keys() and not filled.unplaced
    expected = text
    for old, new in zip(was, becomes, strict=True):
        place = expected.index(old, expected.index("Núñez") if platform == "Canvas" and old == ",B,,,," else 0)
        expected = expected[:place] + new + expected[place + len(old) :]
    assert to.read_bytes() == expected.encode(encoding), "\n".join(difflib.ndiff([text], [to.read_text(encoding)]))
    assert file.read_bytes() == text.encode(encoding)
    assert filled.changed == (platform in ("Blackboard", "Classroom"))


def test_a_sheet_keeps_its_other_cells(graded: Path, tmp_path: Path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (("Benutzername", "01_normal_1d", "Formel"), ("ada", None, "=1+1"), ("ben", 3, "ß"), ("cy", 7, None)):
        book.active.append(row)
    book.save(tmp_path / "export.xlsx")
    fill_in(graded, CHAPTER, tmp_path / "export.xlsx", tmp_path / "new.xlsx")
    rows = openpyxl.load_workbook(tmp_path / "new.xlsx").active.iter_rows(values_only=True)
    assert list(rows)[1:] == [("ada", 33, "=1+1"), ("ben", 30.5, "ß"), ("cy", 7, None)]


def test_points_of_another_most_are_turned_over_only_where_asked(graded: Path, tmp_path: Path):
    file = tmp_path / "export.csv"
    file.write_text(CANVAS.replace(f"{MOST}.00", "100"), encoding="utf-8")
    with pytest.raises(LabError, match=f"has 100 points there, and the chapter has {MOST}"):
        fill_in(graded, CHAPTER, file, tmp_path / "new.csv")
    assert not (tmp_path / "new.csv").exists()
    filled = fill_in(graded, CHAPTER, file, tmp_path / "new.csv", scale=True)
    assert float(filled.marks["ada"]) == pytest.approx(33 / MOST * 100, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CANVAS.replace("01_normal_1d (18)", "Sheet one (18)"), "no column is called after the chapter, 01_normal_1d"),
        (CANVAS.replace("Essay (17)", "Normal 1d, old (17)"), "several columns could be meant"),
        (CANVAS + '"Adams, Ada",1001,,ada,C,,,,\r\n', "lines 3 and 7 are both about 'ada'"),
        (CANVAS.partition('"Adams')[0] + '"Doe, Jo",77,,jo,B,,,,\r\n', "no row is about a student with a mark"),
        (CLASSROOM.replace(f",0,{MOST}", ",0,20"), "different maxima, 20, 43"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_filled_in_is_told_and_not_written(graded: Path, tmp_path: Path, text: str, words: str):
    (tmp_path / "export.csv").write_text(text, encoding="utf-8")
    with pytest.raises(LabError) as told:
        fill_in(graded, CHAPTER, tmp_path / "export.csv", tmp_path / "new.csv")
    assert words in str(told.value) and "export.csv" in str(told.value)
    assert not (tmp_path / "new.csv").exists()


def test_the_command_says_whose_mark_found_no_row(graded: Path, tmp_path: Path):
    file = tmp_path / "export.csv"
    file.write_text(MOODLE.replace("Yes,\n", "No,\n"), encoding="utf-8")
    done = CliRunner().invoke(app, ["export", "marks", "1", str(file), "--course", str(graded)])
    assert done.exit_code == 3, (done.output, done.exception)
    assert "1 mark is in 'Grade' of" in done.output and "no mark for ben: line 4 says" in done.output
    assert "33" in (tmp_path / "export_marks.csv").read_text(encoding="utf-8-sig")


def test_who_still_waits_for_a_mark_by_hand_is_told(graded: Path, tmp_path: Path):
    (tmp_path / "export.csv").write_text(MOODLE, encoding="utf-8")
    with Book(graded, CHAPTER).gradebook() as gradebook:
        for student, waits in (("ada", True), ("ben", False)):
            gradebook.find_grade("all-check", NAME, NAME, student).needs_manual_grade = waits
        gradebook.db.commit()
    done = CliRunner().invoke(app, ["export", "marks", "1", str(tmp_path / "export.csv"), "--course", str(graded)])
    assert "not final for 1 of them" in done.output and "(ada)" in done.output, (done.output, done.exception)


def test_the_lab_of_a_chapter_has_a_column_of_its_own(graded: Path, tmp_path: Path):
    file = tmp_path / "export.csv"
    file.write_text(CANVAS.replace("Essay (17)", "01_normal_1d_lab (17)"), encoding="utf-8")
    assert fill_in(graded, CHAPTER, file, tmp_path / "new.csv").column == "01_normal_1d (18)"
