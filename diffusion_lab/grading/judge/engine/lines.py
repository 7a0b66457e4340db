"""Which lines of a function run for given arguments, and what its names hold then: a copy of it notes them down.

Python's own way, `sys.settrace`, is not safe here: where a timer rings or another thread wants to run at a function's
first line, Python 3.11 may go round in it for ever.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.engine.rebuilding import Source

NOTE, LINES = "__lines_run__", "lines"


def lines_run(source: Source, arguments: tuple, limit: float) -> set[int]:
    """The lines of its file that a function and its neighbours run for these arguments, in at most `limit` seconds.

    A statement over several lines counts as a whole, and so does all that stands between `if` or `for` and what is
    inside. What a function does not live to see in time is left out.
    """
    if LINES not in source.watched:
        seen: set[int] = set()
        source.watched[LINES] = source.rebuilt(_Noted(_lines_of).visit, {NOTE: seen.update}), seen
    function, seen = source.watched[LINES]
    seen.clear()
    LocalCaller(function, limit)(arguments)
    return set(seen)


def kinds_held(source: Source, arguments: tuple, limit: float) -> dict[str, set[tuple]]:
    """name -> the kinds of values that it holds while the functions run for these arguments, by `kind_of_value`."""
    found: dict[str, set[tuple]] = {}

    def note(names: dict[str, Any]) -> None:
        for name, value in names.items():
            found.setdefault(name, set()).add(kind_of_value(value))

    LocalCaller(source.rebuilt(_Noted(_names_then).visit, {NOTE: note}), limit)(arguments)
    return found


def kind_of_value(value: Any) -> tuple:
    """What can stand in for what: numbers for numbers, tensors for tensors of the same shape, flags for flags."""
    if isinstance(value, Tensor) and value.dtype is torch.bool:
        return ("flags", *value.shape)
    if isinstance(value, Tensor) and value.ndim:
        return ("tensor", *value.shape)
    number = isinstance(value, (Tensor, float, int)) and not isinstance(value, bool)
    return ("number",) if number else (type(value).__name__,)


class _Noted(ast.NodeTransformer):
    """Before each statement, a call that notes something."""

    def __init__(self, noted: Callable[[ast.stmt], ast.expr]):
        self.noted = noted

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):  # that of a lambda is an expression
                setattr(node, name, [one for s in statements for one in (self._note(s), s)])
        return node

    def _note(self, statement: ast.stmt) -> ast.stmt:
        call = ast.Call(ast.Name(NOTE, ast.Load()), [self.noted(statement)], [])
        return ast.copy_location(ast.Expr(call), statement)


def _lines_of(statement: ast.stmt) -> ast.expr:
    """The lines of a statement that are not inside of it."""
    inside = getattr(statement, "body", None)
    last = inside[0].lineno - 1 if isinstance(inside, list) and inside else statement.end_lineno
    lines = range(statement.lineno, max(last or 0, statement.lineno) + 1)
    return ast.Tuple([ast.Constant(line) for line in lines], ast.Load())


def _names_then(statement: ast.stmt) -> ast.expr:
    return ast.Call(ast.Name("locals", ast.Load()), [], [])
