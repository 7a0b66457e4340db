"""Marks back into the file that a learning platform exports: one column is filled in, every other byte stays.

What is read, and where it is written down:

- Canvas's gradebook, `Student, ID, SIS User ID, SIS Login ID, Section, 01_normal_1d (4711)`, below it the points
  possible ("How do I import grades in the Gradebook?"). Canvas takes nothing into columns marked "(read only)".
- Moodle's grading worksheet, `Identifier, Full name, …, Grade, Maximum Grade, Grade can be changed` (docs.moodle.org,
  "Assignment settings", offline grading worksheet), or its gradebook, `Assignment: 01_normal_1d (Real)`.
- Blackboard's gradebook, tabs in UTF-16 under the name .xls, `01_normal_1d [Total Pts: 43 Score] |4711`
  (help.blackboard.com, "Work offline with grade data").
- GitHub Classroom's grades, `github_username, roster_identifier, …, points_awarded, points_available`.
- Any other table, such as one of Ilias, whose column is named by hand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.catalogue import LAB, find
from diffusion_lab.files import write_atomically
from diffusion_lab.grading.classroom.gradebook import Book
from diffusion_lab.grading.classroom.platforms.people import (
    columns_of,
    found,
    in_gradebook,
    person_of,
    squeezed,
    told_by,
)
from diffusion_lab.grading.classroom.platforms.text_tables import Table, read_table
from diffusion_lab.grading.classroom.records import Records
from diffusion_lab.grading.classroom.reports import marks
from diffusion_lab.grading.isolation import printable

GRADE = ("grade", "points_awarded", "bewertung", "calificación", "mark")
"""Columns of which a file has one: it is of one assignment."""
MOST = ("maximum grade", "points_available", "bestwertung", "höchste bewertung", "calificación máxima")
CHANGEABLE = ("grade can be changed", "bewertung kann geändert werden")
NO = ("no", "nein")
TOTAL = re.compile(r"\[Total Pts: (?P<most>[\d.,]+)")
"""In Blackboard's names of columns."""


@dataclass
class Filled:
    """What became of a platform's file."""

    file: Path
    column: str
    marks: dict[str, str] = field(default_factory=dict)
    """student -> as it is written."""
    changed: int = 0
    """Cells that held another mark before."""
    left_alone: list[str] = field(default_factory=list)
    """Rows of whose student there is no mark, and why."""
    unplaced: list[str] = field(default_factory=list)
    """Students whose mark is in no row, and why."""
    waiting: list[str] = field(default_factory=list)
    """Students with a mark in the file who still wait for one by hand."""


def fill_in(
    course: Path, chapter: str, file: Path, to: Path, *, column: str = "", scale: bool = False, encoding: str = ""
) -> Filled:
    """Write a chapter's marks into a copy of a platform's own export.

    Args:
        course: its folder, with the gradebook.
        file: as the platform gave it.
        to: the copy.
        column: the name of the column, or how it begins; by default the one that is named after the chapter, or the
            only one for marks.
        scale: turn the chapter's points into those of the file where their most differ.
        encoding: of the file; by default it is found out.

    Raises:
        LabError: nothing is graded; no column, or several, could be meant; two rows are about one student; the file's
            most is another and `scale` is not set. The message names file and line, and nothing is written.
    """
    chapter = find(chapter)
    book = Book(course, chapter)
    given, most = marks(book, Records(course, chapter).all())
    if not given:
        raise LabError(f"nothing of chapter '{chapter}' is graded in {course}; `grade` comes first")
    table = read_table(file, encoding)
    columns, place = columns_of(table), _column(table, chapter, book.name, column)
    result = Filled(to, table.header[place])
    factor = _factor(table, place, most, scale)
    comma = _decimal_comma(table, place)
    changeable = _named(table, CHANGEABLE)
    people = in_gradebook(book)
    lines: dict[str, int] = {}
    cells: dict[int, str] = {}
    for row in table.rows:
        told = told_by(row, columns)
        if not told:
            continue
        person = person_of(told, row.line)
        clue = person.clue
        same = found(people, clue) or [p for p in people if p.names() & person.names()]
        name = f"{person.first} {person.last}".strip() or person.id
        who = f"line {row.line}, {printable(name, 100)}"
        if len(same) != 1:
            result.left_alone.append(f"{who}: {'several students could be meant' if same else 'not in the gradebook'}")
            continue
        student = same[0].id
        if student in lines:
            raise LabError(f"{file}: lines {lines[student]} and {row.line} are both about {student!r}")
        lines[student] = row.line
        if student not in given:
            result.left_alone.append(f"{who}: no mark")
        elif changeable is not None and row.cells[changeable].casefold() in NO:
            result.unplaced.append(f"{student}: line {row.line} says that the mark cannot be changed")
        else:
            text = f"{round(given[student] * factor, 4):g}"
            text = text.replace(".", ",") if comma else text
            result.changed += _differs(row.cells[place], text)
            cells[row.line] = result.marks[student] = text
    result.unplaced += [f"{student}: the file has no row for them" for student in sorted(given.keys() - lines.keys())]
    if not cells:
        raise LabError(f"{file}: no row is about a student with a mark in chapter '{chapter}'; nothing was written")
    result.waiting = sorted(book.waiting() & result.marks.keys())
    write_atomically(to, table.filled(place, cells))
    return result


