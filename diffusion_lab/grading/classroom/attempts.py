"""Several attempts of one student, of which the best counts: every file that was ever graded stays for that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from diffusion_lab.errors import SourceError
from diffusion_lab.exercises.catalogue import folder_name
from diffusion_lab.files import write_atomically
from diffusion_lab.grading.classroom.records import Records, Submission
from diffusion_lab.grading.classroom.result import GRADED, NOT_GRADED, Result
from diffusion_lab.grading.classroom.rules import NotebookRules
from diffusion_lab.grading.notebook import content_of

FOLDER = Path(".diffusion-lab") / "attempts"
"""Below the course's folder."""
STAMP = "timestamp.txt"
LENGTH = 12
"""Digits of an attempt's name."""


def place_of(course: Path, student: str, chapter: str, attempt: str = "") -> Path:
    """The folder of an attempt, or of all of a student's."""
    return course / FOLDER / folder_name(chapter) / student / attempt


def keep(course: Path, student: str, chapter: str, data: bytes, stamp: bytes | None) -> str:
    """Keep a file beside those of earlier attempts; the attempt's name, which the same file always has.

    Args:
        stamp: what its timestamp.txt holds, if there is one.
    """
    attempt = hashlib.sha256(data).hexdigest()[:LENGTH]
    folder = place_of(course, student, chapter, attempt)
    file = folder / f"{folder_name(chapter)}.ipynb"
    if not file.is_file():
        write_atomically(file, data)
    if stamp is not None:
        write_atomically(folder / STAMP, stamp)
    return attempt


def with_earlier(course: Path, submissions: Iterable[Submission]) -> list[Submission]:
    """All attempts of these students: what is handed in now is kept, and comes last."""
    found = []
    for submission in submissions:
        if submission.strange:
            found.append(submission)
            continue
        now = _kept(course, submission)
        folder = place_of(course, submission.student, submission.chapter)
        names = sorted(place.name for place in folder.iterdir() if place.is_dir()) if folder.is_dir() else []
        name = f"{folder_name(submission.chapter)}.ipynb"
        found += [
            Submission(submission.student, submission.chapter, folder / attempt / name, attempt=attempt)
            for attempt in names
            if attempt != now.attempt and (folder / attempt / name).is_file()
        ]
        found.append(now)
    return found


def _kept(course: Path, submission: Submission) -> Submission:
    if submission.reason:
        return submission
    try:
        data = content_of(submission.path)
    except (SourceError, OSError):  # `grade` says what is wrong with it
        return submission
    stamp = submission.path.parent / STAMP
    text = stamp.read_bytes()[:200] if stamp.is_file() and not stamp.is_symlink() else None
    return replace(submission, attempt=keep(course, submission.student, submission.chapter, data, text))


def best_of(
    results: Iterable[Result], rules: NotebookRules, handed_in: Callable[[Result], datetime | None]
) -> list[Result]:
    """One result a student: the one with most points, penalties for lateness taken off; of equal ones the last.

    Args:
        results: of one notebook, each student's in the order of their attempts, what is handed in now last.
        rules: of the notebook.
        handed_in: when an attempt was handed in; None where nothing says.
    """
    of_student: dict[str, list[Result]] = {}
    for result in results:
        of_student.setdefault(result.student, []).append(result)
    return [_best(tries, rules, handed_in) for tries in of_student.values()]


def keep_results(course: Path, best: Iterable[Result]) -> None:
    """Keep the results of the best attempts as their students' own."""
    for result in best:
        if result.state != NOT_GRADED:
            Records(course, result.chapter).keep(result)


def _best(tries: list[Result], rules: NotebookRules, handed_in: Callable[[Result], datetime | None]) -> Result:
    def worth(result: Result) -> tuple[bool, float]:
        late = rules.dates.late(result.student, handed_in(result))
        lost = rules.late.penalty(result.points, late) if rules.late is not None else 0.0
        return result.state == GRADED, result.points - lost

    known = [result for result in tries if result.state != NOT_GRADED] or tries
    best = max(reversed(known), key=worth)
    if len(tries) == 1:
        return best
    which = "the last" if best is tries[-1] else "an earlier one"
    notes = [f"the best of {len(tries)} attempts, {which}"]
    notes += ["another attempt could not be graded"] if len(known) < len(tries) and known is not tries else []
    return replace(best, notes=(*notes, *best.notes))
