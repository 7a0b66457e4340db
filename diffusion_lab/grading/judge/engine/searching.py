"""Look for the edit that explains a wrong function: of its own code, which makes it right, or of right code."""

from __future__ import annotations

import ast
import contextlib
import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from diffusion_lab.grading.judge.calling import LocalCaller, Returned, leaves
from diffusion_lab.grading.judge.comparing import agrees, as_tensor, same_answer
from diffusion_lab.grading.judge.engine.edits import Edit, at
from diffusion_lab.grading.judge.engine.rebuilding import SHELL, Source
from diffusion_lab.grading.judge.expecting import Leaf
from diffusion_lab.grading.judge.questions import Question

CALL = 0.25
"""Seconds that an edited function may take for one case; it may loop for ever."""


@dataclass
class Clock:
    """A budget of processor time."""

    seconds: float
    start: float = field(default_factory=time.process_time)

    @property
    def over(self) -> bool:
        return time.process_time() - self.start > self.seconds


@contextlib.contextmanager
def collected_later() -> Iterator[None]:
    """No collection of garbage for a second: in a process with much in its memory, one takes longer than a search."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def is_right(returned: Returned, question: Question, trains: bool) -> bool:
    """Whether an answer is right to the question's tolerance, its gradients too where the exercise trains."""
    if returned.fault is not None or not _agree(returned.value, question.expected.leaves):
        return False
    expected = question.expected.gradients
    return not trains or not expected or (returned.graph and _agree(returned.gradients, expected))


def _agree(answer: Any, expected: Sequence[Leaf]) -> bool:
    given = leaves(answer)
    if len(given) != len(expected):
        return False
    for value, leaf in zip(given, expected, strict=True):
        tensor = as_tensor(value)
        if tensor is None or tensor.shape != leaf.value.shape or not bool(agrees(tensor, leaf).all()):
            return False
    return True


def same_returned(one: Returned, other: Returned, trains: bool) -> bool:
    """Whether two functions do the same: the same numbers and gradients, or an error of the same kind."""
    if one.fault is not None or other.fault is not None:
        return one.fault is not None and other.fault is not None and one.fault.name == other.fault.name
    if not same_answer(one.value, other.value):
        return False
    return not trains or (one.graph == other.graph and same_answer(one.gradients, other.gradients))


def size(question: Question) -> int:
    """How many numbers a question holds: small ones are asked first."""
    return sum(a.numel() for a in question.arguments if isinstance(a, Tensor))


def touches(edit: Edit, lines: set[int] | None) -> bool:
    """Whether an edit changes code on these lines, or all answers."""
    nodes = [at(slot) for slot, _ in edit.changes]
    return (
        lines is None
        or edit.function == SHELL
        or any(
            not hasattr(n, "lineno") or any(line in lines for line in range(n.lineno, n.end_lineno + 1)) for n in nodes
        )
    )


def length(edit: Edit) -> int:
    """Of the code that it changes, in characters: what is said of a short piece says more. What is put around a value
    comes after what changes an operation."""
    old = edit.old
    if not hasattr(old, "lineno"):
        return 2_000_000
    if edit.about is old and any(node is old for node in ast.walk(edit.new)):
        return 1_000_000
    return 1_000 * (old.end_lineno - old.lineno) + old.end_col_offset - old.col_offset


def edited(source: Source, edit: Edit, own_networks: bool = True) -> LocalCaller | None:
    """The function with one edit made, to be called; None where that is no function."""
    try:
        return LocalCaller(source.with_edits([edit]), CALL, lines=False, own_networks=own_networks)
    except (SyntaxError, ValueError, TypeError, RecursionError):
        return None
