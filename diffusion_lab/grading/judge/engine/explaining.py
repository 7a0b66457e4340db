"""Name a mistake that nobody has listed, by the small edits that undo it or make it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from diffusion_lab.exercises import Exercise
from diffusion_lab.grading.judge.calling import Caller, LocalCaller
from diffusion_lab.grading.judge.engine import fingerprints
from diffusion_lab.grading.judge.engine.apart import Apart, Unit, right_values, wrong_values
from diffusion_lab.grading.judge.engine.attempts import not_read
from diffusion_lab.grading.judge.engine.casing import WHERE_ONLY, tests_changed
from diffusion_lab.grading.judge.engine.edits import FAR, MIRROR, Edit
from diffusion_lab.grading.judge.engine.evidence import says_something
from diffusion_lab.grading.judge.engine.explained import PROOF_SEED
from diffusion_lab.grading.judge.engine.fingerprints import right_sources
from diffusion_lab.grading.judge.engine.nans import holds_no_number, origin
from diffusion_lab.grading.judge.engine.pairing import Pairs
from diffusion_lab.grading.judge.engine.plausible import REMOVED, contrary
from diffusion_lab.grading.judge.engine.quoting import vague
from diffusion_lab.grading.judge.engine.searching import CALL, Clock, collected_later, edited, is_right, touches
from diffusion_lab.grading.judge.engine.wording import Mistake
from diffusion_lab.grading.judge.questions import Trial, questions

ONE, APART, ALL = 0.35, 0.15, 0.8
"""Seconds of processor time to look for one edit of the student's code, for two that show apart, and for all together:
what is left goes to two that do not."""
EACH = 5
"""Edits that are kept of those that put the same right: one of them may not go together with what the rest needs."""
SURE = 8
"""Numbers that an edit must put right, for each step by which it is far-fetched, where others stay wrong."""
PLAIN = 2
"""An explanation that costs no more is good enough to stop at."""


def explain(exercise: Exercise, caller: Caller, trials: Sequence[Trial]) -> tuple[Mistake, ...]:
    """What is wrong, by the least far-fetched edits that explain all answers: one mistake, two, or none.

    Args:
        caller: the student's function. Its code is edited only where it is a function of this process whose source
            Python knows; one in another process is only called, on the visible cases.
        trials: all that it was asked, on whichever cases.
    """
    late = any(t.returned.fault is not None and t.returned.fault.kind == "time" for t in trials)
    if late or all(t.passed for t in trials):
        return ()
    with collected_later():
        return _found(_Search(exercise, caller, trials), trials, exercise.trains)


def _found(search: _Search, trials: Sequence[Trial], trains: bool) -> tuple[Mistake, ...]:
    if all(t.returned.fault is not None for t in trials if not t.passed):
        return tuple(search.undone()[:1])  # too much explains an error, other than what takes it away
    made = search.made()
    found = [*made, *search.undone({k for m in made for k in (m.kind, MIRROR.get(m.kind))})]
    best = min(found, key=lambda m: (_price(m), not m.line), default=None)
    if best is None or best.cost > FAR:
        both, some = search.apart()
        nan = () if both else search.no_number()
        if nan and not nan[0].uncertain:
            return nan
        both = both or search.pair(search.clock) or ((best,) if best else some)
        return both or search.beside_errors() or nan or search.ignored()
    wrong, values = wrong_values(trials, trains)
    if 0 < len(wrong) < values:
        others = "the other is right" if values == 2 else "the others are right"
        best = (
            replace(best, hint=f"{best.hint} Only value {wrong[0]} of the {values} is wrong, {others}.")
            if len(wrong) == 1
            else best
        )
    return (best,)


def _price(mistake: Mistake) -> int:
    """What an explanation costs, where it says less than another of the same cost would."""
    if mistake.kind in WHERE_ONLY:
        return mistake.cost + 3
    return mistake.cost + 2 * (not mistake.line and vague(mistake.hint))


class _Search(Pairs):
    """The search for what explains one function."""

    def __init__(self, exercise: Exercise, caller: Caller, trials: Sequence[Trial]):
        super().__init__(exercise, caller, trials)
        self.clock = Clock(ALL)

    def made(self) -> list[Mistake]:
        """An edit of right code that gives the student's answers."""
        if self.table is None or not any(says_something(t) for t in self.trials if not t.passed):
            return []
        known = {id(t.question): t.returned for t in self.trials}
        small, others = fingerprints.asked(self.exercise)
        answers = []
        for question in (*small, *others):
            answers.append(known.get(id(question)) or self._call(self.caller, question))
        seen = fingerprints.print_from(answers, len(small), self.trains)
        rows = self.table.at_first(seen.first, seen.size_first)
        hits = self.table.among(rows, seen.rest, seen.size_rest)
        for call, found in self._by_cost(hits):
            if found.cost <= FAR and self._same(call, self.caller, known):
                return [found]
        return []

    def undone(self, kinds: Collection[str | None] = ()) -> list[Mistake]:
        """An edit of the student's code that makes it right. Those of these kinds are tried first: where the answers
        speak for one, several places may come to the same, and the code tells which it is."""
        found: list[Mistake] = []
        clock = Clock(ONE)
        lines = self.tried.lines(self.trials[0].question)
        for edit, call in self.tried.edits(
            clock, only=lambda e: touches(e, lines) and self._enough_for(e), kinds=kinds
        ):
            if self._right(call) and not self.source.cancels(edit) and not self._only_chooses(edit):
                found.append(self._told(edit))
                if (found[-1].cost <= PLAIN and found[-1].kind not in WHERE_ONLY) or len(found) == 3:
                    break
        return found

    def _only_chooses(self, edit: Edit) -> bool:
        """Whether an edit makes the right case be chosen always, as to make no difference between cases would too: then
        the question that is asked is not what is wrong."""
        if edit.kind in ("case ignored", "condition ignored") or self.source is None:
            return False
        calls = (edited(self.source, other) for other in tests_changed(edit, self.source))
        return any(call is not None and self._right(call) for call in calls)

    def apart(self) -> tuple[tuple[Mistake, ...], tuple[Mistake, ...]]:
        """Two edits of the student's code that make it right together, each of them some cases or some values of the
        answer; and one that does so alone, where no other is found for the rest."""
        parts = Apart.of(self.trials, self.trains)
        found: list[tuple[Edit, LocalCaller, frozenset[Unit]]] = []
        if len(parts.wrong) < 2 or self.source is None:
            return (), ()
        lines = [self.tried.lines(question) for question in parts.asked]
        for edit, call in self.tried.edits(Clock(APART)):
            if edit.cost >= FAR:
                break
            right = parts.put_right(partial(self.tried.judged, call), [touches(edit, run) for run in lines])
            if not right or self.source.cancels(edit) or sum(right <= its for _, _, its in found) >= EACH:
                continue
            for other, _, its in found:
                if right - its and its - right and self._together(other, edit):
                    both = (self._told(other), self._told(edit))
                    if not contrary(*both):
                        return both, ()
            found.append((edit, call, right))
        said = [f for f in found if MIRROR.get(f[0].kind, f[0].kind) not in REMOVED]  # it may stand for another
        best = max(said, key=lambda f: (len(f[2]), -f[0].cost), default=None)
        if best is None or not self._sure_of_some(best[1], best[2], parts, best[0].cost):
            return (), ()
        some = self._told(best[0])
        return (), (replace(some, hint=f"One of the things that are wrong: {some.hint}", uncertain=True),)

    def _together(self, one: Edit, other: Edit) -> bool:
        """Whether both edits at once make the function right."""
        try:
            return self._right(LocalCaller(self.source.with_edits([one, other]), CALL)) if self.source else False
        except (SyntaxError, ValueError, TypeError, RecursionError):
            return False

    def _sure_of_some(self, call: LocalCaller, units: frozenset[Unit], parts: Apart, cost: int) -> bool:
        """Whether the values that an edit puts right are right in all cases of these kinds, and are many."""
        entries = 0
        for question in (*(t.question for t in self.trials), *questions(self.exercise, PROOF_SEED)):
            asked = parts.only(units, question)
            if asked:
                right = right_values(self._call(call, question), question, self.trains)
                if not all(right[j] for j in asked):
                    return False
                entries += sum(question.expected.leaves[j].value.numel() for j in asked)
        return entries >= SURE * max(cost, 1) and all(
            is_right(self._call(call, t.question), t.question, self.trains) for t in self.trials if t.passed
        )

    def beside_errors(self) -> tuple[Mistake, ...]:
        """An edit that puts all answers right that are given, where others are errors and stay so."""
        failing = [t.returned.fault is None for t in self.trials if not t.passed]
        if all(failing) or not any(failing):
            return ()
        raised = {id(t.question) for t in self.trials if t.returned.fault is not None}
        asked = [t.question for t in self.trials if id(t.question) not in raised]
        proof = [q for q in questions(self.exercise, PROOF_SEED) if self._call(self.caller, q).fault is None]
        for edit, call in self.tried.edits(Clock(APART), only=self._enough_for):
            if all(is_right(self.tried.judged(call, q), q, self.trains) for q in (*asked, *proof)):
                if not self.source.cancels(edit):
                    told = self._told(edit)
                    hint = f"Where there is no error: {told.hint[0].lower() + told.hint[1:]}"
                    return (replace(told, hint=hint, uncertain=True),)
        return ()

    def no_number(self) -> tuple[Mistake, ...]:
        """Where nan or infinity comes from, in answers that should have numbers only."""
        asked = [t for t in self.trials if not t.passed and t.returned.fault is None]
        odd = [t for t in asked if holds_no_number(t.question, t.returned.value)]
        for trial in odd if self.source is not None else ():
            with contextlib.suppress(Exception):  # of a function that is odd to watch nothing is known
                found = origin(self.source, trial.question, trial.returned.value, 4 * CALL)
                if found is not None:
                    return (replace(found, uncertain=len(odd) < len(asked)),)
        return ()

    def ignored(self) -> tuple[Mistake, ...]:
        """An argument that every right answer reads and the student's code does not: true, and perhaps not all."""
        right = right_sources(self.exercise)
        if self.source is None or not right:
            return ()
        names = self.exercise.parameters
        found = [names[i] for i in not_read(self.source)[:1] if not any(i in not_read(source) for source in right)]
        if not found:
            return ()
        words = f" ({self.meanings[found[0]]})" if found[0] in self.meanings else ""
        hint = f"`{found[0]}`{words} is not used anywhere in your code, and every right answer hangs on it."
        return (Mistake("argument ignored", hint, f"edit: argument ignored {found[0]}", FAR, uncertain=True),)
