"""A course of nbgrader's in a temporary folder, and submissions to it."""

from __future__ import annotations

import csv
import inspect
import json
import logging
import re
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SEED = "20"
"""Of the cases that count."""


def document(data: bytes) -> dict[str, Any]:
    return json.loads(data)


def cells_of(notebook: dict[str, Any], kind: str = "code") -> dict[str, dict[str, Any]]:
    """The cells of a kind by their id."""
    return {cell["id"]: cell for cell in notebook["cells"] if cell["cell_type"] == kind}


def text_of(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def write(notebook: dict[str, Any], name: str, source: str) -> None:
    """Put this source into the cell of that id."""
    cells_of(notebook)[name]["source"] = source.splitlines(keepends=True)


def delete(notebook: dict[str, Any], *names: str) -> None:
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] not in names]


def pasted(function: Callable, name: str) -> str:
    """The source of a function under another name, below the functions of its module that it uses."""
    home = inspect.getmodule(function)
    needed: dict[str, Callable] = {}

    def collect(code: types.CodeType) -> None:
        for used in code.co_names:
            found = getattr(home, used, None)
            if inspect.isfunction(found) and found.__module__ == home.__name__ and used not in needed:
                needed[used] = found
                collect(found.__code__)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                collect(constant)

    collect(function.__code__)
    sources = [textwrap.dedent(inspect.getsource(found)) for found in (*needed.values(), function)]
    if name in needed:  # the reference, which must not be the function that calls it
        sources = [re.sub(rf"\b{name}\b", f"right_{name}", source) for source in sources]
    sources[-1] = re.sub(rf"^def {function.__name__}\(", f"def {name}(", sources[-1], count=1)
    return "\n\n".join(sources)


class Course:
    """nbgrader through its Python interface, for one chapter."""

    def __init__(self, root: Path, chapter: str):
        from nbgrader.apps import NbGraderAPI
        from traitlets.config import Application

        from diffusion_lab.exercises import notebook
        from diffusion_lab.exercises.catalogue import folder_name
        from diffusion_lab.grading.notebook.authoring import (
            CONFIGURATION,
            SOLUTIONS,
            configuration,
            content,
            path_of,
            source,
        )

        self.root, self.notebook, self.name = root, notebook(chapter), folder_name(chapter)
        self.solution = root / SOLUTIONS / path_of(chapter)
        self.solution.parent.mkdir(parents=True)
        self.solution.write_bytes(content(source(self.notebook)))
        self.settings = configuration(ROOT / CONFIGURATION, root)
        # Short only where a loop is meant, because everything else may take long on a busy machine.
        self.settings.Execute.timeout_func = lambda cell: 3 if "while True" in cell.source else 120
        application = Application(config=self.settings)
        application.log.setLevel(logging.ERROR)
        self.api = NbGraderAPI(parent=application, log_level=logging.ERROR)
        self.results: dict[str, dict[str, Any]] = {}
        self.expect(self.api.generate_assignment(self.name))

    @staticmethod
    def expect(result: dict[str, Any]) -> None:
        assert result["success"], result.get("log") or result.get("error")

    @property
    def released(self) -> dict[str, Any]:
        return document((self.root / "exercises" / self.name / f"{self.name}.ipynb").read_bytes())

    @property
    def solved(self) -> dict[str, Any]:
        """The release with every exercise solved as the reference does."""
        notebook, solutions = self.released, cells_of(document(self.solution.read_bytes()))
        for exercise in self.notebook.exercises:
            write(notebook, exercise.name, text_of(solutions[exercise.name]))
        return notebook

    def submit(self, student: str, notebook: dict[str, Any]) -> None:
        place = self.root / "submitted" / student / self.name / f"{self.name}.ipynb"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(notebook), encoding="utf-8")

    def grade(self, student: str) -> dict[str, Any]:
        """Autograde one submission; nbgrader's own result."""
        self.results[student] = self.api.autograde(self.name, student)
        return self.results[student]

    def marks(self, student: str) -> dict[str, float]:
        """exercise -> the points in the gradebook."""
        with self.api.gradebook as gradebook:
            grades = gradebook.find_submission_notebook(self.name, self.name, student).grades
            return {grade.name.removesuffix("-check"): grade.score for grade in grades}

    def graded(self, student: str) -> dict[str, Any]:
        return document((self.root / "autograded" / student / self.name / f"{self.name}.ipynb").read_bytes())

    def feedback(self, student: str) -> str:
        self.expect(self.api.generate_feedback(self.name, student))
        return (self.root / "feedback" / student / self.name / f"{self.name}.html").read_text(encoding="utf-8")

    def export(self) -> dict[str, dict[str, str]]:
        """student -> the row of `nbgrader export`."""
        from nbgrader.plugins import CsvExportPlugin

        with self.api.gradebook as gradebook:
            CsvExportPlugin(to=str(self.root / "grades.csv")).export(gradebook)
        with (self.root / "grades.csv").open(newline="", encoding="utf-8") as file:
            return {row["student_id"]: row for row in csv.DictReader(file)}
