"""Whose submission it is, where a platform grades a notebook in which something is drawn for each student.

What is drawn follows from the student's name and the course's own text. That text stands in every released notebook, so
it is no secret of the grader's; what must not come from the student is the name. Here each platform says it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion_lab.errors import LabError
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.bugs import BugTask
from diffusion_lab.exercises.catalogue import find, folder_name
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading.classroom.platforms.alone import Settings
from diffusion_lab.grading.classroom.platforms.deadlines import emails
from diffusion_lab.grading.classroom.result import Result
from diffusion_lab.grading.isolation import printable

if TYPE_CHECKING:
    from diffusion_lab.grading.classroom.platforms.people import Person

EMAIL, LIST, VARIANT = IDENTITIES = ("email", "list", "variant")
"""By what a student is called: their address, the name that a list has for it, or that of the question's variant."""

AGAIN = ": type this into your notebook, and do again what is drawn for you."


def is_drawn(settings: Settings) -> bool:
    """Whether something is drawn for each student in the notebook, as the course asks for it."""
    with settings.in_force():
        return notebook(settings.chapter).is_drawn


def guessed_at(settings: Settings) -> set[str]:
    """The tasks whose marks must wait: whoever sees them at each attempt finds the answer by trying out the list."""
    with settings.in_force():
        return {task.name for task in notebook(settings.chapter).exercises if isinstance(task, BugTask)}


def for_its_students(settings: Settings, text: str, by: str, people: Iterable[Person] = ()) -> Settings:
    """The settings with what a grader must know to draw what its students have drawn.

    Args:
        settings: of a notebook in which something is drawn.
        text: the course's own, from the release; "" where there is none.
        by: one of `IDENTITIES`.
        people: the class, for `LIST`.

    Raises:
        LabError: there is no release; nobody on the list has an address, or two have the same; or the list would lie
            where submissions can read it.
    """
    chapter = find(settings.chapter)
    if not text:
        raise LabError(
            f"in '{chapter}' something is drawn for each student, from a text that stands in their notebooks, and this "
            f"course has no release of {folder_name(chapter)}: `diffusion-lab release {chapter}` comes first"
        )
    students: dict[str, str] = {}
    if by == LIST:
        if settings.isolation == "none":
            raise LabError(
                "with --isolation none a submission can read the class list that the grader would need for --identity "
                "list; let students go by their address, --identity email"
            )
        for person in people:
            address = person.email.strip().casefold()
            if address in students:
                raise LabError(f"{students[address]} and {person.id} have the same address, {address}; who is who?")
            if address:
                students[address] = person.id
        if not students:
            raise LabError(
                "nobody in the gradebook has an address, by which Gradescope knows students: `diffusion-lab collect` "
                "with --class-list enters them, or let students go by their address, --identity email"
            )
    return replace(settings, course=text, identity=by, students=students)


def on_gradescope(settings: Settings, metadata: Mapping[str, Any]) -> tuple[str, str]:
    """The student's name, and how the platform comes to know it, in words.

    Args:
        settings: of a notebook in which something is drawn.
        metadata: what Gradescope tells of the submission.

    Raises:
        LabError: it names nobody or several people, or somebody who is not on the list.
    """
    found = emails(metadata)
    if not found:
        raise LabError(
            "Gradescope does not say who handed this in (its submission_metadata.json has no users), and what is "
            "graded is drawn for each student"
        )
    if len(found) > 1:
        raise LabError(
            f"{len(found)} people handed this in together ({', '.join(printable(email, 60) for email in found)}), "
            "and what is graded is drawn for one student: switch group submissions off for this assignment"
        )
    (email,) = found
    if not email:
        raise LabError("Gradescope names no address of the student, and what is graded is drawn by it")
    if settings.identity != LIST:
        return Owner(email).student, f"the address by which Gradescope knows you{AGAIN}"
    if email not in settings.students:
        raise LabError(
            f"{printable(email, 100)} is not on the class list that this grader was made with: enter the student into "
            "the gradebook, and export the grader again"
        )
    return Owner(settings.students[email]).student, f"as the class list has you{AGAIN}"


def on_prairielearn(root: Path) -> tuple[str, str]:
    """The student's name, which the question has given to its variant, and where it stands, in words.

    Args:
        root: the grader's folder, `/grade`.

    Raises:
        LabError: data/data.json does not hold it.
    """
    file = root / "data" / "data.json"
    try:
        student = json.loads(file.read_text(encoding="utf-8"))["params"]["student"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(
            f"{file} has no params.student, which the question's server.py writes, and what is graded is drawn by it "
            f"({type(error).__name__})"
        ) from error
    return Owner(student).student, f"the name that the question shows you{AGAIN}"


def another_draw(result: Result) -> list[str]:
    """What is to be said at once where somebody has worked on what is drawn for another name or release."""
    said = (str(item.get("facts", {}).get("another draw") or "") for item in result.exercises)
    return list(filter(None, said))[:1]
