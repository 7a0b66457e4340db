"""Which edits can stand for a mistake that somebody makes, alone or as one of two."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.exercises import Exercise
from diffusion_lab.grading.judge.engine.casing import IGNORED, WHERE_ONLY
from diffusion_lab.grading.judge.engine.edits import MIRROR, Edit
from diffusion_lab.grading.judge.engine.nodes import CASTS, MODULES
from diffusion_lab.grading.judge.engine.rebuilding import SHELL
from diffusion_lab.grading.judge.engine.wording import Mistake
from diffusion_lab.grading.judge.questions import Trial

COARSE = {"round", "floor", "long", "softmax", "sigmoid", "sum", "mean", "cumsum"}
"""Calls after which an answer tells less than before."""
VALUES = {"sign", "upside down", "root missing", "root too many", "square missing", "square too many"} | {
    "complement missing",
    "complement too many",
}
"""Edits that put another number in the place of one."""


def counts(exercise: Exercise, trials: Sequence[Trial]) -> set[str]:
    """The parameters that are whole numbers, or tensors of such: of steps, of axes, of samples."""
    values = zip(exercise.parameters, *(t.arguments for t in trials), strict=False)
    return {name for name, *given in values if all(_is_whole(value) for value in given)}


def _is_whole(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.dtype is not torch.bool and not value.is_floating_point() and not value.is_complex()
    return type(value) is int


def of_a_count(edit: Edit, counts: Collection[str]) -> bool:
    """Whether an edit treats a count as a number that has a sign, a root or a complement; no one does that."""
    return edit.kind in VALUES and is_count(edit.about if edit.about is not None else edit.old, counts)


def is_count(node: ast.AST, counts: Collection[str]) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        return any(is_count(n, counts) for n in (node.left, node.right)) and all(
            is_count(n, counts) or isinstance(n, ast.Constant) for n in (node.left, node.right)
        )
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Attribute) and node.value.attr == "shape"
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        return name in ("len", "range", "arange", "numel", "size", "dim") or (
            isinstance(node.func, ast.Attribute) and name in CASTS and is_count(node.func.value, counts)
        )
    return (isinstance(node, ast.Name) and node.id in counts) or (
        isinstance(node, ast.Attribute) and node.attr == "ndim"
    )


def may_be_half(edit: Edit) -> bool:
    """Whether an edit of the student's code may be half of an explanation.

    One that changes an argument for all that follows would be made in right code too, and cancel out; so would one
    that throws away all entries but one.
    """
    if edit.function == SHELL and not isinstance(edit.old, ast.Call):
        return False
    return not throws_away(edit) and edit.kind not in ("shape", "border", "size")


def throws_away(edit: Edit) -> bool:
    """Whether an edit makes answers say less: what is said less, less contradicts."""
    if edit.kind == "cases exchanged" and isinstance(edit.about, ast.Compare):
        return isinstance(edit.about.ops[0], (ast.Is, ast.IsNot))  # the same in all calls, as a rule
    constant = isinstance(edit.new, ast.Subscript) and isinstance(edit.new.slice, (ast.Constant, ast.UnaryOp))
    if called(edit.old) - called(edit.new):
        return True
    if edit.kind == "function" and isinstance(edit.new, ast.BinOp):
        return isinstance(edit.new.op, (ast.FloorDiv, ast.Mult))  # zeros, as a rule; rows that no longer mix
    if edit.kind == "call too many" and isinstance(edit.new, ast.Call):
        return getattr(edit.new.func, "attr", "") in COARSE
    if isinstance(edit.old, ast.BinOp) and isinstance(edit.new, ast.Constant):
        return True  # what was calculated is a constant then
    if edit.kind == "constant" and isinstance(edit.changes[0][0][0], ast.Compare):
        return True  # a condition that may hold always, or never
    return constant or edit.kind in ("slice", "line missing", "case ignored", "condition ignored")


def out_of_place(edit: Edit) -> bool:
    """Whether it changes what is written to, where a copy would take its place and nothing be written; or a root or a
    square in a logarithm, where they are a factor; or a function of a number, as in log(2), which is a number; or what
    is compared with a number, such as with the root of it, where another number is meant."""
    parent, field, _ = edit.changes[0][0]
    if isinstance(parent, ast.Compare) and edit.kind in VALUES:
        return any(isinstance(side, ast.Constant) for side in (parent.left, *parent.comparators))
    if edit.kind == "function" and isinstance(edit.old, ast.Call):
        return all(n.id in MODULES for n in ast.walk(edit.old) if isinstance(n, ast.Name) and n is not edit.old.func)
    if isinstance(parent, (ast.Subscript, ast.Attribute)) and isinstance(parent.ctx, ast.Store):
        return field == "value"
    name = parent.attr if isinstance(parent, ast.Attribute) else ""
    if isinstance(parent, ast.Call):
        name = getattr(parent.func, "attr", getattr(parent.func, "id", ""))
    return edit.kind.startswith(("root", "square")) and name.startswith("log")


def by_two(edit: Edit) -> bool:
    """Whether it doubles or halves something: a 2 is often forgotten."""
    return edit.kind in ("factor too many", "divisor too many") and getattr(edit.about, "value", None) == 2


def several_constants(edit: Edit) -> bool:
    """Whether it changes one number at several places: the 2 of a square is not that of 2 pi."""
    return edit.kind == "constant" and len(edit.changes) > 1


def far_off(edit: Edit) -> bool:
    """Whether it makes 1 + share of 1 - share. That is rarely meant, and may come to the same as what is."""
    if edit.kind != "sign" or not all(isinstance(n, ast.BinOp) for n in (edit.old, edit.new)):
        return False
    one = isinstance(edit.old.left, ast.Constant) and edit.old.left.value == 1
    return one and isinstance(edit.old.op, ast.Sub) and isinstance(edit.new.op, ast.Add)


def turns_a_one(edit: Edit) -> bool:
    """Whether it turns n - 1 or 1 - share around, which no one writes the other way: what is wrong is another sign."""
    sides = (edit.old.left, edit.old.right) if isinstance(edit.old, ast.BinOp) else ()
    return edit.kind == "reversed" and any(isinstance(side, ast.Constant) for side in sides)


def odd_for_words(edit: Edit) -> bool:
    """Whether it asks if one word comes before another in the alphabet, or if something else than a word is one."""
    test = edit.changes[0][0][0] if edit.kind == "name" else edit.new
    words = isinstance(test, ast.Compare) and any(isinstance(getattr(c, "value", None), str) for c in test.comparators)
    return words and (edit.kind == "name" or not isinstance(test.ops[0], (ast.Eq, ast.NotEq)))


def called(node: ast.AST) -> set[str]:
    """The functions, such as a network, that are called there by a name of their own."""
    return {n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def only_a_number(mistake: Mistake) -> bool:
    """Whether it speaks of a number in right code as if it stood in the student's."""
    about_number = re.search(r"(^|: )`-?[\d.e-]+`", mistake.hint)
    return about_number is not None and not mistake.line and not mistake.kind.startswith(("constant", "index", "entry"))


REMOVED = ("factor too many", "divisor too many", "term too many", "line too many", "power too many")
CASES = ("boundary", "comparison", "cases exchanged", *IGNORED, "condition ignored", "condition too many")
"""Mistakes in how cases are told apart. Beside a listed one they are not told: it may have no such case at all, and the
student's may be right.
"""
TURNED = ("upside down", "inverse")


def contrary(one: Mistake, other: Mistake) -> bool:
    """Whether two mistakes say the same, or cancel out."""
    same_case = {one.kind, other.kind} <= {"case ignored", "case everywhere", "condition too many", *WHERE_ONLY}
    subjects = [m.name.removeprefix(f"edit: {m.kind}") for m in (one, other)]
    if (
        one.kind in TURNED
        and other.kind in TURNED
        and any(one.strip() in other for one, other in permutations(subjects))
    ):
        return True
    if one.kind == "root too many" and other.known and re.search(r"\b(roots?|powers|squares)\b", other.hint):
        return True  # a root too many and roots that are missing are one root in the wrong place
    undone = subjects[0] == subjects[1] and (one.kind == other.kind or MIRROR.get(one.kind) == other.kind)
    return one.name == other.name or same_case or undone
