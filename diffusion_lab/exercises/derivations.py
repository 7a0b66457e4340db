"""A derivation to finish: the steps stand in the notebook, and each leaves out a value that the learner fills in."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.drawing import Draw
from diffusion_lab.exercises.own_numbers import NEAR, OwnQuestion
from diffusion_lab.exercises.record import WrongAnswer

PLAIN = (0.0, 1.0, -1.0, 0.5, 2.0)
"""No step of anybody's is one of these, nor one of the numbers of the question: then a guess earns nothing."""
NO_VALUE = (ArithmeticError, TypeError, ValueError, RuntimeError)
"""What it ends in to work with numbers that are odd, or with what is none."""
HOW = """
**How to fill it in.** The next cell prints your own numbers. They are drawn from your name, so write it at the top of
the notebook first. Take pen and paper; the derivation takes about {minutes} minutes. In `{name}`, give each step its
value: as a number with four digits, or as a line of code that computes it from the arguments and your earlier steps.
{forms}Keep the last line as it is. A step that you have not done stays `None`.

Each step has a point of its own, and may be off by a thousandth. A mistake costs the point of its own step only: what
follows rightly from it counts.
"""
"""Below the steps."""


@dataclass(frozen=True)
class Step:
    """One step of a derivation: what it says, and the value that is left out."""

    name: str
    """Of the value: a variable of the reference."""
    text: str
    """Markdown: how to get there. It ends in what the value is."""
    slips: tuple[WrongAnswer, ...]
    """Mistakes that people make here. Each function takes numbers of the question and earlier steps, by their names."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Derivation(OwnQuestion):
    """A derivation in the chapter's own setting, which the notebook states step by step, with the values left out.

    The reference assigns the steps' values to variables of their names, in their order, and ends by returning them. It
    is cut at these lines, so that a step can be worked out from whatever the earlier ones have given.
    """

    steps: tuple[Step, ...]
    minutes: int
    """With pen and paper."""

    @property
    def blanks(self) -> tuple[str, ...]:
        """The names of the values that are left out."""
        return tuple(step.name for step in self.steps)

    @property
    def parts(self) -> dict[str, int]:
        return {name: 1 for name in self.blanks}

    @property
    def statement(self) -> str:
        """Markdown: the setting, the steps, and how to fill them in."""
        steps = [f"**Step {i}, `{step.name}`.** {step.text.strip()}" for i, step in enumerate(self.steps, 1)]
        example = self.truths(self.other_numbers(Draw(0, self.name)))
        tensors = any(value.ndim for value in example.values())
        forms = "Several numbers are a list, such as `[0.25, 0.75]`, or a tensor.\n" if tensors else ""
        how = HOW.format(name=self.name, minutes=self.minutes, forms=forms)
        return "\n\n".join([self.about.strip(), *steps, how.strip()])

    @property
    def then(self) -> str:
        return f"Now finish the derivation, step by step, in {self.name} below."

    def truths(self, numbers: Mapping[str, float]) -> dict[str, Tensor]:
        """The right value of each step, float64: of shape () for a number."""
        return self.following(numbers, {}, {})

    def following(
        self, numbers: Mapping[str, float], given: Mapping[str, Tensor], truths: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """What each step is, worked out from the earlier ones as they are given.

        Args:
            given: of some steps, by name, in the shapes of `truths`.
            truths: for steps that are not given, or cannot be worked out from what is given.

        Returns:
            For each step a value in float64; NaN where it cannot be worked out.
        """
        names = {**self.reference.__globals__, **numbers}
        found = {}
        for name, code in _cut(self.reference, self.blanks):
            try:
                exec(code, names)  # the course's own lines
                found[name] = value_of(names[name])
            except NO_VALUE:
                if name not in truths:
                    raise
                found[name] = torch.full_like(truths[name], math.nan)
            if name in given:
                names[name] = _as_before(given[name])
            elif name in truths and not bool(found[name].isfinite().all()):
                names[name] = _as_before(truths[name])
        return found

    def slipped(self, step: Step, known: Mapping[str, Any]) -> list[tuple[WrongAnswer, Tensor]]:
        """Each slip of a step with the value it leads to; those that lead to none are left out.

        Args:
            known: the question's numbers and the earlier steps' values, by name.
        """
        found = []
        plain = {name: _as_before(value) for name, value in known.items()}
        for slip in step.slips:
            try:
                value = slip.function(**{name: plain[name] for name in inspect.signature(slip.function).parameters})
                found.append((slip, value_of(value)))
            except NO_VALUE:
                continue
        return found

    def right(self, given: Tensor, truth: Tensor) -> bool:
        """Whether a value is as near to the truth as it has to be, beside the truth's largest entry."""
        return bool((given - truth).abs().max() <= self.tolerance * truth.abs().max())

    def fair(self, numbers: dict[str, float]) -> bool:
        """Whether no slip and no number of the question comes near a step's truth, and no two slips near each other."""
        truths = self.truths(numbers)
        known: dict[str, Any] = dict(numbers)
        for step in self.steps:
            truth = truths[step.name]
            near = NEAR * self.tolerance * truth.abs().max()
            slips = self.slipped(step, known)
            others = [value for _, value in slips]
            if not truth.ndim:
                others += [torch.tensor(value, dtype=torch.float64) for value in (*PLAIN, *numbers.values())]
            if len(slips) < len(step.slips) or not bool(truth.isfinite().all()):
                return False
            if any(value.shape == truth.shape and (value - truth).abs().max() <= near for value in others):
                return False
            for i, (_, one) in enumerate(slips):
                if any(one.shape == other.shape and self.right(one, other) for _, other in slips[:i]):
                    return False
            known[step.name] = truth
        return True


def value_of(given: Any) -> Tensor:
    """A number, a list of numbers, lists of these or a tensor, in float64; for others one of `NO_VALUE` is raised."""
    if type(given) in (Tensor, torch.nn.Parameter):
        if given.is_complex():
            raise TypeError("a complex number")
        return given.detach().cpu().double()
    return torch.tensor(_plain(given), dtype=torch.float64)


def _plain(given: Any) -> Any:
    if type(given) in (list, tuple):
        return [_plain(part) for part in given]
    if type(given) in (Tensor, torch.nn.Parameter):
        return value_of(given).tolist()
    if type(given) in (int, float):
        return float(given)
    raise TypeError(f"a value of type {type(given).__name__}")


def _as_before(value: Any) -> Any:
    """A step's value as the reference has it: a plain number, or a tensor in float64."""
    return float(value) if isinstance(value, Tensor) and not value.ndim else value


@cache
def _cut(reference: Callable, steps: tuple[str, ...]) -> list[tuple[str, CodeType]]:
    """The lines of the reference that lead from one step to the next, by the name of the step that they end in.

    Raises LabError where it does not assign the steps in their order and return them.
    """
    body = ast.parse(textwrap.dedent(inspect.getsource(reference))).body[0].body
    pieces, lines = [], []
    for statement in body[1:-1]:
        lines.append(statement)
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id in steps:
            pieces.append((target.id, compile(ast.Module(lines, []), f"<{reference.__name__}>", "exec")))
            lines = []
    end = body[-1].value if isinstance(body[-1], ast.Return) else None
    returned = tuple(getattr(part, "id", "") for part in end.elts) if isinstance(end, ast.Tuple) else ()
    if lines or not tuple(name for name, _ in pieces) == returned == steps:
        raise LabError(f"'{reference.__name__}' has to assign {', '.join(steps)} in this order, and return them")
    return pieces
