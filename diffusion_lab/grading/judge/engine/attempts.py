"""The student's code in all its edited forms: which of them are tried, in what order, and what each answers."""

from __future__ import annotations

import ast
import contextlib
import copy
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from torch import nn

from diffusion_lab.grading.judge.calling import Caller, LocalCaller, Returned
from diffusion_lab.grading.judge.engine.edits import Edit
from diffusion_lab.grading.judge.engine.fingerprints import projection
from diffusion_lab.grading.judge.engine.lines import kinds_held, lines_run
from diffusion_lab.grading.judge.engine.plausible import (
    by_two,
    far_off,
    odd_for_words,
    of_a_count,
    out_of_place,
    turns_a_one,
)
from diffusion_lab.grading.judge.engine.rebuilding import SHELL, Source, Unreadable
from diffusion_lab.grading.judge.engine.searching import CALL, Clock, edited, is_right, length
from diffusion_lab.grading.judge.questions import Question

OFTEN = ("root too many", "square too many", "roots", "bound")
"""Edits of the student's code that undo what people often forget: they are tried early."""
ALONE = ("exchanged", "number", "numbers")
"""Others that are tried early, but not as one of two: they change several things at once."""
INSIDE = set(
    "parameters named_parameters buffers named_buffers state_dict load_state_dict modules children named_modules apply "
    "weight bias data train eval zero_grad requires_grad_ register_buffer register_forward_hook __dict__".split()
)
"""What code that reads or changes the inside of a network uses."""
ALIKE = 6
"""Digits to which the answers of two edits are the same, so that one of them is enough."""


class _Ranked(NamedTuple):
    """An edit, and how early it is tried."""

    edit: Edit
    cost: float
    alone: bool
    """Whether it comes earlier where it need not be one of two."""
    length: int


