"""Name a mistake that nobody has listed, by the small edits that undo or make it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import lru_cache

from diffusion_lab.exercises import Exercise
from diffusion_lab.grading.judge.calling import Caller, LocalCaller, Returned
from diffusion_lab.grading.judge.edits import Edit
from diffusion_lab.grading.judge.questions import Question, Trial, questions
from diffusion_lab.grading.judge.rebuilding import Source, Unreadable
from diffusion_lab.grading.judge.searching import Clock, is_right, matching, same_returned, size
from diffusion_lab.grading.judge.wording import Mistake, mistake

BUDGET = 0.6
"""Seconds of processor time for one search."""
PLAIN = 2
"""An explanation that costs no more is good enough to stop at."""
PROOF_SEED = 1
"""Other cases, on which an explanation must hold too: a fit to a few numbers can be chance."""


def explain(exercise: Exercise, caller: Caller, trials: Sequence[Trial]) -> tuple[Mistake, ...]:
    """What is wrong, by the least far-fetched edit that explains all answers; nothing where none does."""
    failing = sorted((t for t in trials if not t.passed), key=lambda t: size(t.question))
    passing = sorted((t for t in trials if t.passed), key=lambda t: size(t.question))
    ordered = [*failing, *passing]
    if not failing:
        return ()
    function = getattr(caller, "function", None)
    found = []
    if isinstance(caller, LocalCaller) and function is not None:
        try:
            found += _undone(exercise, function, [t.question for t in ordered])
        except Unreadable:
            pass
    if not found or min(m.cost for m in found) > PLAIN:
        found += _made(exercise, caller, ordered)
    return tuple(sorted(found, key=lambda m: m.cost)[:1])


def _undone(exercise: Exercise, function: Callable, asked: Sequence[Question]) -> list[Mistake]:
    """Edits of the student's own code that make it right."""
    source = Source(function)
    clock = Clock(BUDGET)
    found: list[Mistake] = []

    def wanted(returned: Returned, question: Question) -> bool:
        return is_right(returned, question, exercise.trains)

    for edit in matching(source, by_cost(source.edits()), asked, wanted, exercise.trains, clock):
        if _holds_elsewhere(exercise, LocalCaller(source.with_edits([edit]))):
            found.append(mistake(edit, of_reference=False))
            if found[-1].cost <= PLAIN or len(found) == 3:
                break
    return found


def _made(exercise: Exercise, caller: Caller, trials: Sequence[Trial]) -> list[Mistake]:
    """Edits of right code with which it gives the student's answers."""
    answers = {id(t.question): t.returned for t in trials}
    asked = [t.question for t in trials]

    def wanted(returned: Returned, question: Question) -> bool:
        return same_returned(returned, answers[id(question)], exercise.trains)

    clock = Clock(BUDGET)
    for source in right_sources(exercise)[:1]:
        for edit in matching(source, by_cost(source.edits()), asked, wanted, exercise.trains, clock):
            if _same_elsewhere(exercise, caller, LocalCaller(source.with_edits([edit]))):
                return [mistake(edit, of_reference=True, body=_body(source, edit))]
    return []


def _body(source: Source, edit: Edit) -> ast.FunctionDef | None:
    return source.trees.get(edit.function)


def _holds_elsewhere(exercise: Exercise, call: Caller) -> bool:
    return all(
        is_right(call(q.arguments, gradients=exercise.trains), q, exercise.trains)
        for q in questions(exercise, PROOF_SEED)
    )


def _same_elsewhere(exercise: Exercise, one: Caller, other: Caller) -> bool:
    return all(
        same_returned(
            one(q.arguments, gradients=exercise.trains), other(q.arguments, gradients=exercise.trains), exercise.trains
        )
        for q in questions(exercise, PROOF_SEED)
    )


@lru_cache(maxsize=64)
def right_sources(exercise: Exercise) -> tuple[Source, ...]:
    """The reference and the right answers, as far as they can be edited."""
    found = []
    for function in (exercise.reference, *(a.function for a in exercise.right_answers)):
        try:
            found.append(Source(function))
        except Unreadable:
            continue
    return tuple(found)


def by_cost(found: Sequence[Edit]) -> list[Edit]:
    return sorted(found, key=lambda edit: edit.cost)
