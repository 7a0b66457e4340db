"""Name a mistake that nobody has listed, by the small edits that undo it or make it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.exercises import Exercise
from diffusion_lab.grading.judge.calling import Caller, LocalCaller, Returned, leaves
from diffusion_lab.grading.judge.comparing import agrees, as_tensor
from diffusion_lab.grading.judge.engine import fingerprints
from diffusion_lab.grading.judge.engine.edits import FAR, MIRROR, Edit
from diffusion_lab.grading.judge.engine.fingerprints import LISTED, Table, right_sources
from diffusion_lab.grading.judge.engine.nodes import CASTS
from diffusion_lab.grading.judge.engine.quoting import VAGUE
from diffusion_lab.grading.judge.engine.rebuilding import SHELL, Source, Unreadable
from diffusion_lab.grading.judge.engine.searching import CALL, Clock, edited, is_right, same_returned, size
from diffusion_lab.grading.judge.engine.wording import Mistake, meanings, mistake
from diffusion_lab.grading.judge.questions import Question, Trial, questions

ONE, TWO = 0.4, 0.4
"""Seconds of processor time to look for one edit of the student's code, and for a pair."""
PLAIN = 2
"""An explanation that costs no more is good enough to stop at."""
RICH = 20
"""Different numbers that answers must hold before two edits at once are read from them."""
ENOUGH, DIGITS = 64.0, 10.0
"""Bits that answers must hold before an edit beside a listed mistake is read from them, and what one number with
digits of its own counts for. All edits with all listed mistakes are some thousands of guesses, 14 bits; but four
shares, 40 bits, were seen to fit pairs that nobody had made.
"""
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
    search = _Search(exercise, caller, trials)
    if all(t.returned.fault is not None for t in trials if not t.passed):
        return tuple(search.undone()[:1])  # too much explains an error, other than what takes it away
    found = [*search.made(), *search.undone()]
    best = min(found, key=lambda m: (m.cost, not m.line), default=None)
    if best is not None and best.cost <= FAR:
        return (best,)
    return search.pair() or ((best,) if best else ())


