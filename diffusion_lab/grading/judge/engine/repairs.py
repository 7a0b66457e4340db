"""Edits that make sense on wrong code alone: nothing is recorded of them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, permutations

from diffusion_lab.grading.judge.engine.calls import TWINS
from diffusion_lab.grading.judge.engine.edits import Edit, locate, places
from diffusion_lab.grading.judge.engine.formulas import names_of_roots, of_formula
from diffusion_lab.grading.judge.engine.nodes import MODULES, Option, Place, Slot, minus, number, one, root_of
from diffusion_lab.grading.judge.engine.shapes import of_shape, spread

MORE_TWINS = {
    "sum": ("trace",),
    "mean": ("trace",),
    "trace": ("sum", "mean"),
    "log": ("logit",),
    "exp": ("sigmoid",),
    "sigmoid": ("exp",),
    "fft": ("rfft",),
    "rfft": ("fft",),
    "det": ("logdet",),
    "logdet": ("det",),
}
"""function -> what is meant, where that is seen in wrong code only."""
MOST_NAMES, MOST_NUMBERS, MOST_FACTORS, LONGEST_FACTOR, SHORT_FACTOR = 6, 3, 10, 30, 12
"""Names of which two may have changed places, numbers of which two may be meant as parameters, and expressions by which
something may have to be divided."""
NO_PARAMETER = (0, 1, 2)
"""Numbers that are rarely written where a parameter is meant."""

CHEAP = (
    *(
        "axis kept",
        "axes",
        "bound",
        "shares added",
        "root of the difference",
        "difference of the root",
        "negative under a root",
    ),
    *("shares exchanged", "beside a root", "border", "other end", "size", "divided by a part"),
)
"""Kinds of edits that are not far-fetched."""


@dataclass(frozen=True, eq=False)
class Repair(Edit):
    """An edit with a price of its own."""

    price: int | None = None

    @property
    def cost(self) -> int:
        return super().cost if self.price is None else self.price


def repairs(function: ast.FunctionDef, helpers: Iterable[str] = ()) -> list[Edit]:
    """More edits of wrong code alone: a shape made to fit any number of axes, a dtype made to fit another's, neighbours
    in a list that change places, a parameter for a number, a call or a factor that is left out, and what several places
    have in common.

    Args:
        helpers: other functions of the same file.
    """
    names = [a.arg for a in function.args.args]
    everywhere = list(places(function))
    roots = names_of_roots(function)
    found: list[Edit] = []
    for slot, node, case in everywhere:
        possible = [
            *of_shape(slot, node, names),
            *_of_list(slot, node),
            *_of_calls(slot, node),
            *of_formula(node, roots),
        ]
        for kind, new, about in possible:
            price = 1 if kind in CHEAP else None
            found.append(_made(kind, ((slot, new),), node, new, about, function.name, case, price))
        for kind, new, about in _of_helpers(slot, node, set(helpers)):
            found.append(_made(kind, ((slot, new),), node, new, about, function.name, case, price=1))
    for what, changes, about in spread(everywhere, names):
        found.append(_made(what, changes, about, changes[0][1], about, function.name, price=1))
    found += _exchanged(everywhere, function.name)
    found += _roots(everywhere, function.name)
    found += _terms(everywhere, function.name)
    found += _numbers(everywhere, names, function.name)
    found += _entries(everywhere, function.name)
    found += _renamed(everywhere, function.name)
    found += _factors(everywhere, function.name)
    return found


def _made(
    kind: str,
    changes: tuple[tuple[Slot, ast.AST], ...],
    old: ast.AST,
    new: ast.AST,
    about: ast.AST | None,
    function: str,
    case: ast.expr | None = None,
    price: int | None = None,
) -> Repair:
    for node in (new, *(n for _, n in changes)):
        locate(node, old)
    return Repair(kind, changes, old, new, about, function, case, price)


def _of_list(slot: Slot, node: ast.AST) -> Iterator[Option]:
    if isinstance(node, (ast.List, ast.Tuple)) and isinstance(node.ctx, ast.Load):
        for i in range(len(node.elts) - 1 if isinstance(slot[0], (ast.Call, ast.Return)) else 0):
            swapped = [*node.elts[:i], node.elts[i + 1], node.elts[i], *node.elts[i + 2 :]]
            yield "order", type(node)(swapped, ast.Load()), None


def _of_helpers(slot: Slot, node: ast.AST, helpers: set[str]) -> Iterator[Option]:
    """A helper of one's own called where it must not be, or not called where it must."""
    if not isinstance(node, ast.expr) or isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
        return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in helpers and node.args:
        yield "call missing", node.args[0], node
    if _is_whole(slot, node):
        for helper in sorted(helpers):
            new = ast.Call(ast.Name(helper, ast.Load()), [node], [])
            yield "call too many", new, new


