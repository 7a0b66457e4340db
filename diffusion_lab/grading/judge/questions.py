"""The questions of an exercise, with the reference's answers, and what a piece answers to them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from diffusion_lab.exercises import Case, Draw, Exercise
from diffusion_lab.grading.judge.calling import Caller, Returned
from diffusion_lab.grading.judge.comparing import Difference, difference
from diffusion_lab.grading.judge.expecting import Expected, expect, with_floats


@dataclass(frozen=True, eq=False)
class Question:
    """One case with its right answers, in both precisions."""

    case: Case
    arguments: tuple
    """Tensors in float32."""
    expected: Expected
    finer: tuple
    """The same numbers in float64."""
    finer_expected: Expected

    @property
    def label(self) -> str:
        shapes = [f"{tuple(a.shape)}" for a in self.arguments if isinstance(a, Tensor) and a.ndim > 0]
        return f"{self.case.label}, for {', '.join(shapes)}" if shapes else self.case.label


@dataclass(frozen=True, eq=False)
class Trial:
    """What the piece answered to a question."""

    question: Question
    returned: Returned
    fault: Difference | None

    @property
    def case(self) -> Case:
        return self.question.case

    @property
    def arguments(self) -> tuple:
        return self.question.arguments

    @property
    def expected(self) -> Expected:
        return self.question.expected

    @property
    def passed(self) -> bool:
        return self.returned.fault is None and self.fault is None


@lru_cache(maxsize=128)
def questions(exercise: Exercise, seed: int) -> tuple[Question, ...]:
    """The exercise's cases drawn from this seed, with the reference's answers."""
    found = []
    for case in exercise.cases(Draw(seed, exercise.name)):
        arguments, finer = (with_floats(case.arguments, dtype) for dtype in (torch.float32, torch.float64))
        expected = expect(exercise.reference, arguments, exercise.trains)
        found.append(Question(case, arguments, expected, finer, expect(exercise.reference, finer)))
    return tuple(found)


def prepare(exercise: Exercise, seed: int) -> None:
    """Draw the questions before a check asks them: what goes wrong here is not the fault of any answer."""
    questions(exercise, seed)


def ask(exercise: Exercise, question: Question, caller: Caller) -> Trial:
    returned = caller(question.arguments, gradients=exercise.trains)
    fault = None
    if returned.fault is None:
        fault = difference(returned.value, question.expected.leaves)
        if fault is None and exercise.trains:
            fault = _gradient_fault(returned, question.expected)
    return Trial(question, returned, fault)


def _gradient_fault(returned: Returned, expected: Expected) -> Difference | None:
    if expected.gradients and not returned.graph:
        return Difference("no gradient reaches the network's weights: the value is cut off from autograd")
    given = returned.gradients[0] if len(returned.gradients) == 1 else returned.gradients  # of one weight: no tuple
    return difference(given, expected.gradients, "gradient for the network's weights") if expected.gradients else None