def _column(table: Table, chapter: str, folder: str, asked: str) -> int:
    """The column for the marks, from 0. Raises LabError where none, or several, could be meant."""
    names = [name.casefold() for name in table.header]
    if asked:
        wanted = asked.casefold()
        fits = [i for i, name in enumerate(names) if name == wanted] or [
            i for i, name in enumerate(names) if name.startswith(wanted)
        ]
    else:
        ours = [i for i, name in enumerate(names) if "(read only)" not in name and _is_of(name, chapter, folder)]
        fits = ours or [i for i, name in enumerate(names) if name in GRADE]
    if len(fits) == 1:
        return fits[0]
    told = ", ".join(repr(table.header[i]) for i in fits) if fits else ", ".join(map(repr, table.header))
    why = "several columns could be meant" if fits else f"no column is called {asked!r}" if asked else (
        f"no column is called after the chapter, {folder}"
    )  # fmt: skip
    raise LabError(f"{table.file}, line {table.line}: {why}; name one with --column: {told}")


def _is_of(name: str, chapter: str, folder: str) -> bool:
    """Whether a column's name has the chapter's in it, and not that of its lab."""
    lab = squeezed(LAB)
    text = squeezed(re.sub(r"\(\d+\)$", "", name))
    return any(wanted in text and f"{wanted}{lab}" not in text for wanted in (squeezed(folder), squeezed(chapter)))


def _named(table: Table, names: tuple[str, ...]) -> int | None:
    header = [name.casefold() for name in table.header]
    return next((header.index(name) for name in names if name in header), None)


def _factor(table: Table, place: int, most: float, scale: bool) -> float:
    """By what our points are multiplied: 1, or what turns them into the file's. Raises LabError where it may not."""
    theirs: set[float] = set()
    if total := TOTAL.search(table.header[place]):
        theirs = {_number(total["most"])}
    elif (column := _named(table, MOST)) is not None:
        theirs = {_number(row.cells[column]) for row in table.rows if row.cells[column]}
    else:
        first = [row for row in table.rows if row.cells[0].casefold().startswith("points possible")]
        theirs = {_number(row.cells[place]) for row in first if row.cells[place]}
    theirs.discard(0.0)
    if len(theirs) > 1:
        raise LabError(
            f"{table.file}: its rows have different maxima, {', '.join(f'{each:g}' for each in sorted(theirs))}"
        )
    if not theirs or theirs == {most}:
        return 1.0
    (top,) = theirs
    if not scale:
        raise LabError(
            f"{table.file}: {table.header[place]!r} has {top:g} points there, and the chapter has {most:g}; "
            f"change it on the platform, or let --scale turn {most:g} into {top:g}"
        )
    return top / most


def _number(text: str) -> float:
    """0.0 for what is none."""
    try:
        return float(text.replace(",", ".").strip("() "))
    except ValueError:
        return 0.0


def _decimal_comma(table: Table, place: int) -> bool:
    """Whether numbers in the file have a comma where others have a point."""
    columns = {place, *filter(None, [_named(table, MOST)])}
    return any(re.fullmatch(r"\d+,\d+", row.cells[column]) for row in table.rows for column in columns)


def _differs(was: str, text: str) -> bool:
    return bool(was) and was != "-" and _number(was) != _number(text)
