"""An exercise from a file of the course's own, looked through before anybody gets it."""

from __future__ import annotations

import inspect
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from diffusion_lab.errors import LabError
from diffusion_lab.exercises import CARE, Draw, Exercise
from diffusion_lab.exercises.added import loaded
from diffusion_lab.exercises.boxes import leaves
from diffusion_lab.exercises.record import KINDS, RightAnswer, WrongAnswer
from diffusion_lab.grading.judge import VISIBLE_SEED, LocalCaller, Verdict, check, told
from diffusion_lab.grading.notebook import solution

LARGEST = 200_000
"""Bytes."""
SEEDS = (VISIBLE_SEED, 1, 2)
"""The visible cases, and draws such as those that count for marks."""


def examined(path: Path) -> tuple[str, str]:
    """The content of a file with an exercise, and the name of its function.

    Raises:
        LabError: it cannot be read or run; the exercise lacks something; or the checks are not right, which refuse the
            reference or a right answer, or accept a wrong one. The message names the file, and the line where one is
            known.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > LARGEST:
        raise LabError(f"{path.name} has {len(data)} bytes; more than {LARGEST} are no exercise")
    try:
        source = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabError(f"{path.name}, line {data[: error.start].count(10) + 1}: it is not in UTF-8") from error
    return source, _examined(path.name, source)


@lru_cache(maxsize=64)
def _examined(file: str, source: str) -> str:
    exercise = loaded(file, source)
    faults = _lacks(exercise)
    if not faults:
        try:
            faults = _wrong_checks(exercise)
        except Exception as error:
            faults = [f"its cases cannot be drawn or compared: {type(error).__name__}: {error}"]
    if faults:
        raise LabError(f"{file}, line {_line_of(exercise)}: {faults[0]}")
    return exercise.name


def _lacks(exercise: Exercise) -> list[str]:
    """What an exercise must have and this one has not."""
    name, faults = exercise.name, []
    try:
        solution(exercise.reference)
    except (LabError, OSError, TypeError) as error:
        faults.append(f"the notebook cannot show its reference: {error}")
    if not name.isidentifier():
        faults.append(f"its reference is a function with a name, and this is {name!r}")
    if exercise.kind not in KINDS:
        faults.append(f"'{name}' is of kind {exercise.kind!r}; kinds are {', '.join(KINDS)}")
    faults += [f"'{name}' has no {what}" for what in ("title", "statement") if not getattr(exercise, what).strip()]
    if CARE not in exercise.parts or len(exercise.parts) < 2:
        faults.append(f"the parts of '{name}' are {list(exercise.parts)}; {CARE!r} must be one of them, beside others")
    elif not all(type(most) is int and most > 0 for most in exercise.parts.values()):
        faults.append(f"the parts of '{name}' have points {list(exercise.parts.values())}; they are whole, from 1")
    for field, kind, maker in (("wrong_answers", WrongAnswer, "wrong"), ("right_answers", RightAnswer, "right")):
        answers = getattr(exercise, field)
        if not isinstance(answers, tuple) or not all(isinstance(answer, kind) for answer in answers):
            faults.append(
                f"{field} of '{name}' is a tuple of what {maker}(function) makes, such as ({maker}(natural),); "
                f"`{maker}` comes from diffusion_lab.exercises.record"
            )
    return faults


def _fault_of_reference(exercise: Exercise, seed: int) -> str:
    """What the reference cannot answer of its own cases; "" where it answers all."""
    for case in exercise.cases(Draw(seed, exercise.name)):
        returned = LocalCaller(exercise.reference)(case.arguments)
        if fault := returned.fault:
            where = f", {fault.line}" if fault.line else ""
            return f"the reference fails in its own case '{case.label}': {fault.name}: {fault.message}{where}"
        if _has_nan(returned.value) and not _has_nan(case.arguments):
            return f"the reference answers nan in its own case '{case.label}', whose inputs have none"
    return ""


def _has_nan(value: Any) -> bool:
    """Whether a number in it, or in a tensor in it, is nan."""
    numbers = [torch.as_tensor(leaf) for leaf in leaves(value) if isinstance(leaf, (float, torch.Tensor))]
    return any(bool(each.isnan().any()) for each in numbers)


def _wrong_checks(exercise: Exercise) -> list[str]:
    """What the checks get wrong, of the answers that the file knows."""
    for seed in SEEDS:
        if fault := _fault_of_reference(exercise, seed):
            return [fault]
        asked = {case.part for case in exercise.cases(Draw(seed, exercise.name))} | {
            item.part for item in exercise.properties
        }
        if wrong := asked ^ (set(exercise.parts) - {CARE}):
            return [f"its parts and those of its cases differ: {', '.join(sorted(wrong))}"]
        known = [("the reference", exercise.reference), *((a.name, a.function) for a in exercise.right_answers)]
        for name, function in known:
            verdict = check(exercise, LocalCaller(function), seed)
            if not verdict.passed:
                return [f"{name} fails the checks of '{exercise.name}': {_first_fault(verdict)}"]
        for answer in exercise.wrong_answers:
            if check(exercise, LocalCaller(answer.function), seed).passed:
                return [f"the wrong answer '{answer.name}' passes the checks of '{exercise.name}'"]
    return []


def _first_fault(verdict: Verdict) -> str:
    """The message below the check in a line, without its first, which has the points."""
    return " ".join(" ".join(told(verdict).splitlines()[1:]).split())[:400]


def _line_of(exercise: Exercise) -> int:
    try:
        return inspect.getsourcelines(exercise.reference)[1]
    except (OSError, TypeError):
        return 1