def _is_whole(slot: Slot, node: ast.AST) -> bool:
    """Whether it is all that is returned or assigned there, and one value."""
    return isinstance(slot[0], (ast.Return, ast.Assign)) and not isinstance(node, (ast.Constant, ast.Tuple, ast.List))


def _of_calls(slot: Slot, node: ast.AST) -> Iterator[Option]:
    """A bound set, and another function for one."""
    if not isinstance(node, ast.expr) or isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
        return
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for other in MORE_TWINS.get(name, ()):
            yield "function", _under(other, node), None
        if name in ("clamp", "clip") and [k.arg for k in node.keywords] in (["min"], ["max"]):
            bound = ast.keyword("max" if node.keywords[0].arg == "min" else "min", node.keywords[0].value)
            yield "bound", ast.Call(node.func, node.args, [bound]), node.keywords[0].value
        if name in ("mean", "sum") and isinstance(node.func, ast.Attribute) and root_of(node.func) not in MODULES:
            kept = [k for k in node.keywords if k.arg == "keepdim"]
            if kept:
                others = [k for k in node.keywords if k not in kept]
                yield "axis kept", ast.Call(node.func, node.args, others), None
            yield "axes", _over_all_but_the_first(node.func), None
    inside = isinstance(node, ast.Call) and isinstance(slot[0], ast.Call) and slot[1] == "args"
    if inside:
        yield "call too many", (new := ast.Call(ast.Attribute(node, "abs", ast.Load()), [], [])), new
    if inside or _is_whole(slot, node):
        for bound in ("min", "max"):
            new = ast.Call(ast.Attribute(node, "clamp", ast.Load()), [], [ast.keyword(bound, one())])
            yield "call too many", new, new


def _over_all_but_the_first(method: ast.Attribute) -> ast.Call:
    """x.reshape(x.shape[0], -1).mean(1)"""
    length = ast.Subscript(ast.Attribute(method.value, "shape", ast.Load()), ast.Constant(0), ast.Load())
    rows = ast.Call(ast.Attribute(method.value, "reshape", ast.Load()), [length, minus(one())], [])
    return ast.Call(ast.Attribute(rows, method.attr, ast.Load()), [one()], [])


def _under(name: str, call: ast.Call) -> ast.Call:
    """The same call of another function."""
    if isinstance(call.func, ast.Attribute):
        return ast.Call(ast.Attribute(call.func.value, name, ast.Load()), call.args, call.keywords)
    return ast.Call(ast.Name(name, ast.Load()), call.args, call.keywords)


