"""What the class report tells of bugs: who had which, and who found it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from diffusion_lab.exercises.bugs import EVIDENCE, IDEA, PIECE, Bug, BugTask
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading.classroom import Result
from diffusion_lab.grading.classroom.reports.class_report_frame import number, text

ALL, UNPROVED, PLACE, NOTHING, ABSENT = (
    "found it and proved it",
    "named it, and the number does not show it",
    "found the piece only",
    "looked elsewhere",
    "gave no answer",
)


def bugs_found(tasks: Sequence[BugTask], graded: Sequence[Result]) -> list[str]:
    """For each pipeline: how the class did, and each bug with those who had it."""
    lines = []
    for task in tasks:
        rows: dict[Bug, list[tuple[str, str]]] = {bug: [] for bug in task.bugs}
        for result in graded:
            for item in result.exercises:
                if item["name"] == task.name:
                    bug = task.drawn_for(Owner(result.student, result.course)).bug
                    rows[bug].append((result.student, _came_of(item)))
        came = Counter(what for students in rows.values() for _, what in students)
        told = "; ".join(f"{came[what]} {what}" for what in (ALL, UNPROVED, PLACE, NOTHING, ABSENT) if came[what])
        had = [bug for bug in task.bugs if rows[bug]]
        lines.append(
            f"<p>{number(came.total(), 'student')} had {len(had)} of {number(len(task.bugs), 'bug')}, drawn from their "
            f"names{': ' if told else ''}{told}.</p>"
        )
        lines += ["<ul>", *(_row(bug, rows[bug]) for bug in had), "</ul>"]
    return lines


def _row(bug: Bug, students: Sequence[tuple[str, str]]) -> str:
    told = "; ".join(f"{text(student)} {what}" for student, what in students)
    return f"<li><code>{text(bug.piece)}</code>, {text(bug.idea)}: {told}</li>"


def _came_of(item: Mapping[str, Any]) -> str:
    """How far a student came, in words."""
    if item["state"] in ("not written", "missing", "not run"):
        return ABSENT
    full = {part for part in (PIECE, IDEA, EVIDENCE) if item["parts"].get(part, (0,))[0] > 0}
    if full == {PIECE, IDEA, EVIDENCE}:
        return ALL
    return UNPROVED if IDEA in full else PLACE if PIECE in full else NOTHING
