"""A real course of nbgrader's in a temporary folder, and results for it."""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.gradebook.assignment import settings_of
from diffusion_lab.grading.classroom.result import GRADED, Result, of_verdict
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.checking import check
from diffusion_lab.grading.notebook.authoring import CONFIGURATION, SOLUTIONS, path_of

ROOT = Path(__file__).resolve().parents[2]
CHAPTER, NAME = "normal_1d", "01_normal_1d"


class Course:
    """The course, and what nbgrader's own interface says of it."""

    def __init__(self, root: Path):
        self.root = root

    @classmethod
    def made(cls, root: Path) -> Course:
        (root / SOLUTIONS / NAME).mkdir(parents=True)
        shutil.copy(ROOT / CONFIGURATION, root)
        shutil.copy(ROOT / SOLUTIONS / path_of(CHAPTER), root / SOLUTIONS / NAME)
        return cls(root)

    @property
    def api(self) -> Any:
        from nbgrader.apps import NbGraderAPI
        from traitlets.config import Application

        application = Application(config=settings_of(self.root))
        application.log.setLevel(logging.ERROR)
        return NbGraderAPI(parent=application, log_level=logging.ERROR)

    def marks(self, student: str) -> dict[str, float]:
        with self.api.gradebook as gradebook:
            grades = gradebook.find_submission_notebook(NAME, NAME, student).grades
            return {grade.name.removesuffix("-check"): grade.score for grade in grades}

    def students(self) -> set[str]:
        with self.api.gradebook as gradebook:
            return {student.id for student in gradebook.students}

    def submit(self, student: str, content: str = "{}", when: str = "") -> Path:
        place = self.root / "submitted" / student / NAME / f"{NAME}.ipynb"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, encoding="utf-8")
        if when:
            (place.parent / "timestamp.txt").write_text(when)
        return place

    def autograded(self, student: str) -> Path:
        return self.root / "autograded" / student / NAME / f"{NAME}.ipynb"

    def export(self) -> dict[str, dict[str, str]]:
        """student -> the row of `nbgrader export`."""
        from nbgrader.plugins import CsvExportPlugin

        with self.api.gradebook as gradebook:
            CsvExportPlugin(to=str(self.root / "exported.csv")).export(gradebook)
        return {row["student_id"]: row for row in table(self.root / "exported.csv")}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def item(name: str, wrong: str | None = None) -> dict[str, Any]:
    """One exercise of a result: right, or with the first, or the named, wrong answer."""
    exercise = next(exercise for exercise in notebook(CHAPTER).exercises if exercise.name == name)
    answers = {answer.name: answer.function for answer in exercise.wrong_answers}
    function = exercise.reference if wrong is None else answers.get(wrong, exercise.wrong_answers[0].function)
    return of_verdict(check(exercise, LocalCaller(function), 3))


def result(student: str, items: tuple[Mapping[str, Any], ...], **about: Any) -> Result:
    given = {
        "state": GRADED,
        "points": sum(item["points"] for item in items),
        "out_of": notebook(CHAPTER).points,
        "exercises": items,
        "solutions": {item["name"]: f"def {item['name']}(*given):\n    return given" for item in items},
        "seconds": 0.4,
        "digest": "0" * 64,
        "seed_id": "1",
        "version": "0",
    }
    return Result(student=student, chapter=CHAPTER, **given | about)


def by_name(items) -> dict[str, float]:
    return {each["name"]: each["points"] for each in items}


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
