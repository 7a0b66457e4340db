"""What a class is graded from and what is kept of it: submissions, the seed of a run, and finished results."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffusion_lab.errors import LabError, SourceError
from diffusion_lab.exercises.catalogue import NOTEBOOKS, folder_name
from diffusion_lab.files import write_atomically
from diffusion_lab.grading.classroom.result import Result
from diffusion_lab.grading.isolation import printable
from diffusion_lab.grading.judge import seed_of
from diffusion_lab.grading.notebook import content_of, of_notebook

MOST_COPIES = 5
"""How many files of other names are looked into for the notebook that is meant."""
KEPT = Path(".diffusion-lab") / "grading"
"""Results, below the course's folder."""
PUNCTUATION = set("_.@+- ',()’\u200c\u200d")
"""What the names of students' folders may hold besides letters, marks and digits of any script. The last two join or
part letters in some of them. nbgrader takes `*`, `?` and `[` for patterns."""
LONGEST_NAME = 200
"""Bytes of such a name in UTF-8: files are called after it."""


@dataclass(frozen=True)
class Submission:
    """One student's folder for one notebook: a chapter's, or its lab."""

    student: str
    chapter: str
    path: Path
    """Of the notebook."""
    reason: str = ""
    """Why it is refused without being read."""
    strange: bool = False
    """The student's folder has a name that nbgrader cannot use; this is for the instructor to mend."""
    note: str = ""
    """What the instructor should know of the file, such as that it has another name."""
    attempt: str = ""
    """Which of several attempts it is, where the best counts."""


def find(submitted: Path, chapters: Sequence[str] = NOTEBOOKS) -> list[Submission]:
    """The submissions in nbgrader's layout, submitted/<student>/<NN_name>/<NN_name>.ipynb, by chapter and student.

    Raises:
        LabError: where there is no such folder.
    """
    if not submitted.is_dir():
        raise LabError(f"there is no folder {submitted}; nbgrader's `collect` makes it, or --submitted names another")
    students = sorted(place for place in submitted.iterdir() if not place.name.startswith("."))
    return [
        _submission(student, chapter)
        for chapter in chapters
        for student in students
        if student.is_dir() and os.path.lexists(student / folder_name(chapter))
    ]


def _submission(place: Path, chapter: str) -> Submission:
    folder = place / folder_name(chapter)
    path = folder / f"{folder.name}.ipynb"
    if fault := name_fault(place.name):
        name = printable(place.name.encode(errors="replace").decode(), 100)
        return Submission(name, chapter, path, f"the name of the student's folder {fault}", True)
    for part, what in ((place, "the student's folder"), (folder, "the folder")):
        if part.is_symlink():
            return Submission(place.name, chapter, path, f"{what} is a symbolic link")
    if not folder.is_dir():
        return Submission(place.name, chapter, path, f"{folder.name} is not a folder")
    others = sorted(other for other in folder.glob("*.ipynb") if other.name != path.name)
    told = ", ".join(printable(other.name, 60) for other in others[:3])
    if os.path.lexists(path):
        copies = any(other.name.startswith(folder.name) for other in others)
        return Submission(place.name, chapter, path, note=f"its folder also has {told}" if copies else "")
    meant = [other for other in others[:MOST_COPIES] if _is_of(other, chapter)]
    if len(meant) == 1:
        note = f"its file is called {printable(meant[0].name, 60)}"
        return Submission(place.name, chapter, meant[0], note=note)
    has = f"; it has {told}" if others else ""
    return Submission(place.name, chapter, path, f"there is no {path.name} in its folder{has}")


def name_fault(name: str) -> str:
    """What keeps nbgrader from using this name of a student, such as "holds '*' (ASTERISK)"; "" where nothing does."""
    for character in name:
        if character not in PUNCTUATION and unicodedata.category(character)[0] not in "LMN":
            called = unicodedata.name(character, f"U+{ord(character):04X}")
            shown = f"{character!r} ({called})" if character.isprintable() else called
            return f"holds {shown}, which it may not hold; give it another one"
    if len(name.encode()) > LONGEST_NAME:
        return f"has {len(name.encode())} bytes, and more than {LONGEST_NAME} are too many; shorten it"
    if name != name.strip():
        return "begins or ends with a space"
    if unicodedata.category(name[0])[0] not in "LN" and name[0] != "_":
        return f"begins with {name[0]!r} ({unicodedata.name(name[0], '')}), not with a letter or digit"
    return ""


def _is_of(path: Path, chapter: str) -> bool:
    """Whether this file is a notebook that says it is of this chapter."""
    try:
        return of_notebook(content_of(path)).chapter == chapter
    except (SourceError, OSError):
        return False


@dataclass(frozen=True)
class Seed:
    """What the cases of one run are drawn from."""

    text: str = field(repr=False)

    @property
    def number(self) -> int:
        return seed_of(self.text)

    @property
    def id(self) -> str:
        """Tells seeds apart and does not give them away."""
        return hashlib.sha256(b"id of the seed: " + self.text.encode()).hexdigest()[:16]


@dataclass
class Records:
    """Finished results of one chapter, one file each, and the seed of the run that they belong to."""

    course: Path
    chapter: str

    @property
    def folder(self) -> Path:
        return self.course / KEPT / self.chapter

    def read(self, student: str, attempt: str = "") -> Result | None:
        """The kept result, or that of one attempt; None where there is none, or no whole one."""
        try:
            result = Result.from_dict(json.loads(self._path(student, attempt).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return result if (result.student, result.chapter) == (student, self.chapter) else None

    def keep(self, result: Result) -> None:
        """Keep a student's result."""
        self._write(result, "")

    def keep_attempt(self, result: Result) -> None:
        """Keep the result of one of several attempts, beside that which counts."""
        self._write(result, result.attempt)

    def _write(self, result: Result, attempt: str) -> None:
        write_atomically(self._path(result.student, attempt), json.dumps(result.as_dict(), indent=1).encode())

    def _path(self, student: str, attempt: str) -> Path:
        return self.folder / "attempts" / student / f"{attempt}.json" if attempt else self.folder / f"{student}.json"

    def all(self) -> list[Result]:
        """Every kept result, by student."""
        found = (self.read(path.stem) for path in sorted(self.folder.glob("*.json")))
        return [result for result in found if result is not None]

    def seed(self, given: str = "") -> Seed:
        """The given one; else that of the run that was not finished; else a new one."""
        if given:
            return Seed(given)
        path = self.folder / "seed"
        if path.is_file() and (text := path.read_text(encoding="utf-8").strip()):
            return Seed(text)
        text = secrets.token_hex(16)
        write_atomically(path, text.encode(), mode=0o600)
        return Seed(text)

    def forget(self) -> None:
        """Remove every result and the seed."""
        for path in (*self.folder.glob("*.json"), *self.folder.glob("attempts/*/*.json"), self.folder / "seed"):
            path.unlink(missing_ok=True)

    def finished(self) -> None:
        """The next run draws cases of its own: by then students may have seen some of these in their feedback.

        The seed is kept for whoever has to look into a complaint, and never used again by itself.
        """
        path = self.folder / "seed"
        if path.is_file():
            used = self.folder / "seeds" / Seed(path.read_text(encoding="utf-8").strip()).id
            used.parent.mkdir(mode=0o700, exist_ok=True)
            path.replace(used)
