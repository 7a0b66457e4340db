"""Check one exercise: call the student's function, compare, award points by part, name the idea behind a fault."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lab.exercises import CARE, Case, Draw, Exercise
from diffusion_lab.grading.calling import Caller, Fault, LocalCaller, Returned, leaves
from diffusion_lab.grading.comparing import Difference, difference, relation, same_answer
from diffusion_lab.grading.expecting import Expected, expect, laid_out_otherwise, with_floats

VISIBLE_SEED = 0
"""The cases that a learner sees. Those that count for marks are drawn from another seed."""
LOOKED_AT_TWICE = 3
"""How many cases are called a second time, to see whether the answer stays the same."""

IDEAS = {
    "random": "The answer changes from call to call with the same inputs. All randomness is passed in: draw none.",
    "modified": "Your function changes its input `{argument}` in place. The caller still needs it: make a new tensor.",
    "dtype": "The dtype is not kept: {detail}. Make new tensors with the dtype and device of the inputs.",
    "layout": "The answer depends on how the input lies in memory. `reshape` works where `view` does not.",
    "graph": "The answer still hangs on an autograd graph, which grows with every sampler step. Use `torch.no_grad()`.",
    "mode": "The network is not in the mode (training or evaluation) in which it came. Restore `model.training`.",
}


@dataclass(frozen=True)
class Outcome:
    """One case, property or rule, and what came of it."""

    part: str
    label: str
    passed: bool
    fault: Difference | None = None
    raised: Fault | None = None


@dataclass(frozen=True)
class Idea:
    """What probably went wrong."""

    name: str
    """The known wrong answer's, or a symptom's."""
    hint: str
    known: bool
    """Whether it is one of the exercise's wrong answers."""


@dataclass(frozen=True)
class Verdict:
    """The result of a check, as data."""

    exercise: str
    state: str
    """"passed", "failed", "not written", "missing", or "not run" (a fault of the grader, never a student's zero)."""
    points: float
    out_of: int
    parts: dict[str, tuple[float, int]]
    """part -> (points, of how many)."""
    outcomes: tuple[Outcome, ...] = ()
    ideas: tuple[Idea, ...] = ()
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.state == "passed"


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


class PieceFailed(Exception):
    """A property called the piece and got no answer."""

    def __init__(self, fault: Fault):
        super().__init__(fault.message)
        self.fault = fault


def check(exercise: Exercise, caller: Caller, seed: int = VISIBLE_SEED) -> Verdict:
    """Call the piece on the exercise's cases, drawn from this seed, and say what its points are and why."""
    asked = questions(exercise, seed)
    trials: list[Trial] = []
    for question in asked:
        trial = _try(exercise, question, caller)
        if trial.returned.fault is not None and trial.returned.fault.kind == "not written":
            return without_points(exercise, "not written")
        trials.append(trial)
        if trial.returned.fault is not None and trial.returned.fault.kind == "time":
            break  # the others would take as long
    outcomes = [Outcome(t.case.part, t.question.label, t.passed, t.fault, t.returned.fault) for t in trials]
    outcomes += [
        Outcome(q.case.part, q.label, False, Difference("not tried, because an earlier case took too long"))
        for q in asked[len(trials) :]
    ]
    last = trials[-1].returned.fault
    symptoms: dict[str, str] = {}
    if last is None or last.kind != "time":
        outcomes += _properties(exercise, caller, seed)
        care, symptoms = _care(exercise, caller, trials)
        outcomes += care
    else:
        outcomes.append(Outcome(CARE, "a time limit", False, Difference("the function does not come to an end")))
    parts = {
        part: (float(points) if all(o.passed for o in outcomes if o.part == part) else 0.0, points)
        for part, points in exercise.parts.items()
    }
    points = sum(got for got, _ in parts.values())
    state = "passed" if all(o.passed for o in outcomes) else "failed"
    ideas = () if state == "passed" else _ideas(exercise, trials, symptoms)
    printed = trials[0].returned.printed.strip()
    note = f"it printed: {printed[:200]}" if printed else ""
    return Verdict(exercise.name, state, points, exercise.points, parts, tuple(outcomes), ideas, note)


