"""What small edits there are of one piece of code: the mutation operators, each in the words of this course."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from diffusion_lab.grading.judge.engine.arithmetic import of_operation
from diffusion_lab.grading.judge.engine.calls import of_call, of_index
from diffusion_lab.grading.judge.engine.nodes import Option, Slot, minus, one

ADDED = ("round", "floor", "abs", "exp", "log", "detach")
"""Calls that people put around what is assigned or returned."""
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
TWIN_COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}


def options(node: ast.AST, slot: Slot, names: list[str]) -> Iterator[Option]:
    if isinstance(node, ast.stmt):
        yield from _of_statement(node)
    if not isinstance(node, ast.expr) or isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
        return
    called = isinstance(slot[0], ast.Call) and slot[1] == "func"
    if called or not _is_value(node, names):
        return
    if isinstance(node, ast.BinOp):
        yield from of_operation(node)
    elif isinstance(node, ast.UnaryOp):
        if isinstance(node.op, ast.USub):
            yield "sign", node.operand, node.operand
        elif isinstance(node.op, (ast.Not, ast.Invert)):
            yield "cases exchanged", node.operand, node.operand
    elif isinstance(node, ast.Call):
        yield from of_call(node, names)
    elif isinstance(node, ast.Subscript):
        yield from of_index(node)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield from _of_comparison(node)
    elif isinstance(node, ast.IfExp):
        yield "case ignored", node.orelse, node.test
        yield "case ignored", node.body, node.test
        yield "cases exchanged", ast.IfExp(node.test, node.orelse, node.body), node.test
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "boundary", ast.BoolOp(other, node.values), None
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node)
    elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield "call missing", node.value, node
    if isinstance(node, ast.Name):
        for other in names:
            if other != node.id:
                yield "name", ast.Name(other, ast.Load()), None
    if isinstance(node, (ast.BinOp, ast.Name, ast.Subscript, ast.Attribute, ast.Call)) and slot[1] != "slice":
        yield from _of_value(node)
    if isinstance(node, ast.Starred):
        return
    whole = isinstance(slot[0], (ast.Return, ast.Assign)) and not isinstance(node, (ast.Constant, ast.Tuple, ast.List))
    if whole or (slot[1] == "args" and hasattr(slot[0], "is_shell")):
        yield from _around(node)
    if whole:
        for name in names:
            yield "factor too many", ast.BinOp(node, ast.Mult(), ast.Name(name, ast.Load())), ast.Name(name, ast.Load())
            yield "divisor too many", ast.BinOp(node, ast.Div(), ast.Name(name, ast.Load())), ast.Name(name, ast.Load())


def _is_value(node: ast.AST, names: list[str]) -> bool:
    """Whether it is something that is calculated, and not a module, a dtype or a function's name."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        if isinstance(node, ast.Attribute) and node.attr in ("dtype", "device", "shape", "ndim"):
            return False
        node = node.value
    return not isinstance(node, ast.Name) or node.id in names


def _of_statement(node: ast.stmt) -> Iterator[Option]:
    if isinstance(node, ast.If):
        for body in (node.orelse, node.body):
            yield "case ignored", _block(body) if body else ast.Pass(), node.test
        if node.orelse:
            yield "cases exchanged", ast.If(node.test, node.orelse, node.body), node.test
    elif isinstance(node, (ast.AugAssign, ast.Assign)):
        yield "line missing", ast.Pass(), node
        if isinstance(node, ast.AugAssign) and isinstance(node.op, (ast.Add, ast.Sub)):
            turned = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            yield "sign", ast.AugAssign(node.target, turned, node.value), node.value
        if isinstance(node, ast.AugAssign) and isinstance(node.op, (ast.Mult, ast.Div)):
            kind = "divided for multiplied" if isinstance(node.op, ast.Mult) else "multiplied for divided"
            turned = ast.Div() if isinstance(node.op, ast.Mult) else ast.Mult()
            yield kind, ast.AugAssign(node.target, turned, node.value), node.value
    elif isinstance(node, ast.With):
        yield "call missing", _block(node.body), node.items[0].context_expr
    elif isinstance(node, ast.For):
        yield "line missing", ast.Pass(), node


