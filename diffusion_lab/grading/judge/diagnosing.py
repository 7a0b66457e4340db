"""Why a piece is wrong: symptoms that any piece can have, the exercise's known mistakes, simple relations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor

from diffusion_lab.exercises import Exercise, WrongAnswer
from diffusion_lab.grading.judge.calling import Caller, LocalCaller, Returned, leaves
from diffusion_lab.grading.judge.comparing import difference, relation, same_answer
from diffusion_lab.grading.judge.expecting import expect, laid_out_otherwise
from diffusion_lab.grading.judge.explaining import explain
from diffusion_lab.grading.judge.questions import Question, Trial

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
class Idea:
    """What probably went wrong."""

    name: str
    """The known wrong answer's, or a symptom's."""
    hint: str
    known: bool
    """Whether it is one of the exercise's wrong answers."""


def symptoms_of(exercise: Exercise, caller: Caller, trials: list[Trial]) -> dict[str, str]:
    """The symptoms of `IDEAS` that the piece has, with a detail of each."""
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
    return symptoms


def symptom_hint(symptom: str, detail: str) -> str:
    """The symptom in words."""
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


def ideas_behind(
    exercise: Exercise, trials: list[Trial], symptoms: dict[str, str], caller: Caller | None = None
) -> tuple[Idea, ...]:
    """The known mistakes that compute what this piece computes; else a small edit that explains it (see
    `explaining.py`; `caller` is the piece); else how its answers are made from the right ones."""
    failing = [t for t in trials if not t.passed]
    ideas = []
    if failing and "random" not in symptoms:
        ideas = [Idea(w.name, w.hint, True) for w in _matching(exercise, trials, failing)]
    for symptom, detail in symptoms.items():
        known = next((w for w in exercise.wrong_answers if w.symptom == symptom), None)
        if known is not None:
            ideas.append(Idea(known.name, known.hint, True))
        elif symptom in ("random", "modified") or not failing:
            ideas.append(Idea(symptom, symptom_hint(symptom, detail), False))
    if ideas or not failing:
        return tuple(ideas)
    if caller is not None:
        found = explain(exercise, caller, trials)
        if found:
            return tuple(Idea(mistake.name, mistake.hint, mistake.known) for mistake in found)
    for trial in failing:
        if trial.returned.fault is None:
            found = relation(
                trial.returned.value, trial.expected.leaves, lambda shift, trial=trial: _shifted(exercise, trial, shift)
            )
            return (Idea("relation", f"For {trial.question.label}: {found}.", False),) if found else ()
    return ()


def _matching(exercise: Exercise, trials: list[Trial], failing: list[Trial]) -> list[WrongAnswer]:
    """The wrong answer that agrees with the piece in every case; else one for each part, if only one agrees there."""
    candidates = [w for w in exercise.wrong_answers if w.symptom is None]

    def agree(w: WrongAnswer, among: list[Trial]) -> bool:
        return all(_same(_answer_of(w, t.question, exercise.trains), t.returned, exercise.trains) for t in among)

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


@lru_cache(maxsize=8192)
def _answer_of(mistake: WrongAnswer, question: Question, gradients: bool) -> Returned:
    """Kept, because a class makes the same mistakes in the same cases."""
    return LocalCaller(mistake.function)(question.arguments, gradients=gradients)


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