class _Search:
    """The search for what explains one function."""

    def __init__(self, exercise: Exercise, caller: Caller, trials: Sequence[Trial]):
        self.exercise, self.caller, self.trains = exercise, caller, exercise.trains
        self.trials = sorted(trials, key=lambda t: (t.passed, size(t.question)))
        self.table: Table | None = fingerprints.load(exercise)
        self.entries, self.different = _wrong_numbers(self.trials)
        self.counts = _counts(exercise, trials)
        self.meanings = meanings(exercise)
        self.source: Source | None = None
        function = getattr(caller, "function", None)
        if isinstance(caller, LocalCaller) and function is not None:
            try:
                self.source = Source(function)
            except Unreadable:
                self.source = None

    def made(self) -> list[Mistake]:
        """An edit of right code that gives the student's answers."""
        if self.table is None or not any(_says_something(t) for t in self.trials if not t.passed):
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

    def undone(self) -> list[Mistake]:
        """An edit of the student's code that makes it right."""
        found: list[Mistake] = []
        clock = Clock(ONE)
        for edit, call in self._edits_of_student(clock):
            if self._enough_for(edit) and self._right(call):
                found.append(self._told(edit))
                if found[-1].cost <= PLAIN or len(found) == 3:
                    break
        return found

    def pair(self) -> tuple[Mistake, ...]:
        """An edit of the student's code that makes it the same as an edit of right code: two mistakes."""
        if self.table is None:
            return ()
        small, others = fingerprints.asked(self.exercise)
        clock = Clock(TWO)
        best: tuple[Mistake, ...] = ()
        for edit, call in self._edits_of_student(clock, whole_first=True):
            if not _may_be_half(edit):
                continue
            if edit.cost >= FAR or (best and edit.cost + 1 >= sum(m.cost for m in best)):
                break
            first = [self._call(call, q) for q in small]
            if not all(_keeps_its_shape(r, q) for r, q in zip(first, small, strict=True)):
                continue
            rows = self.table.at_first(*fingerprints.projection(first, self.trains))
            if not len(rows):
                continue
            rest = [self._call(call, q) for q in others]
            if not all(_keeps_its_shape(r, q) for r, q in zip(rest, others, strict=True)):
                continue
            hits = self.table.among(rows, *fingerprints.projection(rest, self.trains))
            known = {id(q): r for q, r in zip((*small, *others), (*first, *rest), strict=True)}
            answers = (*first, *rest)
            rich, told = _different(answers) >= RICH, _bits(answers) >= ENOUGH
            for other, second in self._by_cost(hits, halves=True):
                cost = edit.cost + second.cost
                if cost > FAR or (best and cost >= sum(m.cost for m in best)):
                    break
                if not rich and not (second.known and told):
                    continue
                one = self._told(edit)
                if min(edit.cost, second.cost) > 1 or _contrary(one, second) or self._says_nothing(edit, second):
                    continue
                if not self._hidden_where_it_passes(other):
                    continue
                if self._same(other, call, known) and not self._whatever_its_value(edit, call):
                    best = (one, second)
                    if second.known and one.kind in REMOVED:  # a listed one may have lacked it as well
                        best = (second, replace(one, hint=f"Perhaps also: {one.hint}"))
                    break
        return best

    def _edits_of_student(self, clock: Clock, whole_first: bool = False) -> Iterator[tuple[Edit, LocalCaller]]:
        repairs = self.source.repairs() if self.source else ()
        for edit in sorted(repairs, key=lambda e: (e.cost, (e.function == SHELL) != whole_first)):
            if clock.over:
                return
            if _of_a_count(edit, self.counts):
                continue
            call = edited(self.source, edit)
            if call is not None:
                yield edit, call

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
                call = edited(source, edit)
                if call is None or (halves and _throws_away(edit)) or _of_a_count(edit, self.counts):
                    continue
                if halves or self._enough_for(edit):
                    what = self._told(edit, source)
                    if VAGUE in what.hint:  # it hangs on something that only the reference has
                        continue
                    found.append((edit.cost, call, what))
        for _, call, what in sorted(found, key=lambda f: f[0]):
            yield call, what

    def _told(self, edit: Edit, right: Source | None = None) -> Mistake:
        """The edit in words: of right code, or of the student's."""
        source = right or self.source
        body = source.trees.get(edit.function) if source else None
        what = mistake(edit, right is not None, body, self.meanings, self.exercise.parameters)
        return replace(what, hint=f"Probably: {what.hint}") if self.different < FEW else what

    def _enough_for(self, edit: Edit) -> bool:
        """Whether so much was wrong that an edit as far-fetched as this does not put all of it right by chance."""
        return edit.cost <= 1 or self.entries >= ENTRIES * edit.cost

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

    def _whatever_its_value(self, edit: Edit, call: LocalCaller) -> bool:
        """Whether the answers stay what they are where the edited value is three times as large: it does not count."""
        if edit.kind not in VALUES or not isinstance(edit.new, ast.expr):
            return False
        thrice = [(slot, ast.BinOp(new, ast.Mult(), ast.Constant(3.0))) for slot, new in edit.changes]
        for _, node in thrice:
            ast.copy_location(node, edit.old)
            ast.fix_missing_locations(node)
        other = edited(self.source, replace(edit, changes=tuple(thrice))) if self.source else None
        asked = [t.question for t in self.trials]
        return other is not None and all(
            same_returned(self._call(call, q), self._call(other, q), self.trains) for q in asked
        )

    def _call(self, caller: Caller, question: Question) -> Returned:
        return caller(question.arguments, gradients=self.trains)

    def _right(self, call: LocalCaller) -> bool:
        """Right everywhere: most edits fail at the first case, which the student's function fails too."""
        asked = [t.question for t in self.trials]
        return all(is_right(self._call(call, q), q, self.trains) for q in asked) and all(
            is_right(self._call(call, q), q, self.trains) for q in questions(self.exercise, PROOF_SEED)
        )

    def _same(self, one: Caller, other: Caller, known: dict[int, Returned]) -> bool:
        """Whether both give the same in all cases, and in some that were not looked at before."""
        cases = [t.question for t in self.trials] + list(questions(self.exercise, PROOF_SEED))
        for q in cases:
            if not same_returned(self._call(one, q), known.get(id(q)) or self._call(other, q), self.trains):
                return False
        return True


VALUES = {"sign", "upside down", "root missing", "root too many", "square missing", "square too many"} | {
    "complement missing",
    "complement too many",
}
"""Edits that put another number in the place of one."""


def _wrong_numbers(trials: Sequence[Trial]) -> tuple[int, int]:
    """How many entries of the right answers the student's do not have, and how many different ones."""
    found: list[Tensor] = []
    surplus = 0
    for trial in trials:
        if trial.passed:
            continue
        given = leaves(trial.returned.value) if trial.returned.fault is None else ()
        for place, leaf in enumerate(trial.expected.leaves):
            value = as_tensor(given[place]) if place < len(given) else None
            alike = value is not None and not value.is_complex() and value.shape == leaf.value.shape
            found.append((leaf.value[~agrees(value, leaf)] if alike else leaf.value).double().flatten())
            if value is not None and not alike:
                surplus += max(0, value.numel() - leaf.value.numel())  # all of these must come together
    numbers = torch.cat(found) if found else torch.zeros(0)
    if trials and not len(numbers):  # values are right, and gradients are not
        return RICH, RICH
    return len(numbers) + surplus, len(numbers.unique())


def _counts(exercise: Exercise, trials: Sequence[Trial]) -> set[str]:
    """The parameters that are whole numbers: of steps, of axes, of samples."""
    values = zip(exercise.parameters, *(t.arguments for t in trials), strict=False)
    return {name for name, *given in values if all(type(value) is int for value in given)}


def _of_a_count(edit: Edit, counts: Collection[str]) -> bool:
    """Whether an edit treats a count as a number that has a sign, a root or a complement; no one does that."""
    return edit.kind in VALUES and _is_count(edit.about if edit.about is not None else edit.old, counts)


