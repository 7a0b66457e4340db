"""`course.toml` of a course's folder: its rules, and what they offer in force."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from diffusion_lab.exercises.offers import in_force
from diffusion_lab.grading.classroom.rules.decisions import COURSE_FILE, Rules
from diffusion_lab.grading.classroom.rules.reading import Reading
from diffusion_lab.grading.classroom.rules.toml_file import TomlFile


def rules_of(course: Path) -> Rules:
    """The rules of a course's folder; those of nothing where it has no `course.toml`.

    Raises:
        LabError: the file cannot be followed; the message names file and line, and what is accepted.
    """
    path = Path(course) / COURSE_FILE
    if not path.exists():
        return Rules(path)
    read = TomlFile.read(path)
    files = _files(read)
    return _rules(path, read.text, tuple(sorted((name, file.stat().st_mtime_ns) for name, file in files.items())))


@contextlib.contextmanager
def ruled(course: Path) -> Iterator[Rules]:
    """A course's rules, and what it offers in force as long as this is open. Raises LabError as `rules_of` does."""
    rules = rules_of(course)
    with in_force(rules.offers) if rules.path.exists() else contextlib.nullcontext():
        yield rules


def _files(read: TomlFile) -> dict[str, Path]:
    """The files of the course's own exercises that are there, so that a change of theirs is seen."""
    entries = [
        entry
        for table in read.content.values()
        if isinstance(table, dict) and isinstance(table.get("exercises"), list)
        for entry in table["exercises"]
        if isinstance(entry, dict) and isinstance(entry.get("file"), str)
    ]
    places = {entry["file"]: read.path.parent / entry["file"] for entry in entries}
    return {name: place for name, place in places.items() if place.is_file()}


@lru_cache(maxsize=16)
def _rules(path: Path, text: str, _files: tuple) -> Rules:
    """Kept for as long as the file, and those that it names, are the same."""
    with in_force(()):
        return Reading(TomlFile.read(path)).rules()
