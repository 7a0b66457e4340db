"""One function that is to be explained: what is known of it, and what an edit of right code has to do with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from diffusion_lab.exercises import Exercise
from diffusion_lab.grading.judge.calling import Caller, LocalCaller, Returned
from diffusion_lab.grading.judge.engine import fingerprints
from diffusion_lab.grading.judge.engine.attempts import Attempts
from diffusion_lab.grading.judge.engine.casing import IGNORED
from diffusion_lab.grading.judge.engine.edits import Edit
from diffusion_lab.grading.judge.engine.evidence import wrong_numbers
from diffusion_lab.grading.judge.engine.fingerprints import LISTED, Table, right_sources
from diffusion_lab.grading.judge.engine.plausible import (
    CASES,
    VALUES,
    counts,
    of_a_count,
    only_a_number,
    out_of_place,
    several_constants,
    throws_away,
)
from diffusion_lab.grading.judge.engine.quoting import VAGUE
from diffusion_lab.grading.judge.engine.rebuilding import Source
from diffusion_lab.grading.judge.engine.searching import CALL, edited, is_right, same_returned, size
from diffusion_lab.grading.judge.engine.vocabulary import meanings
from diffusion_lab.grading.judge.engine.wording import Mistake, mistake
from diffusion_lab.grading.judge.questions import Question, Trial, questions

ENTRIES = 4
"""Wrong numbers that must be put right for each step by which an edit is far-fetched: one of hundreds of edits puts a
few right by chance."""
FEW = 4
"""With fewer different wrong numbers than this, an explanation is told as a probable one."""
HITS = 12
"""How many fingerprints that fit are looked into."""
PROOF_SEED = 1
"""Other cases, on which an explanation must hold too: a fit to a few numbers can be chance."""


class Explained:
    """A function, its answers, and the edited forms of it and of right code."""

    def __init__(self, exercise: Exercise, caller: Caller, trials: Sequence[Trial]):
        self.exercise, self.caller, self.trains = exercise, caller, exercise.trains
        self.trials = sorted(trials, key=lambda t: (t.passed, size(t.question)))
        self.table: Table | None = fingerprints.load(exercise)
        self.entries, self.different, self.own = wrong_numbers(self.trials)
        self.counts = counts(exercise, trials)
        self.meanings = meanings(exercise)
        self.tried = Attempts(caller, self.counts, self.trains)
        self.source = self.tried.source
        self.tried.look_at(self.trials[0].question)

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
