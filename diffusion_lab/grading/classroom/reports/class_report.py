"""One page about a class: its marks, what it can do, which wrong ideas it has, and what the instructor should look at.

The page is one file without scripts, which asks nothing of a network. Everything on it that a student may have had a
hand in is text.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import diffusion_lab
from diffusion_lab.chapters.catalogue import get as chapter_record
from diffusion_lab.exercises import Exercise, Task, notebook
from diffusion_lab.exercises.bugs import BugTask
from diffusion_lab.exercises.catalogue import chapter_of, find, number_of
from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.derivations import Derivation
from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.files import write_atomically
from diffusion_lab.grading.classroom import GRADED, NOT_GRADED, REFUSED, Result
from diffusion_lab.grading.classroom.gradebook import Book
from diffusion_lab.grading.classroom.page import PAGE
from diffusion_lab.grading.classroom.reports.bugs_found import bugs_found
from diffusion_lab.grading.classroom.reports.class_report_frame import STYLE, WIDTH
from diffusion_lab.grading.classroom.reports.class_report_frame import figure as _figure
from diffusion_lab.grading.classroom.reports.class_report_frame import number as _number
from diffusion_lab.grading.classroom.reports.class_report_frame import svg as _svg
from diffusion_lab.grading.classroom.reports.class_report_frame import text as _text
from diffusion_lab.grading.classroom.reports.derivations import derivations
from diffusion_lab.grading.classroom.reports.exports import write_exports
from diffusion_lab.grading.classroom.reports.predictions import predictions
from diffusion_lab.grading.classroom.reports.written_checks import written_checks
from diffusion_lab.grading.judge import points

MOST_BARS = 10
SLOWEST = 8
MOST_NAMES = 60
MOST_NOTES = 6
"""Of one student."""
FOUND = "edit: "
"""How the name of an idea begins that no list has: a small change of the code explains the wrong answers."""
KINDS = (
    (Exercise, "Functions", None),
    (CheckTask, "Checks written", written_checks),
    (BugTask, "Bugs to find", bugs_found),
    (OwnNumber, "Numbers of one's own", predictions),
    (Derivation, "Derivations", derivations),
)
"""Kinds of tasks, the heading of each, and what there is to tell of it beside points."""


def write_reports(
    course: Path,
    chapter: str,
    results: Iterable[Result],
    *,
    folder: Path | None = None,
    submitted: Path | None = None,
) -> list[Path]:
    """Write `grades.csv`, `grades_canvas.csv`, `grades_moodle.csv` and `class_report.html`.

    Args:
        course: the course's folder, in whose gradebook the results are recorded.
        chapter: its name, number or folder.
        results: of this chapter, the refused and those that were not graded among them.
        folder: where to write; by default the course's folder.
        submitted: the folder of submissions; by default the course's own.

    Returns:
        The files.
    """
    results = sorted(results, key=lambda result: result.student)
    place = Path(folder or course)
    written = write_exports(Book(Path(course), chapter, submitted), results, place)
    return [*written, write_atomically(place / "class_report.html", page(chapter, results).encode())]


def page(chapter: str, results: Sequence[Result], made: datetime | None = None) -> str:
    """The page, as HTML."""
    name = find(chapter)
    lab = ", the lab" if notebook(name).is_lab else ""
    number, title = number_of(name), chapter_record(chapter_of(name)).title
    groups = {state: [result for result in results if result.state == state] for state in (GRADED, REFUSED, NOT_GRADED)}
    made = made or datetime.now(timezone.utc)
    body = [
        f"<header><p>Class report</p><h1>Chapter {number}{lab}: {_text(title)}</h1>",
        f"<p>{_counted(groups)}</p></header>",
        "<main>",
        *_faults(groups[NOT_GRADED]),
        *_marks(name, groups[GRADED]),
        *_exercises(name, groups[GRADED]),
        *_ideas(name, groups[GRADED]),
        *_refused(groups[REFUSED]),
        *_notes(results),
        *_slowest(groups[GRADED]),
        "</main>",
        "<footer><p>Marks as the checks gave them, before penalties for lateness and changes by hand; those are in the "
        f"gradebook. Made on {made:%d %B %Y, %H:%M} UTC with diffusion-lab {_text(diffusion_lab.__version__)}.</p>"
        "</footer>",
    ]
    return PAGE.format(title=f"Class report: {_text(title)}", style=STYLE, body="\n".join(body))


def _counted(groups: dict[str, list[Result]]) -> str:
    total = sum(len(group) for group in groups.values())
    said = [f"{len(groups[state])} {state}" for state in groups if groups[state]]
    return f"{_number(total, 'submission')}{': ' if said else ''}{', '.join(said)}."


def _faults(failed: list[Result]) -> list[str]:
    if not failed:
        return []
    rows = [f"<li>{_why(result)}</li>" for result in failed]
    return [
        '<section class="warning"><h2>Not graded</h2>',
        f"<p>{_number(len(failed), 'submission')} could not be graded, through a fault of the grader and not of the "
        "student. They have no mark. Grade the chapter again: those that are done are kept.</p>",
        "<ul>",
        *rows,
        "</ul></section>",
    ]


def _marks(chapter: str, graded: list[Result]) -> list[str]:
    if not graded:
        return ["<section><h2>Marks</h2><p>No submission was graded.</p></section>"]
    most = notebook(chapter).points
    marks = [result.points for result in graded]
    facts = [
        ("median", f"{points(statistics.median(marks))} of {most}"),
        ("mean", f"{statistics.fmean(marks):.1f}"),
        ("lowest and highest", f"{points(min(marks))} to {points(max(marks))}"),
        ("all exercises right", f"{sum(mark >= most for mark in marks)} of {len(marks)}"),
    ]
    return [
        "<section><h2>Marks</h2><dl>",
        *(f"<div><dt>{_text(label)}</dt><dd>{_text(value)}</dd></div>" for label, value in facts),
        "</dl>",
        _figure(
            _histogram(marks, most),
            f"How many submissions have how many of {most} points. The dashed line is the median.",
        ),
        "</section>",
    ]


def _histogram(marks: list[float], most: int) -> str:
    step = max(1, math.ceil((most + 1) / MOST_BARS))
    counts = [0] * math.ceil((most + 1) / step)
    for mark in marks:
        counts[min(int(mark // step), len(counts) - 1)] += 1
    low, high, base = 8, WIDTH - 8, 150
    width = (high - low) / len(counts)
    tallest = max(counts)
    bars, labels, words = [], [], []
    for place, count in enumerate(counts):
        first, last = place * step, min(place * step + step - 1, most)
        label = str(first) if first == last else f"{first}–{last}"
        x, height = low + place * width, 116 * count / tallest
        middle = x + width / 2
        if count:
            bars.append(
                f'<rect class="some" x="{x + 1.5:.1f}" y="{base - height:.1f}" width="{width - 3:.1f}" '
                f'height="{height:.1f}" rx="1.5"/>'
            )
            labels.append(f'<text x="{middle:.1f}" y="{base - height - 5:.1f}" class="middle count">{count}</text>')
            words.append(f"{label} points: {count}")
        labels.append(f'<text x="{middle:.1f}" y="{base + 15}" class="middle faint small">{label}</text>')
    labels.append(f'<text x="{WIDTH / 2:g}" y="{base + 33}" class="middle faint">points</text>')
    median = low + (statistics.median(marks) / step + 0.5 / step) * width
    lines = [
        f'<line class="base" x1="{low}" x2="{high}" y1="{base}" y2="{base}"/>',
        f'<line class="median" x1="{median:.1f}" x2="{median:.1f}" y1="12" y2="{base}"/>',
    ]
    words.append(f"median: {points(statistics.median(marks))}")
    alt = f"Histogram of the marks of {_number(len(marks), 'submission')}, of {most} points. {'; '.join(words)}."
    return _svg("Marks", alt, base + 40, [*bars, *lines, *labels])


def _exercises(chapter: str, graded: list[Result]) -> list[str]:
    """A section for each kind of task; one for all where there is only one kind, as in a chapter's first notebook."""
    if not graded:
        return []
    lines, tasks = [], notebook(chapter).exercises
    for kind, heading, more in KINDS:
        of_kind = [task for task in tasks if isinstance(task, kind)]
        if of_kind:
            lines.append(f"<section><h2>{'Exercises' if len(of_kind) == len(tasks) else heading}</h2>")
            lines += _bars(of_kind, graded)
            lines += more(of_kind, graded) if more is not None else []
            lines.append("</section>")
    return lines


