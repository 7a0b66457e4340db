"""A step of nbgrader's autograding: put a submission back into the shape of its release.

nbgrader alone gives no marks for a right solution whose test cell was deleted. It gives up on a whole submission that
holds a cell of an older release, and, where it may add missing cells, on one that lacks both cells of an exercise. A
damaged `schema_version` stops it for the whole class, and a cell with the tag `skip-execution` gets full marks.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor

NAME = 'student = ""'
"""How the cell of a release begins in which students write their name."""


class Rebuild(NbGraderPreprocessor):
    """Comes first among `Autograde.sanitize_preprocessors`."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        course, about = CourseDirectory(parent=self), resources["nbgrader"]
        folder = course.format_path(course.release_directory, ".", about["assignment"])
        release = nbformat.read(Path(folder) / f"{about['notebook']}.ipynb", as_version=4)
        return named(rebuilt(release, nb), about["student"]), resources


def rebuilt(release: NotebookNode, submission: NotebookNode) -> NotebookNode:
    """The release with the solutions of this submission in their cells.

    The learner's own cells come after the cell of the release that they stood below. Where a cell is there twice, the
    last one counts, as it does for nbgrader. All metadata are the release's.
    """
    result = copy.deepcopy(release)
    places = {_name(cell): cell for cell in result.cells if _name(cell)}
    texts = {cell.source for cell in result.cells if not _name(cell)}
    own: dict[str, list[NotebookNode]] = {}
    above = ""
    for cell in submission.cells:
        name = _name(cell)
        if name in places:
            above = name
            if places[name].metadata.nbgrader.solution:
                places[name].source = cell.source
        elif cell.source not in texts:
            own.setdefault(above, []).append(_plain(cell))
    cells = own.get("", [])
    for cell in result.cells:
        cells += [cell, *own.get(_name(cell), [])] if _name(cell) else [cell]
    # Ids of cells must differ, and the learner's may be anything.
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    result.cells = cells
    return result


def named(document: NotebookNode, student: str) -> NotebookNode:
    """The same with the student's name, as their folder has it, in the cell that asks for it; changed in place."""
    for cell in document.cells:
        if cell.cell_type == "code" and cell.source.startswith(NAME) and not _name(cell):
            cell.source = f"student = {student!r}"
    return document


def _name(cell: NotebookNode) -> str:
    marks = cell.metadata.get("nbgrader")
    name = marks.get("grade_id") if isinstance(marks, dict) else None
    return name if isinstance(name, str) else ""


def _plain(cell: NotebookNode) -> NotebookNode:
    make = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
    return make(cell.source)
