"""A platform's download laid out as `grade` reads it: submitted/STUDENT/NN_name/NN_name.ipynb.

Everything is looked at first and written last: what is wrong with a zip or a list is told before a file is changed.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from diffusion_lab.errors import LabError, SourceError
from diffusion_lab.exercises.catalogue import find, folder_name
from diffusion_lab.files import write_atomically
from diffusion_lab.grading.classroom import keep
from diffusion_lab.grading.classroom.gradebook import Book, MomentError, moment, settings_of
from diffusion_lab.grading.classroom.platforms.archives import File, open_zip, opened
from diffusion_lab.grading.classroom.platforms.names import Handed, may_be_a_submission, sorted_out
from diffusion_lab.grading.classroom.platforms.people import Person, found, in_gradebook, merged, read_class
from diffusion_lab.grading.classroom.platforms.text_tables import Table
from diffusion_lab.grading.classroom.records import name_fault
from diffusion_lab.grading.classroom.reports import harmless
from diffusion_lab.grading.classroom.rules import rules_of
from diffusion_lab.grading.isolation import printable
from diffusion_lab.grading.notebook import LARGEST, of_notebook

LEFT_OUT = "not_collected.csv"
"""In the course's folder: what could not be matched, and why."""
LARGEST_ZIP = 64 << 20
"""Bytes of a zip that a student has handed in."""


