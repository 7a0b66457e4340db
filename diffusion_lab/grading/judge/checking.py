"""Check one exercise: call the student's function, compare, award points by part, name the idea behind a fault."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lab.exercises import CARE, Draw, Exercise, Task
from diffusion_lab.grading.judge.calling import LIMIT, Caller, Fault, LocalCaller, Returned, leaves, words_of
from diffusion_lab.grading.judge.comparing import Difference, as_tensor, difference, kind_of
from diffusion_lab.grading.judge.diagnosing import Idea, Symptom, ideas_behind, symptoms_of
from diffusion_lab.grading.judge.expecting import expect, with_floats
from diffusion_lab.grading.judge.hearing import trials_heard
from diffusion_lab.grading.judge.questions import Trial, ask, questions

MOST_KNOWN = 64
"""How many of the reference's answers to a property's questions are kept, of each exercise."""
VISIBLE_SEED = 0
"""The cases that a learner sees. Those that count for marks are drawn from another seed."""
RULES = {
    "modified": "inputs are left as they are",
    "random": "the same answer twice",
    "dtype": "float32 and float64 keep their dtype and their digits",
    "layout": "any memory layout",
}
"""symptom -> the rule of every exercise that it breaks."""
PLAIN = (int, float, str, bool, type(None))
TIMES_TOO_LARGE = 2
TOO_LARGE = "not tried, because the answers to the cases have far too many entries"
RULES_OF_NETWORKS = {"mode": "the network's mode is kept", "graph": "no autograd graph is left"}


@dataclass(frozen=True)
class Outcome:
    """One case, property or rule, and what came of it."""

    part: str
    label: str
    passed: bool
    fault: Difference | None = None
    raised: Fault | None = None
    """What ended a call; where there is a `fault` too, that one says it."""
    number: int = 0
    """Of a case, from 1."""
    inputs: str = ""
    """The small ones of a case, in words."""


@dataclass(frozen=True)
class Verdict:
    """The result of a check, as data."""

    exercise: str
    state: str
    """"passed", "failed", "not written", "missing", "open" (right or wrong is told later), or "not run" (a fault of the
    grader, never a student's zero)."""
    points: float
    out_of: int
    parts: dict[str, tuple[float, int]]
    """part -> (points, of how many)."""
    outcomes: tuple[Outcome, ...] = ()
    ideas: tuple[Idea, ...] = ()
    note: str = ""
    visible: bool = False
    """Whether these are the cases that a learner sees."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What a kind of task tells beside points, as plain data for reports; see where the kind is marked."""

    @property
    def passed(self) -> bool:
        return self.state == "passed"


class PieceFailed(Exception):
    """A property called the piece and got no answer."""

    def __init__(self, fault: Fault):
        super().__init__(fault.message)
        self.fault = fault


def check(exercise: Exercise, caller: Caller, seed: int = VISIBLE_SEED, *, explain: bool = True) -> Verdict:
    """Call the piece on the exercise's cases, drawn from this seed, and say what its points are and why.

    Args:
        explain: look for the idea behind a fault too. That takes most of the time where nothing explains it, so whoever
            only wants the points leaves it out; `ideas` is then empty.
    """
    asked = questions(exercise, seed)
    trials: list[Trial] = []
    for question in asked:
        trial = ask(exercise, question, caller)
        if trial.returned.fault is not None and trial.returned.fault.kind == "not written":
            return without_points(exercise, "not written")
        trials.append(trial)
        if trial.returned.fault is not None and trial.returned.fault.kind == "time":
            break  # the others would take as long
    outcomes = [_outcome(trial) for trial in trials]
    outcomes += [
        Outcome(q.case.part, q.label, False, Difference("not tried, because an earlier case took too long"))
        for q in asked[len(trials) :]
    ]
    last = trials[-1].returned.fault
    symptoms: dict[str, Symptom] = {}
    heard: _Hearing | None = None
    if last is None or last.kind != "time":
        symptoms = symptoms_of(exercise, caller, trials)
        if any(_far_too_large(t) for t in trials):
            outcomes += [Outcome(p.part, p.label, False, Difference(TOO_LARGE)) for p in exercise.properties]
        else:
            heard = _Hearing(caller, math.inf if any(t.passed for t in trials) else LIMIT)
            found = _properties(exercise, heard, seed)
            if "dtype" in symptoms and not all(o.passed for o in found) and _right_in_float32(exercise, heard.calls):
                found = [replace(o, passed=True, fault=None) if o.fault is not None else o for o in found]
            outcomes += found
        outcomes += _care(exercise, trials, symptoms)
    else:
        outcomes.append(Outcome(CARE, "a time limit", False, Difference("the function does not come to an end")))
    parts = {
        part: (float(points) if all(o.passed for o in outcomes if o.part == part) else 0.0, points)
        for part, points in exercise.parts.items()
    }
    points = sum(got for got, _ in parts.values())
    state = "passed" if all(o.passed for o in outcomes) else "failed"
    ideas: tuple[Idea, ...] = ()
    if explain and state != "passed":
        told = next((o for o in outcomes if not o.passed and not o.number), None)
        if heard is not None and told is not None and all(t.passed for t in trials) and "dtype" not in symptoms:
            trials += trials_heard(exercise, heard.calls, told.part, told.label)
        ideas = ideas_behind(exercise, trials, symptoms, caller)
    printed = " ".join(trials[0].returned.printed.split())  # lines of its own could look like ours
    note = f"it printed: {printed[:200]}" if printed else ""
    return Verdict(
        exercise.name, state, points, exercise.points, parts, tuple(outcomes), ideas, note, seed == VISIBLE_SEED
    )


def _outcome(trial: Trial) -> Outcome:
    question, fault = trial.question, trial.returned.fault
    inputs = "" if trial.passed else question.inputs
    return Outcome(trial.case.part, question.label, trial.passed, trial.fault, fault, question.number, inputs)


class _Hearing:
    """A caller that keeps what was asked and answered, and has so many seconds of patience for all calls together.

    A function that is wrong in every case may also fill the memory, in each of a property's many calls.
    """

    def __init__(self, caller: Caller, patience: float):
        self.caller, self.patience = caller, patience
        self.calls: list[tuple[tuple, Returned]] = []

    def __call__(self, arguments: tuple, *, seed: int = 0, gradients: bool = False) -> Returned:
        if self.patience <= 0:
            return Returned(fault=Fault("time", "TimeoutError", "its calls took too long together"))
        began = time.monotonic()
        returned = self.caller(arguments, seed=seed, gradients=gradients)
        self.patience -= time.monotonic() - began
        self.calls.append((arguments, returned))
        return returned


def _right_in_float32(exercise: Exercise, calls: list[tuple[tuple, Returned]]) -> bool:
    """Whether these answers, to float64 inputs, have all the digits of float32.

    A property asks for more of them. Lost digits are a matter of care, and are told there; they are no wrong answer.
    """
    try:
        return all(
            returned.fault is None
            and difference(returned.value, expect(exercise.reference, with_floats(arguments, torch.float32)).leaves)
            is None
            for arguments, returned in calls
        )
    except (RuntimeError, TypeError, ValueError):  # rounded so, the inputs mean nothing to the reference
        return False


def _far_too_large(trial: Trial) -> bool:
    """Whether a factor was spread over an axis it does not belong to: thousands of samples would fill the memory."""
    if trial.returned.fault is not None or trial.passed:
        return False
    sizes = [(leaf.numel() if isinstance(leaf, Tensor) else 1) for leaf in leaves(trial.returned.value)]
    wanted = sum(leaf.value.numel() for leaf in trial.expected.leaves)
    return len(trial.expected.leaves) == len(sizes) and sum(sizes) > TIMES_TOO_LARGE * wanted


def without_points(exercise: Task, state: str, note: str = "") -> Verdict:
    """The verdict on a piece that was not called."""
    parts = {part: (0.0, points) for part, points in exercise.parts.items()}
    return Verdict(exercise.name, state, 0.0, exercise.points, parts, note=note)


def _properties(exercise: Exercise, caller: Caller, seed: int) -> list[Outcome]:
    def piece(*arguments: Any) -> Any:
        returned = caller(arguments)
        if returned.fault is not None:
            raise PieceFailed(returned.fault)
        odd = _odd(returned.value, _reference_of(exercise, arguments))
        if odd:
            raise ValueError(odd)
        return returned.value

    outcomes = []
    for i, item in enumerate(exercise.properties):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about odd answers; nbgrader takes whatever is on stderr for a fault
                found = item.holds(piece, Draw(seed, f"{exercise.name} {i}"))
            fault = None if found is None else Difference(found)
            outcomes.append(Outcome(item.part, item.label, fault is None, fault))
        except PieceFailed as error:
            outcomes.append(Outcome(item.part, item.label, False, raised=error.fault))
        except (
            TypeError, ValueError, RuntimeError, AttributeError, LookupError, ArithmeticError, MemoryError,
        ) as error:  # fmt: skip
            # The piece gave something with which the property could not calculate; a right answer never does.
            outcomes.append(Outcome(item.part, item.label, False, Difference(f"the answer cannot be used: {error}")))
    return outcomes


@lru_cache(maxsize=64)
def _known(exercise: Exercise) -> dict[Any, tuple[tuple, Returned]]:
    """The reference's answers to what properties have asked: the same for a whole class."""
    return {}


def _reference_of(exercise: Exercise, arguments: tuple) -> Returned:
    plain = all(not a.requires_grad if isinstance(a, Tensor) else _equal(a, a) for a in arguments)
    if not plain:  # a network, or a part of a graph
        return _asked_directly(exercise, arguments)
    known = _known(exercise)
    key = tuple(tuple(a.shape) if isinstance(a, Tensor) else type(a) for a in arguments)
    if key in known:
        asked, answer = known[key]
        if all(_equal(a, b) for a, b in zip(asked, arguments, strict=True)):
            return answer
    answer = _asked_directly(exercise, arguments)
    # The first of a kind stays: further on a path that a piece walks, no two pieces ask the same.
    if len(known) < MOST_KNOWN and key not in known:
        known[key] = (tuple(a.clone() if isinstance(a, Tensor) else a for a in arguments), answer)
    return answer


def _asked_directly(exercise: Exercise, arguments: tuple) -> Returned:
    """The reference changes no argument, prints nothing and comes to an end, so it can be called without any care.

    Properties ask it a thousand times. With care a call of a short one takes several times as long.
    """
    if exercise.trains or not all(isinstance(a, (Tensor, nn.Module, *PLAIN)) for a in arguments):
        return LocalCaller(exercise.reference)(arguments)
    try:
        return Returned(exercise.reference(*arguments))
    except Exception as error:
        return Returned(fault=Fault("raised", type(error).__name__, words_of(error)))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) in PLAIN and one == other