def _exchanged(everywhere: list[Place], function: str) -> Iterator[Edit]:
    """Two names that have changed places within one formula, or within one statement where that holds several."""
    inner = {id(part) for _, node, _ in everywhere if isinstance(node, ast.BinOp) for part in (node.left, node.right)}
    slots = {id(node): slot for slot, node, _ in everywhere}
    wholes = [(node, case) for _, node, case in everywhere if isinstance(node, ast.BinOp) and id(node) not in inner]
    for _, node, case in everywhere:
        value = getattr(node, "value", None)
        if isinstance(node, (ast.Assign, ast.Return)) and not isinstance(value, ast.BinOp):
            held = {id(n) for n in ast.walk(value)} if value is not None else set()
            wholes += [(value, case)] if sum(id(whole) in held for whole, _ in wholes) > 1 else []
    for node, case in wholes:
        called = {id(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
        used = [n for n in ast.walk(node) if isinstance(n, ast.Name) and n.id not in MODULES and id(n) not in called]
        names = list(dict.fromkeys(n.id for n in used))[:MOST_NAMES]
        for pair in combinations(names, 2):
            other = dict(zip(pair, reversed(pair), strict=True))
            changes = tuple(
                (slots[id(n)], ast.copy_location(ast.Name(other[n.id], ast.Load()), n))
                for n in used
                if n.id in other and id(n) in slots
            )
            both = ast.copy_location(ast.Tuple([ast.Name(name, ast.Load()) for name in pair], ast.Load()), node)
            yield _made("exchanged", changes, node, both, both, function, case, price=2)


def _roots(everywhere: list[Place], function: str) -> Iterator[Edit]:
    """Variances used as factors, at two places of a statement or at all of the function: each gets its root."""
    factors: dict[str, list[tuple[Slot, ast.expr]]] = {}
    for slot, node, _ in everywhere:
        product = isinstance(slot[0], ast.BinOp) and isinstance(slot[0].op, (ast.Mult, ast.Div))
        complement = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and number(node.left) == 1
        if product and (complement or isinstance(node, (ast.Name, ast.Subscript))):
            factors.setdefault(ast.dump(node.right if complement else node), []).append((slot, node))
    made: set[frozenset[int]] = set()
    for found in factors.values():
        lines = {node.lineno for _, node in found}
        for chosen in (found, *([f for f in found if f[1].lineno == line] for line in sorted(lines))):
            key = frozenset(id(node) for _, node in chosen)
            if len({ast.dump(node) for _, node in chosen}) < 2 or key in made:
                continue  # the same code everywhere is one edit already
            made.add(key)
            changes = tuple((slot, ast.BinOp(node, ast.Pow(), ast.Constant(0.5))) for slot, node in chosen)
            whole = ast.copy_location(ast.Tuple([node for _, node in chosen[:2]], ast.Load()), chosen[0][1])
            yield _made("roots", changes, whole, whole, whole, function, price=2)


def _terms(everywhere: list[Place], function: str) -> Iterator[Edit]:
    """A factor that one term of a sum lacks, or a divisor: something that the function computes anyway."""
    candidates = {
        ast.unparse(node): node
        for _, node, _ in everywhere
        if isinstance(node, (ast.Name, ast.Call))
        and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
        and node.end_col_offset - node.col_offset <= SHORT_FACTOR
        and not (isinstance(node, ast.Name) and node.id in MODULES)
    }
    called = {id(n.func) for _, n, _ in everywhere if isinstance(n, ast.Call)}
    factors = [n for n in candidates.values() if id(n) not in called][:MOST_FACTORS]
    for slot, node, case in everywhere:
        in_sum = isinstance(slot[0], ast.BinOp) and isinstance(slot[0].op, (ast.Add, ast.Sub))
        if not in_sum or not isinstance(node, ast.expr) or isinstance(node, ast.Constant):
            continue
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
            continue
        for factor in factors:
            for kind, operator in (("factor", ast.Mult()), ("divisor", ast.Div())):
                if ast.dump(factor) != ast.dump(node):
                    new = ast.BinOp(node, operator, factor)
                    yield _made(f"{kind} too many", ((slot, new),), node, new, factor, function, case, price=3)


def _entries(everywhere: list[Place], function: str) -> Iterator[Edit]:
    """A name where an entry of a table is meant, and an entry where a name is: `a` and `alpha_bar[t]`."""
    called = {id(node.func) for _, node, _ in everywhere if isinstance(node, ast.Call)}
    read = [n for _, n, _ in everywhere if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    names = {node.id: node for node in read if node.id not in MODULES and id(node) not in called}
    entries = {
        ast.unparse(node): node
        for _, node, _ in everywhere
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name) and isinstance(node.value, ast.Name)
    }
    for slot, node, case in everywhere:
        parent_is_value = isinstance(slot[0], (ast.BinOp, ast.Call, ast.Attribute)) and slot[1] != "func"
        if not parent_is_value or not isinstance(getattr(node, "ctx", None), ast.Load):
            continue
        if isinstance(node, ast.Name) and node.id in names:
            others = [e for e in list(entries.values())[:MOST_NAMES] if e.value.id != node.id]
        elif isinstance(node, ast.Subscript) and ast.unparse(node) in entries:
            others = [n for n in list(names.values())[:MOST_NAMES] if n.id not in (node.value.id, node.slice.id)]
        else:
            continue
        for other in others:
            yield _made("name", ((slot, other),), node, other, None, function, case, price=2)


def _numbers(everywhere: list[Place], names: list[str], function: str) -> Iterator[Edit]:
    """A number written where a parameter is meant, at all places at once; or two of them."""
    written: dict[float, list[tuple[Slot, ast.Constant]]] = {}
    for slot, node, _ in everywhere:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value not in NO_PARAMETER:
            written.setdefault(node.value, []).append((slot, node))

    def named(found: list[tuple[Slot, ast.Constant]], name: str) -> tuple[tuple[Slot, ast.AST], ...]:
        return tuple((slot, ast.copy_location(ast.Name(name, ast.Load()), node)) for slot, node in found)

    owner = {id(k): node for _, node, _ in everywhere if isinstance(node, ast.Call) for k in node.keywords}
    for found in written.values():
        around = [owner.get(id(slot[0]), slot[0]) for slot, _ in found]
        beside = {n.id for node in around for n in ast.walk(node) if isinstance(n, ast.Name)}
        for name in names:
            if name not in beside:  # n / n is 1, whatever n is
                changes = named(found, name)
                yield _made("number", changes, found[0][1], changes[0][1], None, function, price=2)
    for first, second in combinations(list(written.values())[:MOST_NUMBERS], 2):
        for pair in permutations(names, 2):
            changes = (*named(first, pair[0]), *named(second, pair[1]))
            old = ast.copy_location(ast.Tuple([first[0][1], second[0][1]], ast.Load()), first[0][1])
            new = ast.copy_location(ast.Tuple([ast.Name(name, ast.Load()) for name in pair], ast.Load()), old)
            yield _made("numbers", changes, old, new, None, function, price=2)


def _renamed(everywhere: list[Place], function: str) -> Iterator[Edit]:
    """One function taken for another wherever it is called."""
    called: dict[str, list[tuple[Slot, ast.Call]]] = {}
    for slot, node, _ in everywhere:
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            called.setdefault(name, []).append((slot, node))
    for name, found in called.items():
        for other in TWINS.get(name, ()) if len(found) > 1 else ():
            # one inside the other: the outer one is made of what it held before, so that only one of them would change
            held = {id(inner) for _, node in found for inner in ast.walk(node) if inner is not node}
            if any(id(node) in held for _, node in found):
                continue
            changes = tuple((slot, ast.copy_location(_under(other, node), node)) for slot, node in found)
            yield _made("function", changes, found[0][1], changes[0][1], None, function, price=1)


def _factors(everywhere: list[Place], function: str) -> Iterator[Edit]:
    """A whole value times or by something that the function computes anyway; and all divisions by one function's value
    left out at once, as where vectors are made unit vectors."""
    wholes = [p for p in everywhere if isinstance(p[0][0], (ast.Return, ast.Assign)) and isinstance(p[1], ast.expr)]
    candidates = {
        ast.unparse(node): node
        for _, node, _ in everywhere
        if isinstance(node, (ast.Call, ast.BinOp)) and node.end_col_offset - node.col_offset <= LONGEST_FACTOR
    }
    for slot, node, case in wholes:
        if not isinstance(node, (ast.BinOp, ast.Call)):
            continue
        for factor in list(candidates.values())[:MOST_FACTORS]:
            for kind, operator in (("factor", ast.Mult()), ("divisor", ast.Div())):
                new = ast.BinOp(node, operator, factor)
                yield _made(f"{kind} too many", ((slot, new),), node, new, factor, function, case, price=3)
    divided: dict[str, list[tuple[Slot, ast.BinOp]]] = {}
    for slot, node, _ in everywhere:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Call):
            name = getattr(node.right.func, "attr", getattr(node.right.func, "id", ""))
            divided.setdefault(name, []).append((slot, node))
    for found in divided.values():
        if len(found) > 1:
            changes = tuple((slot, node.left) for slot, node in found)
            first = found[0][1]
            yield _made("divisor missing", changes, first, first.left, first.right, function, price=2)