@dataclass(frozen=True)
class Taken:
    """A submission that is laid out."""

    student: str
    file: str
    late: bool = False
    time: str = ""
    """As it goes into timestamp.txt."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """A file or a student that could not be matched."""

    file: str
    who: str
    why: str


@dataclass
class Gathered:
    """What became of a download."""

    platform: str
    taken: list[Taken] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """On the whole of it, such as the encoding of the list."""


@dataclass
class _Chosen:
    """The notebook that counts of one student."""

    person: Person
    handed: Handed
    data: bytes
    notes: list[str] = field(default_factory=list)
    earlier: list[tuple[Handed, bytes]] = field(default_factory=list)
    """Attempts before it."""


def gather(course: Path, chapter: str, source: Path, class_list: Path | None = None, encoding: str = "") -> Gathered:
    """Lay a download out below the course's `submitted/`, and enter its students into the gradebook.

    Of several attempts of one student the last one is taken, and where `course.toml` lets the best count the others are
    kept for `grade`. A notebook that is there already is replaced, with its
    timestamp.txt; the submissions of other students and chapters stay.

    Args:
        course: its folder.
        chapter: of which notebooks are taken.
        source: the zip that the platform gave, or a folder.
        class_list: who is in the class, see `people`. By default those in the gradebook; where it has nobody, everybody
            whose name the download tells.
        encoding: of the list; by default it is found out.

    Returns:
        What was taken, and what was not; the latter is in `not_collected.csv` too.

    Raises:
        LabError: the zip or the list is not to be used, with the file, and the line or entry. Nothing is changed then.
    """
    chapter = find(chapter)
    rules = rules_of(course)
    book = Book(course, chapter)
    known = in_gradebook(book)
    listed, notes = [], []
    if class_list is not None:
        listed, table = read_class(class_list, encoding)
        notes += _of_its_encoding(table, listed, encoding)
    people = merged(known, listed)
    clones = source.is_dir() and any((place / ".git").exists() for place in source.iterdir())
    with ExitStack() as stack:
        files = stack.enter_context(opened(source))
        if not any(map(may_be_a_submission, files)):
            raise LabError(f"{source} holds no notebook, and no zip of one, among its {len(files)} files")
        platform, handed = sorted_out(files, source.stem if source.is_file() else source.resolve().name, clones)
        result = Gathered(platform, notes=notes)
        groups = _by_student(handed, people, class_list is not None, result)
        chosen = [c for person, files in groups if (c := _chosen(person, files, chapter, result, stack))]
    # Names of files come from students, and go to a terminal.
    result.left_out = [LeftOut(*(printable(text, 300) for text in (o.file, o.who, o.why))) for o in result.left_out]
    _check_places(course, chapter, chosen)
    zone = str(settings_of(course).Exchange.get("timezone") or rules.timezone)
    for choice in chosen:
        if rules.of(chapter).best:
            _keep_earlier(course, chapter, choice, zone)
        result.taken.append(_laid_out(course, chapter, choice, zone))
    _enter(book, listed, [choice.person for choice in chosen], known)
    _write_list(course, result.left_out)
    return result


def _of_its_encoding(table: Table, listed: Sequence[Person], asked: str) -> list[str]:
    """A note where the encoding of a list was guessed, with a name by which people see whether rightly."""
    if asked or table.encoding in ("", "utf-8", "utf-8-sig", "utf-16"):
        return []
    names = (f"{person.first} {person.last}".strip() for person in listed)
    example = next((name for name in names if not name.isascii()), "")
    shown = f", in which a name is {example!r}" if example else ""
    return [f"{table.file} is not UTF-8 and was read as {table.encoding}{shown}; --encoding names another"]


def _by_student(
    handed: Iterable[Handed], people: Sequence[Person], closed: bool, result: Gathered
) -> list[tuple[Person, list[Handed]]]:
    """Each student with all their files; whoever cannot be told is left out, and so are strangers to a closed class."""
    groups: dict[str, tuple[Person, list[Handed]]] = {}
    for item in handed:
        same = found(people, item.clue)
        if len(same) > 1:
            who = ", ".join(person.id for person in same[:5])
            result.left_out.append(_left(item, f"several students could be meant: {who}"))
            continue
        person = same[0] if same else _unknown(item, people) if closed else _new_person(item)
        if isinstance(person, str):
            result.left_out.append(_left(item, person))
        else:
            groups.setdefault(person.id.casefold(), (person, []))[1].append(item)
    for place, (person, files) in list(groups.items()):
        # Moodle's numbers, of which a student has one.
        if len({number for item in files for number in item.clue.keys.get("participant", ())}) > 1:
            why = f"two students are called {person.id!r}; with Moodle's grading worksheet as --class-list they differ"
            result.left_out += [_left(item, why) for item in files]
            del groups[place]
    return list(groups.values())


def _left(item: Handed, why: str) -> LeftOut:
    return LeftOut(item.file.path, item.clue.shown, why)


def _unknown(item: Handed, people: Sequence[Person]) -> str:
    import difflib

    if not item.clue.shown:
        return "its name does not say who handed it in"
    if item.clue.shown.startswith("anon_"):
        return "it was handed in without a name: switch anonymous marking off, and download again"
    shown = {f"{person.first} {person.last}".strip() or person.id: person.id for person in people}
    near = difflib.get_close_matches(item.clue.shown, [*shown, *shown.values()], n=1, cutoff=0.7)
    return "nobody in the class has this name" + (f"; is it {near[0]}?" if near else "")


def _new_person(item: Handed) -> Person | str:
    """The student that a file tells of, where no list says who is in the class; else what is wrong."""
    clue = item.clue
    login = next(iter(clue.keys.get("login", clue.keys.get("github", ()))), "")
    name = unicodedata.normalize("NFC", (login or clue.shown).strip())
    if not name or name.startswith("anon_"):
        return _unknown(item, [])
    if fault := name_fault(name):
        return f"{printable(name, 60)!r} would be the name of the student's folder, and it {fault}"
    keys = {kind: values[0].casefold() for kind, values in clue.keys.items() if values}
    last, first = "", ""
    if item.platform in ("Moodle", "Ilias"):
        first, _, last = clue.name.rpartition(" ")
    return Person(name, first, last, keys | {"id": name.casefold()})


def _chosen(person: Person, files: list[Handed], chapter: str, result: Gathered, stack: ExitStack) -> _Chosen | None:
    """The last notebook of this chapter among a student's files."""
    notebooks: list[tuple[Handed, bytes, bool]] = []
    faults: list[LeftOut] = []
    for item in files:
        for one in _unzipped(item, faults, stack):
            try:
                data = one.file.read(LARGEST)
            except LabError as error:
                faults.append(LeftOut(one.file.path, person.id, str(error)))
                continue
            says = _chapter_of(data)
            if says not in (chapter, ""):
                faults.append(LeftOut(one.file.path, person.id, f"it is a notebook of chapter '{printable(says, 40)}'"))
            else:
                notebooks.append((one, data, says == chapter))
    sure = [entry for entry in notebooks if entry[2]]
    notebooks = sure or notebooks
    if not notebooks:
        others = [LeftOut(files[0].file.path, person.id, "the student handed in no notebook")]
        result.left_out += faults or others
        return None
    notebooks.sort(key=lambda entry: entry[0].order)
    last = [entry for entry in notebooks if entry[0].order == notebooks[-1][0].order]
    if len({entry[1] for entry in last}) > 1:
        names = ", ".join(printable(entry[0].file.path, 80) for entry in last[:4])
        why = f"several notebooks of one student, and nothing says which is the last: {names}; keep one of them"
        result.left_out.append(LeftOut(last[0][0].file.path, person.id, why))
        return None
    item, data, known = notebooks[-1]
    choice = _Chosen(person, item, data, earlier=[(entry[0], entry[1]) for entry in notebooks[:-1]])
    if len(notebooks) > 1:
        choice.notes.append(f"the last of {len(notebooks)} attempts")
    if not known:
        choice.notes.append("the file does not say of which chapter it is")
    choice.notes += [f"{Path(fault.file).name}: {fault.why}" for fault in faults]
    return choice