class Attempts:
    """Edited forms of one function. Each is built once, and called once for a question."""

    def __init__(self, caller: Caller, counts: Collection[str], trains: bool):
        self.caller, self.counts, self.trains = caller, counts, trains
        self.source: Source | None = None
        self._built: dict[Edit, LocalCaller | None] = {}
        self._answers: dict[int, dict[tuple[int, bool], Returned]] = {}
        self._kinds: dict[str, set[tuple]] = {}
        self._own: tuple[float, ...] = ()
        self._asked: dict[int, tuple] = {}
        function = getattr(caller, "function", None)
        if isinstance(caller, LocalCaller) and function is not None:
            try:
                self.source = Source(function)
            except Unreadable:
                self.source = None

    def look_at(self, question: Question) -> None:
        """See what the names in the code hold for this question: a name is taken for one of the same kind."""
        if self.source is not None:
            with contextlib.suppress(Exception):  # of a function that is odd to watch nothing is known
                self._kinds = kinds_held(self.source, question.arguments, 4 * CALL)

    def _is_a_row(self, node: ast.AST) -> bool:
        """Whether a name holds a tensor with one axis."""
        return any(kind[0] == "tensor" and len(kind) == 2 for kind in self._kinds.get(getattr(node, "id", ""), ()))

    def _alike(self, one: ast.AST, other: ast.AST) -> bool:
        kinds = [self._kinds.get(getattr(node, "id", "")) for node in (one, other)]
        return not self._kinds or None in kinds or bool(kinds[0] & kinds[1])

    def _flag_for_number(self, one: ast.AST, other: ast.AST) -> bool:
        """Whether one of two names holds True or False, and the other never does."""
        kinds = [self._kinds.get(getattr(node, "id", ""), set()) for node in (one, other)]
        flags = [{kind[0] in ("flags", "bool") for kind in found} for found in kinds]
        return flags in ([{True}, {False}], [{False}, {True}])

    def lines(self, question: Question) -> set[int] | None:
        """The lines of the student's file that this question runs; None where that cannot be seen."""
        if self.source is None:
            return None
        try:
            return lines_run(self.source, question.arguments, 4 * CALL)
        except Exception:  # a function that is odd to watch is searched as a whole
            return None

    def edits(
        self,
        clock: Clock,
        whole_first: bool = False,
        only: Callable[[Edit], bool] = lambda edit: True,
        kinds: Collection[str | None] = (),
    ) -> Iterator[tuple[Edit, LocalCaller]]:
        """The edits that make sense, the least far-fetched first and those of `kinds` before all, until time is up."""
        if self.source is None:
            return
        first = (SHELL if whole_first else self.source.name, self.source.name)

        def order(ranked: _Ranked) -> tuple:
            edit, cost = ranked.edit, ranked.cost - (ranked.alone and not whole_first)
            where = first.index(edit.function) if edit.function in first else 2
            return 0 if edit.kind in kinds else cost, where, ranked.length

        for edit in (ranked.edit for ranked in sorted(self._ranked, key=order)):
            if clock.over:
                return
            if not only(edit):
                continue
            if edit not in self._built:
                call = self._built[edit] = edited(self.source, edit, not self._only_asks)
                if call is not None:
                    self._answers[id(call)] = {}
            call = self._built[edit]
            if call is not None:
                yield edit, call

    def answer(self, caller: Caller, question: Question, gradients: bool | None = None) -> Returned:
        """What a function answers to a question; what an edit has answered before is kept.

        Args:
            gradients: whether they are asked for too; where it is not said, as the exercise does.
        """
        gradients = self.trains if gradients is None else gradients
        known = self._answers.get(id(caller))
        if known is None:
            return caller(question.arguments, gradients=gradients)
        key = id(question), gradients
        if key not in known:
            arguments = self._arguments(question)
            before = _marks(arguments)
            known[key] = caller(arguments, gradients=gradients)
            if _marks(arguments) != before:
                del self._asked[id(question)]
        return known[key]

    def judged(self, caller: Caller, question: Question) -> Returned:
        """Its answer to a question, without gradients where the value is wrong already: they take most of the time."""
        value = self.answer(caller, question, gradients=False)
        return self.answer(caller, question) if is_right(value, question, False) else value

    def likeness(self, caller: Caller, asked: Collection[Question]) -> tuple[float, ...] | None:
        """A mark that edits share whose answers to these questions are the same; None for one that changes nothing."""
        found = self._mark(caller, asked)
        self._own = self._own or self._mark(self.caller, asked)
        return None if self._own == found else found

    def _mark(self, caller: Caller, asked: Collection[Question]) -> tuple[float, ...]:
        numbers = (projection([self.answer(caller, q, gradients=False)], False)[0] for q in asked)
        return tuple(float(f"{number:.{ALIKE}g}") for number in numbers)

    @cached_property
    def _ranked(self) -> list[_Ranked]:
        """The edits that make sense, with what their order hangs on."""
        found = []
        for edit in self.source.repairs() if self.source else ():
            if of_a_count(edit, self.counts) or out_of_place(edit) or turns_a_one(edit) or odd_for_words(edit):
                continue
            name = edit.kind == "name"
            if name and self._flag_for_number(edit.old, edit.new):
                continue
            if edit.kind == "along the last axis" and not self._is_a_row(edit.old):
                continue
            cost: float = edit.cost - (edit.kind in OFTEN or by_two(edit))
            cost += far_off(edit)
            if name:
                cost += -0.5 if self._alike(edit.old, edit.new) else 2
            found.append(_Ranked(edit, cost, edit.kind in ALONE, length(edit)))
        return found

    def _arguments(self, question: Question) -> tuple:
        """What an edited form is called with: networks that no one else has."""
        if id(question) not in self._asked:
            arguments = question.arguments
            own = tuple(copy.deepcopy(a) if isinstance(a, nn.Module) else a for a in arguments)
            self._asked[id(question)] = own if self._only_asks else arguments
        return self._asked[id(question)]

    @cached_property
    def _only_asks(self) -> bool:
        """Whether the code does nothing with networks but call them: then edited forms can share them."""
        nodes = [node for tree in (self.source.trees.values() if self.source else ()) for node in ast.walk(tree)]
        attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
        return not any(a.attr in INSIDE or isinstance(a.ctx, ast.Store) for a in attributes)


def _marks(arguments: tuple) -> list[Any]:
    """What changes where a call leaves a trace in a network: its plain numbers, and how often tensors were written."""
    found: list[Any] = []
    for network in (a for a in arguments if isinstance(a, nn.Module)):
        for module in network.modules():
            found += [value for value in vars(module).values() if type(value) in (int, float)]
        found += [tensor._version for tensor in (*network.parameters(), *network.buffers())]
    return found


def not_read(source: Source) -> list[int]:
    """The places of the arguments that a function never reads."""
    read = {n.id for tree in source.trees.values() for n in ast.walk(tree) if isinstance(n, ast.Name)}
    return [i for i, argument in enumerate(source.trees[source.name].args.args) if argument.arg not in read]