def _bars(tasks: Sequence[Task], graded: list[Result]) -> list[str]:
    """How many have each of these right."""
    shapes, words = [], []
    for place, exercise in enumerate(tasks):
        items = [item for result in graded for item in result.exercises if item["name"] == exercise.name]
        right = sum(item["state"] == "passed" for item in items)
        partly = sum(item["state"] != "passed" and item["points"] > 0 for item in items)
        absent = sum(item["state"] in ("not written", "missing") for item in items)
        mean = statistics.fmean([item["points"] for item in items]) if items else 0.0
        y, x, full = 14 + 40 * place, 0.0, max(len(items), 1)
        shapes.append(f'<text x="0" y="{y}" class="code">{_text(exercise.name)}</text>')
        shapes.append(f'<text x="{WIDTH}" y="{y}" class="end">{right / full:.0%}</text>')
        for count, kind in ((right, "right"), (partly, "partly"), (len(items) - right - partly, "none")):
            width = WIDTH * count / full
            if count:
                shapes.append(f'<rect class="{kind}" x="{x:.1f}" y="{y + 6}" width="{width:.1f}" height="10"/>')
            x += width
        words.append(
            f"{exercise.name}: {right} of {len(items)} right, {partly} with some points, {absent} not written or not "
            f"there, {mean:.1f} of {exercise.points} points on average"
        )
    alt = f"Bars of how many submissions have each exercise right. {'; '.join(words)}."
    height = 40 * len(words)
    legend = (
        '<span class="key right"></span> all points, <span class="key partly"></span> some, '
        '<span class="key none"></span> none. The number is the share of submissions with all points.'
    )
    rows = [f"<li>{_text(line)}</li>" for line in words]
    return [
        _figure(_svg("Exercises", alt, height, shapes), legend),
        "<details><summary>In numbers</summary><ul>",
        *rows,
        "</ul></details>",
    ]


