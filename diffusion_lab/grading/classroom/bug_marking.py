"""A class's answers to "find the bug", judged in the sandbox: the pieces stay with the grader."""

from __future__ import annotations

import ast
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion_lab.errors import LabError, SourceError
from diffusion_lab.exercises.bugs import Bug, BugTask
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading.classroom.records import name_fault
from diffusion_lab.grading.isolation import Gone
from diffusion_lab.grading.judge import Verdict, check_bug, seed_of, without_points
from diffusion_lab.grading.notebook import CELL_LIMIT, bug_folder, content_of, take_in_apart

ASKING_LIMIT = 60.0
"""Seconds for all calls of one student's function; the reference takes less than one."""


@dataclass(frozen=True)
class Heard:
    """What came of one student's answer."""

    student: str
    bug: Bug
    """The one that was drawn for them."""
    verdict: Verdict
    notes: tuple[str, ...] = ()


def hear(sandbox: Any, task: BugTask, student: str, file: Path, course: str, seed: str) -> Heard:
    """Judge one student's notebook.

    Args:
        student: as the folder of the submission is called; this name draws the bug.
        course: `course_text` of the instructor's secret.
        seed: of torch's generator in the calls, any text.
    """
    task = task.drawn_for(Owner(student, course))
    try:
        data = content_of(file)
        intake, _ = take_in_apart(data, [task.name])
    except SourceError as error:
        return Heard(student, task.bug, without_points(task, "missing", f"It cannot be read: {error}."))
    notes = list(intake.notes)
    typed = typed_name(data)
    if typed and not _same(typed, student, course):
        notes.append(f"the name typed is '{typed[:60]}', whose bug may be another than that of '{student}'")
    try:
        with sandbox.open() as session:
            faults = {}
            for cell in intake.order:
                if fault := session.run_cell(cell.name, cell.source, CELL_LIMIT):
                    faults[cell.name] = fault
            defined, _ = session.names([task.name])
            if task.name not in defined:
                why = next((f" Its cell failed: {fault.name}: {fault.message}." for fault in faults.values()), "")
                note = f"There is no function {task.name}.{why}"
                return Heard(student, task.bug, without_points(task, "missing", note), tuple(notes))
            with session.piece(task.name, together=ASKING_LIMIT) as caller:
                verdict = check_bug(task, caller, seed_of(seed))
    except Gone as gone:
        verdict = without_points(task, "missing", f"It could not be called: {gone.why}.")
    return Heard(student, task.bug, verdict, tuple(notes))


def typed_name(data: bytes) -> str:
    """What a notebook's own cells assign to `student`; "" where they assign no text."""
    try:
        cells = json.loads(data).get("cells", [])
        texts = ["".join(cell.get("source", "")) for cell in cells if cell.get("cell_type") == "code"]
    except (ValueError, AttributeError, TypeError):
        return ""
    for text in texts:
        if len(text) > 2000 or "student" not in text:  # the cell of the name is a line
            continue
        try:
            lines = ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for line in lines:
            targets = line.targets if isinstance(line, ast.Assign) else []
            named = any(isinstance(target, ast.Name) and target.id == "student" for target in targets)
            if named and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str):
                return line.value.value.strip()
    return ""


def _same(typed: str, student: str, course: str) -> bool:
    try:
        return Owner(typed, course).name == Owner(student, course).name
    except LabError:  # no name that anybody's bug is drawn from
        return False


def answers(submitted: Path, chapter: str) -> list[tuple[str, Path]]:
    """Who has handed in: SUBMITTED/STUDENT/NN_chapter_bug/NN_chapter_bug.ipynb, as (student, file).

    Raises:
        LabError: where there is no such folder, nobody has, or a student's folder has a name that cannot be used.
    """
    if not submitted.is_dir():
        raise LabError(f"there is no folder {submitted}")
    name, found = bug_folder(chapter), []
    for place in sorted(submitted.iterdir()):
        file = place / name / f"{name}.ipynb"
        if place.name.startswith(".") or not os.path.lexists(file):
            continue
        if fault := name_fault(place.name):
            raise LabError(f"the student's folder {place.name!r} {fault}")
        found.append((place.name, file))
    if not found:
        raise LabError(f"nobody has handed in {name}/{name}.ipynb in {submitted}")
    return found