def _unzipped(item: Handed, faults: list[LeftOut], stack: ExitStack) -> Iterator[Handed]:
    """The file, or the notebooks in it where a student has handed in a zip."""
    if not item.file.path.casefold().endswith(".zip"):
        if may_be_a_submission(item.file):
            yield item
        return
    try:
        inside = stack.enter_context(open_zip(item.file.read(LARGEST_ZIP), "the zip in it"))
    except LabError as error:
        faults.append(_left(item, str(error)))
        return
    notebooks = [file for file in inside if file.path.casefold().endswith(".ipynb")]
    if not notebooks:
        faults.append(_left(item, "there is no notebook in this zip"))
    for file in notebooks:
        path = f"{item.file.path}/{file.path}"
        yield Handed(File(path, file.size, file.opened), item.platform, item.clue, item.own, item.late, item.time)


def _chapter_of(data: bytes) -> str:
    """The chapter that a notebook says it is of; "" for one that says nothing, or is none, which `grade` tells."""
    try:
        chapter = of_notebook(data).chapter
    except SourceError:
        return ""
    return chapter if isinstance(chapter, str) else ""


def _check_places(course: Path, chapter: str, chosen: Sequence[_Chosen]) -> None:
    """Raise LabError where something stands in the way of a folder."""
    for choice in chosen:
        place = course / "submitted"
        for part in (choice.person.id, folder_name(chapter)):
            place = place / part
            if place.is_symlink():
                raise LabError(f"{place} is a symbolic link; nothing was laid out")
            if place.exists() and not place.is_dir():
                raise LabError(f"{place} is no folder; nothing was laid out")


def _keep_earlier(course: Path, chapter: str, choice: _Chosen, zone: str) -> None:
    """Keep attempts before the last; a time that the class list tells is that of the last one."""
    for item, data in choice.earlier:
        time, _ = _time_of(item, Person(choice.person.id), zone)
        keep(course, choice.person.id, chapter, data, f"{time}\n".encode() if time else None)


def _laid_out(course: Path, chapter: str, choice: _Chosen, zone: str) -> Taken:
    name, item = folder_name(chapter), choice.handed
    folder = course / "submitted" / choice.person.id / name
    notebook, stamp = folder / f"{name}.ipynb", folder / "timestamp.txt"
    time, notes = _time_of(item, choice.person, zone)
    notes = [*choice.notes, *notes]
    changed = not notebook.is_file() or notebook.read_bytes() != choice.data
    if changed:
        if notebook.exists():
            notes.append("in the place of an earlier one")
        write_atomically(notebook, choice.data)
    if time:
        write_atomically(stamp, f"{time}\n".encode())
    elif changed and stamp.exists():
        stamp.unlink()
        notes.append("the timestamp.txt of the earlier one is removed, since nothing says when this one came")
    return Taken(choice.person.id, printable(item.file.path, 300), item.late, time, tuple(notes))


def _time_of(item: Handed, person: Person, zone: str) -> tuple[str, list[str]]:
    """When it was handed in, with its zone; "" where nobody says so, or not clearly, with a note."""
    text = item.time or person.time
    if not text:
        return "", ["nothing says by how much"] if item.late else []
    for attempt in (text, f"{text} {zone}" if zone else ""):
        try:
            if attempt:
                return moment(attempt, zone).strftime("%Y-%m-%d %H:%M:%S UTC"), []
        except MomentError:
            continue
    return "", [
        f"handed in at {text}, and no zone is known: set c.Exchange.timezone in nbgrader_config.py, or "
        "timezone in course.toml"
    ]


def _enter(book: Book, listed: Sequence[Person], taken: Sequence[Person], known: Sequence[Person]) -> None:
    """Enter the class into the gradebook, so that tables have names and numbers."""
    there = {person.id for person in known}
    people = {person.id: person for person in (*merged(known, listed), *taken) if person.id not in there or listed}
    if people:
        book.enter_students(
            {person.id: {"first_name": person.first, "last_name": person.last, "email": person.email,
                         "lms_user_id": person.number} for person in people.values()}
        )  # fmt: skip


def _write_list(course: Path, left_out: Sequence[LeftOut]) -> None:
    place = course / LEFT_OUT
    if not left_out:
        place.unlink(missing_ok=True)
        return
    text = io.StringIO()
    rows = [("file", "who", "why"), *((item.file, item.who, item.why) for item in left_out)]
    csv.writer(text, lineterminator="\n").writerows([harmless(cell) for cell in row] for row in rows)
    write_atomically(place, text.getvalue().encode())
