"""Which lines of a function run for given arguments: a copy of it notes them down.

Python's own way, `sys.settrace`, is not safe here: where a timer rings or another thread wants to run at a function's
first line, Python 3.11 may go round in it for ever.
"""

from __future__ import annotations

import ast

from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.engine.rebuilding import Source

NOTE = "__lines_run__"


def lines_run(source: Source, arguments: tuple, limit: float) -> set[int]:
    """The lines of its file that a function and its neighbours run for these arguments, in at most `limit` seconds.

    A statement over several lines counts as a whole, and so does all that stands between `if` or `for` and what is
    inside. What a function does not live to see in time is left out.
    """
    seen: set[int] = set()
    LocalCaller(source.rebuilt(_Noted().visit, {NOTE: seen.update}), limit)(arguments)
    return seen


class _Noted(ast.NodeTransformer):
    """Before each statement, a call that notes its lines."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):  # that of a lambda is an expression
                setattr(node, name, [one for s in statements for one in (_note(s), s)])
        return node


def _note(statement: ast.stmt) -> ast.stmt:
    """Statement -> the call that notes the lines of it that are not inside of it."""
    inside = getattr(statement, "body", None)
    last = inside[0].lineno - 1 if isinstance(inside, list) and inside else statement.end_lineno
    lines = range(statement.lineno, max(last or 0, statement.lineno) + 1)
    call = ast.Call(ast.Name(NOTE, ast.Load()), [ast.Tuple([ast.Constant(line) for line in lines], ast.Load())], [])
    return ast.copy_location(ast.Expr(call), statement)
