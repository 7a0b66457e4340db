"""Edits of a wrong formula alone: roots of the wrong part, shares added up or exchanged, a bracket, a wrong border."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from diffusion_lab.grading.judge.engine.nodes import MODULES, Option, minus, number, one, root_of


def of_formula(node: ast.AST, roots: Collection[str] = ()) -> Iterator[Option]:
    """All of them at one place.

    Args:
        roots: the local names that stand for a root.
    """
    yield from _of_shares(node)
    yield from _of_ends(node)
    yield from _of_roots(node)
    yield from _of_signs(node)
    yield from _of_whole_parts(node)
    yield from _of_mixtures(node)
    yield from _of_borders(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and number(node.left) == 1:
        if isinstance(node.right, ast.Name) and node.right.id in roots:
            square = ast.BinOp(node.right, ast.Pow(), ast.Constant(2))
            yield "difference of the root", _root(ast.BinOp(node.left, ast.Sub(), square)), node


def _of_shares(node: ast.AST) -> Iterator[Option]:
    """1 - cumsum(beta) where the product of all 1 - beta is meant."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and number(node.left) == 1:
        call = node.right
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "cumsum":
            of_module = root_of(call.func) in MODULES
            inner = call.args[0] if of_module and call.args else call.func.value
            if not (of_module and not call.args):
                kept = ast.BinOp(node.left, ast.Sub(), inner)
                function = ast.Attribute(call.func.value if of_module else kept, "cumprod", ast.Load())
                arguments = [kept, *call.args[1:]] if of_module else call.args
                yield "shares added", ast.Call(function, arguments, call.keywords), inner


def _of_ends(node: ast.AST) -> Iterator[Option]:
    """One number more or less between two ends; and a bracket that is missing around a sum."""
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("linspace", "logspace") and len(node.args) > 2:
        for way in (ast.Add(), ast.Sub()):
            count = ast.BinOp(node.args[2], way, one())
            yield "index", ast.Call(node.func, [*node.args[:2], count, *node.args[3:]], node.keywords), None
    sums, products = (ast.Add, ast.Sub), (ast.Mult, ast.Div)
    if isinstance(node, ast.BinOp) and isinstance(node.op, sums) and isinstance(node.left, ast.BinOp):
        inner, last = node.left, node.right
        if isinstance(inner.op, sums) and isinstance(last, ast.BinOp) and isinstance(last.op, products):
            held = ast.BinOp(ast.BinOp(inner.right, node.op, last.left), last.op, last.right)
            yield "bracket", ast.BinOp(inner.left, inner.op, held), None
        first = inner.left
        if isinstance(inner.op, sums) and isinstance(first, ast.BinOp) and isinstance(first.op, products):
            held = ast.BinOp(ast.BinOp(first.right, inner.op, inner.right), node.op, last)  # x / a + b - c
            kind = "divided by a part" if isinstance(first.op, ast.Div) else "multiplied by a part"
            yield kind, ast.BinOp(first.left, first.op, held), held


def _of_whole_parts(node: ast.AST) -> Iterator[Option]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
        yield "divisor missing", node.left, node.right


def _of_signs(node: ast.AST) -> Iterator[Option]:
    """-a * b is (-a) * b to Python: where the factor a is left out, the minus stays."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and isinstance(node.left, ast.UnaryOp):
        if isinstance(node.left.op, ast.USub):
            yield "factor missing", minus(node.right), node.left.operand


def _of_mixtures(node: ast.AST) -> Iterator[Option]:
    """(1 - c) a + c b where c a + (1 - c) b is meant, with roots or without."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, (ast.Add, ast.Sub)):
        return
    for one_factor in _factors_of(node.left):
        for other in _factors_of(node.right):
            if _add_up(one_factor, other) or _add_up(other, one_factor):
                sides = _with(node.left, one_factor, other), _with(node.right, other, one_factor)
                both = ast.copy_location(ast.Tuple([one_factor, other], ast.Load()), node)
                yield "shares exchanged", ast.BinOp(sides[0], node.op, sides[1]), both


