"""What an exercise is: one record, from which its notebook cells, check, hints, tests and book card all come."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from diffusion_lab.exercises.drawing import Draw
from diffusion_lab.exercises.owner import Owner, drawn_for
from diffusion_lab.exercises.tasks import Task, summed

KINDS = ("schedule", "loss", "sampler", "data")
CARE = "any input"
"""The part that every exercise has: dtypes and memory layouts, inputs left alone, the same answer twice."""
TABLES = ("alpha_bar", "betas", "sigmas")
"""Arguments that hold one entry for each step of a schedule. A run keeps them in float64 while its data are float32."""


@dataclass(frozen=True)
class Case:
    """One call of the student's function, whose answer is compared with the reference's."""

    label: str
    """What is special about it, such as "one sample" or "t = 0"; shapes and dtypes are added by the check."""
    arguments: tuple
    """Positional: tensors, numbers, strings, None, and probes in the place of networks."""
    part: str = "values"
    """The part of the exercise whose points hang on it."""


@dataclass(frozen=True)
class Property:
    """Something true of every right answer, found without the reference: a closed form, an order of convergence."""

    label: str
    holds: Callable[[Callable, Draw], str | None]
    """(piece, draw) -> None, or what is wrong, in a sentence with numbers."""
    part: str = "values"


@dataclass(frozen=True)
class WrongAnswer:
    """A mistake that people make, as code, with the hint that names it."""

    name: str
    function: Callable
    hint: str
    symptom: str | None = None
    """Where no value shows it: "random", "modified", "dtype", "layout", "graph" or "mode"."""


@dataclass(frozen=True)
class RightAnswer:
    """Another way to write it, which must be accepted."""

    name: str
    function: Callable


def wrong(function: Callable, symptom: str | None = None) -> WrongAnswer:
    """A wrong answer whose name is the function's and whose hint is its docstring."""
    return WrongAnswer(function.__name__.replace("_", " ").strip(), function, inspect.getdoc(function), symptom)


def right(function: Callable) -> RightAnswer:
    """A right answer named after its function."""
    return RightAnswer(function.__name__.replace("_", " ").strip(), function)


@dataclass(frozen=True, eq=False)
class Exercise(Task):
    """One piece for the student to write."""

    chapter: str
    kind: str
    """One of `KINDS`."""
    title: str
    statement: str
    """Markdown: what to write, with its equation; the docstring of the reference has shapes and units."""
    reference: Callable
    """Its source between docstring and end is the solution, so it uses torch and its own arguments alone."""
    parts: Mapping[str, int]
    """Points by part, in the order of the report; `CARE` among them."""
    cases: Callable[[Draw], Iterable[Case]]
    wrong_answers: tuple[WrongAnswer, ...]
    right_answers: tuple[RightAnswer, ...]
    properties: tuple[Property, ...] = ()
    hints: tuple[str, ...] = ()
    """From a nudge to nearly the answer, for the book's card; never a solution."""
    trains: bool = False
    """A loss: the gradient of its sum is compared too, for the network's weights, or without a network for the first
    floating-point argument."""
    time: str | None = None
    """The argument that counts discrete steps, so that an answer one step off can be named."""
    source: str = ""
    """Paper and equation."""
    tables: tuple[str, ...] | None = None
    """The arguments that come in float64 beside float32 data in one round of the check; None: those of `TABLES`."""
    driver: Callable | None = None
    """From a `probes.py`: (function, *arguments of a case) -> tensors. It runs the function where that lives, for an
    answer that cannot be compared as it is; see `exercises/driving.py`, whose `driven` the known answers need then."""
    like: str = ""
    """The argument whose dtype the answer has in that round, and which is the only one that networks take.

    The statement must say so. Without a name here, networks take every dtype and so may the answer be.
    """

    own: bool = False
    """Whether a course has added it, from a file: what is recorded of others is then computed when needed."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of a case's arguments."""
        if self.driver is not None:
            return tuple(inspect.signature(self.driver).parameters)[1:]
        return tuple(inspect.signature(self.reference).parameters)

    @property
    def kept_finer(self) -> tuple[str, ...]:
        """The arguments that are tables."""
        return tuple(n for n in self.parameters if n in TABLES) if self.tables is None else self.tables


@dataclass(frozen=True, eq=False)
class Notebook:
    """What one notebook asks for, in order; a chapter's first one also runs the chapter."""

    chapter: str
    recall: str
    """Markdown: the idea of the chapter in a page, in the notation of the code."""
    exercises: tuple[Task, ...]
    """Exercises, and tasks of other kinds."""
    slots: Callable[[Mapping[str, Callable]], dict[str, Any]] | None = None
    """name -> function, all of the chapter's exercises, to the pieces that `run_chapter` takes; None in a lab, which
    runs no chapter."""
    closing: str = ""
    """Markdown above the last cells: what the run shows and what to look at."""
    name: str = ""
    """By which it is released, collected and graded; by default the chapter's. A lab is called "normal_1d_lab"."""
    finale: str = ""
    """Code of a lab's last cell, where it has one, in the place of the chapter's run."""
    pause: str = ""
    """The task with which a second sitting begins, in a notebook too long for one; see `minutes.py`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.chapter)

    @property
    def is_lab(self) -> bool:
        """Whether it is a chapter's second notebook."""
        return self.name != self.chapter

    @property
    def points(self) -> float:
        return summed(exercise.points for exercise in self.exercises)

    @property
    def is_drawn(self) -> bool:
        """Whether something in it is drawn for each student, whose name it asks for."""
        return any(hasattr(task, "drawn_for") for task in self.exercises)

    def drawn_for(self, owner: Owner | None) -> Notebook:
        """The notebook with what is drawn for this student."""
        return replace(self, exercises=tuple(drawn_for(task, owner) for task in self.exercises))
