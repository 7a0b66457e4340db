"""Due dates, extensions and what lateness costs, as `course.toml` has them, in nbgrader's gradebook.

nbgrader works a penalty out once, from the points that a submission had when it was marked. Here it follows the points:
also those that somebody gives by hand later.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from diffusion_lab.grading.classroom.rules import Dates, NotebookRules


def enter_due(gradebook: Any, assignment: str, dates: Dates) -> None:
    """Write the due date down where the course has one; otherwise the gradebook's own stays."""
    if dates.due is not None:
        gradebook.update_or_create_assignment(assignment, duedate=_as_nbgrader(dates.due))


def settle(gradebook: Any, assignment: str, rules: NotebookRules) -> None:
    """Write extensions and penalties down for every submission, where the course has rules for them.

    Args:
        gradebook: nbgrader's, open.
        assignment: by nbgrader's name.
    """
    for submission in gradebook.assignment_submissions(assignment):
        student, due = submission.student.id, submission.assignment.duedate
        if rules.dates.due is not None:
            own = rules.dates.due_for(student)
            extra = _as_nbgrader(own) - due if own is not None and due is not None else timedelta(0)
            submission.extension = extra or None
        if rules.late is not None:
            late = timedelta(seconds=submission.total_seconds_late)
            for notebook in submission.notebooks:
                notebook.late_submission_penalty = rules.late.penalty(float(notebook.score), late)
    gradebook.db.commit()


def _as_nbgrader(when: datetime) -> datetime:
    """In UTC without saying so."""
    return when.astimezone(timezone.utc).replace(tzinfo=None)
