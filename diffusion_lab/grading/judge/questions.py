"""The questions of an exercise, with the reference's answers, and what a piece answers to them."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffusion_lab.errors import LabError
from diffusion_lab.exercises import Case, Draw, Exercise
from diffusion_lab.exercises.probes import Described
from diffusion_lab.grading.judge.calling import Caller, LocalCaller, Returned, followed, leaves
from diffusion_lab.grading.judge.comparing import Difference, difference, preview
from diffusion_lab.grading.judge.expecting import Expected, expect, expect_finer, in_both, with_floats

MOST_SHOWN = 6
"""Entries of the largest tensor that a message prints in full."""


def seed_of(text: str) -> int:
    """The number that the cases of a run are drawn from, for a seed given as any text: in a notebook and in a class."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def generator_seed(seed: int, purpose: str) -> int:
    """A seed of torch's generator for a call of the student's function, which can read it there.

    It says nothing of the run's own seed, from which order and numbers are drawn, and is small enough for the wire.
    """
    return int.from_bytes(hashlib.sha256(f"generator {seed} {purpose}".encode()).digest()[:4], "big") >> 1


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
    mixed: tuple | None = None
    """Tables in float64 and data in float32, as a run has them; None where that is no other question."""
    mixed_dtypes: tuple[torch.dtype | None, ...] = ()
    """Of the parts of the reference's answer to that."""
    names: tuple[str, ...] = ()
    """Of the arguments."""
    number: int = 0
    """Its place among the exercise's cases, from 1."""

    @property
    def label(self) -> str:
        shapes = [f"{n} {tuple(a.shape)}".strip() for n, a in self._named() if isinstance(a, Tensor) and a.ndim > 0]
        return f"{self.case.label}, for {', '.join(shapes)}" if shapes else self.case.label

    @property
    def inputs(self) -> str:
        """Its numbers, words and small tensors, such as "T = 10, start = 0.0001"."""
        shown = []
        for name, value in self._named():
            if isinstance(value, Tensor) and value.numel() <= MOST_SHOWN:
                shown.append((name, preview(value, most=MOST_SHOWN)))
            elif isinstance(value, (int, float, str, tuple)) or value is None:
                shown.append((name, f"{value:.8g}" if isinstance(value, float) else repr(value)))
        return ", ".join(f"{name} = {value}" for name, value in shown)

    def _named(self) -> list[tuple[str, Any]]:
        names = self.names or ("",) * len(self.arguments)
        return list(zip(names, self.arguments, strict=False))


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
    tables = tuple(i for i, name in enumerate(exercise.parameters) if name in exercise.kept_finer)
    for number, case in enumerate(exercise.cases(Draw(seed, exercise.name)), 1):
        arguments, finer = (with_floats(case.arguments, dtype) for dtype in (torch.float32, torch.float64))
        expected = expect(exercise.reference, arguments, exercise.trains)
        mixed, dtypes = _mixed(exercise, arguments, finer, tables)
        finer_expected = expect_finer(exercise.reference, finer)
        found.append(
            Question(case, arguments, expected, finer, finer_expected, mixed, dtypes, exercise.parameters, number)
        )
    return tuple(found)


def _mixed(
    exercise: Exercise, arguments: tuple, finer: tuple, tables: tuple[int, ...]
) -> tuple[tuple | None, tuple[torch.dtype | None, ...]]:
    """The arguments with tables in float64, and the dtypes of the reference's answer; None where that adds nothing."""
    mixed = in_both(arguments, finer, tables)
    floats = {a.dtype for a in mixed if isinstance(a, Tensor) and a.is_floating_point()}
    if exercise.like:
        like = mixed[exercise.parameters.index(exercise.like)].dtype
        mixed = tuple(a.taking(like) if isinstance(a, Described) else a for a in mixed)
    if len(floats) < 2 and all(a is b for a, b in zip(mixed, arguments, strict=True)):
        return None, ()
    returned = LocalCaller(exercise.reference)(mixed)
    if returned.fault is not None:
        raise RuntimeError(f"the reference {exercise.name} failed with tables in float64: {returned.fault}")
    return mixed, tuple(leaf.dtype if isinstance(leaf, Tensor) else None for leaf in leaves(returned.value))


class Shown(NamedTuple):
    """A visible case, to be tried by hand."""

    arguments: dict[str, Any]
    """By name, in order: `function(*arguments.values())`."""
    expected: Any


def shown(exercise: Exercise, number: int, seed: int = 0) -> Shown:
    """Case `number` of those drawn from this seed, counted from 1, with the expected answer.

    Raises:
        LabError: where there is no such case.
    """
    asked = questions(exercise, seed)
    if type(number) is not int or not 1 <= number <= len(asked):
        raise LabError(f"{exercise.name} has cases 1 to {len(asked)}, got {number!r}")
    arguments = asked[number - 1].arguments
    expected = LocalCaller(exercise.reference)(arguments).value
    return Shown(dict(zip(exercise.parameters, copy.deepcopy(arguments), strict=False)), expected)


def prepare(exercise: Exercise, seed: int) -> None:
    """Draw the questions before a check asks them: what goes wrong here is not the fault of any answer."""
    questions(exercise, seed)


def ask(exercise: Exercise, question: Question, caller: Caller) -> Trial:
    returned = caller(question.arguments, gradients=exercise.trains)
    fault = None
    if returned.fault is None:
        fault = difference(returned.value, question.expected.leaves)
        if fault is None and exercise.trains:
            fault = _gradient_fault(exercise, question, returned)
    return Trial(question, returned, fault)


def _gradient_fault(exercise: Exercise, question: Question, returned: Returned) -> Difference | None:
    wanted = question.expected.gradients
    # Where nan comes in, a mask that keeps it out of the value need not keep it out of the gradient.
    if not wanted or any(isinstance(a, Tensor) and bool(a.isnan().any()) for a in question.arguments):
        return None
    place = followed(question.arguments)
    source = "the network's weights" if place is None else f"`{exercise.parameters[place]}`"
    if not returned.graph:
        return Difference(f"no gradient reaches {source}: the value is cut off from autograd")
    # Large terms cancel on the way to an input or a weight: its small entries round as the largest of all does.
    largest = max(float(w.value.abs().nan_to_num(0.0, 0.0).max()) for w in wanted if w.value.numel())
    wanted = tuple(replace(w, tolerance=w.tolerance + 2e-5 * largest) for w in wanted)
    given = returned.gradients[0] if len(returned.gradients) == 1 else returned.gradients  # of one weight: no tuple
    return difference(given, wanted, f"gradient for {source}")