def _is_count(node: ast.AST, counts: Collection[str]) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        return any(_is_count(n, counts) for n in (node.left, node.right)) and all(
            _is_count(n, counts) or isinstance(n, ast.Constant) for n in (node.left, node.right)
        )
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Attribute) and node.value.attr == "shape"
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        return name in ("len", "range", "arange", "numel", "size", "dim") or (
            isinstance(node.func, ast.Attribute) and name in CASTS and _is_count(node.func.value, counts)
        )
    return (isinstance(node, ast.Name) and node.id in counts) or (
        isinstance(node, ast.Attribute) and node.attr == "ndim"
    )


def _says_something(trial: Trial) -> bool:
    """Whether an answer holds numbers, and not the same one everywhere: nothing can be read from nan and zeros."""
    if trial.returned.fault is not None:
        return False
    tensors = [t for t in map(as_tensor, leaves(trial.returned.value)) if t is not None and not t.is_complex()]
    numbers = [t.double().flatten() for t in tensors]
    return any(len(n) and bool(n.isfinite().any()) and (len(n) == 1 or bool((n != n[0]).any())) for n in numbers)


def _may_be_half(edit: Edit) -> bool:
    """Whether an edit of the student's code may be half of an explanation.

    One that changes an argument for all that follows would be made in right code too, and cancel out; so would one
    that throws away all entries but one.
    """
    if edit.function == SHELL and not isinstance(edit.old, ast.Call):
        return False
    return not _throws_away(edit) and edit.kind != "shape"


def _throws_away(edit: Edit) -> bool:
    """Whether an edit makes answers say less: what is said less, less contradicts."""
    if edit.kind == "cases exchanged" and isinstance(edit.about, ast.Compare):
        return isinstance(edit.about.ops[0], (ast.Is, ast.IsNot))  # the same in all calls, as a rule
    constant = isinstance(edit.new, ast.Subscript) and isinstance(edit.new.slice, (ast.Constant, ast.UnaryOp))
    if _called(edit.old) - _called(edit.new):
        return True
    if isinstance(edit.old, ast.BinOp) and isinstance(edit.new, ast.Constant):
        return True  # what was calculated is a constant then
    return constant or edit.kind in ("slice", "line missing", "case ignored", "condition ignored")


def _called(node: ast.AST) -> set[str]:
    """The functions, such as a network, that are called there by a name of their own."""
    return {n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def _different(answers: Sequence[Returned]) -> int:
    """How many different numbers these answers hold."""
    tensors = [as_tensor(leaf) for r in answers for leaf in leaves(r.value)]
    return len(torch.cat([t.double().flatten() for t in tensors if t is not None]).unique())


def _bits(answers: Sequence[Returned]) -> float:
    """How much these answers tell, so that agreement is no chance: many bits, or few numbers with many digits."""
    total = 0.0
    for tensor in (as_tensor(leaf) for r in answers for leaf in leaves(r.value)):
        if tensor is None or not tensor.numel():
            continue
        _, counts = tensor.flatten().unique(return_counts=True)
        shares = counts / tensor.numel()
        entropy = float(-(shares * shares.log2()).sum()) * tensor.numel()
        total += max(entropy, DIGITS * len(counts) if tensor.is_floating_point() else 0.0)
    return total


REMOVED = ("factor too many", "divisor too many", "term too many", "line too many", "power too many")
TURNED = ("upside down", "inverse")


def _contrary(one: Mistake, other: Mistake) -> bool:
    """Whether two mistakes say the same, or cancel out."""
    same_case = {one.kind, other.kind} <= {"case ignored", "case too many", "condition ignored", "condition too many"}
    subjects = [m.name.removeprefix(f"edit: {m.kind}") for m in (one, other)]
    if (
        one.kind in TURNED
        and other.kind in TURNED
        and any(one.strip() in other for one, other in permutations(subjects))
    ):
        return True
    undone = subjects[0] == subjects[1] and (one.kind == other.kind or MIRROR.get(one.kind) == other.kind)
    return one.name == other.name or same_case or undone


def _keeps_its_shape(returned: Returned, question: Question) -> bool:
    """Whether an answer has the shapes of the right one, and different numbers where that has different numbers."""
    if returned.fault is not None:
        return False
    given = leaves(returned.value)
    if len(given) != len(question.expected.leaves):
        return False
    for value, leaf in zip(given, question.expected.leaves, strict=True):
        tensor = as_tensor(value)
        if tensor is None or tensor.is_complex() or tensor.shape != leaf.value.shape:
            return False
        if any(
            isinstance(a, Tensor) and a.shape == tensor.shape and bool((a == tensor).all()) for a in question.arguments
        ):
            return False
        flat = leaf.value.double().flatten()
        if flat.numel() > 1 and bool((flat != flat[0]).any()) and not bool((tensor != tensor.flatten()[0]).any()):
            return False
        if not bool((tensor.double().isfinite() | ~leaf.value.double().isfinite()).all()):
            return False
    return True
