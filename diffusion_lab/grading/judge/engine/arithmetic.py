"""Small edits of sums, products, quotients, powers, and of the brackets between them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from diffusion_lab.grading.judge.engine.nodes import Option, minus


def of_operation(node: ast.BinOp) -> Iterator[Option]:
    left, right = node.left, node.right

    def of(operator: ast.operator, one: ast.expr = left, other: ast.expr = right) -> ast.BinOp:
        return ast.BinOp(one, operator, other)

    match node.op:
        case ast.Add():
            yield "sign", of(ast.Sub()), right
            yield "sign", of(ast.Sub(), right, left), left
            yield "term missing", left, right
            yield "term missing", right, left
            yield "multiplied for added", of(ast.Mult()), None
        case ast.Sub():
            yield "sign", of(ast.Add()), right
            yield "reversed", of(ast.Sub(), right, left), None
            yield "term missing", left, right
            if isinstance(left, ast.Constant) and left.value == 1:
                yield "complement missing", right, right
            else:
                yield "term missing", minus(right), left
                yield "term and sign", right, left
        case ast.Mult():
            yield "divided for multiplied", of(ast.Div()), right
            yield "divided for multiplied", of(ast.Div(), right, left), left
            yield "factor missing", left, right
            yield "factor missing", right, left
            yield "added for multiplied", of(ast.Add()), None
        case ast.Div():
            yield "multiplied for divided", of(ast.Mult()), right
            yield "upside down", of(ast.Div(), right, left), None
            yield "divisor missing", left, right
            yield "factor missing", of(ast.Div(), ast.Constant(1.0)), left
            yield "function", of(ast.FloorDiv()), None
        case ast.FloorDiv():
            yield "function", of(ast.Div()), None
        case ast.Pow():
            half = isinstance(right, ast.Constant) and right.value == 0.5
            two = isinstance(right, ast.Constant) and right.value == 2
            yield "root missing" if half else "square missing" if two else "call missing", left, left
            yield "sign", of(ast.Pow(), left, minus(right)), right
            if not half and not two:
                yield "upside down", of(ast.Pow(), left, ast.BinOp(ast.Constant(1.0), ast.Div(), right)), right
                yield "order", of(ast.Pow(), right, left), None
        case ast.MatMult():
            yield "function", of(ast.Mult()), None
            yield "call too many", of(ast.MatMult(), left, ast.Attribute(right, "mT", ast.Load())), right
            yield "call too many", of(ast.MatMult(), ast.Attribute(left, "mT", ast.Load()), right), left
            yield "order", of(ast.MatMult(), right, left), None
    yield from _brackets(node)


def _brackets(node: ast.BinOp) -> Iterator[Option]:
    """A bracket left out, or set where none belongs."""
    left, op, right = node.left, node.op, node.right
    scales, adds = (ast.Mult, ast.Div), (ast.Add, ast.Sub)
    if isinstance(op, scales) and isinstance(left, ast.BinOp) and isinstance(left.op, adds):
        yield "bracket", ast.BinOp(ast.BinOp(left.left, op, right), left.op, left.right), None
        yield "bracket", ast.BinOp(left.left, left.op, ast.BinOp(left.right, op, right)), None
    if isinstance(op, ast.Mult) and isinstance(right, ast.BinOp) and isinstance(right.op, adds):
        yield "bracket", ast.BinOp(ast.BinOp(left, op, right.left), right.op, right.right), None
    if isinstance(op, adds):
        if isinstance(right, ast.BinOp) and isinstance(right.op, scales):
            inner = ast.BinOp(left, op, right.left)
            yield "bracket", ast.BinOp(inner, right.op, right.right), None
            if isinstance(right.op, ast.Mult):
                yield "bracket", ast.BinOp(right.left, ast.Mult(), ast.BinOp(left, op, right.right)), None
        if isinstance(left, ast.BinOp) and isinstance(left.op, scales):
            yield "bracket", ast.BinOp(left.left, left.op, ast.BinOp(left.right, op, right)), None
            if isinstance(left.op, ast.Mult) or isinstance(left.op, ast.Div):
                inner = ast.BinOp(left.left, op, right)
                yield "bracket", ast.BinOp(inner, left.op, left.right), None
    if isinstance(op, ast.Div) and isinstance(right, ast.BinOp) and isinstance(right.op, ast.Mult):
        yield "bracket", ast.BinOp(ast.BinOp(left, ast.Div(), right.left), ast.Mult(), right.right), None
        yield "divisor missing", ast.BinOp(left, ast.Div(), right.right), right.left
    if isinstance(op, ast.Mult) and isinstance(left, ast.BinOp) and isinstance(left.op, ast.Div):
        yield "bracket", ast.BinOp(left.left, ast.Div(), ast.BinOp(left.right, ast.Mult(), right)), None
