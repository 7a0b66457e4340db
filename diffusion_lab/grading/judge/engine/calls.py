"""Small edits of calls and of indices: another function, axis, order or range."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from diffusion_lab.grading.judge.engine.nodes import AXES, MODULES, Option, is_number, number, one, root_of

TWINS = {
    "sum": ("mean",),
    "mean": ("sum", "median"),
    "prod": ("sum",),
    "cumprod": ("cumsum",),
    "cumsum": ("cumprod",),
    "min": ("max",),
    "max": ("min",),
    "amin": ("amax",),
    "amax": ("amin",),
    "minimum": ("maximum",),
    "maximum": ("minimum",),
    "argmin": ("argmax",),
    "argmax": ("argmin",),
    "all": ("any",),
    "any": ("all",),
    "sin": ("cos",),
    "cos": ("sin",),
    "floor": ("ceil", "round"),
    "ceil": ("floor", "round"),
    "round": ("floor", "ceil"),
    "softmax": ("log_softmax", "sigmoid"),
    "log_softmax": ("softmax", "logsigmoid"),
    "logsumexp": ("sum", "amax"),
    "exp": ("expm1", "exp2"),
    "log": ("log2", "log10", "log1p"),
    "log2": ("log",),
    "log10": ("log",),
    "linspace": ("logspace",),
    "square": ("abs",),
    "abs": ("square",),
    "rand_like": ("randn_like",),
    "randn_like": ("rand_like",),
    "stack": ("cat",),
    "cat": ("stack",),
    "searchsorted": ("bucketize",),
    "unique": ("sort",),
    "median": ("mean",),
    "var": ("std",),
    "std": ("var",),
    "quantile": ("nanquantile",),
}
"""function -> what is easily taken for it, called in the same way."""
INNER = set(
    "sqrt square exp log abs clamp clip clamp_min clamp_max detach flip cumprod cumsum rsqrt reciprocal mean sum "
    "softmax log_softmax sigmoid tanh floor round ceil trunc expm1 log1p log2 log10 sin cos tan arccos acos transpose "
    "conj real "
    "inverse inv diagonal flatten nan_to_num long int float double to clone relu sort tril triu sign fmod remainder "
    "unique t mT roll contiguous cpu numpy item squeeze unsqueeze reshape view expand expand_as bool neg logit norm "
    "logsumexp minimum maximum one_hot".split()
)
"""Calls that may be left out, so that what they are called on stays."""


def of_call(node: ast.Call, names: list[str]) -> Iterator[Option]:
    function, arguments, keywords = node.func, node.args, node.keywords
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    of_module = isinstance(function, ast.Attribute) and root_of(function) in MODULES

    def renamed(other: str) -> ast.Call:
        if isinstance(function, ast.Attribute):
            return ast.Call(ast.Attribute(function.value, other, ast.Load()), arguments, keywords)
        return ast.Call(ast.Name(other, ast.Load()), arguments, keywords)

    inner = arguments[0] if of_module and arguments else function.value if isinstance(function, ast.Attribute) else None
    if inner is not None and not isinstance(inner, ast.Starred) and not (root_of(inner) in MODULES and not of_module):
        if name in ("sqrt", "square"):
            yield ("root" if name == "sqrt" else "square") + " missing", inner, inner
        elif name == "pow":
            yield "square missing", inner, inner
        elif name in INNER and not (of_module and isinstance(inner, (ast.List, ast.Tuple, ast.GeneratorExp))):
            yield "call missing", inner, node
        if name in ("rsqrt",):
            yield "root missing", ast.BinOp(ast.Constant(1.0), ast.Div(), inner), inner
    if name in ("abs", "round", "int", "float", "sum", "len") and isinstance(function, ast.Name) and arguments:
        yield "call missing", arguments[0], node
    for other in TWINS.get(name, ()):
        yield "function", renamed(other), None
    if name in ("randn_like", "rand_like", "randn", "rand", "normal", "randint", "multinomial"):
        for other in names:
            yield "own randomness", ast.Name(other, ast.Load()), None
    for i, keyword in enumerate(keywords):
        if keyword.arg is None:
            continue
        rest = keywords[:i] + keywords[i + 1 :]
        yield "axis" if keyword.arg in AXES else "argument missing", ast.Call(function, arguments, rest), keyword.value
        if keyword.arg in AXES:
            for axis in (0, 1, 2, -1, -2):
                if not (isinstance(keyword.value, ast.Constant) and keyword.value.value == axis):
                    changed = ast.keyword(keyword.arg, ast.Constant(axis))
                    yield "axis", ast.Call(function, arguments, [*keywords[:i], changed, *keywords[i + 1 :]]), None
    if name in ("sum", "mean", "amax", "amin", "any", "all", "prod", "logsumexp", "softmax", "cat", "stack", "flip"):
        at_axis = 1 if of_module else 0
        if len(arguments) > at_axis and is_number(arguments[at_axis]):
            for axis in (0, 1, 2, -1, -2):
                if number(arguments[at_axis]) != axis:
                    changed = [*arguments[:at_axis], ast.Constant(axis), *arguments[at_axis + 1 :]]
                    yield "axis", ast.Call(function, changed, keywords), None
        if len(arguments) == at_axis and not keywords and name not in ("cat", "stack", "flip"):
            for axis in (0, 1, -1):
                changed = [ast.keyword("dim", ast.Constant(axis))]
                yield "axis", ast.Call(function, arguments, changed), None
    for i in range(len(arguments) - 1):
        if not isinstance(arguments[i], ast.Starred) and not isinstance(arguments[i + 1], ast.Starred):
            swapped = [*arguments[:i], arguments[i + 1], arguments[i], *arguments[i + 2 :]]
            yield "order", ast.Call(function, swapped, keywords), None
    if name == "where" and len(arguments) == 3:
        yield "condition ignored", arguments[1], arguments[0]
        yield "condition ignored", arguments[2], arguments[0]
    elif len(arguments) > 1 and not isinstance(arguments[-1], ast.Starred):
        yield "argument missing", ast.Call(function, arguments[:-1], keywords), arguments[-1]
    for i, argument in enumerate(arguments):
        if isinstance(argument, ast.Starred):  # as in reshape(-1, *[1] * (x.ndim - 1))
            for ones in (0, 1, 2, 3):
                shape = [*arguments[:i], *[ast.Constant(1)] * ones, *arguments[i + 1 :]]
                yield "shape", ast.Call(function, shape, keywords), argument
    if name == "range" or name == "arange":
        first, *_ = arguments
        for way in (ast.Add(), ast.Sub()):
            yield (
                "index",
                ast.Call(function, [*arguments[:-1], ast.BinOp(arguments[-1], way, one())], keywords),
                None,
            )
        if len(arguments) == 1 or not isinstance(first, ast.Constant):
            yield "index", ast.Call(function, [one(), *arguments[-1:]], keywords), None
        if len(arguments) == 1:
            ends = [one(), ast.BinOp(arguments[0], ast.Add(), one())]
            yield "index", ast.Call(function, ends, keywords), None


def of_index(node: ast.Subscript) -> Iterator[Option]:
    index = node.slice
    if isinstance(index, ast.Slice):
        yield "slice", node.value, node
        if index.lower is not None:
            yield "slice", ast.Subscript(node.value, ast.Slice(None, index.upper, index.step), node.ctx), index.lower
        if index.upper is not None:
            yield "slice", ast.Subscript(node.value, ast.Slice(index.lower, None, index.step), node.ctx), index.upper
            for way in (ast.Add(), ast.Sub()):
                moved = ast.Slice(index.lower, ast.BinOp(index.upper, way, one()), index.step)
                yield "index", ast.Subscript(node.value, moved, node.ctx), None
        return
    if isinstance(index, ast.Tuple):
        if len(index.elts) == 2:
            yield "axis", ast.Subscript(node.value, ast.Tuple(index.elts[::-1], ast.Load()), node.ctx), None
        return
    if isinstance(index, ast.Constant) and not isinstance(index.value, int):
        return
    whole = number(index)
    if whole is None:
        back, less = _less_one(index)
        for new in (less, ast.BinOp(index, ast.Add(), one())):
            yield "index", ast.Subscript(node.value, new, node.ctx), None
        if back is not None:
            yield "index", ast.Subscript(node.value, back, node.ctx), None
        earlier = ast.BinOp(index, ast.Sub(), one())
        held = ast.IfExp(ast.Constant(True), _clamped(earlier), index)
        yield "index", ast.Subscript(node.value, held.body, node.ctx), None
        yield "index", ast.Subscript(node.value, ast.Constant(0), node.ctx), None
        yield "index", ast.Subscript(node.value, ast.Constant(-1), node.ctx), None
    else:
        for other in {whole + 1, whole - 1, 0, -1} - {whole}:
            yield "index", ast.Subscript(node.value, ast.Constant(other), node.ctx), None
    yield "index missing", node.value, index


def _less_one(index: ast.expr) -> tuple[ast.expr | None, ast.expr]:
    """t - 1 -> t, and anything -> one less."""
    if isinstance(index, ast.BinOp) and isinstance(index.op, (ast.Add, ast.Sub)) and number(index.right) == 1:
        return index.left, ast.BinOp(index, ast.Sub(), one())
    return None, ast.BinOp(index, ast.Sub(), one())


def _clamped(index: ast.expr) -> ast.expr:
    tensor = ast.Call(ast.Attribute(ast.Name("torch", ast.Load()), "as_tensor", ast.Load()), [index], [])
    return ast.Call(ast.Attribute(tensor, "clamp", ast.Load()), [], [ast.keyword("min", ast.Constant(0))])