def _odd(answer: Any, reference: Returned) -> str:
    """Why no property can be asked of an answer: it has not the shapes of the reference's, or is not finite where that
    is. Comparisons with nan, and all that is said of the entries of an empty tensor, would pass. "" where it can.
    """
    if reference.fault is not None:
        return ""
    given, expected = leaves(answer), leaves(reference.value)
    if len(given) != len(expected):
        return f"it is {kind_of(answer)}, and {kind_of(reference.value)} is expected"
    for value, right in zip(map(as_tensor, given), map(as_tensor, expected), strict=True):
        if right is None:
            continue
        if value is None or value.shape != right.shape:
            found = kind_of(answer) if value is None else f"of shape {tuple(value.shape)}"
            return f"it is {found}, and {tuple(right.shape)} is the shape that is expected"
        if bool(right.isfinite().all()) and not bool(value.isfinite().all()):
            return "some entries are nan or infinite"
    return ""


def _care(exercise: Exercise, trials: list[Trial], symptoms: dict[str, Symptom]) -> list[Outcome]:
    """The rules of every exercise, once half of the answers are right."""
    if 2 * sum(t.passed for t in trials) < len(trials):
        nothing = Difference("not looked at until half of the answers are right")
        return [Outcome(CARE, "dtypes, memory layouts, unchanged inputs", False, nothing)]
    rules = dict(RULES)
    if any(isinstance(a, nn.Module) for t in trials for a in t.arguments):
        rules |= RULES_OF_NETWORKS
    if exercise.trains:
        rules.pop("graph", None)
    outcomes = []
    for symptom, label in rules.items():
        fault = Difference(symptoms[symptom].hint) if symptom in symptoms else None
        outcomes.append(Outcome(CARE, label, fault is None, fault))
    return outcomes
