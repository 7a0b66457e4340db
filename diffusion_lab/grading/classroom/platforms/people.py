"""Who is in a class, and who of them a submission is from.

A list of a class is any table with a header: nbgrader's `students.csv`, the gradebook of Canvas, Moodle's grading
worksheet or list of participants, Blackboard's or Ilias's table, the roster of GitHub Classroom, or a spreadsheet.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion_lab.errors import LabError
from diffusion_lab.grading.classroom.platforms.text_tables import Row, Table, read_table
from diffusion_lab.grading.classroom.records import name_fault

if TYPE_CHECKING:
    from diffusion_lab.grading.classroom.gradebook import Book

COLUMNS = {
    "id": ("id",),
    "login": ("username", "user name", "login", "sis login id", "login id", "benutzername", "anmeldename", "user",
              "nom d'utilisateur", "nombre de usuario"),
    "github": ("github_username", "github username", "github"),
    "number": ("lms_user_id", "canvas id", "canvas user id", "user id", "user_id"),
    "student": ("id number", "student id", "student number", "sis user id", "student_id", "matriculation number",
                "matrikelnummer", "matrikel-nr.", "id-nummer", "numéro d'identification", "número de id",
                "roster_identifier"),
    "email": ("email", "e-mail", "email address", "e-mail address", "mail", "dirección de correo",
              "e-mail-adresse", "adresse de courriel"),  # codespell:ignore adresse
    "participant": ("identifier", "id.", "teilnehmer/in", "identificador", "identifiant"),
    "name": ("full name", "name", "student", "student name", "vollständiger name", "nombre completo",
             "nom complet"),  # codespell:ignore complet
    "last": ("last name", "last_name", "surname", "family name", "nachname", "nom", "apellido(s)"),
    "first": ("first name", "first_name", "given name", "vorname", "prénom", "nombre"),
    "time": ("submission_timestamp", "last modified (submission)"),
}  # fmt: skip
"""What a column is -> the names that platforms give it, in small letters."""
AS_ID = ("id", "login", "github", "student", "email", "name")
"""What a student's folder is called after: the first of these that the list has."""
KINDS = ("id", "login", "github", "number", "student", "participant", "email")
"""What tells one person from another, surest first; names come after all of them."""
PARTICIPANT = re.compile(r"(?i)(?:partici|partecip|teilnehm|deelnemer|uczestni|участни|参加者|参与者)\D*(\d+)$")
"""Moodle's name for somebody in one assignment, such as "Participant 4711"."""


@dataclass(frozen=True)
class Person:
    """A student, under all the names that platforms have for them."""

    id: str
    """The name of their folder, in the gradebook too."""
    first: str = ""
    last: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    """kind -> what the list says, in small letters; see `KINDS`."""
    email: str = ""
    time: str = ""
    """When the list says that they handed in."""
    line: int = 0
    """Of the list."""

    @property
    def number(self) -> str:
        """By which the learning platform knows them."""
        return self.keys.get("number") or self.keys.get("student", "")

    @property
    def clue(self) -> Clue:
        """By which the same person is found under other names."""
        return Clue(self.id, {kind: [value] for kind, value in self.keys.items()})

    def names(self) -> set[str]:
        """Their name in all the ways in which it is written, squeezed."""
        words = _words(f"{self.first} {self.last}")
        return {"".join(words[i:] + words[:i]) for i in range(len(words))}


@dataclass(frozen=True)
class Clue:
    """What a submission says about whose it is."""

    shown: str
    """For people, such as "Ada Adams"."""
    keys: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """kind -> what it may be, likeliest first."""
    name: str = ""
    loose: str = ""
    """A text that may hold any of it: the name that somebody gave a file."""


def read_class(file: Path, encoding: str = "") -> tuple[list[Person], Table]:
    """The people on a list, and the table that they are from.

    Raises:
        LabError: no column says who a student is; a name cannot be a folder's; somebody is on it twice. The message
            names file and line.
    """
    table = read_table(file, encoding)
    columns = columns_of(table)
    people: dict[str, Person] = {}
    for row in table.rows:
        told = told_by(row, columns)
        if not told:
            continue
        person = person_of(told, row.line)
        if fault := name_fault(person.id):
            raise LabError(
                f"{file}, line {row.line}: {person.id!r} would be the name of a student's folder, and it {fault}"
            )
        other = people.get(person.id.casefold())
        if other is not None:
            raise LabError(f"{file}, line {row.line}: {person.id!r} is on line {other.line} already; who is who?")
        people[person.id.casefold()] = person
    if not people:
        raise LabError(f"{file} lists nobody: below its header there is no row with a student")
    return list(people.values()), table


def columns_of(table: Table) -> dict[str, int]:
    """kind -> the place of its column. Raises LabError where none says who a student is."""
    names = [name.casefold().strip("\ufeff \"'") for name in table.header]
    found = {
        kind: next((names.index(name) for name in known if name in names), None) for kind, known in COLUMNS.items()
    }
    columns = {kind: place for kind, place in found.items() if place is not None}
    if "student" in names and "id" in names:  # Canvas's own number; its students are "Adams, Ada"
        columns["number"] = columns.pop("id")
        columns.setdefault("name", names.index("student"))
    if "identifier" in names and "github_username" in names:  # the teacher's own word for a student
        columns["student"] = columns.pop("participant")
    if "name" in names and "vorname" in names:
        columns["last"] = names.index("name")
        columns.pop("name", None)
    if "id" in columns and _of_moodle([row.cells[columns["id"]] for row in table.rows]):
        columns["participant"] = columns.pop("id")
    if not columns.keys() & {*AS_ID, "last"}:
        raise LabError(
            f"{table.file}, line {table.line}: no column says who a student is. It has "
            f"{', '.join(map(repr, table.header))}; call one of them id, Username, Email, ID number or Full name"
        )
    return columns


