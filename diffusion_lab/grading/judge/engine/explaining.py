"""Name a mistake that nobody has listed, by the small edits that undo it or make it."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from diffusion_lab.exercises import Exercise
from diffusion_lab.grading.judge.calling import Caller, LocalCaller, Returned, leaves
from diffusion_lab.grading.judge.comparing import as_tensor
from diffusion_lab.grading.judge.engine import fingerprints
from diffusion_lab.grading.judge.engine.apart import Apart, Unit, changed_at, right_values, wrong_values
from diffusion_lab.grading.judge.engine.attempts import Attempts, not_read
from diffusion_lab.grading.judge.engine.both import together, without
from diffusion_lab.grading.judge.engine.casing import IGNORED, WHERE_ONLY
from diffusion_lab.grading.judge.engine.edits import FAR, MIRROR, Edit
from diffusion_lab.grading.judge.engine.evidence import (
    ENOUGH,
    RICH,
    bits,
    different,
    keeps_its_shape,
    says_something,
    wrong_numbers,
)
from diffusion_lab.grading.judge.engine.fingerprints import LISTED, Table, right_sources
from diffusion_lab.grading.judge.engine.nans import holds_no_number, origin
from diffusion_lab.grading.judge.engine.plausible import (
    CASES,
    REMOVED,
    VALUES,
    contrary,
    counts,
    may_be_half,
    only_a_number,
    of_a_count,
    out_of_place,
    several_constants,
    throws_away,
)
from diffusion_lab.grading.judge.engine.quoting import VAGUE, vague
from diffusion_lab.grading.judge.engine.rebuilding import Source
from diffusion_lab.grading.judge.engine.searching import (
    CALL,
    Clock,
    collected_later,
    edited,
    is_right,
    same_returned,
    size,
    touches,
)
from diffusion_lab.grading.judge.engine.vocabulary import meanings
from diffusion_lab.grading.judge.engine.wording import Mistake, mistake
from diffusion_lab.grading.judge.questions import Question, Trial, questions

ONE, APART, ALL = 0.35, 0.15, 0.85
"""Seconds of processor time to look for one edit of the student's code, for two that show apart, and for all together:
what is left goes to two that do not."""
EACH = 5
"""Edits that are kept of those that put the same right: one of them may not go together with what the rest needs."""
SURE = 8
"""Numbers that an edit must put right, for each step by which it is far-fetched, where others stay wrong."""
HEEDED = 4
"""Cases in which is looked at whether an argument has an effect."""
PLAIN = 2
"""An explanation that costs no more is good enough to stop at."""
PROOF_SEED = 1
"""Other cases, on which an explanation must hold too: a fit to a few numbers can be chance."""
FEW = 4
"""With fewer different wrong numbers than this, an explanation is told as a probable one."""
ENTRIES = 4
"""Wrong numbers that must be put right for each step by which an edit is far-fetched: one of hundreds of edits puts a
few right by chance."""
HITS = 12
"""How many fingerprints that fit are looked into."""


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
        both = both or search.pair() or ((best,) if best else some)
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


class _Search:
    """The search for what explains one function."""

    def __init__(self, exercise: Exercise, caller: Caller, trials: Sequence[Trial]):
        self.exercise, self.caller, self.trains = exercise, caller, exercise.trains
        self.trials = sorted(trials, key=lambda t: (t.passed, size(t.question)))
        self.table: Table | None = fingerprints.load(exercise)
        self.entries, self.different, self.own = wrong_numbers(self.trials)
        self.counts = counts(exercise, trials)
        self.meanings = meanings(exercise)
        self.clock = Clock(ALL)
        self.tried = Attempts(caller, self.counts, self.trains)
        self.source = self.tried.source
        self.tried.look_at(self.trials[0].question)

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
            if self._right(call) and not self.source.cancels(edit):
                found.append(self._told(edit))
                if (found[-1].cost <= PLAIN and found[-1].kind not in WHERE_ONLY) or len(found) == 3:
                    break
        return found

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

    def pair(self) -> tuple[Mistake, ...]:
        """An edit of the student's code that makes it the same as an edit of right code: two mistakes."""
        if self.table is None:
            return ()
        small, others = fingerprints.asked(self.exercise)
        clock = self.clock
        best: tuple[Mistake, ...] = ()
        seen: set[tuple[float, ...]] = set()
        for edit, call in self.tried.edits(clock, whole_first=True):
            if not may_be_half(edit):
                continue
            if edit.cost >= FAR or (best and edit.cost + 1 >= sum(m.cost for m in best)):
                break
            if not keeps_its_shape(self.tried.answer(call, small[0], gradients=False), small[0]):
                continue
            alike = self.tried.likeness(call, (small[0], small[-1]))
            if alike in seen:
                continue
            seen |= {alike} if alike else set()
            first = self._in_shape(call, small)
            if first is None:
                continue
            rows = self.table.at_first(*fingerprints.projection(first, self.trains))
            if not len(rows):
                continue
            rest = self._in_shape(call, others)
            if rest is None:
                continue
            hits = self.table.among(rows, *fingerprints.projection(rest, self.trains))
            known = {id(q): r for q, r in zip((*small, *others), (*first, *rest), strict=True)}
            answers = (*first, *rest)
            rich, told = different(answers) >= RICH, bits(answers) >= ENOUGH
            for other, second in self._by_cost(hits, halves=True):
                cost = edit.cost + second.cost
                if cost > FAR or (best and cost >= sum(m.cost for m in best)):
                    break
                if not rich and not (second.known and told):
                    continue
                one = self._told(edit)
                if min(edit.cost, second.cost) > 1 or contrary(one, second) or self._says_nothing(edit, second):
                    continue
                if not self._hidden_where_it_passes(other) or self._heeds_what_is_ignored(other):
                    continue
                if self._same(other, call, known) and not (
                    self._whatever_its_value(edit, call) or self.source.cancels(edit)
                ):
                    best = (second,) if second.known and one.kind in CASES else together(one, second)
                    if second.known and one.kind in REMOVED:  # it may stand in the place of what the listed one lacks
                        best = (without(one, second),)
                    break
        return best

    def _by_cost(self, hits: Sequence[tuple[int, int]], halves: bool = False) -> Iterator[tuple[LocalCaller, Mistake]]:
        """What those fingerprints stand for: the function, and the mistake in it."""
        sources = right_sources(self.exercise)
        found: list[tuple[int, LocalCaller, Any]] = []
        for place, number in hits[:HITS]:
            if place == LISTED and number < len(self.exercise.wrong_answers):
                wrong = self.exercise.wrong_answers[number]
                what = Mistake(wrong.name, wrong.hint, wrong.name, 1, known=True)
                found.append((1, LocalCaller(wrong.function, CALL), what))
            elif place < len(sources) and number < len(sources[place].edits()):
                source, edit = sources[place], sources[place].edits()[number]
                if (halves and throws_away(edit)) or of_a_count(edit, self.counts) or out_of_place(edit):
                    continue
                if (place and edit.kind in CASES) or several_constants(edit):  # its cases are no one else's
                    continue
                call = edited(source, edit)
                if call is None:
                    continue
                if halves or self._enough_for(edit):
                    what = self._told(edit, source)
                    if VAGUE in what.hint or only_a_number(what):  # it hangs on something that only right code has
                        continue
                    if what.kind in IGNORED and self._asks(edit.about):
                        continue
                    found.append((edit.cost, call, what))
        for _, call, what in sorted(found, key=lambda f: f[0]):
            yield call, what

    def _asks(self, test: ast.AST | None) -> bool:
        """Whether the student's code asks this very question: then it does not ignore the case."""
        trees = self.source.trees.values() if self.source is not None and test is not None else ()
        return any(ast.dump(node) == ast.dump(test) for tree in trees for node in ast.walk(tree))

    def _told(self, edit: Edit, right: Source | None = None) -> Mistake:
        """The edit in words: of right code, or of the student's."""
        source = right or self.source
        body = source.trees.get(edit.function) if source else None
        what = mistake(edit, right is not None, body, self.meanings, self.exercise.parameters)
        return replace(what, hint=f"Probably: {what.hint}", uncertain=True) if self.different < FEW else what

    def _enough_for(self, edit: Edit) -> bool:
        """Whether so much was wrong that an edit as far-fetched as this does not put all of it right by chance."""
        sure = (
            edit.kind in (*VALUES, "bracket") and self.own >= edit.cost
        )  # another bound may be right by chance, another value not
        return edit.cost <= 1 or self.entries >= ENTRIES * edit.cost or sure

    def _says_nothing(self, edit: Edit, second: Mistake) -> bool:
        """Whether numbers are changed that are not of the kind asked for, such as distances for an index."""
        asked = [leaf.value for t in self.trials for leaf in t.expected.leaves]
        given = [as_tensor(leaf) for t in self.trials for leaf in leaves(t.returned.value)]
        whole = all(not a.is_floating_point() for a in asked)
        return whole and second.known and any(g is not None and g.is_floating_point() for g in given)

    def _hidden_where_it_passes(self, call: LocalCaller) -> bool:
        """Whether a mistake spares the cases that the student's function gets right, as one that is there must."""
        passed = [t.question for t in self.trials if t.passed]
        return all(is_right(self._call(call, q), q, self.trains) for q in passed)

    def _in_shape(self, call: LocalCaller, asked: Sequence[Question]) -> list[Returned] | None:
        """Its answers, as long as they have the shapes of right ones; None once one has not."""
        found = []
        for question in asked:
            found.append(self._call(call, question))
            if not keeps_its_shape(found[-1], question):
                return None
        return found

    def _heeds_what_is_ignored(self, other: LocalCaller) -> bool:
        """Whether a mistake takes the effect from an argument that has one in the student's function: then it is not
        there."""
        asked = [t.question for t in self.trials][:HEEDED]
        for place, name in enumerate(self.exercise.parameters):
            changed = [(q, changed_at(q.arguments, place)) for q in asked]
            changed = [(q, given) for q, given in changed if given is not None]
            if not changed or name in self.counts:
                continue

            def ignores(call: Caller, changed: list = changed) -> bool:
                return all(
                    same_returned(self._call(call, q), call(given, gradients=self.trains), self.trains)
                    for q, given in changed
                )

            if ignores(other) and not ignores(self.caller):
                return True
        return False

    def _whatever_its_value(self, edit: Edit, call: LocalCaller) -> bool:
        """Whether the answers stay what they are where the edited value is another one: it does not count then. Answers
        that are whole numbers may stay for a little less, and are asked with three times the value alone."""
        if not isinstance(edit.new, ast.expr) or self.source is None:
            return False
        whole = any(not leaf.value.is_floating_point() for t in self.trials for leaf in t.expected.leaves)
        asked = [t.question for t in self.trials]
        for times in (3.0,) if whole else (3.0, 0.98):
            more = [(slot, ast.BinOp(new, ast.Mult(), ast.Constant(times))) for slot, new in edit.changes]
            for _, node in more:
                ast.copy_location(node, edit.old)
                ast.fix_missing_locations(node)
            other = edited(self.source, replace(edit, changes=tuple(more)))
            if other is not None and all(
                same_returned(self._call(call, q), self._call(other, q), self.trains) for q in asked
            ):
                return True
        return False

    def _call(self, caller: Caller, question: Question) -> Returned:
        return self.tried.answer(caller, question)

    def _right(self, call: LocalCaller) -> bool:
        """Right everywhere: most edits fail at the first case, which the student's function fails too."""
        asked = [t.question for t in self.trials]
        proof = questions(self.exercise, PROOF_SEED)
        return all(is_right(self.tried.judged(call, q), q, self.trains) for q in (*asked, *proof))

    def _same(self, one: Caller, other: Caller, known: dict[int, Returned]) -> bool:
        """Whether both give the same in all cases, and in some that were not looked at before."""
        cases = [t.question for t in self.trials] + list(questions(self.exercise, PROOF_SEED))
        for q in cases:
            if not same_returned(self._call(one, q), known.get(id(q)) or self._call(other, q), self.trains):
                return False
        return True
