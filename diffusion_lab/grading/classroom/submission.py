"""One submission: what is taken from it.

A submitted notebook is never graded as it is. Only what counts of its code is taken from it, by the same rules as for
`diffusion-lab check`; the questions, the answers and the marks are the grader's own.
"""

from __future__ import annotations

from pathlib import Path

from diffusion_lab.errors import LabError, SourceError
from diffusion_lab.exercises import Notebook
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading import notebook as reading
from diffusion_lab.grading.isolation import printable
from diffusion_lab.grading.notebook import MOST_NOTES, Cell, Intake

__all__ = ["MOST_NOTES", "Cell", "Intake", "IntakeError", "content_of", "parsed", "take_in"]


class IntakeError(Exception):
    """A file that holds no submission to this notebook: it is reported with the reason, and gets no marks."""


def take_in(path: Path, notebook: Notebook) -> Intake:
    """Read a submitted notebook. Raises IntakeError, with the reason, for what is none."""
    return parsed(content_of(path), notebook)


def content_of(path: Path) -> bytes:
    """What is in a submitted file. Raises IntakeError for what is no plain file, or a very large one."""
    try:
        return reading.content_of(path)
    except SourceError as error:
        raise IntakeError(str(error)) from error


def parsed(data: bytes, notebook: Notebook) -> Intake:
    """What is taken from the bytes of a submitted notebook. Raises IntakeError, with the reason, for what is none."""
    try:
        intake, chapter = reading.take_in_apart(data, [exercise.name for exercise in notebook.exercises])
    except SourceError as error:
        raise IntakeError(str(error)) from error
    if not intake.solutions:
        said = f", and says that it is of '{chapter}'" if isinstance(chapter, str) else ""
        raise IntakeError(
            f"it has none of this notebook's functions{said[:100]}; is it the notebook of another chapter?"
        )
    return intake


def another_name(intake: Intake, owner: Owner, known: str = "") -> str:
    """What is said where a notebook's own cells name somebody else, or another course, so that it drew other things.

    Marks are given by the folder's name and the course's release; "" where the notebook agrees.

    Args:
        known: how the owner's name is known, where it is not the folder's.
    """
    counts = f"what counts is drawn for '{owner.student}', {known or 'as the folder is called.'}"
    student, course = intake.typed.get("student", ""), intake.typed.get("course", owner.course)
    if not student:
        return f"No name is typed in the notebook; {counts}"
    if not _same(student, owner):
        return f"The name typed in the notebook is '{printable(student, 60)}'; {counts}"
    if course != owner.course:
        return "The notebook is of another release of the course, which drew other things than the one that is graded."
    return ""


def _same(student: str, owner: Owner) -> bool:
    try:
        return Owner(student, owner.course).name == owner.name
    except LabError:  # no name that anything is drawn from
        return False
