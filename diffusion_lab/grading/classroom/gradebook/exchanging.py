"""nbgrader's exchange: the folder through which a class on one server gets notebooks and hands them in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.catalogue import find, folder_name
from diffusion_lab.grading.classroom.gradebook.assignment import Assignment, settings_of
from diffusion_lab.grading.classroom.gradebook.dates import enter_due
from diffusion_lab.grading.classroom.gradebook.inscription import inscribing, to_release
from diffusion_lab.grading.classroom.gradebook.tailoring import tailored, tailoring
from diffusion_lab.grading.classroom.gradebook.verdict_notebook import CHECK, misfits, name_of
from diffusion_lab.grading.classroom.rules import NotebookRules, rules_of


def release(course: Path, chapter: str, secret: str = "") -> tuple[Path, Path | None]:
    """Make the notebook without solutions, and put it into the exchange where there is one.

    Args:
        secret: of the course, from which and a student's name is drawn what each student has of their own; without
            one, that of the release before, or a new one.

    Returns:
        The notebook, and the exchange's folder or None.

    Raises:
        LabError: the course's folder has no source of it, its `course.toml` cannot be followed, nbgrader fails, or the
            course's graders could not mark it.
    """
    from nbgrader.coursedir import CourseDirectory

    rules = rules_of(course).of(find(chapter))
    api, settings = _nbgrader(course, rules)
    name = folder_name(find(chapter))
    source = Path(api.coursedir.format_path(api.coursedir.source_directory, ".", name)) / f"{name}.ipynb"
    if not source.is_file():
        raise LabError(
            f"there is no {source}, of which the notebook for students is made; start this in the course's folder, or "
            "name that with --course"
        )
    _require_same_cells(Assignment(Path(course), name), source, rules)
    text = to_release(course, chapter, secret)
    if text:
        api, settings = _nbgrader(course, rules, text)
    _expect(api.generate_assignment(name))
    place = Path(CourseDirectory(config=settings).format_path(api.coursedir.release_directory, ".", name))
    wrong = misfits(nbformat.read(place / f"{name}.ipynb", as_version=4), rules.notebook)
    if wrong:
        source = api.coursedir.source_directory
        raise LabError(
            f"`grade` could not mark what {source}/{name} has become: {'; '.join(wrong)}. Nothing was handed out. "
            "Undo this in the source, and for questions of your own use cells that are marked by hand"
        )
    enter_due(api.gradebook, name, rules.dates)
    root = _exchange(settings)
    if root is not None:
        _expect(api.release_assignment(name))
    return place / f"{name}.ipynb", root


def _require_same_cells(assignment: Assignment, source: Path, rules: NotebookRules) -> None:
    """Raise LabError where marks are recorded and the release would ask for other things: nbgrader fails then, and
    removes the release that is there."""
    if not assignment.marks():
        return
    cells = tailored(nbformat.read(source, as_version=4), rules).cells
    wanted = {name_of(cell) for cell in cells if cell.metadata.get("nbgrader", {}).get("grade")}
    with assignment.gradebook() as gradebook:
        there = {cell.name for cell in gradebook.find_notebook(assignment.name, assignment.name).grade_cells}
    changes = [f"{name.removesuffix(CHECK)} would come in" for name in sorted(wanted - there)]
    changes += [f"{name.removesuffix(CHECK)} would go" for name in sorted(there - wanted)]
    if changes:
        raise LabError(
            f"marks of {assignment.name} are recorded, and nbgrader adds and removes no cells then: "
            f"{'; '.join(changes)}. Points and dates may still change; for other exercises, take what is left out or "
            "added back, or begin with a new gradebook"
        )


def collect(course: Path, chapter: str) -> int:
    """Fetch what students have handed in, newer ones in the place of older ones; how many submissions there are."""
    api, settings = _nbgrader(course)
    if _exchange(settings) is None:
        raise LabError(
            f"there is no exchange folder at {_root(settings)}; --from takes a platform's zip or a folder of "
            "notebooks, and c.Exchange.root in nbgrader_config.py names an exchange"
        )
    _expect(api.collect(folder_name(chapter), update=True))
    return len(api.get_submitted_students(folder_name(chapter)))


def _nbgrader(course: Path, rules: NotebookRules | None = None, text: str = "") -> tuple[Any, Any]:
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Application

    settings = inscribing(settings_of(course), text) if text else settings_of(course)
    if rules is not None:
        settings = tailoring(settings, rules)
    return NbGraderAPI(parent=Application(config=settings)), settings


def _exchange(settings: Any) -> Path | None:
    root = _root(settings)
    return root if root.is_dir() and os.access(root, os.W_OK) else None


def _root(settings: Any) -> Path:
    from nbgrader.exchange.default import Exchange

    return Path(Exchange(config=settings).root)


def _expect(result: dict[str, Any]) -> None:
    if not result["success"]:
        words = (result.get("error") or result.get("log") or "no message").strip()
        raise LabError(f"nbgrader failed: {words[-1500:]}")
