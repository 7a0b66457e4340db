"""Edits that take a distinction of cases away: in which cases the code was right, and in which it was not."""

from __future__ import annotations

import ast

from diffusion_lab.grading.judge.engine.edits import Edit, at
from diffusion_lab.grading.judge.engine.rebuilding import SHELL, Source

WHERE_ONLY = ("case too many", "other cases")
"""Mistakes that say where something is wrong and not what: another explanation says more."""


IGNORED = ("case ignored", "case everywhere")
"""Mistakes of code that makes no difference between cases."""


def kind_of_case(edit: Edit, of_reference: bool) -> str:
    """What such an edit is called: of the student's code, which then is right everywhere, or of right code."""
    kept = _kept(edit)
    if of_reference:
        return "case everywhere" if kept else "case ignored"
    return {True: "other cases", False: "case too many", None: "condition too many"}[kept]


def tests_changed(edit: Edit, source: Source) -> list[Edit]:
    """Where an edit only changes which case is chosen: the edits that take this distinction of cases away."""
    cases = [e for e in source.repairs() if e.kind in ("case ignored", "condition ignored") and e.about is not None]
    inside = {id(n): id(e.about) for e in cases if _kept(e) is not None for n in ast.walk(e.about)}
    if edit.function == SHELL:
        read = [n for tree in source.trees.values() for n in ast.walk(tree) if isinstance(n, ast.Name)]
        nodes = [n for n in read if n.id == getattr(edit.old, "id", None)]
    else:
        nodes = [at(slot) for slot, _ in edit.changes]
    tests = {inside.get(id(n)) for n in nodes}
    if not nodes or None in tests:
        return []
    return [e for e in cases if id(e.about) in tests and e is not edit and _kept(e) is not None]


def _kept(edit: Edit) -> bool | None:
    """Whether all is done as in the case itself, or as in the others; None where the condition is a number, as in
    noise * (t > 0)."""
    (parent, field, index), new = edit.changes[0]
    old = edit.old
    if isinstance(old, ast.If):
        return new is old.body[0] or getattr(new, "body", None) is old.body
    if isinstance(old, ast.IfExp):
        return new is old.body
    if isinstance(old, ast.Call):
        return new is old.args[1]
    chooses = isinstance(parent, (ast.If, ast.IfExp)) and field == "test"
    if isinstance(parent, ast.Call) and field == "args" and index == 0:
        chooses = getattr(parent.func, "attr", "") == "where"
    return isinstance(new.op, ast.BitOr) if chooses and isinstance(new, ast.BinOp) else None
