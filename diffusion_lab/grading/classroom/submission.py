"""One submission: what is taken from it.

A submitted notebook is never graded as it is. Only the sources of code cells are taken from it; the questions, the
answers and the marks are the grader's own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusion_lab.exercises import Notebook

MOST_CELLS = 2000
"""Of a notebook, with code in them."""
MOST_NOTES = 20
LARGEST = 20 << 20
"""Bytes of a notebook, its outputs among them."""
LONGEST_SOURCE = 1 << 20
"""Characters of all its code."""
OURS = re.compile(r"^(?:\w+ *= *)?(?:lab *\.|start *\().*|^from diffusion_lab\S* +import +start\b.*", re.M)
"""A line, outside of solutions, that calls the course's own checks, which have no place in the sandbox."""
TRIES_THE_REFERENCE = re.compile(r"\bdiffusion_lab\b")


class IntakeError(Exception):
    """A file that holds no submission to this notebook: it is reported with the reason, and gets no marks."""


@dataclass(frozen=True)
class Cell:
    """A code cell of a submission."""

    name: str
    """The exercise's, or "cell N" for one of the student's own."""
    source: str


@dataclass
class Intake:
    """What is taken from a submitted notebook."""

    solutions: dict[str, Cell]
    own: list[Cell]
    """Code cells that the student has added, such as helper functions, in order, each before the next solution."""
    order: list[Cell]
    notes: list[str] = field(default_factory=list)


def take_in(path: Path, notebook: Notebook) -> Intake:
    """Read a submitted notebook. Raises IntakeError, with the reason, for what is none."""
    return parsed(content_of(path), notebook)


def content_of(path: Path) -> bytes:
    """What is in a submitted file. Raises IntakeError for what is no file, or a very large one."""
    if path.is_symlink() or not path.is_file():
        raise IntakeError("it is not a plain file")
    size = path.stat().st_size
    if size > LARGEST:
        raise IntakeError(f"it has {size / 1e6:.0f} MB, and at most {LARGEST / 1e6:.0f} MB are read")
    return path.read_bytes()


def parsed(data: bytes, notebook: Notebook) -> Intake:
    """What is taken from the bytes of a submitted notebook. Raises IntakeError, with the reason, for what is none."""
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise IntakeError(f"it is not a notebook: {_fault_of(error)}") from error
    cells = content.get("cells") if isinstance(content, dict) else None
    if not isinstance(cells, list):
        raise IntakeError("it is not a notebook: it has no list of cells")
    names = {exercise.name for exercise in notebook.exercises}
    intake = Intake({}, [], [])
    found = [cell for number, given in enumerate(cells, 1) if (cell := _code_cell(given, number, names)) is not None]
    if len(found) > MOST_CELLS:
        raise IntakeError(f"it has more than {MOST_CELLS} cells with code")
    for taken in found:
        if taken.name not in names:
            intake.own.append(taken)
        elif taken.name in intake.solutions:
            # As nbgrader does where a cell was copied: the last one counts.
            intake.notes.append(f"the cell '{taken.name}' is there more than once, and the last one counts")
            intake.order.remove(intake.solutions[taken.name])
        if taken.name in names:
            intake.solutions[taken.name] = taken
        intake.order.append(taken)
    if sum(len(cell.source) for cell in intake.order) > LONGEST_SOURCE:
        raise IntakeError(f"it has more than {LONGEST_SOURCE} characters of code")
    if not intake.solutions:
        raise IntakeError("it has none of this notebook's solution cells; is it the notebook of another chapter?")
    for cell in intake.order:
        if TRIES_THE_REFERENCE.search(cell.source):
            intake.notes.append(f"'{cell.name}' names the package diffusion_lab, which does not exist in the sandbox")
    if len(intake.notes) > MOST_NOTES:
        intake.notes[MOST_NOTES:] = [f"and {len(intake.notes) - MOST_NOTES} more of the kind"]
    return intake


def _fault_of(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON, at line {error.lineno}"
    return "its JSON is nested too deeply" if isinstance(error, RecursionError) else "it is no JSON"


def _code_cell(cell: Any, number: int, names: set[str]) -> Cell | None:
    if not isinstance(cell, dict) or cell.get("cell_type") != "code":
        return None
    source, metadata = cell.get("source"), cell.get("metadata")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str) or not source.strip():
        return None
    ours = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = ours.get("grade_id") if isinstance(ours, dict) else None
    # Halves of characters, which JSON allows and no file does.
    source = without_magics(source.encode(errors="replace").decode())
    if isinstance(grade_id, str) and grade_id in names:
        return Cell(grade_id, source)
    if grade_id is not None:
        return None
    source = OURS.sub("", source)
    return Cell(f"cell {number}", source) if source.strip() else None


def without_magics(source: str) -> str:
    """IPython's own lines (%timeit, !pip) left out: outside a notebook they are no Python."""
    lines = source.splitlines()
    if lines and lines[0].startswith("%%"):
        return ""
    return "\n".join(re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in lines)
