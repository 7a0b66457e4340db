"""Pieces of syntax trees that all edits share, and what an edit of one piece is."""

from __future__ import annotations

import ast

MODULES = {"torch", "math", "np", "numpy", "F", "nn", "functional", "linalg", "special"}
CASTS = {"to", "float", "double", "clone", "contiguous", "cpu", "numpy", "item", "type_as", "from_numpy", "as_tensor"}
AXES = {"dim", "axis", "dims"}
Slot = tuple[ast.AST, str, "int | None"]
"""Where a node hangs: its parent, the field, and the place in it where that is a list."""
Place = tuple[Slot, ast.AST, "ast.expr | None"]
"""A slot, the node that hangs there, and the condition of the branch in which that is."""
Option = tuple[str, ast.AST, "ast.AST | None"]
"""What an edit is called, the node that it puts in the place, and what it is about."""


def minus(node: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.USub(), node)


def one() -> ast.Constant:
    return ast.Constant(1)


def is_number(node: ast.AST) -> bool:
    return number(node) is not None


def number(node: ast.AST) -> int | None:
    """The whole number that is written there; -1 is two nodes."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number(node.operand)
        return None if inner is None else -inner
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None


def root_of(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return getattr(node, "id", "")
