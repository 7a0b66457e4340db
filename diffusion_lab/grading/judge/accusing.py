"""Check an answer to "find the bug": the piece, the idea, and a number that tells it from a right piece."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffusion_lab.exercises import Draw
from diffusion_lab.exercises.boxes import BlackBox
from diffusion_lab.exercises.bugs import EVIDENCE, IDEA, PIECE, Bug, BugTask
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading.judge.auditing import Audit
from diffusion_lab.grading.judge.calling import Caller, Fault, LocalCaller
from diffusion_lab.grading.judge.checking import VISIBLE_SEED, Outcome, Verdict, without_points
from diffusion_lab.grading.judge.comparing import Difference, kind_of
from diffusion_lab.grading.judge.questions import generator_seed

FORM = "(piece, idea, found, expected): two texts and two numbers"
TIMES = 4
"""How often the function is asked about each pipeline: a guess of the order is right in one of seventy cases."""
CLEAR = 5.0
"""How many times farther from the expected number the accused piece must lead than a right one."""
LEAST = 1e-3
"""How far that is at least, as a share of the expected number."""
ROUNDING = 1e-6
"""The same for an expected number of 0."""
LATER = "Your answer is complete. Whether it is right, you will read when marks are given."


@dataclass(frozen=True)
class Accusation:
    """What `find_bug` has answered."""

    piece: str
    idea: str
    found: float
    expected: float

    @property
    def gap(self) -> float:
        return abs(self.found - self.expected)

    @property
    def clear(self) -> bool:
        """Whether the two numbers differ at all."""
        return self.gap > max(LEAST * abs(self.expected), ROUNDING)


class _Unusable(Exception):
    """The call gave no answer, or one of another form."""

    def __init__(self, difference: Difference | None = None, fault: Fault | None = None):
        super().__init__(difference.summary if difference is not None else fault.message)
        self.difference, self.fault = difference, fault


def check(task: BugTask, caller: Caller, seed: int = VISIBLE_SEED) -> Verdict:
    """Let the student's function look at the pipeline, and say what its answer is worth.

    It is asked `TIMES` about the owner's pipeline and as often about the same pipeline without a bug, in a drawn order:
    there the same evidence must fall silent, and a function that counts its calls cannot know when. In a course (where
    the owner has one) the visible check tells of the form alone, since trying out all ideas would find the right one.

    Args:
        task: drawn for its owner.
        caller: calls the student's function, which may call the pieces and learns nothing else of them.
        seed: of the order, and of torch's generator in these calls; `VISIBLE_SEED` is the visible check.

    Raises:
        LabError: where nobody owns the task.
    """
    bug, open_book = task.bug, not (seed == VISIBLE_SEED and task.owner.course)
    order = Draw(seed, task.name).permutation(2 * TIMES) < TIMES if open_book else [True] * TIMES
    wrong: list[Accusation | _Unusable] = []
    right: list[Accusation | _Unusable] = []
    for call, has_bug in enumerate(order):
        answer = _asked(task, caller, bug if has_bug else None, generator_seed(seed, f"{task.name} {call}"))
        if isinstance(answer, _Unusable):
            kind = "" if answer.fault is None else answer.fault.kind
            if kind == "not written":
                return without_points(task, "not written")
            if kind == "time" or (has_bug and not wrong):  # the others would take as long, or have nothing to add to
                return _verdict(task, [_failed(part, "your answer", answer) for part in task.parts], seed)
        (wrong if has_bug else right).append(answer)
    first = wrong[0]
    outcomes = _answers(task, bug, first) if open_book else []
    if first.piece == bug.piece or not open_book:
        outcomes += _evidence(first, wrong, right)
    else:
        why = f"it is about {first.piece}, which does what it promises"
        outcomes.append(Outcome(EVIDENCE, "a number that tells", False, Difference(why)))
    if not open_book and all(outcome.passed for outcome in outcomes):
        return without_points(task, "open", LATER)
    return _verdict(task, outcomes, seed)


def _verdict(task: BugTask, outcomes: Sequence[Outcome], seed: int) -> Verdict:
    parts = {}
    for part, most in task.parts.items():
        of_part = [outcome for outcome in outcomes if outcome.part == part]
        if of_part:  # the visible check in a course has nothing to say of some
            parts[part] = (float(most) if all(o.passed for o in of_part) else 0.0, most)
    points = sum(got for got, _ in parts.values())
    state = "passed" if points == task.points else "failed"
    return Verdict(task.name, state, points, task.points, parts, tuple(outcomes), visible=seed == VISIBLE_SEED)


def _answers(task: BugTask, bug: Bug, said: Accusation) -> list[Outcome]:
    piece = None if said.piece == bug.piece else Difference(f"{said.piece} does what it promises")
    idea = None
    if piece is not None:
        idea = Difference("an idea counts beside the right piece only")
    elif said.idea != bug.idea:
        idea = Difference(f'{said.piece} is wrong, and not because "{said.idea}"')
    return [
        Outcome(PIECE, "the piece that you accuse", piece is None, piece),
        Outcome(IDEA, "the idea behind its mistake", idea is None, idea),
    ]


def _evidence(
    first: Accusation, wrong: Sequence[Accusation | _Unusable], right: Sequence[Accusation | _Unusable]
) -> list[Outcome]:
    """What the numbers say: the answers about the owner's pipeline, and those about the pipeline without its bug."""
    for answer in (*wrong, *right):
        if isinstance(answer, _Unusable):
            return [_failed(EVIDENCE, "your function, called again", answer)]
    far = f"what you found is {first.found:.4g}, and a right piece would give {first.expected:.4g}, as you say"
    alike = None if first.clear else Difference(f"{far}: these are the same, so they accuse nobody")
    same = all((a.piece, a.idea, a.clear) == (first.piece, first.idea, first.clear) for a in wrong)
    why = None if same else Difference("asked a second time, your function has another answer")
    outcomes = [
        Outcome(EVIDENCE, "the number is not what a right piece gives", alike is None, alike),
        Outcome(EVIDENCE, "the same answer twice", same, why),
    ]
    if right:
        worst = max(right, key=lambda answer: answer.gap)
        tells = min(answer.gap for answer in wrong) > CLEAR * worst.gap
        silent = Difference(
            f"for a piece that does what it promises your number is {worst.found:.4g}, and you expect "
            f"{worst.expected:.4g}; for the accused one it is {first.found:.4g}. The number must come from calls of "
            "the piece, and what you expect from what you know about it"
        )
        outcomes.append(Outcome(EVIDENCE, "a right piece is not accused", tells, None if tells else silent))
    return outcomes