def _factors_of(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _factors_of(node.left) + _factors_of(node.right)
    return [node]


def _add_up(share: ast.expr, other: ast.expr) -> bool:
    """Whether the other is 1 minus this share, or both are the roots of such."""
    roots = _under_root(share), _under_root(other)
    if None not in roots:
        share, other = roots
    whole = isinstance(other, ast.BinOp) and isinstance(other.op, ast.Sub) and number(other.left) == 1
    return whole and ast.dump(other.right) == ast.dump(share)


def _with(node: ast.expr, factor: ast.expr, new: ast.expr) -> ast.expr:
    """A product with another factor in the place of one."""
    if node is factor:
        return new
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return ast.BinOp(_with(node.left, factor, new), node.op, _with(node.right, factor, new))
    return node


def _of_borders(node: ast.AST) -> Iterator[Option]:
    """A small number where 0 itself is the border; and the first entry left out where it is the last, or back."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.comparators[0], ast.Constant):
        border = node.comparators[0].value
        if type(border) is float and 0 < border < 1:
            turned = ast.LtE() if isinstance(node.ops[0], (ast.Lt, ast.LtE)) else ast.Gt()
            yield "border", ast.Compare(node.left, [turned], [ast.Constant(0)]), None
    if isinstance(node, ast.Subscript):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for i, other in ((i, _other_end(part)) for i, part in enumerate(parts)):
            if other is not None:
                whole = [*parts[:i], other, *parts[i + 1 :]]
                index = ast.Tuple(whole, ast.Load()) if isinstance(node.slice, ast.Tuple) else other
                yield "other end", ast.Subscript(node.value, index, node.ctx), None


def _other_end(part: ast.AST) -> ast.Slice | None:
    """[1:] for [:-1], and back."""
    if not isinstance(part, ast.Slice) or part.step is not None:
        return None
    if part.lower is None and part.upper is not None and number(part.upper) == -1:
        return ast.Slice(one(), None)
    if part.upper is None and part.lower is not None and number(part.lower) == 1:
        return ast.Slice(None, minus(one()))
    return None


def _of_roots(node: ast.AST) -> Iterator[Option]:
    """1 - sqrt(x) for sqrt(1 - x), and back; sqrt(x) + c for sqrt(x + c)."""
    inner = _under_root(node)
    if isinstance(inner, ast.BinOp) and isinstance(inner.op, (ast.Add, ast.Sub)):
        bounded = ast.Call(ast.Attribute(inner, "clamp", ast.Load()), [], [ast.keyword("min", ast.Constant(0))])
        yield "negative under a root", _root(bounded), inner
    if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub):
        first, rest = inner.left, inner.right
        if isinstance(first, ast.BinOp) and isinstance(first.op, ast.Sub):  # 1 - x - y
            first, rest = first.left, ast.BinOp(first.right, ast.Add(), rest)
        if number(first) == 1:
            yield "root of the difference", ast.BinOp(first, ast.Sub(), _root(rest)), node
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        under = _under_root(node.right)
        if under is not None and number(node.left) == 1 and isinstance(node.op, ast.Sub):
            yield "difference of the root", _root(ast.BinOp(node.left, ast.Sub(), under)), node
        under = _under_root(node.left)
        if under is not None and isinstance(node.right, (ast.Constant, ast.Name)):
            yield "beside a root", _root(ast.BinOp(under, node.op, node.right)), node.right


def names_of_roots(function: ast.FunctionDef) -> set[str]:
    """The local names that are set to a root."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and _under_root(node.value) is not None:
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def _under_root(node: ast.AST) -> ast.expr | None:
    """What the root is taken of, where it is one: `x.sqrt()`, `torch.sqrt(x)` or `x ** 0.5`."""
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "sqrt" and isinstance(node.func, ast.Attribute):
        of_module = root_of(node.func) in MODULES and isinstance(node.func.value, ast.Name)
        return (node.args[0] if node.args else None) if of_module else node.func.value
    half = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Constant)
    return node.left if half and node.right.value == 0.5 else None


def _root(node: ast.expr) -> ast.BinOp:
    return ast.BinOp(node, ast.Pow(), ast.Constant(0.5))
