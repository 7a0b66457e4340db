"""One submission, graded where a learning platform runs the grader: without a class, a gradebook or other machines."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import diffusion_lab
from diffusion_lab.errors import LabError, SourceError
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import find, folder_name
from diffusion_lab.exercises.offers import Offer, in_force
from diffusion_lab.grading.classroom import workers
from diffusion_lab.grading.classroom.result import Result, refused
from diffusion_lab.grading.isolation import SandboxError, printable
from diffusion_lab.grading.judge import seed_of
from diffusion_lab.grading.notebook import content_of, of_notebook

SETTINGS = "grader.json"
"""What `export` has written for the grader on the platform."""
ISOLATIONS = ("bubblewrap", "account", "none")
STRANGER = "submission"
"""What a student is called where nothing depends on it."""
MOST_NOTEBOOKS = 20
"""Which are looked into for the one that is meant."""


@dataclass(frozen=True)
class Settings:
    """What a teacher has decided about grading on a platform."""

    chapter: str
    isolation: str = "bubblewrap"
    """One of `ISOLATIONS`."""
    visibility: str = "visible"
    """Of the points, in Gradescope's words."""
    hints: str = "visible"
    """Of the messages below them."""
    seed: str = ""
    """What the cases are drawn from; by default they are new for each submission."""
    offers: tuple[Mapping[str, Any], ...] = ()
    """What the course makes of the notebook, as `Offer.as_dict` gives it."""
    late: Mapping[str, Any] = field(default_factory=dict)
    """When it is due, what lateness costs and whether the best attempt counts; see `deadlines`."""
    course: str = ""
    """The course's own text, which stands in the released notebook; "" where nothing is drawn for each student."""
    identity: str = ""
    """By what a student is called where something is drawn; see `identity`."""
    students: Mapping[str, str] = field(default_factory=dict)
    """address -> the name that the class list has for it, where students go by that."""

    def in_force(self) -> AbstractContextManager[None]:
        """While it is open, notebooks are what the course makes of them."""
        return in_force(Offer.from_dict(offer) for offer in self.offers)

    def written(self) -> bytes:
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    @classmethod
    def read(cls, file: Path) -> Settings:
        """Raises LabError where the file is not as `export` has written it."""
        try:
            content: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            settings = cls(**content)
        except (OSError, ValueError, TypeError) as error:
            raise LabError(f"{file} is not as `diffusion-lab export` writes it: {error}") from error
        if settings.isolation not in ISOLATIONS:
            raise LabError(f"{file}: there is no isolation {settings.isolation!r}; there are {', '.join(ISOLATIONS)}")
        return settings


def grade_folder(folder: Path, settings: Settings, student: str = STRANGER, known: str = "") -> Result:
    """Grade the notebook that a student has handed in.

    Args:
        folder: with the student's files, whatever they are.
        settings: as a teacher has set them.
        student: their name, from the platform and not from the notebook; what is drawn for them follows from it.
        known: how the platform comes to know it, in words.

    Returns:
        What `grade` would give: marks, or a refusal with its reason.

    Raises:
        LabError, OSError: the grader failed, such as a sandbox that does not start. This says nothing of the
            submission: there is no mark then, and no zero.
    """
    with settings.in_force():
        return _graded(folder, settings, student, known)


def _graded(folder: Path, settings: Settings, student: str, known: str) -> Result:
    chapter = find(settings.chapter)
    if notebook(chapter).is_drawn and (student == STRANGER or not settings.course):
        raise LabError(f"in '{chapter}' something is drawn for each student, and this grader does not know for whom")
    drawn = settings.seed or secrets.token_hex(16)
    about = {"seed_id": "", "version": diffusion_lab.__version__}
    try:
        file = notebook_in(folder, chapter)
        data = content_of(file)
    except SourceError as error:
        return refused(student, notebook(chapter), str(error), **about)
    order = {
        "student": student,
        "course": settings.course,
        "known": known,
        "chapter": chapter,
        "data": data,
        "digest": hashlib.sha256(data).hexdigest(),
        "seed": seed_of(drawn),
        "isolation": settings.isolation,
        "offers": settings.offers,
        "note": "" if file.stem == folder_name(chapter) else f"its file is called {printable(file.name, 60)}",
        **about,
    }
    try:
        content = workers.graded(order)
        result = Result.from_dict(content)
        if content.get(workers.ROBBED) is True:  # other programs kept it from running: the better of two tries counts
            result = max(result, Result.from_dict(workers.graded(order)), key=lambda each: each.points)
        return result
    finally:
        workers.done()


def what_failed(error: Exception) -> str:
    """Why a platform's grader gave no mark, for teachers, and what they can decide."""
    said = f"not graded, and no zero: {error}"
    if not isinstance(error, SandboxError):
        return said
    return (
        f"{said}\nOn a platform you decide: `diffusion-lab export` with --isolation account runs each submission under "
        "an account of its own, without walls around it; with --isolation none it runs as the grader itself; or "
        "collect the submissions, and grade them on a machine of yours, where bubblewrap works"
    )


def notebook_in(folder: Path, chapter: str) -> Path:
    """The notebook of a chapter among a student's files: the one with its name, else the only one that is of it.

    Raises:
        SourceError: there is none, or several could be meant.
    """
    name = folder_name(chapter)
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        found += [Path(here) / file for file in sorted(files) if file.endswith(".ipynb") and not file.startswith(".")]
    named = [file for file in found if file.stem == name]
    if len(named) == 1:
        return named[0]
    fits = named or [file for file in found[:MOST_NOTEBOOKS] if _says(file) in (chapter, "")]
    sure = [file for file in fits if _says(file) == chapter]
    fits = sure or fits
    if len(fits) == 1:
        return fits[0]
    told = ", ".join(printable(str(file.relative_to(folder)), 60) for file in found[:5]) or "no notebook"
    if fits:
        raise SourceError(f"several notebooks could be meant ({told}); hand in one, called {name}.ipynb")
    raise SourceError(f"there is no {name}.ipynb; it has {told}")


def _says(file: Path) -> str:
    """The chapter that a notebook says it is of; "" where it says nothing, and "-" where it is none."""
    try:
        chapter = of_notebook(content_of(file)).chapter
    except (SourceError, OSError):
        return "-"
    return chapter if isinstance(chapter, str) else ""
