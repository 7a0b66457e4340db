"""The grader graded: every wrong answer is rejected and named, every right one accepted, nothing free of charge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from diffusion_lab.exercises import CARE, Exercise, Task
from diffusion_lab.grading.judge.calling import LocalCaller, leaves
from diffusion_lab.grading.judge.checking import VISIBLE_SEED, Verdict, check
from diffusion_lab.grading.judge.comparing import as_tensor
from diffusion_lab.grading.judge.questions import Trial, ask, questions

SEEDS = (VISIBLE_SEED, 1, 2, 3)
"""The visible cases, and draws such as those that count for marks."""
LEAST_WRONG, LEAST_RIGHT = 4, 3
NARROW = 3.0
"""An error so many times the allowed one may be rounding on another machine."""


@dataclass(frozen=True)
class Audit:
    """How well the grader of one exercise does."""

    exercise: Task
    named: int
    """Wrong answers that lost points and got their own hint, and no other, on every seed."""
    accepted: int
    """Right answers, the reference among them, with full points on every seed."""
    gaps: tuple[str, ...]
    """What is wrong with the grader, in words; empty where nothing is."""
    wrong: int = 0
    """How many wrong answers were tried."""
    right: int = 0
    """How many right ones."""


def audit(exercise: Exercise, seeds: Iterable[int] = SEEDS, more: Iterable[int] = ()) -> Audit:
    """Try the exercise's reference, wrong and right answers and some that know nothing, on each seed.

    Args:
        seeds: on these everything is asked.
        more: on these only whether each answer is accepted or not, so that no verdict hangs on luck.
    """
    seeds, more = tuple(seeds), tuple(more)
    gaps = list(_too_few(exercise))
    for seed in seeds:
        gaps += [f"{gap} {_where(seed)}" for gap in (*_unjudged(exercise, seed), *_free_points(exercise, seed))]

    def faultless(function: Callable, fault_of: Callable[[Verdict], str | None], name: str) -> bool:
        found = [(seed, fault_of(check(exercise, LocalCaller(function), seed))) for seed in seeds]
        accepted = fault_of is _refused
        found += [(s, _on_another_seed(exercise, function, s, accepted)) for s in more]
        faults = [f"{name} {fault} {_where(seed)}" for seed, fault in found if fault]
        gaps.extend(faults)
        return not faults

    right = [("the reference", exercise.reference)]
    right += [(f"right answer '{answer.name}'", answer.function) for answer in exercise.right_answers]
    accepted = sum(faultless(function, _refused, name) for name, function in right)
    named = sum(
        faultless(answer.function, lambda verdict, answer=answer: _unnamed(verdict, answer.name), f"'{answer.name}'")
        for answer in exercise.wrong_answers
    )
    return Audit(exercise, named, accepted, tuple(gaps), len(exercise.wrong_answers), len(right))


def _where(seed: int) -> str:
    return "on the visible cases" if seed == VISIBLE_SEED else f"on seed {seed}"


def _too_few(exercise: Exercise) -> Iterator[str]:
    for what, answers, least in (
        ("wrong", exercise.wrong_answers, LEAST_WRONG),
        ("right", exercise.right_answers, LEAST_RIGHT),
    ):
        if len(answers) < least:
            yield f"only {len(answers)} {what} answers, and {least} are asked for"


def _unjudged(exercise: Exercise, seed: int) -> Iterator[str]:
    judged = {CARE} | {q.case.part for q in questions(exercise, seed)} | {p.part for p in exercise.properties}
    for part in sorted(set(exercise.parts) ^ judged):
        yield f"part '{part}' has points and nothing that is judged, or the other way round,"


def _free_points(exercise: Exercise, seed: int) -> Iterator[str]:
    """Functions that do not look at the question must get nothing."""

    def zeros(*arguments):
        value = exercise.reference(*arguments)
        if isinstance(value, torch.Tensor):
            return torch.zeros_like(value)
        if isinstance(value, (tuple, list)):
            return type(value)(torch.zeros_like(torch.as_tensor(leaf)) for leaf in value)
        return type(value)(0)

    ignorant: dict[str, Callable] = {"returning None": lambda *arguments: None, "returning zeros": zeros}
    for i, name in enumerate(exercise.parameters):
        ignorant[f"returning `{name}`"] = lambda *arguments, i=i: arguments[i]
    for name, function in ignorant.items():
        points = check(exercise, LocalCaller(function), seed, explain=False).points
        if points > 0:
            yield f"{name} gets {points:g} points"


def _on_another_seed(exercise: Exercise, function: Callable, seed: int, accepted: bool) -> str | None:
    """What is wrong with the verdict there; a wrong answer is called only until it fails."""
    caller = LocalCaller(function)
    if not accepted:
        for question in questions(exercise, seed):
            trial = ask(exercise, question, caller)
            if not trial.passed:
                return _by_rounding(trial)
    verdict = check(exercise, caller, seed, explain=False)
    if accepted:
        return _refused(verdict)
    return "loses no point" if verdict.passed else None


def _by_rounding(trial: Trial) -> str | None:
    """Where the answer is so near that another order of operations could be refused as well."""
    if trial.fault is None:
        return None
    tensors = [as_tensor(leaf) for leaf in leaves(trial.returned.value)]
    expected = trial.expected.leaves
    same = len(tensors) == len(expected) and all(
        t is not None and t.shape == e.value.shape and not t.is_complex()
        for t, e in zip(tensors, expected, strict=True)
    )
    if not same or any(not e.value.is_floating_point() for e in expected):
        return None
    ratios = [((t.double() - e.value).abs() / e.tolerance).max() for t, e in zip(tensors, expected, strict=True)]
    worst = max(float(ratio) for ratio in ratios)
    near = 1 < worst < NARROW
    return f"is {worst:.2g} times as far off as rounding may lead, in {trial.question.label}," if near else None


def _refused(verdict: Verdict) -> str | None:
    if verdict.passed:
        return None
    bad = next(o for o in verdict.outcomes if not o.passed)
    return f"is refused in '{bad.part}', {bad.label}: {bad.fault.summary if bad.fault else bad.raised}"


def _unnamed(verdict: Verdict, name: str) -> str | None:
    if verdict.points == verdict.out_of:
        return "loses no point"
    names = [idea.name for idea in verdict.ideas if idea.known]
    return None if names == [name] else f"is named {names or 'nothing'}"
