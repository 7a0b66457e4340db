"""Small edits of a function's code, each of them one mistake away: mutation operators in the words of this course.

An edit leads from right code to wrong code, or back: `MIRROR` turns its name around. After Singh, Gulwani and
Solar-Lezama 2013 (feedback by program edits), and DeMillo, Lipton and Sayward 1978 (mutation).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from diffusion_lab.grading.judge.engine.nodes import Slot
from diffusion_lab.grading.judge.engine.operators import options

MIRROR = {
    "root missing": "root too many",
    "square missing": "square too many",
    "factor missing": "factor too many",
    "divisor missing": "divisor too many",
    "term missing": "term too many",
    "complement missing": "complement too many",
    "call missing": "call too many",
    "line missing": "line too many",
    "condition ignored": "condition too many",
    "case ignored": "case too many",
    "index missing": "index too many",
    "argument missing": "argument too many",
    "multiplied for divided": "divided for multiplied",
}
MIRROR |= {other: one for one, other in MIRROR.items()}
"""What an edit is called when it leads the other way; every other name stays."""
COSTS = {
    "sign": 1,
    "reversed": 1,
    "upside down": 1,
    "root missing": 1,
    "root too many": 2,
    "square missing": 1,
    "square too many": 2,
    "factor missing": 1,
    "divisor missing": 1,
    "term missing": 1,
    "complement missing": 2,
    "complement too many": 2,
    "multiplied for divided": 1,
    "divided for multiplied": 2,
    "index": 1,
    "axis": 1,
    "function": 1,
    "boundary": 1,
    "condition ignored": 1,
    "condition too many": 2,
    "case ignored": 1,
    "case too many": 5,
    "text": 1,
    "shape": 1,
    "dtype": 2,
    "cases exchanged": 1,
    "line missing": 2,
    "line too many": 2,
    "call missing": 1,
    "name": 2,
    "bracket": 2,
    "order": 2,
    "slice": 2,
    "constant": 2,
    "call too many": 3,
    "factor too many": 3,
    "divisor too many": 3,
    "term too many": 3,
}
"""How far-fetched an edit is; the least far-fetched explanation is told, and tried first."""
FAR = 4
"""What costs more explains too much."""


@dataclass(frozen=True, eq=False)
class Edit:
    """One small change of the code, at one place, or the same at every place where it can be made."""

    kind: str
    changes: tuple[tuple[Slot, ast.AST], ...]
    old: ast.AST
    new: ast.AST
    about: ast.AST | None
    """The factor, the term, or whatever the edit is about, where that is not the whole."""
    function: str
    """The name of the function where it is made."""
    case: ast.expr | None = None
    """The condition under which this code runs."""

    @property
    def line(self) -> int:
        return getattr(self.old, "lineno", 0)

    @property
    def cost(self) -> int:
        extra = 1 if len(self.changes) > 1 and self.kind not in ("name", "index") else 0
        if self.kind == "sign" and isinstance(self.about, ast.Constant):
            return FAR + 1  # of a count or an index, which is no sign at all
        if self.function == "__shell__" and self.kind == "name":
            extra += 1
        return COSTS.get(self.kind, 3) + extra


def edits(function: ast.FunctionDef) -> list[Edit]:
    """All edits of one function, and those that make the same change everywhere at once; always in the same order."""
    names = _names(function)
    found = []
    codes: dict[int, str] = {}
    for slot, node, case in places(function):
        codes[id(node)] = ast.dump(node) if isinstance(node, ast.expr) else ""
        for kind, new, about in options(node, slot, names):
            locate(new, node)
            found.append(Edit(kind, ((slot, new),), node, new, about, function.name, case))
    twice = {code for code, times in Counter(codes.values()).items() if times > 1}
    alike: dict[tuple, list[Edit]] = {}
    for edit in found:
        for key in _likenesses(edit, codes[id(edit.old)], twice):
            alike.setdefault(key, []).append(edit)
    together = {}
    for group in alike.values():
        if len(group) > 1:
            first = group[0]
            changes = tuple(change for edit in group for change in edit.changes)
            all_of_them = frozenset(id(new) for _, new in changes)
            made = Edit(first.kind, changes, first.old, first.new, first.about, function.name, first.case)
            together.setdefault(all_of_them, made)
    return found + list(together.values())


def locate(node: ast.AST, old: ast.AST) -> None:
    """Put what is new where the old code stands; what it holds of that stays where it is."""
    if not hasattr(node, "lineno"):
        ast.copy_location(node, old)
    for child in ast.iter_child_nodes(node):
        if not hasattr(child, "lineno"):
            locate(child, old)


def _likenesses(edit: Edit, code: str, twice: Collection[str]) -> Iterator[tuple]:
    """What an edit has in common with others that are the same mistake: made at all of these places at once.

    Args:
        code: what is edited.
        twice: the code that stands at several places.
    """
    if not isinstance(edit.old, ast.expr):
        return
    old, new = edit.old, edit.new
    if code in twice:
        yield "same code", edit.kind, code, ast.dump(new)
    if edit.kind in ("root missing", "square missing", "complement missing"):
        yield "same idea", edit.kind
        yield "same idea in a line", edit.kind, old.lineno
    if edit.kind == "index" and isinstance(old, ast.Subscript) and isinstance(new, ast.Subscript):
        yield "same index", ast.dump(old.slice), ast.dump(new.slice)
    if edit.kind == "call missing" and isinstance(old, ast.Call) and isinstance(old.func, ast.Attribute):
        yield "same call", old.func.attr


def put(slot: Slot, node: ast.AST) -> None:
    """Hang a node there."""
    parent, field, index = slot
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def at(slot: Slot) -> ast.AST:
    """The node that hangs there."""
    parent, field, index = slot
    value = getattr(parent, field)
    return value if index is None else value[index]


def _names(function: ast.FunctionDef) -> list[str]:
    """Parameters and local names, in the order in which they appear."""
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id not in names:
            names.append(node.id)
    return names


def places(function: ast.FunctionDef) -> Iterator[tuple[Slot, ast.AST, ast.expr | None]]:
    """Every place with its node, and the condition of the branch in which it is."""
    waiting = [((function, "body", i), s, None) for i, s in enumerate(function.body)][::-1]
    while waiting:
        slot, node, case = waiting.pop()
        yield slot, node, case
        branches = isinstance(node, (ast.If, ast.IfExp))
        children: list[tuple[Slot, ast.AST]] = []
        for field, value in ast.iter_fields(node):
            if isinstance(value, ast.AST) and not isinstance(value, (ast.expr_context, ast.operator, ast.cmpop)):
                children.append(((node, field, None), value))
            elif isinstance(value, list):
                children += [((node, field, i), v) for i, v in enumerate(value) if isinstance(v, ast.AST)]
        waiting += [
            (s, child, node.test if branches and s[1] == "body" else case)
            for s, child in reversed(children)
            if isinstance(child, (ast.expr, ast.stmt, ast.keyword, ast.comprehension, ast.Slice))
        ]
