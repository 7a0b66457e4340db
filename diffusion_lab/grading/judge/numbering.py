"""Check the function that answers a question with numbers of one's own: with these numbers, and with others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from diffusion_lab.exercises import Draw
from diffusion_lab.exercises.drawing import apart
from diffusion_lab.exercises.own_numbers import OTHERS, OWN, OwnNumber
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading.judge.auditing import Audit
from diffusion_lab.grading.judge.calling import Caller, Fault, LocalCaller, Returned
from diffusion_lab.grading.judge.checking import VISIBLE_SEED, Outcome, Verdict, without_points
from diffusion_lab.grading.judge.comparing import Difference, as_tensor, kind_of
from diffusion_lab.grading.judge.diagnosing import Idea
from diffusion_lab.grading.judge.questions import generator_seed

MORE = 3
"""With how many numbers of others it is called."""
OWNERS = 6
"""For how many made-up students an audit asks."""


@dataclass(frozen=True)
class _Asked:
    """One call: the numbers, what came back, and the right answer."""

    numbers: dict[str, float]
    truth: float
    answer: float | None
    fault: Difference | Fault | None
    """Why there is no answer."""

    @property
    def words(self) -> str:
        return ", ".join(f"{name} = {value:g}" for name, value in self.numbers.items())


def check(task: OwnNumber, caller: Caller, seed: int = VISIBLE_SEED) -> Verdict:
    """Call the student's function with their own numbers, and with others drawn from this seed.

    What is right for one's own numbers is not told before the function finds it; for the others it is.
    """
    drawn = [task.numbers]
    drawn += [task.other_numbers(Draw(seed, f"{task.name} {i}")) for i in range(MORE)]
    asked: list[_Asked] = []
    printed = ""
    for number, numbers in enumerate(drawn):
        returned = caller(tuple(numbers.values()), seed=generator_seed(seed, f"{task.name} {number}"))
        fault = returned.fault
        if fault is not None and fault.kind == "not written":
            return without_points(task, "not written")
        printed = printed or " ".join(returned.printed.split())
        answer, why = _number(returned)
        asked.append(_Asked(numbers, float(task.reference(**numbers)), answer, why))
        if fault is not None and fault.kind == "time":
            break  # the others would take as long
    outcomes = [_outcome(task, one, OTHERS if place else OWN) for place, one in enumerate(asked)]
    outcomes += [
        Outcome(OTHERS, "numbers of somebody else", False, Difference("not tried, because your numbers took too long"))
        for _ in drawn[len(asked) :]
    ]
    parts = {
        part: (float(points) if all(o.passed for o in outcomes if o.part == part) else 0.0, points)
        for part, points in task.parts.items()
    }
    passed = all(outcome.passed for outcome in outcomes)
    return Verdict(
        task.name,
        "passed" if passed else "failed",
        sum(got for got, _ in parts.values()),
        task.points,
        parts,
        tuple(outcomes),
        () if passed else _ideas(task, asked),
        f"it printed: {printed[:200]}" if printed else "",
        seed == VISIBLE_SEED,
        {"numbers": task.numbers, "computed": asked[0].answer, "truth": asked[0].truth},
    )


def beside_prediction(task: OwnNumber, verdict: Verdict, predicted: Any) -> Verdict:
    """The verdict with what was predicted, in its note and its facts. The truth is told beside a right answer alone.

    Args:
        predicted: what the student's notebook holds under `task.variable`; None where they have not guessed.
    """
    guess = predicted if predicted is None else _plain_number(predicted)
    known = {"numbers": task.numbers, "computed": None, "truth": task.truth}
    facts = {**known, **verdict.facts, "predicted": guess}
    computed = facts["computed"]
    if guess is not None:
        said = f"You predicted {guess:.4g}"
    elif predicted is None:
        said = f"You have not predicted: {task.variable} = None"
    else:
        said = f"Your prediction is {kind_of(predicted)}, and should be one number"
    if computed is not None and task.right(computed, task.truth):
        off = "" if guess is None else f" Your guess was {_off(guess, task.truth)}."
        said = f"{said}; you computed {computed:.4g}, and the truth is {task.truth:.4g}.{off}"
    elif computed is not None:
        said = f"{said}; you computed {computed:.4g}, which is not right yet."
    else:
        said = f"{said}."
    return replace(verdict, note=f"{verdict.note} {said}".strip(), facts=facts)


def _off(predicted: float, truth: float) -> str:
    if f"{predicted:.2g}" == f"{truth:.2g}":
        return "right to two digits"
    if predicted * truth > 0 and not 0.5 < predicted / truth < 2:
        return f"{max(predicted / truth, truth / predicted):.2g} times too {'large' if predicted > truth else 'small'}"
    return f"off by {abs(predicted - truth):.2g}"


def _number(returned: Returned) -> tuple[float | None, Difference | Fault | None]:
    """The answer as a number, or why it is none."""
    if returned.fault is not None:
        return None, returned.fault
    number = _plain_number(returned.value)
    if number is None:
        what = returned.value if isinstance(returned.value, float) else kind_of(returned.value)
        return None, Difference(f"it returned {what}, and one finite number is expected")
    return number, None


def _plain_number(given: Any) -> float | None:
    """A finite number, from a number or a tensor with one entry; None for anything else."""
    tensor = as_tensor(given)
    if isinstance(given, bool) or tensor is None or tensor.numel() != 1 or tensor.is_complex():
        return None
    number = float(tensor)
    return number if math.isfinite(number) else None


def _outcome(task: OwnNumber, one: _Asked, part: str) -> Outcome:
    label = f"{'your numbers' if part == OWN else 'somebody else has'}: {one.words}"
    if isinstance(one.fault, Fault):
        return Outcome(part, label, False, raised=one.fault)
    if one.fault is not None:
        return Outcome(part, label, False, one.fault)
    if task.right(one.answer, one.truth):
        return Outcome(part, label, True)
    if part == OWN:
        return Outcome(part, label, False, Difference(f"it returned {one.answer:.6g}, which is not right"))
    expected, yours = apart(one.truth, one.answer)
    return Outcome(part, label, False, Difference(f"it returned {yours}, and {expected} is right"))


def _ideas(task: OwnNumber, asked: Sequence[_Asked]) -> tuple[Idea, ...]:
    """The known mistake that leads to all of these answers; or that the function does not look at its arguments."""
    answered = [one for one in asked if one.answer is not None]
    if not answered or len(answered) < len(asked):
        return ()
    for known in task.wrong_answers:
        found = [float(known.function(**one.numbers)) for one in answered]
        if all(task.right(one.answer, value) for one, value in zip(answered, found, strict=True)):
            return (Idea(known.name, known.hint, True),)
    if len({one.answer for one in answered}) == 1:
        hint = "It gives the same number whatever it is asked. Compute it from the arguments."
        return (Idea("one number for all", hint, True),)
    return ()


def audit(task: OwnNumber, seeds: Sequence[int]) -> Audit:
    """For many students' numbers: right answers get all points, and wrong ones none."""
    gaps: list[str] = []
    right = [("the reference", task.reference), *((answer.name, answer.function) for answer in task.right_answers)]
    refused, unnamed = set(), set()
    for seed in seeds:
        for number in range(OWNERS):
            owned = task.drawn_for(Owner(f"student {number}", str(seed)))
            for name, function in right:
                verdict = check(owned, LocalCaller(function), seed)
                if not verdict.passed:
                    refused.add(name)
                    gaps.append(f"{name} is refused for {owned.numbers}")
            for answer in task.wrong_answers:
                verdict = check(owned, LocalCaller(answer.function), seed)
                if verdict.points:
                    gaps.append(f"'{answer.name}' gets {verdict.points:g} points for {owned.numbers}")
                if [idea.name for idea in verdict.ideas] != [answer.name]:
                    unnamed.add(answer.name)
                    gaps.append(f"'{answer.name}' is named {[idea.name for idea in verdict.ideas] or 'nothing'}")
    wrong, unique = len(task.wrong_answers), tuple(dict.fromkeys(gaps))
    return Audit(task, wrong - len(unnamed), len(right) - len(refused), unique, wrong, len(right))
