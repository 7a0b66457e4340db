"""Mark a check that a learner has written: try it on right and wrong pieces, and count what it lets through.

The pieces have no names and come in an order drawn from the seed, some of them twice, and all of them a second time in
another order. A check that remembers pieces, or counts calls, gives them different verdicts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.exercises.boxes import BlackBox
from diffusion_lab.exercises.checks import ALARMS, HIDDEN, LISTED, TWICE, CheckTask
from diffusion_lab.exercises.record import RightAnswer, WrongAnswer
from diffusion_lab.grading.judge.auditing import Audit
from diffusion_lab.grading.judge.calling import Caller, Fault, LocalCaller, ProcessGone, Returned
from diffusion_lab.grading.judge.checking import VISIBLE_SEED, Outcome, Verdict, without_points
from diffusion_lab.grading.judge.comparing import Difference, kind_of
from diffusion_lab.grading.judge.diagnosing import Idea
from diffusion_lab.grading.judge.questions import generator_seed

PASSES, FAILS, NEITHER = "passes", "fails", "neither"
TWICE_AT_ONCE = 3
"""Right and wrong pieces, so many of each, that come twice in the first round."""
HALF = 0.5
"""Right verdicts on this share of the pieces earn nothing: half of the mistakes are gross, and a coin gets half."""
LOW = 0.5
"""The share of its points that a naive check stays below."""
MOST_UNWRITTEN = 6
"""How many pieces in a row a check that is not written is tried on."""
ASKED = "return nothing (or True) for a right piece; raise, or return False or a sentence for a wrong one"


@dataclass
class _Tried:
    """A piece, and what the check has said of it each time."""

    answer: RightAnswer | WrongAnswer
    part: str
    verdicts: list[str] = field(default_factory=list)
    faults: list[Fault | Difference] = field(default_factory=list)

    @property
    def same(self) -> bool:
        return len(set(self.verdicts)) <= 1

    def all_are(self, verdict: str) -> bool:
        return bool(self.verdicts) and set(self.verdicts) == {verdict}


def check(task: CheckTask, caller: Caller, seed: int = VISIBLE_SEED) -> Verdict:
    """Try the learner's check on the task's pieces, in an order drawn from this seed."""
    tried = [_Tried(answer, ALARMS) for answer in task.right]
    tried += [_Tried(answer, LISTED) for answer in task.listed] + [_Tried(answer, HIDDEN) for answer in task.hidden]
    stopped, printed, unwritten = None, "", 0
    for number, one in enumerate(_order(tried, seed, task.name)):
        box = BlackBox(task.piece(one.answer.function))
        returned = caller((box,), seed=generator_seed(seed, f"{task.name} {number}"))
        printed = printed or " ".join(returned.printed.split())
        fault = returned.fault
        unwritten += fault is not None and fault.kind == "not written"
        if number + 1 == unwritten == MOST_UNWRITTEN:  # a library may raise the same error about one odd piece
            return without_points(task, "not written")
        if fault is not None and (fault.kind == "time" or isinstance(fault, ProcessGone)):
            stopped = fault
            break  # the others would take as long
        verdict, why = judged(task, returned)
        one.verdicts.append(verdict)
        if why is not None:
            one.faults.append(why)
    outcomes = _outcomes(task, tried, stopped)
    parts = _points(task, tried, outcomes)
    points = sum(got for got, _ in parts.values())
    state = "passed" if all(o.passed for o in outcomes) else "failed"
    ideas = () if state == "passed" else _ideas(tried)
    note = f"it printed: {printed[:200]}" if printed else ""
    return Verdict(
        task.name, state, points, task.points, parts, tuple(outcomes), ideas, note, seed == VISIBLE_SEED, _facts(tried)
    )


def judged(task: CheckTask, returned: Returned) -> tuple[str, Fault | Difference | None]:
    """What a call of the check says of the piece, and its words where it fails or says nothing."""
    fault, value = returned.fault, returned.value
    if fault is not None:
        if fault.name == "TypeError" and f"{task.name}() " in fault.message:
            said = f"it cannot be called as {task.name}(piece): {fault.message}"
            return NEITHER, Difference(said)
        return FAILS, fault
    if isinstance(value, Tensor) and value.dtype == torch.bool and value.numel() == 1:
        value = bool(value)
    if value is None or value is True:
        return PASSES, None
    if value is False:
        return FAILS, Difference("it returned False")
    if isinstance(value, str) and value.strip():
        return FAILS, Difference(f"it said: {' '.join(value.split())[:200]}")
    return NEITHER, Difference(f"it returned {kind_of(value)}; {ASKED}")


def _order(tried: Sequence[_Tried], seed: int, name: str) -> list[_Tried]:
    """The pieces as they come: all, with some of both sorts twice, and then all again."""
    draw = random.Random(f"{seed} {name}")
    right = [one for one in tried if one.part == ALARMS]
    wrong = [one for one in tried if one.part != ALARMS]
    again = draw.sample(right, min(TWICE_AT_ONCE, len(right))) + draw.sample(wrong, min(TWICE_AT_ONCE, len(wrong)))
    first, second = [*tried, *again], list(tried)
    draw.shuffle(first)
    draw.shuffle(second)
    return [*first, *second]


def _outcomes(task: CheckTask, tried: Sequence[_Tried], stopped: Fault | None) -> list[Outcome]:
    outcomes, hidden = [], 0
    for one in tried:
        if stopped is not None and not one.verdicts:
            continue
        wanted = PASSES if one.part == ALARMS else FAILS
        if one.all_are(wanted):
            outcomes.append(Outcome(one.part, _label(one), True))
            continue
        hidden += one.part == HIDDEN
        fault = next(iter(one.faults), None)
        silent = NEITHER in one.verdicts or one.part == ALARMS
        words = fault if silent else None
        if words is None:
            often = "" if one.same else " in one of the rounds"
            words = Difference(f"it passes your check{often}" if one.part != ALARMS else f"your check fails it{often}")
        raised = words if isinstance(words, Fault) else None
        outcomes.append(
            Outcome(one.part, _label(one), False, None if raised is not None else words, raised)  # type: ignore[arg-type]
        )
    if stopped is not None:
        left = sum(not one.verdicts for one in tried)
        said = Difference(f"your check did not come to an end: {stopped.message}; {left} pieces were not tried")
        tried_not = "pieces that were not tried"
        outcomes += [Outcome(part, tried_not, False, said, stopped) for part in (ALARMS, LISTED, HIDDEN)]
    odd = [one for one in tried if not one.same]
    said = f"{len(odd)} of {len(tried)} pieces got one verdict and then another; each piece comes more than once"
    looked = stopped is None
    same = Outcome(TWICE, "a piece that comes again", looked and not odd, Difference(said) if odd else None)
    if not looked and not odd:
        same = Outcome(TWICE, same.label, False, Difference("not looked at, because your check did not come to an end"))
    return [*outcomes, same]


def _label(one: _Tried) -> str:
    if one.part == ALARMS:
        return "a right piece"
    return f"a piece with this mistake: {kind(one.answer)}" if one.part == LISTED else "a mistake that no list has"


def kind(answer: WrongAnswer) -> str:
    """The sort of a mistake, in the first sentence of its hint, which says nothing of its code."""
    text = " ".join(answer.hint.split())
    first = text.split(". ")[0].split(": ")[0].rstrip(".")
    return first


def _points(task: CheckTask, tried: Sequence[_Tried], outcomes: Sequence[Outcome]) -> dict[str, tuple[float, int]]:
    """Always to fail earns nothing, as always to pass does: each part counts only beside the other one."""
    alarm = any(not one.all_are(PASSES) for one in tried if one.part == ALARMS)
    shares = {}
    for part in (ALARMS, LISTED, HIDDEN):
        wanted = PASSES if part == ALARMS else FAILS
        of_part = [one for one in tried if one.part == part]
        shares[part] = sum(one.all_are(wanted) for one in of_part) / max(len(of_part), 1)
    tells = shares[LISTED] >= HALF and any(one.all_are(PASSES) for one in tried if one.part == ALARMS)
    for part in shares:
        shares[part] = max(0.0, (shares[part] - HALF) / (1 - HALF))
    steady = all(o.passed for o in outcomes if o.part == TWICE)
    shares[TWICE] = float(steady)
    if alarm:
        shares[LISTED] = shares[HIDDEN] = 0.0
    if not tells:
        shares = dict.fromkeys(shares, 0.0)
    # Down to half points, so that all of them are for all pieces alone.
    return {part: (math.floor(2 * most * shares[part]) / 2, most) for part, most in task.parts.items()}


def _facts(tried: Sequence[_Tried]) -> dict[str, Any]:
    """How many right pieces were failed and how many wrong ones caught, and the kinds of mistakes that slip through."""
    right = [one for one in tried if one.part == ALARMS]
    wrong = [one for one in tried if one.part != ALARMS]
    return {
        "alarms": sum(FAILS in one.verdicts for one in right),
        "right": len(right),
        "caught": sum(one.all_are(FAILS) for one in wrong),
        "wrong": len(wrong),
        "slipped": [kind(one.answer) for one in wrong if one.part == LISTED and PASSES in one.verdicts],
    }


def _ideas(tried: Sequence[_Tried]) -> tuple[Idea, ...]:
    """What the check lacks as a whole, where that is plain."""
    right = [one for one in tried if one.part == ALARMS and one.verdicts]
    wrong = [one for one in tried if one.part != ALARMS and one.verdicts]
    if any(NEITHER in one.verdicts for one in tried):
        return (Idea("no verdict", f"A check gives a verdict on each piece: {ASKED}.", True),)
    if right and all(one.all_are(FAILS) for one in right) and all(one.all_are(FAILS) for one in wrong):
        hint = "Your check fails every piece, right ones too. A false alarm costs the points for what it catches."
        return (Idea("fails every piece", hint, True),)
    if wrong and all(one.all_are(PASSES) for one in (*wrong, *right)):
        return (Idea("passes every piece", "Your check passes every piece, so it says nothing about any.", True),)
    if any(FAILS in one.verdicts for one in right):
        hint = (
            "Your check fails a right piece. Right pieces differ in the last digits, and may be written in any way: "
            "allow for rounding or chance, and ask for nothing that is not promised."
        )
        return (Idea("a false alarm", hint, True),)
    return ()


def audit(task: CheckTask, seeds: Sequence[int]) -> Audit:
    """The thorough check must get all points, on every seed, and each naive one must stay low."""
    gaps, low = [], 0
    for answer in (*task.beyond, *task.unlike):
        known = {a.name for a in (*task.exercise.wrong_answers, *task.exercise.right_answers)}
        if answer not in known:
            gaps.append(f"'{answer}' is left out, and is no answer to {task.exercise.name}")
    for seed in seeds:
        verdict = check(task, LocalCaller(task.reference), seed)
        for outcome in verdict.outcomes:
            if not outcome.passed:
                why = outcome.fault.summary if outcome.fault else outcome.raised
                gaps.append(f"the thorough check, on seed {seed}: {outcome.label}: {why}")
    for naive in task.naive:
        points = [check(task, LocalCaller(naive), seed).points for seed in seeds]
        if max(points) < LOW * task.points:
            low += 1
        else:
            gaps.append(f"the naive check '{naive.__name__}' gets {max(points):g} of {task.points} points")
    for name, always in (("passes", lambda piece: None), ("fails", lambda piece: False)):
        points = check(task, LocalCaller(always), seeds[0]).points
        if points:
            gaps.append(f"a check that always {name} gets {points:g} points")
    return Audit(task, low, int(not any("thorough" in gap for gap in gaps)), tuple(gaps), len(task.naive), 1)
