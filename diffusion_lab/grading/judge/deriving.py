"""Check a derivation that was finished with one's own numbers: each step by itself, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.exercises.derivations import NO_VALUE, PLAIN, Derivation, Step, value_of
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.exercises.record import WrongAnswer
from diffusion_lab.grading.judge.auditing import Audit
from diffusion_lab.grading.judge.calling import Caller, Foreign, LocalCaller
from diffusion_lab.grading.judge.checking import VISIBLE_SEED, Outcome, Verdict, without_points
from diffusion_lab.grading.judge.comparing import Difference, as_tensor, kind_of, preview
from diffusion_lab.grading.judge.diagnosing import Idea
from diffusion_lab.grading.judge.questions import generator_seed

RIGHT, FOLLOWS, WRONG, BLANK = "right", "follows", "wrong", "blank"
OWNERS = 4
"""For how many made-up students an audit asks."""
USUAL: tuple[tuple[str, str, Callable[[Tensor], tuple[Tensor, ...]]], ...] = (
    ("a sign", "Look at the signs of this step once more.", lambda v: (-v,)),
    ("a factor of two", "A factor of 2 is missing here, or there is one too many.", lambda v: (2 * v, v / 2)),
    (
        "a square or a root",
        "Is it a variance or a standard deviation that is asked for? The one is the square of the other.",
        lambda v: (v.square(), v.sqrt()),
    ),
    ("upside down", "Look at what is divided by what in this step.", lambda v: (1 / v,)),
)
"""Slips that can happen in any step, where none of its own explains the number: name, hint, and where it leads."""


@dataclass(frozen=True)
class _Judged:
    """What became of one step."""

    step: Step
    state: str
    fault: Difference | None = None
    idea: Idea | None = None


def check(task: Derivation, caller: Caller, seed: int = VISIBLE_SEED) -> Verdict:
    """Call the student's function with their own numbers, and judge the steps that it returns one by one.

    A step is right if it has the right value, or the one that follows from the student's own earlier steps. No right
    value is told.
    """
    numbers = task.numbers
    returned = caller(tuple(numbers.values()), seed=generator_seed(seed, task.name))
    fault = returned.fault
    if fault is not None and fault.kind == "not written":
        return without_points(task, "not written")
    printed = " ".join(returned.printed.split())
    notes = [f"it printed: {printed[:200]}"] if printed else []
    unusable = None if fault is not None else _unusable(task, returned.value)
    judged: list[_Judged] = []
    if fault is not None or unusable is not None:
        outcomes = [Outcome(name, _label(task, name), False, unusable, fault) for name in task.blanks]
    else:
        judged = _judged(task, numbers, returned.value)
        outcomes = [
            Outcome(one.step.name, _label(task, one.step.name), one.state in (RIGHT, FOLLOWS), one.fault)
            for one in judged
        ]
        if follows := [one.step.name for one in judged if one.state == FOLLOWS]:
            notes.append(_told(follows))
    parts = {o.part: (float(task.parts[o.part]) if o.passed else 0.0, task.parts[o.part]) for o in outcomes}
    facts = {
        "numbers": numbers,
        "steps": {one.step.name: one.state for one in judged},
        "slips": {
            one.step.name: one.idea.name.removeprefix(f"{one.step.name}, ") for one in judged if one.idea is not None
        },
    }
    passed = all(outcome.passed for outcome in outcomes)
    return Verdict(
        task.name,
        "passed" if passed else "failed",
        sum(got for got, _ in parts.values()),
        task.points,
        parts,
        tuple(outcomes),
        tuple(one.idea for one in judged if one.idea is not None),
        " ".join(notes),
        seed == VISIBLE_SEED,
        facts,
    )


def _label(task: Derivation, name: str) -> str:
    return f"step {task.blanks.index(name) + 1} of {len(task.blanks)}, {name}"


def _told(names: Sequence[str]) -> str:
    if len(names) == 1:
        follow, points = f"Your value of {names[0]} follows", "it has its point. It will change once they are right."
    else:
        follow = f"Your values of {', '.join(names[:-1])} and {names[-1]} follow"
        points = "they have their points. They will change once those are right."
    return f"{follow} rightly from your own earlier steps, so {points}"


def _unusable(task: Derivation, value: Any) -> Difference | None:
    """Why the answer as a whole cannot be judged step by step."""
    if isinstance(value, (tuple, list)) and len(value) == len(task.blanks):
        return None
    return Difference(
        f"it returned {kind_of(value)}, and {len(task.blanks)} values are expected, one for each step: keep the last "
        f"line, `return {', '.join(task.blanks)}`"
    )


def _judged(task: Derivation, numbers: Mapping[str, float], answer: Sequence[Any]) -> list[_Judged]:
    truths = task.truths(numbers)
    values, faults = {}, {}
    for step, value in zip(task.steps, answer, strict=True):
        values[step.name], faults[step.name] = _read(step, value, truths[step.name])
    given = {name: value for name, value in values.items() if value is not None}
    found: list[_Judged] = []
    own, right = dict(numbers), dict(numbers)
    for step in task.steps:
        name = step.name
        value, truth = values[name], truths[name]
        ways = list(_ways(task, numbers, given, truths, found))
        off = [given[one.step.name] for one in found if one.state == WRONG and one.step.name in given]
        if value is None:
            found.append(_Judged(step, BLANK if faults[name] is None else WRONG, faults[name] or _BLANK))
        elif task.right(value, truth):
            found.append(_Judged(step, RIGHT))
        elif any(_follows(task, value, way[name], truth) for way in ways) and not _repeats(task, value, truth, off):
            rounded = all(one.state in (RIGHT, BLANK) for one in found)  # right, from earlier steps in four digits
            found.append(_Judged(step, RIGHT if rounded else FOLLOWS))
        else:
            said = Difference(f"yours is {preview(value)}, which is not right")
            found.append(_Judged(step, WRONG, said, _idea(task, step, value, (own, right), (ways[0][name], truth))))
        own[name] = truth if value is None else value
        right[name] = truth
    return found


def _ways(
    task: Derivation,
    numbers: Mapping[str, float],
    given: Mapping[str, Tensor],
    truths: Mapping[str, Tensor],
    before: Sequence[_Judged],
) -> Iterator[dict[str, Tensor]]:
    """What the next step can be worked out to be: from all earlier values as they are given, then without some of the
    wrong ones, since one can start anew from the question's numbers, which leads round an earlier mistake."""
    names = [one.step.name for one in before if one.step.name in given]
    wrong = [one.step.name for one in before if one.state in (WRONG, FOLLOWS) and one.step.name in given]
    for size in range(len(wrong) + 1):
        for left_out in combinations(wrong, size):
            yield task.following(numbers, {name: given[name] for name in names if name not in left_out}, truths)


