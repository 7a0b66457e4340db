"""Whose notebook it is, by its own cells. Runs nothing, and believes nothing: whoever hands it in has written it."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from diffusion_lab.grading.notebook.statements import Statement

STUDENT, COURSE = "student", "course"
MOST_TYPED = 500
"""Characters that are taken of what is typed: more than any name has."""


def typed(statements: Iterable[Statement]) -> dict[str, str]:
    """What these statements say of their owner, the last of them: `STUDENT` and `COURSE`, as far as they are there.

    It is read from `student = "ada"`, and from the words of these names in calls such as
    `start("normal_1d_lab", globals(), student="ada", course="0123")`.
    """
    said: dict[str, str] = {}
    for statement in statements:
        if statement.defines:
            continue
        node = statement.node
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == STUDENT for t in node.targets):
            said |= _text(STUDENT, value)
        for word in value.keywords if isinstance(value, ast.Call) else ():
            if word.arg in (STUDENT, COURSE):
                said |= _text(word.arg, word.value)
    return said


def _text(name: str, value: ast.expr | None) -> dict[str, str]:
    """The constant text that is given to this name; nothing where it is none. Longer than any name, it is cut."""
    if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
        return {}
    return {name: value.value.strip()[:MOST_TYPED]}