@dataclass
class _Held:
    """One wrong idea and who holds it."""

    exercise: str
    name: str
    known: bool
    hints: Counter = field(default_factory=Counter)
    students: list[str] = field(default_factory=list)


def _ideas(chapter: str, graded: list[Result]) -> list[str]:
    held: dict[tuple[str, str, bool], _Held] = {}
    unnamed: Counter = Counter()
    for result in graded:
        for item in result.exercises:
            if item["state"] == "failed" and not item["ideas"]:
                unnamed[item["name"]] += 1
            for idea in item["ideas"]:
                key = (item["name"], idea["name"], bool(idea["known"]))
                found = held.setdefault(key, _Held(*key))
                found.hints[idea["hint"]] += 1
                if result.student not in found.students:
                    found.students.append(result.student)
    order = {exercise.name: place for place, exercise in enumerate(notebook(chapter).exercises)}
    ranked = sorted(held.values(), key=lambda idea: (-len(idea.students), order.get(idea.exercise, 0), idea.name))
    known = [idea for idea in ranked if idea.known or idea.name.startswith(FOUND)]
    symptoms = [idea for idea in ranked if idea not in known]
    lines = ["<section><h2>Wrong ideas</h2>"]
    if known:
        lines += [
            "<p>Mistakes that the course knows by name, and others that a small change of the code explains, with the "
            "hint that their owners have read.</p>",
            *_listed(known, len(graded)),
        ]
    else:
        lines.append("<p>No submission shows a mistake that the course can call by name.</p>")
    if symptoms:
        lines += ["<h3>Symptoms</h3>", "<p>What else was seen in wrong answers.</p>", *_listed(symptoms, len(graded))]
    if unnamed:
        listed = ", ".join(f"<code>{_text(name)}</code> {count}" for name, count in unnamed.most_common())
        lines.append(f"<p>Wrong without a sign of why: {listed}.</p>")
    return [*lines, "</section>"]


def _listed(ideas: list[_Held], of: int) -> list[str]:
    lines = ['<ol class="ideas">']
    for idea in ideas:
        count = len(idea.students)
        hint, times = idea.hints.most_common(1)[0]
        say = "" if times == sum(idea.hints.values()) else "for example: "
        names = ", ".join(_text(name) for name in idea.students[:MOST_NAMES])
        rest = f" and {count - MOST_NAMES} more" if count > MOST_NAMES else ""
        name = _text(idea.name.removeprefix(FOUND))
        lines.append(
            f"<li><p><b>{name}</b> in <code>{_text(idea.exercise)}</code>: {count} of {of}</p>"
            f'<div class="track" aria-hidden="true"><div style="width:{count / of:.1%}"></div></div>'
            f"<p>{say}{_text(hint)}</p>"
            f"<details><summary>Who</summary><p>{names}{rest}</p></details></li>"
        )
    return [*lines, "</ol>"]


def _refused(refused: list[Result]) -> list[str]:
    if not refused:
        return []
    rows = [f"<li>{_why(result)}</li>" for result in refused]
    return [
        "<section><h2>Refused</h2><p>These files hold no submission. They have 0 points, and their feedback says why."
        "</p><ul>",
        *rows,
        "</ul></section>",
    ]


def _why(result: Result) -> str:
    return f"<b>{_text(result.student)}</b>: {_text(result.reason or 'no reason given')}"


def _notes(results: Sequence[Result]) -> list[str]:
    rows = []
    for result in results:
        if not result.notes:
            continue
        told = [_text(note) for note in result.notes[:MOST_NOTES]]
        if len(result.notes) > MOST_NOTES:
            told.append(f"and {len(result.notes) - MOST_NOTES} more")
        rows.append(f"<li><b>{_text(result.student)}</b>: {'; '.join(told)}</li>")
    if not rows:
        return []
    return [
        "<section><h2>Worth a look</h2><p>What these submissions did that others do without.</p><ul>",
        *rows,
        "</ul></section>",
    ]


def _slowest(graded: list[Result]) -> list[str]:
    if not graded:
        return []
    ranked = sorted(graded, key=lambda result: -result.seconds)[:SLOWEST]
    typical = statistics.median(result.seconds for result in graded)
    rows = [
        f"<tr><td>{_text(result.student)}</td><td>{result.seconds:.1f}</td><td>{points(result.points)}</td></tr>"
        for result in ranked
    ]
    return [
        f"<section><h2>Slowest</h2><p>A submission took {typical:.1f} s to grade, in the middle of the class.</p>",
        '<table><thead><tr><th scope="col">student</th><th scope="col">seconds</th><th scope="col">points</th></tr>'
        "</thead><tbody>",
        *rows,
        "</tbody></table></section>",
    ]
