"""A step of nbgrader's that makes a release: the notebook becomes what the course's `course.toml` asks for.

The source keeps all that its teacher has written into it. A cell that is still the package's becomes that of the
changed notebook, whose texts have other points and numbers; cells of exercises that are left out go; new ones come in.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Any as AnyTrait

from diffusion_lab.exercises.catalogue import as_written
from diffusion_lab.grading.classroom.gradebook.inscription import SET_UP
from diffusion_lab.grading.classroom.rules import NotebookRules, Question
from diffusion_lab.grading.judge import points
from diffusion_lab.grading.notebook import source

ANSWER = "-answer"
"""At the end of the name of the cell in which a written question is answered."""
CLOSING = ("closing", "run", "finale", "show")
"""Cells behind the last exercise."""
_START = re.compile(r"(?m)^(lab = start\(.*)\)[ \t]*$")


class Tailor(NbGraderPreprocessor):
    """It comes first."""

    rules = AnyTrait(None, allow_none=True, help="What the course decides for the notebook.").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        return tailored(nb, self.rules), resources


def tailoring(settings: Any, rules: NotebookRules) -> Any:
    """nbgrader's settings, with which a release is as these rules have it."""
    if not (rules.offer.digest or rules.questions):
        return settings
    from nbgrader.converters import GenerateAssignment

    found = copy.deepcopy(settings)
    steps = found.GenerateAssignment.get("preprocessors") or GenerateAssignment.preprocessors.default_args[0]
    found.GenerateAssignment.preprocessors = [Tailor, *steps]
    found.Tailor.rules = rules
    return found


def tailored(document: NotebookNode, rules: NotebookRules) -> NotebookNode:
    """The notebook with solutions, as these rules have it."""
    before = {_name(cell): cell for cell in source(as_written(rules.offer.notebook)).cells}
    wanted = source(rules.notebook).cells
    after = {_name(cell): cell for cell in wanted}
    new: dict[str, list[NotebookNode]] = {}
    anchor = ""
    for cell in wanted:
        if _name(cell) in before:
            anchor = _name(cell)
        else:
            new.setdefault(anchor, []).append(cell)
    result = copy.deepcopy(document)
    cells: list[NotebookNode] = []
    for cell in result.cells:
        name = _name(cell)
        if name in before and name not in after:
            continue
        if name in before:
            if cell.source == before[name].source:
                cell.source = after[name].source
            if "points" in after[name].metadata.get("nbgrader", {}):
                cell.metadata.nbgrader.points = after[name].metadata.nbgrader.points
        cells += [cell, *new.pop(name, [])]
    cells += [cell for left in new.values() for cell in left]
    for question in rules.questions:
        place = _place(cells, question)
        cells[place:place] = _asked(question)
    for cell in cells:
        if _name(cell) == SET_UP:
            cell.source = _START.sub(rf"\1, offer={_offered(rules)!r})", cell.source)
    result.cells = cells
    result.metadata.setdefault("diffusion_lab", {})["offer"] = _offered(rules)
    return result


def _offered(rules: NotebookRules) -> dict[str, Any]:
    """What a student's own checks know of it; exercises of the course's own are checked where marks are given."""
    offer = rules.offer
    worth = {name: int(given) if given == int(given) else given for name, given in offer.points}
    added = [task.name for task in rules.notebook.exercises if task.name not in _names(offer.notebook)]
    said = {
        "leave_out": list(offer.leave_out),
        "points": {name: given for name, given in worth.items() if name not in added},
        "added": added,
    }
    return {key: value for key, value in said.items() if value}


def _names(notebook: str) -> set[str]:
    return {task.name for task in as_written(notebook).exercises}


def _place(cells: list[NotebookNode], question: Question) -> int:
    """Where a question goes: behind its exercise and the questions that are there already, or before the closing."""
    names = [_name(cell) for cell in cells]
    if question.after and f"{question.after}-check" in names:
        place = names.index(f"{question.after}-check") + 1
        while place < len(names) and cells[place].metadata.get("diffusion_lab") == "question":
            place += 1
        return place
    return next((place for place, name in enumerate(names) if name in CLOSING), len(cells))


def _asked(question: Question) -> list[NotebookNode]:
    count = f"{points(question.points)} point{'' if question.points == 1 else 's'}"
    text = new_markdown_cell(
        f"## A question to answer in words\n\n{count}, given by your instructor. Write your answer into the next "
        f"cell.\n\n{question.text}",
        id=f"{question.name}-text",
    )
    answer = new_markdown_cell("", id=f"{question.name}{ANSWER}")
    marks = {"grade": True, "solution": True, "locked": False, "task": False, "schema_version": 3}
    answer.metadata = {
        "nbgrader": {**marks, "grade_id": question.name, "points": question.points},
        "diffusion_lab": "question",
    }
    text.metadata = {"diffusion_lab": "question"}
    return [text, answer]


def _name(cell: NotebookNode) -> str:
    return cell.metadata.get("nbgrader", {}).get("grade_id", "") or cell.get("id", "")
