"""What grading one submission gives: plain data, which travels between machines and is kept between runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from diffusion_lab.errors import LabError
from diffusion_lab.exercises import Notebook
from diffusion_lab.grading.judge import Verdict, as_html, told, without_points

GRADED, REFUSED, NOT_GRADED = STATES = ("graded", "refused", "not graded")
"""Marks were given; the file holds no submission, which gives none; the grader failed, which says nothing of it."""


@dataclass(frozen=True)
class Result:
    """One submission."""

    student: str
    chapter: str
    state: str
    """One of `STATES`. Points of a submission that was not graded mean nothing."""
    reason: str = ""
    """Why it was refused or not graded."""
    points: float = 0.0
    out_of: float = 0
    exercises: tuple[Mapping[str, Any], ...] = ()
    """One for each exercise, in the notebook's order: name, state, points, out_of, parts (part -> [points, of how
    many]), facts (as in a `Verdict`; results of older releases have none), ideas (each with name, hint, known), text
    (the whole message), html (the same for a page; empty where it passed; results of older releases have none)."""
    notes: tuple[str, ...] = ()
    """For the instructor, such as an attempt to import the reference."""
    solutions: Mapping[str, str] | None = None
    """exercise -> the source of its solution cell."""
    answers: Mapping[str, str] | None = None
    """Cell of a teacher's own question -> what was answered, to be marked by hand; None where that is not known."""
    pages: tuple[str, ...] = ()
    """The student's own cells, as they were written."""
    course: str = ""
    """The course's own text, with which and the student's name was drawn what is the student's own."""
    offer: str = ""
    """The digest of what the course has made of the notebook, by which it was graded; see `exercises/offers.py`."""
    attempt: str = ""
    """Which of several attempts it is, where the best counts: the first digits of `digest`."""
    seconds: float = 0.0
    digest: str = ""
    """SHA-256 of the submitted file."""
    seed_id: str = ""
    """A hash of the seed that the cases were drawn from; the seed itself would tell them."""
    version: str = ""
    """Of this package."""

    @property
    def graded(self) -> bool:
        return self.state == GRADED

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Result:
        """The result that `as_dict` made this of, also after a way through JSON.

        Raises:
            KeyError, TypeError, ValueError: where it is not one.
        """
        # Results of older releases have none of these.
        content = {"answers": None, "pages": (), "course": "", "offer": "", "attempt": ""} | dict(content)
        values = {each.name: content[each.name] for each in fields(cls)}
        if values["state"] not in STATES:
            raise ValueError(f"{values['state']!r} is not a state")
        return cls(**values | {name: tuple(values[name]) for name in ("exercises", "notes", "pages")})


def of_verdict(verdict: Verdict) -> dict[str, Any]:
    """One exercise of a result."""
    return {
        "name": verdict.exercise,
        "state": verdict.state,
        "points": verdict.points,
        "out_of": verdict.out_of,
        "parts": {part: list(points) for part, points in verdict.parts.items()},
        "facts": dict(verdict.facts),
        "ideas": [{"name": idea.name, "hint": idea.hint, "known": idea.known} for idea in verdict.ideas],
        "text": told(verdict),
        "html": "" if verdict.passed else as_html(verdict),
    }


def without_marks(notebook: Notebook, why: str) -> tuple[dict[str, Any], ...]:
    """The exercises of a submission that has none of them."""
    return tuple(of_verdict(without_points(exercise, "missing", why)) for exercise in notebook.exercises)


def refused(
    student: str,
    notebook: Notebook,
    reason: str,
    *,
    digest: str = "",
    seed_id: str = "",
    version: str = "",
    course: str = "",
    offer: str = "",
) -> Result:
    """The result of a file that holds no submission to this notebook: no points, and the reason."""
    return Result(
        student=student,
        chapter=notebook.name,
        state=REFUSED,
        reason=reason,
        out_of=notebook.points,
        exercises=without_marks(notebook, f"The submission was refused: {reason}."),
        digest=digest,
        seed_id=seed_id,
        version=version,
        course=course,
        offer=offer,
    )


class RecordingError(LabError, RuntimeError):
    """Marks that could not be written down. It is a fault of the grader or the course, never a zero."""

    def __init__(self, message: str, failures: Mapping[str, str] | None = None):
        super().__init__(message)
        self.failures = dict(failures or {})
        """student -> why; all others are recorded."""
