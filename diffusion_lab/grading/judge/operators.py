"""What small edits there are of one piece of code: the mutation operators, each in the words of this course."""

from __future__ import annotations

import ast
from collections.abc import Iterator

MODULES = {"torch", "math", "np", "numpy", "F", "nn", "functional", "linalg", "special"}
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
ADDED = ("round", "floor", "abs", "exp", "log", "detach")
"""Calls that people put around what is assigned or returned."""
CASTS = {"to", "float", "double", "clone", "contiguous", "cpu", "numpy", "item", "type_as", "from_numpy", "as_tensor"}
AXES = {"dim", "axis", "dims"}
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
TWIN_COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
Slot = tuple[ast.AST, str, "int | None"]
"""Where a node hangs: its parent, the field, and the place in it where that is a list."""
Option = tuple[str, ast.AST, "ast.AST | None"]
"""What an edit is called, the node that it puts in the place, and what it is about."""


def options(node: ast.AST, slot: Slot, names: list[str]) -> Iterator[Option]:
    if isinstance(node, ast.stmt):
        yield from _of_statement(node)
    if not isinstance(node, ast.expr) or isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
        return
    called = isinstance(slot[0], ast.Call) and slot[1] == "func"
    if called or not _is_value(node, names):
        return
    if isinstance(node, ast.BinOp):
        yield from _of_operation(node)
    elif isinstance(node, ast.UnaryOp):
        if isinstance(node.op, ast.USub):
            yield "sign", node.operand, node.operand
        elif isinstance(node.op, (ast.Not, ast.Invert)):
            yield "cases exchanged", node.operand, node.operand
    elif isinstance(node, ast.Call):
        yield from _of_call(node, names)
    elif isinstance(node, ast.Subscript):
        yield from _of_index(node)
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


def _of_operation(node: ast.BinOp) -> Iterator[Option]:
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


def _of_call(node: ast.Call, names: list[str]) -> Iterator[Option]:
    function, arguments, keywords = node.func, node.args, node.keywords
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    of_module = isinstance(function, ast.Attribute) and _root(function) in MODULES

    def renamed(other: str) -> ast.Call:
        if isinstance(function, ast.Attribute):
            return ast.Call(ast.Attribute(function.value, other, ast.Load()), arguments, keywords)
        return ast.Call(ast.Name(other, ast.Load()), arguments, keywords)

    inner = arguments[0] if of_module and arguments else function.value if isinstance(function, ast.Attribute) else None
    if inner is not None and not isinstance(inner, ast.Starred) and not (_root(inner) in MODULES and not of_module):
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
        if len(arguments) > at_axis and _is_number(arguments[at_axis]):
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


def _of_index(node: ast.Subscript) -> Iterator[Option]:
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


def minus(node: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.USub(), node)


def one() -> ast.Constant:
    return ast.Constant(1)


def _is_number(node: ast.AST) -> bool:
    return number(node) is not None


def number(node: ast.AST) -> int | None:
    """The whole number that is written there; -1 is two nodes."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number(node.operand)
        return None if inner is None else -inner
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return getattr(node, "id", "")
