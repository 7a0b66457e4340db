"""Marks as tables for a spreadsheet or a learning platform. No cell of them is a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diffusion_lab.files import write_atomically
from diffusion_lab.grading.classroom import NOT_GRADED, Result
from diffusion_lab.grading.classroom.gradebook import Book, plain

COLUMNS = (
    "assignment",
    "duedate",
    "timestamp",
    "student_id",
    "last_name",
    "first_name",
    "email",
    "raw_score",
    "late_submission_penalty",
    "score",
    "max_score",
)
"""Of `nbgrader export`."""
FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
"""How a cell begins that a spreadsheet may take for a formula."""


def write_exports(book: Book, results: Iterable[Result], folder: Path) -> list[Path]:
    """`grades.csv`, `grades_canvas.csv` and `grades_moodle.csv`.

    The first has what `nbgrader export` writes, for all chapters in the gradebook, with one difference: where a
    submission is there that was not graded, it has no mark, and not a zero. The other two have the marks of this
    chapter, and only of students who have one.

    Args:
        book: the chapter's gradebook.
        results: of this chapter.
        folder: where to write.
    """
    waiting = {result.student for result in results if result.state == NOT_GRADED}
    rows, people = _rows(book, waiting)
    of_chapter = {row["student_id"]: row for row in rows if row["assignment"] == book.name}
    given = [(person, of_chapter[name]) for name, person in people.items()]
    tables = {
        "grades.csv": [COLUMNS, *([row[column] for column in COLUMNS] for row in rows)],
        "grades_canvas.csv": _canvas(book, given),
        "grades_moodle.csv": _moodle(book, given),
    }
    return [write_atomically(folder / name, _csv(table)) for name, table in tables.items()]


def marks(book: Book, results: Iterable[Result]) -> tuple[dict[str, float], float]:
    """Each student's mark for this chapter, penalties taken off, of those who have one; and the most there is.

    Args:
        book: the chapter's gradebook.
        results: of this chapter; who waits for a grader that failed has no mark.
    """
    waiting = {result.student for result in results if result.state == NOT_GRADED}
    rows, people = _rows(book, waiting)
    own = {row["student_id"]: row for row in rows if row["assignment"] == book.name}
    return {name: own[name]["score"] for name in people}, max((row["max_score"] for row in own.values()), default=0.0)


def harmless(cell: Any) -> Any:
    """The cell, with an apostrophe before text that a spreadsheet would take for a formula."""
    if not isinstance(cell, str):
        return cell
    cell = plain(cell)
    return f"'{cell}" if FORMULA.match(cell) else cell


def _rows(book: Book, waiting: set[str]) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]]]:
    """The rows of `nbgrader export`, and who the students with a mark in this chapter are."""
    rows, people = [], {}
    book.settle()
    with book.gradebook() as gradebook:
        students = {student.id: student for student in gradebook.students}
        for assignment in gradebook.assignments:
            there = {entry.student.id: entry for entry in gradebook.assignment_submissions(assignment.name)}
            names = {*students, *(waiting if assignment.name == book.name else ())}
            for name in sorted(names):
                student, entry = students.get(name), there.get(name)
                row = {
                    "assignment": assignment.name,
                    "duedate": _text(assignment.duedate),
                    "timestamp": _text(entry.timestamp if entry else None),
                    "student_id": name,
                    "last_name": _text(student.last_name if student else None),
                    "first_name": _text(student.first_name if student else None),
                    "email": _text(student.email if student else None),
                    "max_score": float(assignment.max_score),
                }
                of_this = assignment.name == book.name
                missing = entry is None and not book.submission_of(name, assignment.name).exists()
                if (of_this and name in waiting) or (entry is None and not missing):
                    marks: tuple = ("", "", "")
                elif missing:
                    marks = (0.0, 0.0, 0.0)  # as nbgrader has it: nothing was submitted
                else:
                    penalty = entry.late_submission_penalty or 0.0
                    marks = (float(entry.score), float(penalty), max(0.0, float(entry.score - penalty)))
                    if of_this:
                        people[name] = {"lms": _text(student.lms_user_id)}
                rows.append(row | dict(zip(("raw_score", "late_submission_penalty", "score"), marks, strict=True)))
    return rows, people


def _canvas(book: Book, given: list[tuple[dict[str, str], dict[str, Any]]]) -> list[Iterable[Any]]:
    """The layout of Canvas's own gradebook export, which its import wants back.

    The second row holds the points possible. Canvas finds a student by ID, else by SIS Login ID.
    """
    full = next((row["max_score"] for _, row in given), 0.0)
    table: list[Iterable[Any]] = [
        ("Student", "ID", "SIS User ID", "SIS Login ID", "Section", book.name),
        ("Points Possible", "", "", "", "", full),
    ]
    for person, row in given:
        name = ", ".join(part for part in (row["last_name"], row["first_name"]) if part) or row["student_id"]
        table.append((name, person["lms"], "", row["student_id"], "", row["score"]))
    return table


def _moodle(book: Book, given: list[tuple[dict[str, str], dict[str, Any]]]) -> list[Iterable[Any]]:
    """Columns under the names that Moodle's export has; its import asks which of them identifies a student."""
    head = ("First name", "Last name", "Username", "ID number", "Email address", f"Assignment: {book.name} (Real)")
    rows = [
        (row["first_name"], row["last_name"], row["student_id"], person["lms"], row["email"], row["score"])
        for person, row in given
    ]
    return [head, *rows]


def _csv(table: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([harmless(cell) for cell in row] for row in table)
    return text.getvalue().encode()


def _text(value: Any) -> str:
    return "" if value is None else str(value)
