"""A task in which the learner writes the check of a piece, and the course's answers to an exercise try it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from diffusion_lab.exercises.record import Exercise, RightAnswer, WrongAnswer
from diffusion_lab.exercises.tasks import Task

ALARMS, LISTED, HIDDEN, TWICE = "no false alarm", "listed mistakes", "mistakes not listed", "the same verdict twice"
PARTS = {ALARMS: 1, LISTED: 4, HIDDEN: 2, TWICE: 1}
EVERY = 3
"""Of the exercise's mistakes one in so many is hidden: no message names it."""


def as_it_is(piece: Callable) -> Callable:
    """The piece itself."""
    return piece


@dataclass(frozen=True, eq=False)
class CheckTask(Task):
    """`check_NAME(piece)`: returns nothing (or True) for right pieces, and fails for wrong ones.

    It fails where it raises, or returns False or a sentence that says what is wrong. What it is tried on are the right
    and the wrong answers that the exercise knows.
    """

    exercise: Exercise
    """The piece that is checked."""
    title: str
    statement: str
    """Markdown: what the piece promises, and what sort of test is asked for."""
    reference: Callable
    """A thorough check, which catches all. Its source between docstring and end is the solution."""
    naive: tuple[Callable, ...]
    """Checks that people write first, and that must score low. The docstring says why it is not enough."""
    seen_as: Callable[[Callable], Callable] = as_it_is
    """What the check gets of a piece, such as the piece with a network of the course's already in it."""
    beyond: tuple[str, ...] = ()
    """Names of wrong answers that keep the promises of the statement, and are left out."""
    unlike: tuple[str, ...] = ()
    """Names of right answers that `seen_as` cannot take, and that are left out."""
    parts: Mapping[str, int] = None  # type: ignore[assignment]
    hints: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", dict(self.parts or PARTS))

    @property
    def chapter(self) -> str:
        return self.exercise.chapter

    @property
    def right(self) -> tuple[RightAnswer, ...]:
        """The reference and the other right answers."""
        others = [answer for answer in self.exercise.right_answers if answer.name not in self.unlike]
        return (RightAnswer("the reference", self.exercise.reference), *others)

    @property
    def wrong(self) -> tuple[WrongAnswer, ...]:
        """The mistakes that a value shows: inputs that a piece changes, or a graph, do not reach the check."""
        found = (answer for answer in self.exercise.wrong_answers if answer.symptom is None)
        return tuple(answer for answer in found if answer.name not in self.beyond)

    @property
    def listed(self) -> tuple[WrongAnswer, ...]:
        """Those whose kind is told where they slip through."""
        return tuple(answer for i, answer in enumerate(self.wrong) if i % EVERY != EVERY - 1)

    @property
    def hidden(self) -> tuple[WrongAnswer, ...]:
        """The others, which are only counted."""
        return self.wrong[EVERY - 1 :: EVERY]

    def piece(self, function: Callable) -> Callable[..., Any]:
        """What the check gets of an answer to the exercise."""
        return self.seen_as(function)


INTRODUCTION = """
Anybody can have a formula written for them. What is left to you is to know what to expect, and to tell right from
wrong. So a lab asks for other things: a number that you guess before you compute it, a derivation that you finish with
numbers of your own, the check of a piece in the place of the piece, and a bug that you find.

**How a check is marked.** It is tried on right pieces, written in several ways, and on wrong ones, which hold mistakes
that people make. They have no names, come in an order of their own, and come more than once. Your check must return
nothing for a right piece and fail for a wrong one: `assert` is the shortest way, and raising an error, returning
`False` or returning a sentence fail it too. Half of the mistakes are so large that any test sees them, so points begin
at half: a check that catches three quarters of the wrong pieces has half of the points for catching. An alarm about a
right piece costs all of these, and a check that catches less than half has no points at all. The report says which
kinds of mistakes slip through; some mistakes it only counts.

You may call the piece as often as you like, up to 2,000 times, with tensors of up to 8,192 entries in all, numbers and
text. Draw numbers from a generator with a seed of its own, so that the same piece always gets the same verdict. A
piece that raises an error of itself fails, unless you catch the error.
"""
"""Of a lab with such a task, below its first paragraph."""
