"""Edits of wrong code alone that are about shapes: any number of axes, any size, and which axis a number goes along."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from diffusion_lab.grading.judge.engine.nodes import MODULES, Option, Place, Slot, minus, number, one, root_of

MOST_TENSORS, MOST_NAMES, LARGEST = 4, 6, 64
"""Parameters whose sizes are tried, and names that may go along the wrong axis; a larger number is no size."""
Changes = tuple[tuple[Slot, ast.AST], ...]
NOT_NUMBERS = ("shape", "ndim", "dtype", "device", "dim", "size", "numel")


def of_shape(slot: Slot, node: ast.AST, names: list[str]) -> Iterator[Option]:
    """A shape made to fit any number of axes, or any size; and a dtype made to fit another's.

    Args:
        names: the parameters.
    """
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("reshape", "view"):
        if all(number(a) == 1 for a in node.args[1:]):
            for name in names:
                yield "shape", _as_wide_as(node.func.value, name), None
        yield from _of_any_size(node, names)
    elif isinstance(node, ast.Subscript) and _new_axes(node.slice):
        for name in names:
            yield "shape", _as_wide_as(node.value, name), None
    elif isinstance(node, ast.Name) and hasattr(slot[0], "is_shell") and slot[1] == "args":
        for other in names:
            if other != node.id:
                cast = ast.Call(ast.Attribute(node, "to", ast.Load()), [ast.Name(other, ast.Load())], [])
                yield "dtype", cast, ast.Name(other, ast.Load())
    elif isinstance(node, ast.Constant) and type(node.value) is int and 2 < node.value <= LARGEST:
        for name in names[:MOST_TENSORS]:
            for axis in (0, 1, -1):
                yield "size", ast.Subscript(_attribute(name, "shape"), ast.Constant(axis), ast.Load()), node


def _of_any_size(node: ast.Call, names: list[str]) -> Iterator[Option]:
    """x.reshape(-1, 18) becomes x.reshape(x.shape[0], -1)."""
    written = [i for i, a in enumerate(node.args) if (number(a) or 0) > 1]
    if len(written) != 1:
        return
    open_ones = [i for i, a in enumerate(node.args) if number(a) == -1]
    for name in names[:MOST_TENSORS] if open_ones else [""]:
        sizes = list(node.args)
        sizes[written[0]] = minus(one())
        for i in open_ones:
            sizes[i] = ast.Subscript(_attribute(name, "shape"), ast.Constant(0), ast.Load())
        yield "size", ast.Call(node.func, sizes, node.keywords), node.args[written[0]]


def spread(everywhere: list[Place], names: list[str]) -> Iterator[tuple[str, Changes, ast.Name]]:
    """One number for each sample, or for each step, that goes along the last axis: (what, changes, the name).

    It is given axes of size 1 wherever it is calculated with.
    """
    used: dict[str, list[tuple[Slot, ast.Name]]] = {}
    for slot, node, _ in everywhere:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and _is_calculated_with(slot):
            if node.id not in MODULES:
                used.setdefault(node.id, []).append((slot, node))
    for name, found in list(used.items())[:MOST_NAMES]:
        forms = [_with_axes(name, 1), _with_axes(name, 2)]
        forms += [_as_wide_as(ast.Name(name, ast.Load()), other) for other in names[:MOST_TENSORS] if other != name]
        for form in forms:
            yield "along the last axis", tuple((slot, form) for slot, _ in found), found[0][1]


def _is_calculated_with(slot: Slot) -> bool:
    parent, field, _ = slot
    if isinstance(parent, ast.Attribute):
        return parent.attr not in NOT_NUMBERS
    return isinstance(parent, (ast.BinOp, ast.UnaryOp)) or (
        isinstance(parent, ast.Call) and field == "args" and root_of(parent.func) in MODULES
    )


def _with_axes(name: str, count: int) -> ast.Subscript:
    """name[:, None, None]"""
    axes = [ast.Slice(None, None), *[ast.Constant(None) for _ in range(count)]]
    return ast.Subscript(ast.Name(name, ast.Load()), ast.Tuple(axes, ast.Load()), ast.Load())


def _attribute(name: str, what: str) -> ast.Attribute:
    return ast.Attribute(ast.Name(name, ast.Load()), what, ast.Load())


def _as_wide_as(node: ast.expr, name: str) -> ast.expr:
    """node.reshape(-1, *[1] * (name.ndim - 1))"""
    axes = ast.BinOp(_attribute(name, "ndim"), ast.Sub(), one())
    ones = ast.Starred(ast.BinOp(ast.List([one()], ast.Load()), ast.Mult(), axes), ast.Load())
    return ast.Call(ast.Attribute(node, "reshape", ast.Load()), [minus(one()), ones], [])


def _new_axes(index: ast.AST) -> bool:
    """As in x[:, None, None]."""
    parts = index.elts if isinstance(index, ast.Tuple) else []
    return any(isinstance(p, ast.Constant) and p.value is None for p in parts)
