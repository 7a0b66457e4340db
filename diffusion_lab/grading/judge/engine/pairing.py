"""Two mistakes that show together: an edit of the student's code that makes it the same as an edit of right code."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from diffusion_lab.grading.judge.calling import Caller, LocalCaller, Returned, leaves
from diffusion_lab.grading.judge.comparing import agrees, as_tensor
from diffusion_lab.grading.judge.engine import fingerprints
from diffusion_lab.grading.judge.engine.apart import changed_at
from diffusion_lab.grading.judge.engine.both import together, without
from diffusion_lab.grading.judge.engine.edits import FAR, Edit
from diffusion_lab.grading.judge.engine.evidence import ENOUGH, RICH, bits, different, keeps_its_shape
from diffusion_lab.grading.judge.engine.explained import Explained
from diffusion_lab.grading.judge.engine.plausible import CASES, REMOVED, contrary, may_be_half
from diffusion_lab.grading.judge.engine.searching import Clock, edited, is_right, same_returned
from diffusion_lab.grading.judge.engine.wording import Mistake
from diffusion_lab.grading.judge.questions import Question

HEEDED = 4
"""Cases in which is looked at whether an argument has an effect."""


class Pairs(Explained):
    """The search for two mistakes at once."""

    def pair(self, clock: Clock) -> tuple[Mistake, ...]:
        """An edit of the student's code that makes it the same as an edit of right code: two mistakes."""
        if self.table is None:
            return ()
        small, others = fingerprints.asked(self.exercise)
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
                    if second.known and not self._puts_some_right(call):
                        hint = f"Your answers come close to a mistake that is known: {second.hint}"
                        best = (replace(second, hint=hint, uncertain=True),)
                    elif second.known and one.kind in REMOVED:  # it may stand in the place of what the listed one lacks
                        best = (without(one, second),)
                    break
        return best

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

    def _puts_some_right(self, call: LocalCaller) -> bool:
        """Whether an edit puts entries right that were wrong, as the other half of two mistakes does where the listed
        one leaves some value of several right. One that does not only turns a mistake into the listed one: much like it
        then, and no other."""
        spared = False
        for trial in (t for t in self.trials if not t.passed and t.returned.fault is None):
            after = self.tried.answer(call, trial.question, gradients=False)
            given = leaves(trial.returned.value), leaves(after.value) if after.fault is None else ()
            for before, now, leaf in zip(*given, trial.expected.leaves, strict=False):
                pair = as_tensor(before), as_tensor(now)
                if any(t is None or t.shape != leaf.value.shape for t in pair):
                    return True
                was, is_now = (agrees(t, leaf) for t in pair)
                if bool((is_now & ~was).any()):
                    return True
                spared = spared or bool(is_now.all())
        return not spared

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