def _failed(part: str, label: str, error: _Unusable) -> Outcome:
    return Outcome(part, label, False, error.difference, error.fault)


def _asked(task: BugTask, caller: Caller, bug: Bug | None, seed: int) -> Accusation | _Unusable:
    returned = caller(tuple(map(BlackBox, task.pieces(bug).values())), seed=seed)
    if returned.fault is not None:
        return _Unusable(fault=returned.fault)
    try:
        return accusation(task, returned.value)
    except _Unusable as error:
        return error


def accusation(task: BugTask, answer: Any) -> Accusation:
    """The answer, read. Raises `_Unusable`, which says what is expected, where it has another form."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 4:
        many = f" of {len(answer)}" if isinstance(answer, (tuple, list)) else ""
        raise _Unusable(Difference(f"it is {kind_of(answer)}{many}, and the answer is {FORM}"))
    piece = _one_of("the piece", answer[0], task.parameters)
    idea = _one_of("the idea", answer[1], task.ideas)
    return Accusation(piece, idea, _number("found", answer[2]), _number("expected", answer[3]))


def _one_of(what: str, given: Any, options: Sequence[str]) -> str:
    if not isinstance(given, str):
        raise _Unusable(Difference(f"{what} is {kind_of(given)}, and a text is expected; the answer is {FORM}"))
    known = {_plain(option): option for option in options}
    if _plain(given) not in known:
        near = difflib.get_close_matches(_plain(given), known, n=1)
        hint = f'did you mean "{known[near[0]]}"?' if near else f"what can be answered is: {'; '.join(options)}"
        raise _Unusable(Difference(f'{what} is "{given[:80]}", which is not in the list; {hint}'))
    return known[_plain(given)]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _number(what: str, given: Any) -> float:
    number = given
    if isinstance(given, Tensor) and given.numel() == 1:
        number = given.item()
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise _Unusable(Difference(f"'{what}' is {kind_of(given)}, and one number is expected; the answer is {FORM}"))
    try:
        number = float(number)
    except OverflowError:  # an int of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise _Unusable(Difference(f"'{what}' is {number}, and a finite number is expected"))
    return number


def audit(task: BugTask, seeds: Sequence[int]) -> Audit:
    """The chapter's script must find every bug, whoever has it; and nothing that is only typed counts as evidence."""
    gaps = list(_unclear(task))
    found = 0
    for bug in task.bugs:
        drawn = owned(task, bug)
        faults = [f"the script does not find it on seed {s}" for s in seeds if not _finds(drawn, s)]
        typed = check(drawn, LocalCaller(lambda *pieces, bug=bug: (bug.piece, bug.idea, 1.0, 0.0)), seeds[-1])
        if typed.parts[EVIDENCE][0]:
            faults.append("a number that is typed is taken for evidence")
        gaps += [f"{bug.piece}, {bug.idea}: {fault}" for fault in faults]
        found += not faults
    *_, number, expected = task.reference(*task.pieces(None).values())
    silent = abs(number - expected) <= max(LEAST * abs(expected), ROUNDING)
    if not silent:
        gaps.append("the script accuses a pipeline in which all is right")
    return Audit(task, found, int(silent), tuple(gaps), len(task.bugs), 1)


def owned(task: BugTask, bug: Bug, course: str = "") -> BugTask:
    """The task, drawn for somebody who has this bug."""
    owners = (task.drawn_for(Owner(f"student {i}", course)) for i in range(100 * len(task.bugs)))
    return next(drawn for drawn in owners if drawn.bug == bug)


def _finds(drawn: BugTask, seed: int) -> bool:
    return check(drawn, LocalCaller(drawn.reference), seed).passed


def _unclear(task: BugTask) -> Iterator[str]:
    """What makes an answer ambiguous."""
    if len({(bug.piece, bug.idea) for bug in task.bugs}) < len(task.bugs):
        yield "two bugs have the same piece and idea"
    if spared := set(task.parameters) - {bug.piece for bug in task.bugs}:
        yield f"no bug is ever in {', '.join(sorted(spared))}"
    if both := set(task.decoys) & {bug.idea for bug in task.bugs}:
        yield f"in the list as a bug and as none: {', '.join(sorted(both))}"
