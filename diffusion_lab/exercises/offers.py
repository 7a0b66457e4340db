"""What a course asks for where it is not the notebook as it is: exercises left out, other points, some of its own.

An offer is plain data, so that it travels to workers, to graders on platforms and into a released notebook. While it is
in force, `catalogue.notebook` and `catalogue.tasks` give what it makes of the course.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from typing import Any

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.record import Exercise, Notebook
from diffusion_lab.exercises.tasks import Task


@dataclass(frozen=True)
class Added:
    """An exercise that the course has added."""

    file: str
    """The name of its file, for messages."""
    source: str
    """The file's content: Python, with an `EXERCISE`."""
    after: str = ""
    """The exercise that it stands behind; "" for the last."""


@dataclass(frozen=True)
class Offer:
    """What a course makes of one notebook."""

    notebook: str
    leave_out: tuple[str, ...] = ()
    points: tuple[tuple[str, float], ...] = ()
    """(exercise, its points), whole or half numbers."""
    added: tuple[Added, ...] = ()

    @property
    def digest(self) -> str:
        """Tells offers apart; "" where nothing is changed."""
        if not (self.leave_out or self.points or self.added):
            return ""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Offer:
        """The offer that `as_dict` made this of, also after a way through JSON.

        Raises:
            LabError: where it is not one.
        """
        try:
            return cls(
                str(content["notebook"]),
                tuple(map(str, content.get("leave_out", ()))),
                tuple((str(name), float(points)) for name, points in content.get("points", ())),
                tuple(Added(**added) for added in content.get("added", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise LabError(f"this is not what a course changes in a notebook: {content!r}") from error

    def applied(self, notebook: Notebook) -> Notebook:
        """The notebook as this course asks for it.

        Raises:
            LabError: an exercise is not there, its points cannot be shared out, or nothing is left.
        """
        tasks = [task for task in notebook.exercises if task.name not in self.leave_out]
        for added in self.added:
            task = replace(_loaded(added.file, added.source), chapter=notebook.chapter)
            places = [place for place, other in enumerate(tasks, 1) if other.name == added.after]
            if added.after and not places:
                raise LabError(f"'{added.after}', behind which '{task.name}' is to stand, is not in '{notebook.name}'")
            tasks.insert(places[0] if places else len(tasks), task)
        worth = dict(self.points)
        there = {task.name for task in (*notebook.exercises, *tasks)}
        for name in (*self.leave_out, *worth):
            if name not in there:
                raise LabError(f"there is no exercise '{name}' in '{notebook.name}'; it has {', '.join(sorted(there))}")
        if not tasks:
            raise LabError(f"nothing is left of '{notebook.name}'; leave the notebook out by not releasing it")
        names = [task.name for task in notebook.exercises]
        later = names[names.index(notebook.pause) :] if notebook.pause else []
        pause = next((name for name in later if name not in self.leave_out), "")
        return replace(notebook, exercises=tuple(_worth(task, worth.get(task.name)) for task in tasks), pause=pause)


def offer_of(notebook: str, said: Mapping[str, Any]) -> Offer:
    """The offer that a released notebook tells of, without exercises of the course's own, which are not in it.

    Args:
        notebook: its name.
        said: leave_out (names) and points (exercise -> points), as far as the course has changed them.

    Raises:
        LabError: where it is not what `release` writes.
    """
    worth = said.get("points", {})
    if not isinstance(worth, Mapping):
        raise LabError(f"points in an offer are written as {{'q_sample': 8}}, and these are {worth!r}")
    content = {"notebook": notebook, "leave_out": said.get("leave_out", ()), "points": list(worth.items())}
    return Offer.from_dict(content)


_in_force: ContextVar[tuple[Offer, ...] | None] = ContextVar("offers", default=None)
_adopted: list[Offer] = []


def offers() -> tuple[Offer, ...]:
    """Those in force: at most one for each notebook."""
    found = _in_force.get()
    return tuple(_adopted) if found is None else found


def offered(notebook: str) -> str:
    """The digest of the offer that is in force for a notebook; "" where it is as it is."""
    return next((offer.digest for offer in offers() if offer.notebook == notebook), "")


def adopt(offer: Offer) -> None:
    """Put an offer into force for as long as this process runs, as a student's notebook does when it is begun or read.

    Every cell of a notebook may run in a context of its own, so a context variable would not do.
    """
    others = [other for other in _adopted if other.notebook != offer.notebook]
    _adopted[:] = [*others, offer] if offer.digest else others


@contextlib.contextmanager
def in_force(given: Iterable[Offer]) -> Iterator[None]:
    """Put offers into force, and back what was there before."""
    token = _in_force.set(tuple(given))
    try:
        yield
    finally:
        _in_force.reset(token)


@contextlib.contextmanager
def by_rules_alone() -> Iterator[None]:
    """What a notebook says of itself does not count while this is open: a class is marked by the course's rules."""
    with in_force(_in_force.get() or ()):
        yield


def _worth(task: Task, points: float | None) -> Task:
    return task if points is None or points == task.points else replace(task, parts=shared_out(task.parts, points))


def shared_out(parts: Mapping[str, float], points: float) -> dict[str, float]:
    """The parts with other points, in the same proportion as far as half points go: 3 and 1 become 7.5 and 2.5.

    Args:
        parts: part -> points.
        points: of all parts together, a whole or half number with at least half a point for each part.

    Raises:
        LabError: other points.
    """
    halves, total = 2 * points, sum(parts.values())
    if not math.isfinite(points) or halves != int(halves) or halves < len(parts):
        least = len(parts) / 2
        raise LabError(
            f"points are whole or half numbers, and at least {least:g} where an exercise has {len(parts)} parts; "
            f"this is {points:g}"
        )
    quotas = {part: halves * most / total for part, most in parts.items()}
    shares = {part: max(1, int(quota)) for part, quota in quotas.items()}
    while (rest := int(halves) - sum(shares.values())) != 0:
        step = 1 if rest > 0 else -1
        open_ = [part for part in shares if step > 0 or shares[part] > 1]
        shares[max(open_, key=lambda part: step * (quotas[part] - shares[part]))] += step
    return {part: share // 2 if share % 2 == 0 else share / 2 for part, share in shares.items()}


def _loaded(file: str, source: str) -> Exercise:
    from diffusion_lab.exercises.added import loaded

    return loaded(file, source)
