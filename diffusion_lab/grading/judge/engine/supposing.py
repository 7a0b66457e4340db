"""A line of somebody's own code beside the same line with a small mistake in it, to talk about. Runs nothing."""

from __future__ import annotations

import ast
import random
from dataclasses import dataclass

from diffusion_lab.grading.judge.engine.edits import Edit, at, edits, put
from diffusion_lab.grading.judge.engine.wording import mistake

KINDS = (
    ("root missing", "square missing", "complement missing", "index", "boundary"),
    ("factor missing", "divisor missing", "term missing", "sign", "function", "case ignored", "cases exchanged"),
    ("multiplied for divided", "reversed", "line missing", "call missing", "axis"),
)
"""Kinds of edits, those first that lead to the ideas of this course."""
LONGEST = 20_000
"""Characters of a cell that is read; people write some hundred."""
WIDEST = 200
"""Characters of a line that is shown."""
SIMPLE = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return)


@dataclass(frozen=True)
class Supposition:
    """One line, as it is and with a mistake."""

    line: str
    changed: str
    """"" where the line is left out."""
    says: str
    """What is wrong with it then, for whoever asks."""


def suppose(code: str, name: str, chosen: random.Random) -> Supposition | None:
    """A mistake that could stand in this function.

    Args:
        code: of a cell, in Python.
        name: of the function in it.
        chosen: decides which mistake.

    Returns:
        None where there is no such function, or nothing in it that can be told in a line.
    """
    if len(code) > LONGEST:
        return None
    try:
        functions = [n for n in ast.parse(code).body if isinstance(n, ast.FunctionDef) and n.name == name]
        found = _told(functions[-1]) if functions else []
        for kinds in KINDS:
            fitting = [one for one in found if one[0].kind in kinds]
            if fitting:
                edit, before, after = chosen.choice(fitting)
                return Supposition(before, after, mistake(edit, of_reference=True).hint)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    return None


def _told(function: ast.FunctionDef) -> list[tuple[Edit, str, str]]:
    """(edit, line, the line with it) for each edit of one simple statement."""
    lines = [node for node in ast.walk(function) if isinstance(node, SIMPLE)]
    owner = {id(inner): line for line in lines for inner in ast.walk(line)}
    found = []
    for edit in edits(function):
        line = owner.get(id(edit.old))
        if line is None or len(edit.changes) > 1 or not any(edit.kind in kinds for kinds in KINDS):
            continue
        if edit.kind == "index" and not isinstance(edit.old, ast.Subscript):
            continue  # nobody takes the first entry of a whole answer
        before, after = ast.unparse(line), _changed(edit, line)
        if before != after and max(len(before), len(after)) <= WIDEST:
            found.append((edit, before, after))
    return found


def _changed(edit: Edit, line: ast.stmt) -> str:
    """The line with the edit made; it is taken back."""
    slot, new = edit.changes[0]
    old = at(slot)
    if old is line:
        return "" if isinstance(new, ast.Pass) else ast.unparse(new)
    put(slot, new)
    try:
        return ast.unparse(line)
    finally:
        put(slot, old)
