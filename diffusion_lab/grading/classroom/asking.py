"""A page of questions to ask a student in person, made from their own code, mistakes, bug and numbers. Runs nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffusion_lab.chapters.catalogue import get as chapter_record
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import Notebook, Task, notebook
from diffusion_lab.exercises.bugs import BugTask
from diffusion_lab.exercises.catalogue import NOTEBOOKS, chapter_of, folder_name, number_of
from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.derivations import Derivation
from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading.classroom.records import Records
from diffusion_lab.grading.classroom.result import Result
from diffusion_lab.grading.isolation import printable
from diffusion_lab.grading.judge import preview, suppose

MOST = 12
"""Questions on a page; some ten minutes take half of them."""
LONGEST = 300
"""Characters of what was said to the student, as the page repeats it."""


def questions_on(course: Path, submission: Path, most: int = MOST) -> tuple[Result, str]:
    """What `grade` keeps of a submission, and the page of questions on it; see `graded` and `page`."""
    result = graded(course, submission)
    return result, page(result, most)


def graded(course: Path, submission: Path) -> Result:
    """What `grade` keeps of this submission.

    Args:
        course: the course's folder.
        submission: a student's notebook, or its folder, as in submitted/ada/01_normal_1d_lab.

    Raises:
        LabError: where the path names no student and notebook, or this submission is not graded.
    """
    names = {folder_name(name): name for name in NOTEBOOKS}
    place = submission.parent if submission.suffix == ".ipynb" else submission
    place = place.resolve()
    if place.name not in names:
        raise LabError(
            f"{submission} is no submission; name a student's notebook or its folder, such as "
            f"submitted/ada/{folder_name(NOTEBOOKS[0])}"
        )
    chapter, student = names[place.name], place.parent.name
    result = Records(course, chapter).read(student)
    if result is None or not result.graded:
        there = "is not graded" if result is None or not result.reason else f"has no marks: {result.reason}"
        raise LabError(f"{place.name} of {student} {there}; `diffusion-lab grade {chapter}` comes first")
    return result


def page(result: Result, most: int = MOST) -> str:
    """The questions as Markdown; the same each time. What is in square brackets is for whoever asks.

    Args:
        most: how many questions at most; those on mistakes, bugs and numbers come before those on right code.
    """
    owner = Owner(result.student, result.course)
    chapter = notebook(result.chapter).drawn_for(owner)
    items = {item["name"]: item for item in result.exercises}
    asked: list[tuple[int, str, str]] = []  # (how soon it is left out, task, question)
    for task in chapter.exercises:
        item = items.get(task.name)
        if item is None or item["state"] in ("missing", "not written"):
            continue
        asked += [(place, task.name, text) for place, text in enumerate(_questions(task, item, result))]
    kept = sorted(sorted(range(len(asked)), key=lambda i: asked[i][0])[:most])
    lines = [_title(chapter, result)]
    last = ""
    for number, i in enumerate(kept, 1):
        _, name, text = asked[i]
        if name != last:
            item = items[name]
            lines.append(f"## {name}: {item['points']:g} of {item['out_of']} points")
            last = name
        lines.append(f"{number}. {text}")
    if not kept:
        lines.append("There is nothing to ask about: no function was written.")
    return "\n\n".join(lines) + "\n"


def _title(chapter: Notebook, result: Result) -> str:
    lab = ", the lab" if chapter.is_lab else ""
    title = f"chapter {number_of(chapter.name)}{lab}: {chapter_record(chapter_of(chapter.name)).title}"
    return (
        f"# {result.student}, {title}\n\n{result.points:g} of {result.out_of:g} points. These questions are made from "
        "the submission itself. What stands in square brackets is for you."
    )


def _questions(task: Task, item: Mapping[str, Any], result: Result) -> Iterator[str]:
    """Those on one task, the most telling first."""
    facts = item.get("facts") or {}
    if isinstance(task, BugTask):
        yield from _of_bug(task, item)
    elif isinstance(task, OwnNumber):
        yield from _of_number(task, facts)
    elif isinstance(task, Derivation):
        yield from _of_derivation(task, facts)
    elif isinstance(task, CheckTask):
        yield from _of_check(task, facts)
    yield from _of_mistakes(item)
    if not isinstance(task, BugTask):
        yield from _of_code(task, result)


def _of_bug(task: BugTask, item: Mapping[str, Any]) -> Iterator[str]:
    found = "found" if item["points"] == item["out_of"] else "did not find all of"
    yield (
        f"Which piece did you look at first, and what made you accuse the one you named? [They {found} it. The bug was "
        f"in {task.bug.piece}: {task.bug.idea}.]"
    )
    innocent = [name for name in task.parameters if name != task.bug.piece]
    suspect = random.Random(f"{task.bug} {task.owner}").choice(innocent)
    yield f"What cleared `{suspect}` of suspicion? Which call would you make now, and what would it have to give?"
    yield "How small could the mistake be, and your number would still show it?"


def _of_number(task: OwnNumber, facts: Mapping[str, Any]) -> Iterator[str]:
    guess, numbers, truth = facts.get("predicted"), task.numbers, task.truth
    if facts.get("another draw"):
        yield "Your guess was for other numbers than yours: whose notebook did you work in?"
        guess = None
    asked = f"Your question was: {task.asked}"
    if guess is not None:
        yield f"{asked} You guessed {guess:.3g}. What made you think so? [It is {truth:.3g}.]"
    else:
        yield f"{asked} You did not guess. What would you say now, and why? [It is {truth:.3g}.]"
    for name, value in numbers.items():
        changed = {**numbers, name: value + 1 if isinstance(value, int) else round(1.2 * value, 6)}
        other = float(task.reference(**changed))
        if not task.right(other, truth):
            yield (
                f"If `{name}` were {changed[name]:g} in place of {value:g}, would the result grow or shrink, and why? "
                f"[It would be {other:.3g} in place of {truth:.3g}.]"
            )
            return


def _of_derivation(task: Derivation, facts: Mapping[str, Any]) -> Iterator[str]:
    states, truths = facts.get("steps") or {}, task.truths(task.numbers)
    if facts.get("another draw"):
        yield "Your values are for other numbers than yours: whose notebook did you work in?"
    shown = {name: preview(value, 4) for name, value in truths.items()}
    wrong = [name for name in task.blanks if states.get(name) == "wrong"]
    for name in wrong[:2]:
        yield f"{task.asked} Take me through your step `{name}` from the beginning. [It is {shown[name]}.]"
    right = [name for name in task.blanks if states.get(name) in ("right", "follows")]
    if right:
        name = random.Random(f"{task.name} {task.owner}").choice(right)
        yield f"How did you get `{name}`, and which of your numbers does it not need? [It is {shown[name]}.]"


def _of_check(task: CheckTask, facts: Mapping[str, Any]) -> Iterator[str]:
    if facts.get("alarms"):
        yield (
            f"Your check fails a right piece. Which of its lines asks for something that `{task.exercise.name}` does "
            f"not promise? [{facts['alarms']} of {facts['right']} right pieces.]"
        )
    for slipped in facts.get("slipped", ())[:2]:
        yield f"This mistake passes your check: {_short(slipped)}. Which input, and which `assert`, would show it?"
    yield (
        "Which mistake would your check still miss, and why did you leave it at that? "
        f"[It catches {facts.get('caught', 0)} of {facts.get('wrong', 0)} wrong pieces.]"
    )
    yield "How large is the rounding error of a right piece here, and how did you choose how much to allow for?"


def _of_mistakes(item: Mapping[str, Any]) -> Iterator[str]:
    for idea in item["ideas"]:
        yield (
            f'The check told you: "{_short(idea["hint"])}" Say it in your own words, show me the line, and name a call '
            "that shows the mistake."
        )
    if item["state"] == "failed" and not item["ideas"]:
        yield "Some of your points are missing here, and the check could not say why. Where would you look first?"


def _of_code(task: Task, result: Result) -> Iterator[str]:
    code = (result.solutions or {}).get(task.name, "")
    found = suppose(code, task.name, random.Random(f"{result.digest} {task.name}"))
    if found is None:
        yield f"Explain `{task.name}` line by line. Which line would you leave out last, and why?"
        return
    changed = "were left out" if not found.changed else f"read\n\n       {_line(found.changed)}\n\n   instead"
    then = "What would come out, and which quick test would show it?"
    if isinstance(task, CheckTask):
        then = "What would your check then say of right pieces, and of wrong ones?"
    yield (f"Your code has the line\n\n       {_line(found.line)}\n\n   Suppose it {changed}. {then} [{found.says}]")


def _line(code: str) -> str:
    return printable(" ".join(code.split()), LONGEST)


def _short(text: str) -> str:
    return printable(" ".join(str(text).split()), LONGEST)