def _of_moodle(cells: Sequence[str]) -> bool:
    """Whether a column called ID holds Moodle's names for people in an assignment, as in its German worksheet."""
    return any(cells) and all(PARTICIPANT.match(cell) for cell in cells if cell)


def _no_student(row: Row, told: Mapping[str, str]) -> bool:
    """Whether a row is about no student: Canvas's points possible, its invented student, or nothing that names one."""
    first, name = row.cells[0].casefold(), told.get("name", "").casefold()
    invented = first.startswith(("points possible", "manual posting")) or name in ("student, test", "test student")
    return invented or not any(told.get(kind) for kind in (*AS_ID, "first", "last"))


def person_of(told: Mapping[str, str], line: int = 0) -> Person:
    """The person that the cells of a row tell of.

    Args:
        told: kind -> the cell, without empty ones.
        line: the row's.
    """
    first, last = told.get("first", ""), told.get("last", "")
    if not (first or last):
        first, last = split_name(told.get("name", ""))
    name = f"{first} {last}".strip()
    identity = next((value for kind in AS_ID if (value := name if kind == "name" else told.get(kind, ""))), "")
    identity = unicodedata.normalize("NFC", identity)
    keys = {kind: told[kind].casefold() for kind in KINDS if told.get(kind)}
    if "participant" in keys and (number := PARTICIPANT.match(keys["participant"])):
        keys["participant"] = number[1]
    about = {"email": told.get("email", ""), "time": told.get("time", "").strip("-")}
    return Person(identity, first, last, keys | {"id": identity.casefold()}, line=line, **about)


def told_by(row: Row, columns: Mapping[str, int]) -> dict[str, str]:
    """kind -> what the row says, without empty cells; nothing where it is about no student."""
    told = {kind: row.cells[column] for kind, column in columns.items() if row.cells[column]}
    return {} if _no_student(row, told) else told


def split_name(name: str) -> tuple[str, str]:
    """First and last name: "Adams, Ada" and "Ada Adams" -> ("Ada", "Adams")."""
    if "," in name:
        last, _, first = name.partition(",")
        return first.strip(), last.strip()
    first, _, last = name.strip().rpartition(" ")
    return first.strip(), last


def in_gradebook(book: Book) -> list[Person]:
    """The students of a course's gradebook."""
    people = []
    for identity, first, last, email, number in book.students():
        keys = {"id": identity, "email": email, "number": number}
        keys = {kind: value.casefold() for kind, value in keys.items() if value}
        people.append(Person(identity, first, last, keys, email))
    return people


def merged(known: Iterable[Person], listed: Iterable[Person]) -> list[Person]:
    """Those in the gradebook and those on a list: who is in both keeps the folder that they have there."""
    people = {person.id: person for person in known}
    there = list(people.values())
    for person in listed:
        same = found(there, person.clue)
        old = same[0] if len(same) == 1 else None
        if old is None:
            people[person.id] = person
        else:
            keys = {**old.keys, **person.keys, "id": old.id.casefold()}
            people[old.id] = replace(person, id=old.id, keys=keys)
    return list(people.values())


def found(people: Sequence[Person], clue: Clue) -> list[Person]:
    """The people that a clue points to: one, none, or several that it does not tell apart."""
    for kind in KINDS:
        for value in clue.keys.get(kind, ()):
            same = [person for person in people if value.casefold() in (person.keys.get(kind), *_also(person, kind))]
            if same:
                return same
    if clue.name and (same := [person for person in people if squeezed(clue.name) in person.names()]):
        return same
    return _in_loose_text(people, clue.loose) if clue.loose else []


def _in_loose_text(people: Sequence[Person], text: str) -> list[Person]:
    """Those whom a text names: the whole of it, else words of it."""
    whole, words = text.casefold(), [word for word in re.split(r"[\s_,;()\[\]]+", text.casefold()) if word]
    for test in (
        lambda person: whole in person.keys.values(),
        lambda person: squeezed(text) in person.names(),
        lambda person: any(word in person.keys.values() for word in words),
        lambda person: (
            bool(own := _words(f"{person.first} {person.last}")) and len(own) > 1 and set(own) <= set(_words(text))
        ),
    ):
        if same := [person for person in people if test(person)]:
            return same
    return []


def _also(person: Person, kind: str) -> tuple[str | None, ...]:
    """What else may stand for this kind: a login is often the folder's name, or what comes before the @."""
    identity, email = person.id.casefold(), person.keys.get("email", "")
    numbers = (person.keys.get("number"), person.keys.get("student"))
    also = {"login": (identity, email.partition("@")[0]), "github": (identity,), "number": numbers}
    return also.get(kind, (identity, email, *numbers) if kind == "student" else ())


def squeezed(name: str) -> str:
    """A name without spaces, marks and accents, in small letters: "Núñez-Pérez, José" -> "nunezperezjose"."""
    return "".join(_words(name))


def _words(name: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", name.casefold())
    return re.findall(r"[^\W_]+", "".join(sign for sign in plain if not unicodedata.combining(sign)))
