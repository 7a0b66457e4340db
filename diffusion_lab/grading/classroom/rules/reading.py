"""A `course.toml`, looked through from top to bottom: whatever cannot be followed is told with its line."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.catalogue import NOTEBOOKS, as_written, find, tasks
from diffusion_lab.exercises.offers import Added, Offer, shared_out
from diffusion_lab.grading.classroom.gradebook import MomentError, moment
from diffusion_lab.grading.classroom.rules.decisions import NotebookRules, Question, Rules
from diffusion_lab.grading.classroom.rules.lateness import Dates, Late
from diffusion_lab.grading.classroom.rules.toml_file import TomlFile, shown

COMMON = ("timezone", "attempts", "late")
"""Keys at the top; all other tables there are notebooks."""
OF_NOTEBOOK = ("leave_out", "points", "due", "extensions", "attempts", "late", "questions", "exercises")
OF_LATE = ("percent_a_day", "at_most", "grace_minutes")
OF_QUESTION = ("name", "text", "points", "after")
OF_EXERCISE = ("file", "after")
ATTEMPTS = ("last", "best")
MOST_POINTS = 10_000
MOST_MINUTES = 60 * 24 * 365


class Reading:
    """One file on its way to rules."""

    def __init__(self, file: TomlFile):
        self.file = file
        self.zone: ZoneInfo | None = None

    def rules(self) -> Rules:
        """What it decides. Raises LabError with the file and the line where it cannot be followed."""
        content = self.file.content
        self.file.known((), content, [*COMMON, *NOTEBOOKS, *self._other_names(content)])
        self.zone = self._zone(content)
        late, best = self._late((), content), self._best((), content)
        found: dict[str, NotebookRules] = {}
        for key, table in content.items():
            if key in COMMON:
                continue
            name = find(key)
            if name in found:
                self.file.wrong((key,), f"'{key}' is '{name}', which has a table already")
            if not isinstance(table, dict):
                self.file.wrong((key,), f"'{key}' is a notebook, so a table [{key}] stands here")
            found[name] = self._notebook(name, key, table, late, best)
        common = NotebookRules(Offer(""), late=late, best=best)
        return Rules(self.file.path, found, common, self.zone.key if self.zone is not None else "")

    def _other_names(self, content: Mapping[str, Any]) -> list[str]:
        """Keys that are notebooks by another name, such as 5 or 05_mnist."""
        others = []
        for key in content:
            with contextlib.suppress(LabError):
                others += [key] if find(key) not in content else [find(key), key]
        return [key for key in others if key not in NOTEBOOKS]

    def _zone(self, content: Mapping[str, Any]) -> ZoneInfo | None:
        name = self.file.value((), content, "timezone", str)
        if name is None:
            return None
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            self.file.wrong(("timezone",), f"the time zone database has no {name!r}; a name is such as Europe/Berlin")

    def _notebook(self, name: str, key: str, table: Mapping[str, Any], late: Late | None, best: bool) -> NotebookRules:
        file, here = self.file, (key,)
        file.known(here, table, OF_NOTEBOOK)
        added = self._added(name, here, table)
        offer = Offer(name, self._left_out(name, here, table), (), tuple(item for item, _ in added))
        own = {each.name: each.points for each in offer.applied(as_written(name)).exercises}
        offer = Offer(name, offer.leave_out, self._points(here, table, offer, own), offer.added)
        due = self._moment((*here, "due"), table["due"]) if "due" in table else None
        return NotebookRules(
            offer,
            Dates(due, self._extensions(here, table, due)),
            self._late(here, table) or late,
            self._best(here, table) if "attempts" in table else best,
            self._questions(name, here, table, set(own)),
        )

    def _left_out(self, name: str, here: tuple, table: Mapping[str, Any]) -> tuple[str, ...]:
        names = [task.name for task in as_written(name).exercises]
        given = self.file.value(here, table, "leave_out", list, [])
        for place, each in enumerate(given):
            if each not in names:
                self._unknown((*here, "leave_out", place), each, names, name)
        if set(given) >= set(names):
            self.file.wrong((*here, "leave_out"), f"nothing would be left of '{name}'; then do not release it")
        return tuple(dict.fromkeys(given))

    def _points(
        self, here: tuple, table: Mapping[str, Any], offer: Offer, own: Mapping[str, float]
    ) -> tuple[tuple[str, float], ...]:
        given = self.file.value(here, table, "points", dict, {})
        there = {task.name: task for task in offer.applied(as_written(offer.notebook)).exercises}
        for name, points in given.items():
            place = (*here, "points", name)
            if name in offer.leave_out:
                self.file.wrong(place, f"'{name}' is left out, so it has no points")
            if name not in own:
                self._unknown(place, name, list(own), offer.notebook)
            if isinstance(points, bool) or not isinstance(points, (int, float)) or not 0 <= points <= MOST_POINTS:
                self.file.wrong(place, f"points are a number from 0.5 to {MOST_POINTS}, and these are {shown(points)}")
            try:
                shared_out(there[name].parts, points)
            except LabError as error:
                advice = "; to have it count for nothing, leave it out" if points == 0 else ""
                self.file.wrong(place, f"'{name}': {error}{advice}")
        return tuple(sorted((name, float(points)) for name, points in given.items()))

    def _unknown(self, where: tuple, name: Any, names: list[str], notebook: str) -> None:
        near = difflib.get_close_matches(str(name), names, n=1)
        meant = f"did you mean '{near[0]}'? It has" if near else "it has"
        self.file.wrong(where, f"there is no exercise {shown(name)} in '{notebook}'; {meant} {', '.join(names)}")

    def _extensions(self, here: tuple, table: Mapping[str, Any], due: datetime | None) -> dict[str, datetime]:
        found = {}
        for student, value in self.file.value(here, table, "extensions", dict, {}).items():
            place = (*here, "extensions", student)
            found[student] = self._moment(place, value)
            if due is None:
                self.file.wrong(place, f"'{student}' has an extension, and '{here[0]}' has no 'due'")
            if found[student] <= due:
                self.file.wrong(place, f"the extension of '{student}' ends no later than the due date of all")
        return found

    def _late(self, here: tuple, table: Mapping[str, Any]) -> Late | None:
        given = self.file.value(here, table, "late", dict)
        if given is None:
            return None
        place = (*here, "late")
        self.file.known(place, given, OF_LATE)
        if "percent_a_day" not in given:
            self.file.wrong(place, "'late' says no 'percent_a_day', such as 10")
        grace = self.file.number(place, given, "grace_minutes", 0, MOST_MINUTES)
        return Late(
            self.file.number(place, given, "percent_a_day", 0, 100),
            self.file.number(place, given, "at_most", 100, 100),
            timedelta(minutes=grace),
        )

    def _best(self, here: tuple, table: Mapping[str, Any]) -> bool:
        given = self.file.value(here, table, "attempts", str, ATTEMPTS[0])
        if given not in ATTEMPTS:
            self.file.wrong((*here, "attempts"), f"'attempts' is 'last' or 'best', not {shown(given)}")
        return given == "best"

    def _questions(self, name: str, here: tuple, table: Mapping[str, Any], own: set[str]) -> tuple[Question, ...]:
        found: dict[str, Question] = {}
        for number, given in enumerate(self.file.value(here, table, "questions", list, [])):
            place = (*here, "questions", number)
            if not isinstance(given, dict):
                self.file.wrong(place, f"a question is a table [[{here[0]}.questions]], and this is {shown(given)}")
            self.file.known(place, given, OF_QUESTION)
            for key in ("name", "text", "points"):
                if key not in given:
                    self.file.wrong(place, f"this question has no '{key}'")
            called = self.file.value(place, given, "name", str)
            if not called.replace("-", "_").isidentifier():
                self.file.wrong((*place, "name"), f"a question's name is made of letters, digits and _, not {called!r}")
            if called in found or called in own or called in tasks():
                self.file.wrong((*place, "name"), f"another question or exercise is called '{called}'")
            points = self.file.number(place, given, "points", 0, MOST_POINTS)
            text = self.file.value(place, given, "text", str).strip()
            if not text:
                self.file.wrong((*place, "text"), "the question has no text")
            found[called] = Question(called, text, points, self._after(name, place, given, own))
        return tuple(found.values())

    def _after(self, name: str, here: tuple, table: Mapping[str, Any], names: set[str]) -> str:
        after = self.file.value(here, table, "after", str, "")
        if after and after not in names:
            self._unknown((*here, "after"), after, sorted(names), name)
        return after

    def _added(self, name: str, here: tuple, table: Mapping[str, Any]) -> list[tuple[Added, str]]:
        from diffusion_lab.grading.classroom.rules.own_exercise import examined

        names = {task.name for task in as_written(name).exercises} - set(table.get("leave_out", ()))
        found: list[tuple[Added, str]] = []
        for number, given in enumerate(self.file.value(here, table, "exercises", list, [])):
            place = (*here, "exercises", number)
            if not isinstance(given, dict):
                self.file.wrong(place, f"an exercise is a table [[{here[0]}.exercises]], and this is {shown(given)}")
            self.file.known(place, given, OF_EXERCISE)
            if "file" not in given:
                self.file.wrong(place, "this exercise has no 'file'")
            path = self.file.path.parent / self.file.value(place, given, "file", str)
            try:
                source, called = examined(path)
            except LabError as error:
                self.file.wrong((*place, "file"), str(error))
            if called in {other for _, other in found} or called in tasks():
                self.file.wrong((*place, "file"), f"another exercise is called '{called}'; rename that of {path.name}")
            after = self._after(name, place, given, names)
            found.append((Added(path.name, source, after), called))
            names.add(called)
        return found

    def _moment(self, where: tuple, value: Any) -> datetime:
        """In UTC. Raises LabError for what names no moment."""
        if isinstance(value, str):
            try:
                return moment(value)
            except MomentError as error:
                self.file.wrong(where, str(error))
        if isinstance(value, datetime):
            if value.tzinfo is None:
                if self.zone is None:
                    self.file.wrong(
                        where,
                        f"{value.isoformat()} names no time zone: write {value.isoformat()}+01:00, or "
                        'timezone = "Europe/Berlin" at the top of the file',
                    )
                value = value.replace(tzinfo=self.zone)
            return value.astimezone(timezone.utc)
        if isinstance(value, (date, time)):
            example = value.isoformat() if isinstance(value, date) else "2027-03-02"
            self.file.wrong(where, f"{value.isoformat()} is no moment; write day and time, such as {example}T23:59:00")
        self.file.wrong(where, f"{shown(value)} is no moment; write one such as 2027-03-02T12:00:00+01:00")