_BLANK = Difference("not filled in yet; the other steps count without it")


def _read(step: Step, value: Any, truth: Tensor) -> tuple[Tensor | None, Difference | None]:
    """A step's value, or why it is none; neither for a blank."""
    if value is None:
        return None, None
    wanted = _kind(truth)
    if isinstance(value, (Foreign, bool)):
        return None, Difference(f"it is {kind_of(value)}, and {wanted} expected")
    try:
        given = value_of(value)
    except NO_VALUE:
        return None, Difference(f"it is {kind_of(value)}, and {wanted} expected")
    if not truth.ndim and given.numel() == 1:
        given = given.reshape(())
    if given.shape != truth.shape:
        what = kind_of(value) if as_tensor(value) is None or given.ndim else "one number"
        return None, Difference(f"it is {what}, and {wanted} expected")
    if not bool(given.isfinite().all()):
        return None, Difference(f"it is {preview(given)}, and finite numbers are expected")
    return given, None


def _kind(truth: Tensor) -> str:
    if not truth.ndim:
        return "one number is"
    if truth.ndim == 1:
        return f"a list of {len(truth)} numbers is"
    return f"a list of {len(truth)} rows of {truth.shape[1]} numbers is"


def _follows(task: Derivation, value: Tensor, follow: Tensor, truth: Tensor) -> bool:
    """Whether a value is what comes of the earlier ones; where they cancel, it may be as far off as the truth may."""
    scale = torch.maximum(follow.abs().max(), truth.abs().max())
    return bool(scale.isfinite() and (value - follow).abs().max() <= task.tolerance * scale)


def _repeats(task: Derivation, value: Tensor, truth: Tensor, off: Sequence[Tensor]) -> bool:
    """Whether a value is but the one number that a wrong step is made of too, or nought like it.

    Such a step earns nothing by following. Otherwise zeros in every step would earn points, and so would ones.
    """
    nought = task.tolerance * truth.abs().max()
    for other in off:
        if _is_one_number(value) and _is_one_number(other):
            one, two = value.flatten()[0], other.flatten()[0]
            if abs(one - two) <= 1e-6 * abs(two) or max(abs(one), abs(two)) <= nought:
                return True
    return False


