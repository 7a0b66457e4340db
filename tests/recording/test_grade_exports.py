"""Marks as tables: nbgrader's own, Canvas's and Moodle's, with no zero that nobody has given and no formula."""

from __future__ import annotations

import csv

import pytest
from recorded_course import CHAPTER, NAME, Course, result, table

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.gradebook.recording import record
from diffusion_lab.grading.classroom.reports.class_report import write_reports
from diffusion_lab.grading.classroom.reports.exports import COLUMNS, harmless
from diffusion_lab.grading.classroom.result import NOT_GRADED, refused

MOST = float(notebook(CHAPTER).points)


def written(course: Course, results) -> None:
    record(course.root, CHAPTER, results)
    write_reports(course.root, CHAPTER, results)


def test_the_files_are_there(course: Course, right):
    results = [result("ann", right)]
    record(course.root, CHAPTER, results)
    files = write_reports(course.root, CHAPTER, results)
    assert [file.relative_to(course.root).as_posix() for file in files] == [
        "grades.csv",
        "grades_canvas.csv",
        "grades_moodle.csv",
        "class_report.html",
    ]
    assert all(file.is_file() for file in files)


def test_grades_are_what_nbgrader_exports(course: Course, right, mixed):
    results = [result("ann", right), result("bob", mixed), refused("eve", notebook(CHAPTER), "a link")]
    with course.api.gradebook as gradebook:
        gradebook.add_student("zoe", first_name="Zoë", last_name="Last", email="zoe@example.org")
    for each in results:
        course.submit(each.student)
    written(course, results)
    ours, theirs = table(course.root / "grades.csv"), course.export()
    assert tuple(ours[0]) == COLUMNS == tuple(next(iter(theirs.values())))
    assert {row["student_id"]: row for row in ours} == theirs
    assert theirs["zoe"]["score"] == "0.0"


def test_marks_by_hand_and_penalties_are_in(course: Course, mixed):
    results = [result("bob", mixed)]
    record(course.root, CHAPTER, results)
    with course.api.gradebook as gradebook:
        gradebook.find_grade("alpha_bar-check", NAME, NAME, "bob").manual_score = 1.5
        gradebook.find_submission_notebook(NAME, NAME, "bob").late_submission_penalty = 1.0
        gradebook.db.commit()
    write_reports(course.root, CHAPTER, results)
    (row,) = table(course.root / "grades.csv")
    assert float(row["raw_score"]) == results[0].points - mixed[1]["points"] + 1.5
    assert float(row["score"]) == float(row["raw_score"]) - 1.0
    (_, canvas) = table(course.root / "grades_canvas.csv")
    (moodle,) = table(course.root / "grades_moodle.csv")
    assert canvas[NAME] == moodle[f"Assignment: {NAME} (Real)"] == row["score"]


def test_what_was_not_graded_has_no_mark_in_any_table(course: Course, right):
    """`ann` is new to the gradebook, `bob` was in it, and `cay` has an older mark."""
    record(course.root, CHAPTER, [result("cay", right)])
    with course.api.gradebook as gradebook:
        gradebook.add_student("bob")
    failed = [result(name, (), state=NOT_GRADED, reason="lost worker") for name in ("ann", "bob", "cay")]
    written(course, [*failed, result("dan", right)])
    rows = {row["student_id"]: row for row in table(course.root / "grades.csv")}
    assert [rows[name]["score"] for name in ("ann", "bob", "cay", "dan")] == ["", "", "", str(MOST)]
    assert [row["SIS Login ID"] for row in table(course.root / "grades_canvas.csv")] == ["", "dan"]
    assert [row["Username"] for row in table(course.root / "grades_moodle.csv")] == ["dan"]


def test_a_submission_to_another_chapter_that_waits_has_no_mark(course: Course, right):
    with course.api.gradebook as gradebook:
        gradebook.add_assignment("02_normal_2d")
        gradebook.add_student("ann")
        gradebook.add_student("bob")
    place = course.root / "submitted" / "ann" / "02_normal_2d" / "02_normal_2d.ipynb"
    place.parent.mkdir(parents=True)
    place.write_text("{}")
    written(course, [result("ann", right)])
    marks = {(row["assignment"], row["student_id"]): row["score"] for row in table(course.root / "grades.csv")}
    assert marks["02_normal_2d", "ann"] == ""
    assert marks["02_normal_2d", "bob"] == "0.0"
    assert marks[NAME, "ann"] == str(MOST)


def test_canvas_and_moodle_have_their_columns(course: Course, right):
    with course.api.gradebook as gradebook:
        gradebook.add_student("ann", first_name="Ann", last_name="Lee", email="ann@example.org", lms_user_id="4711")
    written(course, [result("ann", right)])
    with (course.root / "grades_canvas.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", NAME],
            ["Points Possible", "", "", "", "", str(MOST)],
            ["Lee, Ann", "4711", "", "ann", "", str(MOST)],
        ]
    assert table(course.root / "grades_moodle.csv") == [
        {
            "First name": "Ann",
            "Last name": "Lee",
            "Username": "ann",
            "ID number": "4711",
            "Email address": "ann@example.org",
            f"Assignment: {NAME} (Real)": str(MOST),
        }
    ]


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "＝1", '=HYPERLINK("http://x","a,b")']
)
def test_no_name_is_a_formula(course: Course, right, name: str):
    with course.api.gradebook as gradebook:
        gradebook.add_student("ann", first_name=name, last_name=name, email=name, lms_user_id=name)
    written(course, [result("ann", right), result("=cmd!A1", right)])
    for file in ("grades.csv", "grades_canvas.csv", "grades_moodle.csv"):
        with (course.root / file).open(newline="", encoding="utf-8") as opened:
            rows = list(csv.reader(opened))
        assert len({len(row) for row in rows}) == 1
        assert not [cell for row in rows for cell in row if cell.strip()[:1] in tuple("=+-@＝") and cell.strip()]


def test_numbers_and_plain_text_stay_as_they_are():
    assert [harmless(cell) for cell in (-1.0, 3, "a-b", "x=1", "", "o'neil")] == [-1.0, 3, "a-b", "x=1", "", "o'neil"]
    assert harmless("=1") == "'=1"
