"""What everything that a notebook asks for has in common, whatever kind it is of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Protocol


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
    parts: Mapping[str, int]
    """Points by part, in the order of the report."""
    hints: tuple[str, ...]
    source: str
    """Paper and equation."""

    @property
    def name(self) -> str:
        """Of the function."""
        return self.reference.__name__

    @property
    def points(self) -> int:
        """Of all parts together."""
        return sum(self.parts.values())

    @property
    def signature(self) -> str:
        """Such as "q_sample(x0, t)"."""
        return f"{self.name}{inspect.signature(self.reference)}"
