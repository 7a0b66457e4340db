"""The course's own text, from which things are drawn for its students: it stands in the notebook that they get."""

from __future__ import annotations

import copy
import re
import secrets
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Unicode

from diffusion_lab.errors import LabError
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import folder_name
from diffusion_lab.exercises.owner import course_text
from diffusion_lab.grading.classroom.gradebook.assignment import Assignment

SET_UP = "set-up"
"""The cell that holds it, as nbgrader knows it."""
_TEXT = re.compile(r'(?<=\bcourse=")[0-9a-f]*(?=")')


class Inscribe(NbGraderPreprocessor):
    """A step of nbgrader's that makes a release: it writes the text into the cell that begins the work."""

    text = Unicode("", help="The course's own text.").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        for cell in _set_up(nb):
            cell.source = _TEXT.sub(self.text, cell.source)
        return nb, resources


def inscribing(settings: Any, text: str) -> Any:
    """nbgrader's settings, with which a release gets this text."""
    from nbgrader.converters import GenerateAssignment

    found = copy.deepcopy(settings)
    steps = found.GenerateAssignment.get("preprocessors") or GenerateAssignment.preprocessors.default_args[0]
    found.GenerateAssignment.preprocessors = [Inscribe, *steps]
    found.Inscribe.text = text
    return found


def inscribed(document: NotebookNode) -> str | None:
    """The text that a notebook holds, "" before it is released; None where it has no place for one."""
    found = [match.group() for cell in _set_up(document) if (match := _TEXT.search(cell.source))]
    return found[-1] if found else None


def to_release(course: Path, chapter: str, secret: str = "") -> str:
    """The text for a new release: from the secret, else that of the release before, else a new one.

    Raises:
        LabError: where the notebook draws something for each student, and the course's source has no place for it.
    """
    if not notebook(chapter).is_drawn:
        return ""
    assignment = Assignment(Path(course), folder_name(chapter))
    source = assignment.path(assignment.directory.source_directory)
    if _read(source) is None:
        raise LabError(
            f'{source} does not say course="" in its cell "{SET_UP}", so that nothing can be drawn for each student; '
            "take this cell from the notebook of the course"
        )
    return course_text(secret) if secret else _read(assignment.release_path) or secrets.token_hex(8)


def drawn_from(course: Path, chapter: str, secret: str = "") -> str:
    """The text that students' notebooks hold, by which they are graded: that of the release.

    Args:
        secret: the one that it was released with, if any; only to make sure.

    Raises:
        LabError: where the release was made with another secret, or there is none.
    """
    if not notebook(chapter).is_drawn:
        return ""
    release = Assignment(Path(course), folder_name(chapter)).release_path
    text = _read(release)
    if secret and text != course_text(secret):
        what = f"there is no release {release}" if text is None else f"{release} was made with another secret"
        raise LabError(
            f"{what}, and what your students look for is drawn from the one in their notebooks. Grade with the secret "
            "that it was released with, or without one"
        )
    return text or ""


def _read(path: Path) -> str | None:
    try:
        return inscribed(nbformat.read(path, as_version=4))
    except (OSError, ValueError, AttributeError, nbformat.ValidationError):
        return None


def _set_up(document: NotebookNode) -> list[NotebookNode]:
    return [c for c in document.cells if c.metadata.get("nbgrader", {}).get("grade_id") == SET_UP]
