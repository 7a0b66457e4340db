"""The notebook that nbgrader reads the marks of a submission from: the release, with solutions and verdicts in it."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output

from diffusion_lab.exercises import Notebook
from diffusion_lab.grading.classroom import REFUSED, RecordingError, Result
from diffusion_lab.grading.classroom.gradebook.colouring import without_blanks
from diffusion_lab.grading.classroom.gradebook.rebuilding import named
from diffusion_lab.grading.isolation import printable
from diffusion_lab.grading.judge import points

CHECK = "-check"
"""At the end of the name of an exercise's test cell."""
LONGEST_SOURCE = 50_000
"""Characters of a solution that are shown; nobody reads more, and colouring them takes a while."""
LONGEST_LINE, MOST_LINES, LONGEST_PAGE = 1000, 400, 100_000
"""Of a message, and of the same as HTML."""


def rebuilt(release: NotebookNode, result: Result) -> NotebookNode:
    """The release with the learner's solutions in their cells, and the verdicts below the test cells.

    Raises:
        RecordingError: where the result does not hold marks for every test of the release.
    """
    document = named(copy.deepcopy(release), result.student)
    told = {item["name"]: item for item in result.exercises}
    for cell in document.cells:
        name = name_of(cell)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if not name:
            continue
        marks = cell.metadata.nbgrader
        if is_test(cell):
            item = told.get(name.removesuffix(CHECK)) or _refused(result, name, float(marks.points))
            _put(cell, item, _checked(name, item["points"], float(marks.points)))
        elif marks.solution and name in (result.solutions or {}):
            cell.source = _cut(without_blanks(plain(result.solutions[name])))
        elif name in (result.answers or {}):  # a question of the teacher's own, which is marked by hand
            cell.source = _cut(plain(result.answers[name]))
        elif marks.solution and marks.grade and result.answers is None and result.state != REFUSED:
            # nbgrader gives 0 to an answer that is not there, and nobody knows whether it was.
            cell.source += "\n\nThe answer is in the submitted file." if cell.cell_type == "markdown" else "\n# …"
    if result.state == REFUSED:
        notice = new_code_cell("# This file was not graded.", id="refused")
        notice.outputs = [_stream(f"It holds no submission: {plain(result.reason)}")]
        document.cells.insert(0, notice)
    ours = {cell.source.strip() for cell in release.cells}
    for page in (page for page in result.pages if page.strip() not in ours):
        own = new_code_cell(_cut(plain(page)), metadata={"diffusion_lab": "own"})
        document.cells.append(own)
    for number, cell in enumerate(document.cells):
        cell.id = f"cell-{number}"
    return document


def plain(text: str) -> str:
    """Text as it is, without colours of a terminal, and with a mark in the place of what cannot be printed."""
    text = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", text.replace("\r\n", "\n"))
    return printable(text, len(text))


def _refused(result: Result, name: str, most: float) -> dict[str, Any]:
    exercise = name.removesuffix(CHECK)
    if result.state != REFUSED:
        raise RecordingError(f"the result says nothing of {exercise}")
    return {"points": 0.0, "text": f"✗ {exercise}: 0 of {points(most)} points. {result.reason}"}


def _checked(name: str, given: Any, most: float) -> float:
    """nbgrader takes a number that is none, or negative, for full marks."""
    if not isinstance(given, (int, float)) or not math.isfinite(given) or not 0 <= given <= most:
        raise RecordingError(f"{given!r} are no points for {name.removesuffix(CHECK)}, which has {points(most)}")
    return float(given)


def _put(cell: NotebookNode, item: Mapping[str, Any], marks: float) -> None:
    page = plain(item.get("html", ""))
    lines = [
        line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + " …" for line in plain(item["text"]).splitlines()
    ]
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"… and {len(lines) - MOST_LINES} more lines"]
    cell.execution_count = 1
    text = "\n".join(lines)
    cell.outputs = [
        _stream(text)
        if not page or len(page) > LONGEST_PAGE
        else new_output("display_data", data={"text/plain": text, "text/html": page}),
        new_output("execute_result", data={"text/plain": repr(marks)}, execution_count=1),
    ]


def _stream(text: str) -> NotebookNode:
    return new_output("stream", name="stdout", text=f"{text}\n")


def _cut(source: str) -> str:
    if len(source) <= LONGEST_SOURCE:
        return source
    return f"{source[:LONGEST_SOURCE]}\n# … and {len(source) - LONGEST_SOURCE} more characters, in the submitted file"


def points_of(chapter: Notebook) -> dict[str, float]:
    """Test cell -> its points, as the course's graders give them."""
    return {exercise.name + CHECK: float(exercise.points) for exercise in chapter.exercises}


def misfits(release: NotebookNode, chapter: Notebook) -> list[str]:
    """What in a release the course's graders cannot mark, in words. Questions that are marked by hand are fine."""
    expected = points_of(chapter)
    found = {name_of(cell): float(cell.metadata.nbgrader.points) for cell in release.cells if is_test(cell)}
    words = []
    for name in sorted(found.keys() | expected.keys()):
        exercise = name.removesuffix(CHECK)
        if name not in found:
            words.append(f"{exercise} is left out")
        elif name not in expected:
            words.append(f"{exercise} is a test that the course does not know")
        elif found[name] != expected[name]:
            words.append(
                f"{exercise} is worth {points(found[name])} here, and the course gives {points(expected[name])}"
            )
    return words


def name_of(cell: NotebookNode) -> str:
    """The name that nbgrader knows a cell by; "" for one of no account."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def is_test(cell: NotebookNode) -> bool:
    """Whether it is the test cell of an exercise, which has the marks."""
    return bool(name_of(cell)) and cell.metadata.nbgrader.grade and not cell.metadata.nbgrader.solution
