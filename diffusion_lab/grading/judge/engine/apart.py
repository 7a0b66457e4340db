"""Mistakes that show apart: one in some cases or some values of the answer, another in the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffusion_lab.grading.judge.calling import Returned, leaves
from diffusion_lab.grading.judge.comparing import agrees, as_tensor
from diffusion_lab.grading.judge.engine.searching import is_right
from diffusion_lab.grading.judge.questions import Question, Trial

MOST = 8
"""Kinds of cases that are looked at."""
Unit = tuple[int, int]
"""A kind of case, and a value of the answer."""


@dataclass(frozen=True)
class Apart:
    """What is wrong, by kind of case and by value of the answer."""

    asked: tuple[Question, ...]
    """One small question of each kind in which something is wrong."""
    wrong: frozenset[Unit]
    trains: bool

    @classmethod
    def of(cls, trials: Sequence[Trial], trains: bool) -> Apart:
        """Of trials with the small ones first."""
        chosen: dict[tuple, Trial] = {}
        for trial in trials:
            if not trial.passed:
                chosen.setdefault(kind_of(trial.question), trial)
        found = list(chosen.values())[:MOST]
        rights = [right_values(t.returned, t.question, trains) for t in found]
        wrong = {(i, j) for i, values in enumerate(rights) for j, right in enumerate(values) if not right}
        return cls(tuple(t.question for t in found), frozenset(wrong), trains)

    def put_right(self, answer: Callable[[Question], Returned], changed: Sequence[bool]) -> frozenset[Unit]:
        """What another function has right of this; nothing where it has something wrong that was right.

        Args:
            answer: of that function.
            changed: for each kind of case, whether it may do there anything else than this one.
        """
        found: set[Unit] = set()
        for i, question in enumerate(self.asked):
            if not changed[i]:
                continue
            returned = answer(question)
            for j, right in enumerate(right_values(returned, question, self.trains)):
                if right:
                    found.add((i, j))
                elif (i, j) not in self.wrong:
                    return frozenset()
        return frozenset(found) & self.wrong

    def only(self, units: frozenset[Unit], question: Question) -> list[int]:
        """The values that are meant by these units in a question."""
        kinds = {kind_of(q): i for i, q in enumerate(self.asked)}
        place = kinds.get(kind_of(question))
        return [j for i, j in units if i == place]


def right_values(returned: Returned, question: Question, trains: bool) -> list[bool]:
    """Which values of an answer are right; of a loss with its gradient, whether all is."""
    expected = question.expected.leaves
    if trains or len(expected) == 1:
        return [is_right(returned, question, trains)] * len(expected)
    given = leaves(returned.value) if returned.fault is None else ()
    if len(given) != len(expected):
        return [False] * len(expected)
    tensors = [as_tensor(value) for value in given]
    return [
        t is not None and t.shape == leaf.value.shape and bool(agrees(t, leaf).all())
        for t, leaf in zip(tensors, expected, strict=True)
    ]


def kind_of(question: Question) -> tuple:
    """What a function may branch on: the part, words and switches, and the signs of numbers."""

    def of(argument: Any) -> Any:
        if isinstance(argument, (str, bool, type(None))):
            return argument
        if isinstance(argument, (int, float)):
            return (argument > 0) - (argument < 0)
        return "tensor" if isinstance(argument, Tensor) else type(argument).__name__

    return (question.case.part, *map(of, question.arguments))


def wrong_values(trials: Sequence[Trial], trains: bool) -> tuple[list[int], int]:
    """The values of the answer that are wrong somewhere, from 1, and how many values there are; none where an answer
    has another number of values."""
    wrong: set[int] = set()
    values = 0
    for trial in trials:
        values = len(trial.expected.leaves)
        if trial.returned.fault is not None or len(leaves(trial.returned.value)) != values:
            return [], values
        wrong |= {j + 1 for j, right in enumerate(right_values(trial.returned, trial.question, trains)) if not right}
    return sorted(wrong), values


def changed_at(arguments: tuple, place: int) -> tuple | None:
    """The same arguments with one of them a little smaller; None where that is no number and no tensor of such."""
    value = arguments[place]
    if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
        return (*arguments[:place], value * 0.9, *arguments[place + 1 :])
    if type(value) is float and value:
        return (*arguments[:place], value * 0.9, *arguments[place + 1 :])
    return None
