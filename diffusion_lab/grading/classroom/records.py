"""What a class is graded from and what is kept of it: submissions, the seed of a run, and finished results."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.catalogue import CHAPTERS, folder_name
from diffusion_lab.files import write_atomically
from diffusion_lab.grading.classroom.result import Result
from diffusion_lab.grading.isolation import printable

KEPT = Path(".diffusion-lab") / "grading"
"""Results, below the course's folder."""
STUDENT = re.compile(r"\w[\w.@+ -]{0,99}")
"""Names of students' folders. nbgrader takes `*` and `[` for patterns."""


@dataclass(frozen=True)
class Submission:
    """One student's folder for one chapter."""

    student: str
    chapter: str
    path: Path
    """Of the notebook."""
    reason: str = ""
    """Why it is refused without being read."""
    strange: bool = False
    """The student's folder has a name that nbgrader cannot use; this is for the instructor to mend."""


def find(submitted: Path, chapters: Sequence[str] = CHAPTERS) -> list[Submission]:
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
    if not STUDENT.fullmatch(place.name) or place.name != place.name.strip():
        name = printable(place.name.encode(errors="replace").decode(), 100)
        return Submission(
            name, chapter, path, "the name of the student's folder has characters that it may not have", True
        )
    for part, what in ((place, "the student's folder"), (folder, "the folder")):
        if part.is_symlink():
            return Submission(place.name, chapter, path, f"{what} is a symbolic link")
    if not folder.is_dir():
        return Submission(place.name, chapter, path, f"{folder.name} is not a folder")
    if not os.path.lexists(path):
        others = sorted(printable(other.name, 60) for other in folder.glob("*.ipynb"))
        has = f"; it has {', '.join(others[:3])}" if others else ""
        return Submission(place.name, chapter, path, f"there is no {path.name} in its folder{has}")
    return Submission(place.name, chapter, path)


@dataclass(frozen=True)
class Seed:
    """What the cases of one run are drawn from."""

    text: str = field(repr=False)

    @property
    def number(self) -> int:
        return int.from_bytes(hashlib.sha256(self.text.encode()).digest()[:7], "big")

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

    def read(self, student: str) -> Result | None:
        """The kept result; None where there is none, or no whole one."""
        try:
            result = Result.from_dict(json.loads((self.folder / f"{student}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return result if (result.student, result.chapter) == (student, self.chapter) else None

    def keep(self, result: Result) -> None:
        write_atomically(self.folder / f"{result.student}.json", json.dumps(result.as_dict(), indent=1).encode())

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
        for path in (*self.folder.glob("*.json"), self.folder / "seed"):
            path.unlink(missing_ok=True)

    def finished(self) -> None:
        """The next run draws cases of its own: by then students may have seen some of these in their feedback."""
        (self.folder / "seed").unlink(missing_ok=True)
