"""Edits that make sense on wrong code alone: nothing is recorded of them."""

from __future__ import annotations

import ast

from diffusion_lab.grading.judge.engine.edits import Edit, places
from diffusion_lab.grading.judge.engine.nodes import Option, minus, number, one


def repairs(function: ast.FunctionDef) -> list[Edit]:
    """More edits of wrong code alone: a shape made to fit any number of axes, a dtype made to fit another's, neighbours
    in a list that change places."""
    names = [a.arg for a in function.args.args]
    found = []
    for slot, node, case in places(function):
        possible: list[Option] = []
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("reshape", "view")
        ):
            ones = [number(a) == 1 for a in node.args[1:]]
            if all(ones):
                possible += [("shape", _as_wide_as(node.func.value, name), None) for name in names]
        elif isinstance(node, ast.Subscript) and _new_axes(node.slice):
            possible += [("shape", _as_wide_as(node.value, name), None) for name in names]
        elif isinstance(node, ast.Name) and hasattr(slot[0], "is_shell") and slot[1] == "args":
            for other in names:
                if other != node.id:
                    cast = ast.Call(ast.Attribute(node, "to", ast.Load()), [ast.Name(other, ast.Load())], [])
                    possible.append(("dtype", cast, ast.Name(other, ast.Load())))
        if isinstance(node, (ast.List, ast.Tuple)) and isinstance(node.ctx, ast.Load):
            for i in range(len(node.elts) - 1 if isinstance(slot[0], (ast.Call, ast.Return)) else 0):
                swapped = [*node.elts[:i], node.elts[i + 1], node.elts[i], *node.elts[i + 2 :]]
                possible.append(("order", type(node)(swapped, ast.Load()), None))
        for kind, new, about in possible:
            ast.copy_location(new, node)
            ast.fix_missing_locations(new)
            found.append(Edit(kind, ((slot, new),), node, new, about, function.name, case))
    return found


def _as_wide_as(node: ast.expr, name: str) -> ast.expr:
    """node.reshape(-1, *[1] * (name.ndim - 1))"""
    axes = ast.BinOp(ast.Attribute(ast.Name(name, ast.Load()), "ndim", ast.Load()), ast.Sub(), one())
    ones = ast.Starred(ast.BinOp(ast.List([one()], ast.Load()), ast.Mult(), axes), ast.Load())
    return ast.Call(ast.Attribute(node, "reshape", ast.Load()), [minus(one()), ones], [])


def _new_axes(index: ast.AST) -> bool:
    """As in x[:, None, None]."""
    parts = index.elts if isinstance(index, ast.Tuple) else []
    return any(isinstance(p, ast.Constant) and p.value is None for p in parts)