def _is_one_number(value: Tensor) -> bool:
    return bool(value.max() - value.min() <= 1e-9 * value.abs().max())


def _idea(
    task: Derivation, step: Step, value: Tensor, known: Sequence[Mapping[str, Any]], right: Sequence[Tensor]
) -> Idea | None:
    """The slip that leads to this value, from the student's own earlier steps or from the right ones."""
    for names in known:
        for slip, leads_to in task.slipped(step, names):
            if leads_to.shape == value.shape and bool(leads_to.isfinite().all()) and task.right(value, leads_to):
                return Idea(f"{step.name}, {slip.name}", f"{step.name}: {slip.hint}", True)
    for truth in right:
        usual = [
            (name, hint)
            for name, hint, leads in USUAL
            if any(v.isfinite().all() and v.any() and task.right(value, v) for v in leads(truth))
        ]
        if len(usual) == 1:
            return Idea(f"{step.name}, {usual[0][0]}", f"{step.name}: {usual[0][1]}", False)
    return None


def audit(task: Derivation, seeds: Sequence[int], owners: int = OWNERS) -> Audit:
    """For many students' numbers: right answers get all points, a slip costs its own step's alone and is named, and
    who writes the same number into every step gets nothing.

    Args:
        owners: how many made-up students have numbers of their own, on each seed.
    """
    gaps: list[str] = []
    right = [("the reference", task.reference), *((answer.name, answer.function) for answer in task.right_answers)]
    slips = [(step, slip) for step in task.steps for slip in step.slips]
    refused, unnamed = set(), set()
    for owner in (Owner(f"student {number}", str(seed)) for seed in seeds for number in range(owners)):
        owned = task.drawn_for(owner)
        numbers = owned.numbers
        for name, function in right:
            if not check(owned, LocalCaller(function)).passed:
                refused.add(name)
                gaps.append(f"{name} is refused for {numbers}")
        typed = in_four_digits(owned)
        if set(check(owned, LocalCaller(lambda *_, typed=typed: typed)).facts["steps"].values()) != {RIGHT}:
            gaps.append(f"values of four digits are refused for {numbers}")
        for constant in (*PLAIN, *numbers.values()):
            same = tuple(torch.full_like(truth, constant) for truth in owned.truths(numbers).values())
            if check(owned, LocalCaller(lambda *_, same=same: same)).points:
                gaps.append(f"{constant:g} in every step gets points for {numbers}")
        for step, slip in slips:
            answer = with_slip(owned, step, slip)
            verdict = check(owned, LocalCaller(lambda *_, answer=answer: answer))
            lost = [name for name, (got, _) in verdict.parts.items() if not got]
            if lost != [step.name]:
                gaps.append(f"'{slip.name}' costs {', '.join(lost) or 'nothing'} for {numbers}")
            if [idea.name for idea in verdict.ideas] != [f"{step.name}, {slip.name}"]:
                unnamed.add(slip.name)
                gaps.append(f"'{slip.name}' is named {[idea.name for idea in verdict.ideas] or 'nothing'}")
    unique = tuple(dict.fromkeys(gaps))
    return Audit(task, len(slips) - len(unnamed), len(right) - len(refused), unique, len(slips), len(right))


def in_four_digits(task: Derivation) -> tuple[Any, ...]:
    """What somebody answers who works with pen and paper: each step from the earlier ones as they stand there."""
    numbers = task.numbers
    truths, given = task.truths(numbers), {}
    for name in task.blanks:
        value = task.following(numbers, given, truths)[name]
        digits = [float(f"{entry:.4g}") for entry in value.flatten().tolist()]
        given[name] = torch.tensor(digits, dtype=torch.float64).reshape(value.shape)
    return tuple(value.tolist() for value in given.values())


def with_slip(task: Derivation, step: Step, slip: WrongAnswer) -> tuple[Tensor, ...]:
    """What somebody answers who makes this slip in this step, and goes on rightly from there."""
    numbers = task.numbers
    truths = task.truths(numbers)
    value = dict(task.slipped(step, {**numbers, **truths}))[slip]
    follow = task.following(numbers, {step.name: value}, truths)
    follow[step.name] = value
    return tuple(torch.where(v.isfinite(), v, truths[name]) for name, v in follow.items())
