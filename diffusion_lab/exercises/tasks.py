"""What everything that a notebook asks for has in common, whatever kind it is of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol


def summed(points: Iterable[float]) -> float:
    """Whole and half points together, as an int where that is a whole number."""
    total = sum(points)
    return int(total) if total == int(total) else total


class Task(Protocol):
    """One function for the student to write. `Exercise` is a kind of it; `judge.check` knows how each kind is marked.

    Whatever lists names and points, such as notebooks, marks, feedback and reports, uses no more than this. A kind may
    have a few more. With `drawn_for(owner)` and `owner`, something of it is drawn for each student (see `owner.py`).
    `opening` are cells of code for the notebook, above the one with the function: (name, code), ... . `blanks` are
    names that the function returns, None until the student gives them values.
    """

    chapter: str
    title: str
    statement: str
    """Markdown: what to write."""
    reference: Callable
    """Its source between docstring and end is the solution, so it uses torch and its own arguments alone."""
    parts: Mapping[str, float]
    """Points by part, in the order of the report: whole numbers, and half ones where a course has changed them."""
    hints: tuple[str, ...]
    source: str
    """Paper and equation."""

    @property
    def name(self) -> str:
        """Of the function."""
        return self.reference.__name__

    @property
    def points(self) -> float:
        """Of all parts together; an int where it is a whole number."""
        return summed(self.parts.values())

    @property
    def signature(self) -> str:
        """Such as "q_sample(x0, t)"."""
        return f"{self.name}{inspect.signature(self.reference)}"
