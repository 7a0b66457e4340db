"""Questions with numbers drawn for each student; and of these a number of one's own, which a chapter has you guess."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.drawing import Draw
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.exercises.record import RightAnswer, WrongAnswer
from diffusion_lab.exercises.tasks import Task

OWN, OTHERS = "your numbers", "other numbers"
PARTS = {OWN: 2, OTHERS: 1}
NEAR = 5.0
"""A mistake leads at least so many times farther from the truth than a right answer may."""
MOST_DRAWS = 100
HOW = """
**First guess.** The next cell asks the question with your own numbers, which nobody else has. Write your guess into the
cell below it, before you compute: it is kept under `{variable}`, and never marked.

**Then compute.** Write `{name}`, which takes the numbers and returns the one that is asked for. It is called with your
numbers and with others, and may be off by a thousandth. The check shows your guess beside it, and once it is right, the
truth beside both.
"""
"""Below what is asked."""
PREDICTED = "predicted_"
"""How the name begins under which a notebook holds a prediction."""


@dataclass(frozen=True, eq=False, kw_only=True)
class OwnQuestion(Task):
    """A question about numbers that are drawn for each student, and a function of these numbers that answers it."""

    chapter: str
    title: str
    question: str
    """Text, with a field of `str.format` for each of the numbers."""
    about: str
    """Markdown: the same for everybody, and what the function is to compute."""
    reference: Callable[..., Any]
    """Its parameters are the numbers' names. Its source between docstring and end is the solution."""
    numbers_from: Callable[[Draw], dict[str, float]]
    """One student's numbers, by name, in the order of the parameters."""
    right_answers: tuple[RightAnswer, ...]
    tolerance: float = 1e-3
    """By which share of the right value an answer may be off: a sum over a fine grid counts as well as an integral."""
    hints: tuple[str, ...] = ()
    source: str = ""
    owner: Owner | None = None

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.reference).parameters)

    @property
    def opening(self) -> tuple[tuple[str, str], ...]:
        """The cells in which the learner reads the question: (name, code), ... ."""
        return ((f"{self.name}-question", f'lab.question("{self.name}")'),)

    def drawn_for(self, owner: Owner) -> OwnQuestion:
        """The same question with this student's numbers."""
        return replace(self, owner=owner)

    @cached_property
    def numbers(self) -> dict[str, float]:
        """Its owner's numbers, by name. Raises LabError where nobody owns the task yet."""
        if self.owner is None:
            raise LabError(f"the numbers of '{self.name}' are drawn for a student, and none is named")
        return self._named(self.owner.draw(f"{self.name} numbers"))

    def other_numbers(self, draw: Draw) -> dict[str, float]:
        """Numbers that somebody else could have."""
        return self._named(draw)

    @property
    def asked(self) -> str:
        """The question in words, with its owner's numbers."""
        shown = {name: f"{value:g}" for name, value in self.numbers.items()}
        return " ".join(self.question.format(**shown).split())

    @property
    def then(self) -> str:
        """What to do once the question is read, in a sentence."""
        raise NotImplementedError

    def fair(self, numbers: dict[str, float]) -> bool:
        """Whether every known mistake leads well away from the truth with these numbers."""
        raise NotImplementedError

    def _named(self, draw: Draw) -> dict[str, float]:
        for _ in range(MOST_DRAWS):
            found = {name: value + 0 for name, value in self.numbers_from(draw).items()}  # 0 for -0.0
            if tuple(found) != self.parameters:
                raise LabError(f"'{self.name}' takes {', '.join(self.parameters)}, and {', '.join(found)} are drawn")
            if self.fair(found):
                return found
        raise LabError(f"'{self.name}' has drawn no numbers that tell its mistakes from the truth, {MOST_DRAWS} times")


@dataclass(frozen=True, eq=False, kw_only=True)
class OwnNumber(OwnQuestion):
    """A question to answer twice: first by a guess, which is kept and never marked, then by a function.

    The function takes the numbers of the question and returns one number. It is called with the student's own numbers
    and with others. The question ends in what to guess, and its unit.
    """

    wrong_answers: tuple[WrongAnswer, ...]
    parts: Mapping[str, int] = field(default_factory=PARTS.copy)

    @property
    def statement(self) -> str:
        """Markdown: what is asked, and how a guess and a function are dealt with."""
        return f"{self.about.strip()}\n\n{HOW.format(name=self.name, variable=self.variable).strip()}"

    @property
    def variable(self) -> str:
        """The name under which a notebook holds the prediction."""
        return PREDICTED + self.name

    @property
    def opening(self) -> tuple[tuple[str, str], ...]:
        """The cells in which the learner reads the question and predicts."""
        guess = f"{self.variable} = None  # your guess, one number, before you compute; it is never marked"
        return (*super().opening, (f"{self.name}-prediction", guess))

    @property
    def then(self) -> str:
        return f"Write your guess into the next cell: {self.variable} = ..."

    @property
    def truth(self) -> float:
        """The right answer to its owner's question."""
        return float(self.reference(**self.numbers))

    def right(self, given: float, truth: float) -> bool:
        """Whether an answer is as near to the truth as it has to be."""
        return abs(given - truth) <= self.tolerance * abs(truth)

    def fair(self, numbers: dict[str, float]) -> bool:
        truth = float(self.reference(**numbers))
        near = NEAR * self.tolerance * abs(truth)
        return truth != 0 and all(abs(float(w.function(**numbers)) - truth) > near for w in self.wrong_answers)