def without_points(exercise: Exercise, state: str, note: str = "") -> Verdict:
    """The verdict on a piece that was not called."""
    parts = {part: (0.0, points) for part, points in exercise.parts.items()}
    return Verdict(exercise.name, state, 0.0, exercise.points, parts, note=note)


@lru_cache(maxsize=128)
def questions(exercise: Exercise, seed: int) -> tuple[Question, ...]:
    """The exercise's cases drawn from this seed, with the reference's answers."""
    found = []
    for case in exercise.cases(Draw(seed, exercise.name)):
        arguments, finer = (with_floats(case.arguments, dtype) for dtype in (torch.float32, torch.float64))
        expected = expect(exercise.reference, arguments, exercise.trains)
        found.append(Question(case, arguments, expected, finer, expect(exercise.reference, finer)))
    return tuple(found)


def _try(exercise: Exercise, question: Question, caller: Caller) -> Trial:
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


def _properties(exercise: Exercise, caller: Caller, seed: int) -> list[Outcome]:
    def piece(*arguments: Any) -> Any:
        returned = caller(arguments)
        if returned.fault is not None:
            raise PieceFailed(returned.fault)
        return returned.value

    outcomes = []
    for i, item in enumerate(exercise.properties):
        try:
            found = item.holds(piece, Draw(seed, f"{exercise.name} {i}"))
            fault = None if found is None else Difference(found)
            outcomes.append(Outcome(item.part, item.label, fault is None, fault))
        except PieceFailed as error:
            outcomes.append(Outcome(item.part, item.label, False, raised=error.fault))
        except (TypeError, ValueError, RuntimeError, AttributeError, LookupError, ArithmeticError) as error:
            # The piece gave something with which the property could not calculate; a right answer never does.
            outcomes.append(Outcome(item.part, item.label, False, Difference(f"the answer cannot be used: {error}")))
    return outcomes


def _care(exercise: Exercise, caller: Caller, trials: list[Trial]) -> tuple[list[Outcome], dict[str, str]]:
    """The rules of every exercise, looked at where the answers are right; and the symptoms found anywhere."""
    symptoms: dict[str, str] = {}
    answered = [t for t in trials if t.returned.fault is None]
    for trial in answered:
        if trial.returned.modified:
            names = exercise.parameters
            symptoms["modified"] = names[min(trial.returned.modified[0], len(names) - 1)]
        if not trial.returned.mode_kept:
            symptoms["mode"] = ""
        if trial.returned.graph and not trial.expected.graph:
            symptoms["graph"] = ""
    for trial in answered[:LOOKED_AT_TWICE]:
        again = caller(trial.arguments, seed=1)
        if again.fault is not None or not same_answer(again.value, trial.returned.value):
            symptoms["random"] = ""
    for trial in (t for t in trials if t.passed):
        detail = _dtype_fault(caller, trial)
        if detail:
            symptoms["dtype"] = detail
        moved = caller(laid_out_otherwise(trial.arguments))
        if moved.fault is not None or difference(moved.value, trial.expected.leaves) is not None:
            symptoms["layout"] = ""
    rules = {
        "modified": "inputs are left as they are",
        "random": "the same answer twice",
        "dtype": "float32 and float64 are kept",
        "layout": "any memory layout",
    }
    if any(isinstance(a, nn.Module) for t in trials for a in t.arguments):
        rules |= {"mode": "the network's mode is kept"}
        if not exercise.trains:
            rules |= {"graph": "no autograd graph is left"}
    if 2 * sum(t.passed for t in trials) < len(trials):
        nothing = Difference("not looked at until half of the answers are right")
        return [Outcome(CARE, "dtypes, memory layouts, unchanged inputs", False, nothing)], symptoms
    outcomes = []
    for symptom, label in rules.items():
        fault = Difference(_symptom_hint(symptom, symptoms[symptom])) if symptom in symptoms else None
        outcomes.append(Outcome(CARE, label, fault is None, fault))
    return outcomes, symptoms


def _symptom_hint(symptom: str, detail: str) -> str:
    return IDEAS[symptom].format(argument=detail, detail=detail)