def _block(body: list[ast.stmt]) -> ast.stmt:
    return body[0] if len(body) == 1 else ast.If(ast.Constant(True), body, [])


def _of_comparison(node: ast.Compare) -> Iterator[Option]:
    operator = type(node.ops[0])
    if operator not in COMPARISONS:
        return
    twin = TWIN_COMPARISONS.get(operator)
    for other in COMPARISONS:
        if other is not operator:
            kind = "boundary" if other is twin else "comparison"
            yield kind, ast.Compare(node.left, [other()], node.comparators), None
    yield "condition ignored", ast.BinOp(node, ast.BitOr(), ast.Constant(True)), node
    yield "condition ignored", ast.BinOp(node, ast.BitAnd(), ast.Constant(False)), node


def _of_constant(node: ast.Constant) -> Iterator[Option]:
    value = node.value
    if isinstance(value, bool):
        yield "constant", ast.Constant(not value), None
    elif isinstance(value, (int, float)):
        for other in sorted({value + 1, value - 1, value * 2, value / 2, 0, 1, -value} - {value}):
            if isinstance(value, int) and other == int(other):
                other = int(other)
            yield "constant", ast.Constant(other), None


def _of_value(node: ast.expr) -> Iterator[Option]:
    def of(one: ast.expr, operator: ast.operator, other: ast.expr) -> ast.BinOp:
        return ast.BinOp(one, operator, other)

    yield "sign", minus(node), node
    yield "root too many", of(node, ast.Pow(), ast.Constant(0.5)), node
    yield "square too many", of(node, ast.Pow(), ast.Constant(2)), node
    yield "complement too many", of(ast.Constant(1.0), ast.Sub(), node), node
    yield "upside down", of(ast.Constant(1.0), ast.Div(), node), node
    yield "factor too many", of(ast.Constant(2.0), ast.Mult(), node), ast.Constant(2)
    yield "divisor too many", of(node, ast.Div(), ast.Constant(2.0)), ast.Constant(2)


def _around(node: ast.expr) -> Iterator[Option]:
    def called(name: str, *arguments: ast.expr) -> ast.Call:
        return ast.Call(ast.Attribute(node, name, ast.Load()), list(arguments), [])

    for name in ADDED:
        yield "call too many", (new := called(name)), new
    for low, high in ((-1.0, 1.0), (0.0, 1.0), (0.0, None)):
        new = called("clamp", *[ast.Constant(v) for v in (low, high) if v is not None])
        yield "call too many", new, new
    for axis in (0, -1):
        new = ast.Call(ast.Attribute(node, "flip", ast.Load()), [ast.Constant(axis)], [])
        yield "call too many", new, new
        new = ast.Call(ast.Attribute(node, "cumsum", ast.Load()), [ast.Constant(axis)], [])
        yield "call too many", new, new
    yield "call too many", (new := ast.Attribute(node, "mT", ast.Load())), new
    for name in ("sum", "mean", "sigmoid", "long"):
        yield "call too many", (new := called(name)), new
    yield "call too many", (new := called("softmax", ast.Constant(-1))), new
    for bounds in ((None, 1), (1, None), (None, -1)):
        lower, upper = (None if b is None else ast.Constant(b) for b in bounds)
        yield "slice", ast.Subscript(node, ast.Slice(lower, upper), ast.Load()), None
    yield "index", ast.Subscript(node, ast.Constant(0), ast.Load()), None
    ones = ast.Call(ast.Attribute(node, "new_ones", ast.Load()), [one()], [])
    front = ast.Call(ast.Attribute(ast.Name("torch", ast.Load()), "cat", ast.Load()), [], [])
    front.args = [ast.List([ones, node], ast.Load())]
    yield "one in front", front, None