def _dtype_fault(caller: Caller, trial: Trial) -> str:
    for value, leaf in zip(leaves(trial.returned.value), trial.expected.leaves, strict=True):
        if isinstance(value, Tensor) and leaf.dtype is not None and value.dtype != leaf.dtype:
            floats = any(isinstance(a, Tensor) and a.is_floating_point() for a in trial.arguments)
            return (
                f"{'for float32 inputs ' if floats else ''}it returned {_dtype(value)}, and {_dtype(leaf)} is expected"
            )
    arguments, expected = trial.question.finer, trial.question.finer_expected
    if not any(isinstance(a, Tensor) and a.is_floating_point() for a in arguments):
        return ""
    returned = caller(arguments)
    if returned.fault is not None:
        return f"for float64 inputs it raised {returned.fault.name}: {returned.fault.message}"
    for value, leaf in zip(leaves(returned.value), expected.leaves, strict=False):
        if isinstance(value, Tensor) and leaf.dtype is not None and value.dtype != leaf.dtype:
            return f"for float64 inputs it returned {_dtype(value)}, and {_dtype(leaf)} is expected"
    if difference(returned.value, expected.leaves) is not None:
        return "for float64 inputs the answer has no more digits than float32 has"
    return ""


def _dtype(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.")


def _ideas(exercise: Exercise, trials: list[Trial], symptoms: dict[str, str]) -> tuple[Idea, ...]:
    """The known mistakes that compute what this piece computes; else how its answers are made from the right ones."""
    failing = [t for t in trials if not t.passed]
    ideas = []
    if failing and "random" not in symptoms:
        ideas = [Idea(w.name, w.hint, True) for w in _matching(exercise, trials, failing)]
    for symptom, detail in symptoms.items():
        known = next((w for w in exercise.wrong_answers if w.symptom == symptom), None)
        if known is not None:
            ideas.append(Idea(known.name, known.hint, True))
        elif symptom in ("random", "modified") or not failing:
            ideas.append(Idea(symptom, _symptom_hint(symptom, detail), False))
    if ideas or not failing:
        return tuple(ideas)
    for trial in failing:
        if trial.returned.fault is None:
            found = relation(
                trial.returned.value, trial.expected.leaves, lambda shift, trial=trial: _shifted(exercise, trial, shift)
            )
            return (Idea("relation", f"For {trial.question.label}: {found}.", False),) if found else ()
    return ()


def _matching(exercise: Exercise, trials: list[Trial], failing: list[Trial]) -> Iterable[Any]:
    """The wrong answer that agrees with the piece in every case; else one for each part, if only one agrees there."""
    candidates = [w for w in exercise.wrong_answers if w.symptom is None]
    answers = {
        w.name: {id(t): LocalCaller(w.function)(t.arguments, gradients=exercise.trains) for t in trials}
        for w in candidates
    }

    def agree(w: Any, among: list[Trial]) -> bool:
        return all(_same(answers[w.name][id(t)], t.returned, exercise.trains) for t in among)

    everywhere = [w for w in candidates if agree(w, trials)]
    if everywhere:
        return everywhere[:1]
    where_it_fails = [w for w in candidates if agree(w, failing)]
    if len(where_it_fails) == 1:
        return where_it_fails
    found = []
    for part in dict.fromkeys(t.case.part for t in failing):
        of_part = [w for w in candidates if agree(w, [t for t in trials if t.case.part == part])]
        if len(of_part) == 1 and of_part[0] not in found:
            found.append(of_part[0])
    return found


def _same(one: Returned, other: Returned, gradients: bool) -> bool:
    if one.fault is not None or other.fault is not None:
        return one.fault is not None and other.fault is not None and one.fault.name == other.fault.name
    return same_answer(one.value, other.value) and (not gradients or same_answer(one.gradients, other.gradients))


def _shifted(exercise: Exercise, trial: Trial, shift: int) -> Any:
    if exercise.time is None:
        return None
    position = exercise.parameters.index(exercise.time)
    arguments = list(trial.arguments)
    arguments[position] = arguments[position] + shift
    if isinstance(arguments[position], Tensor) and bool((arguments[position] < 0).any()):
        return None
    try:
        return expect(exercise.reference, tuple(arguments)).leaves
    except RuntimeError:  # beyond the last step
        return None
