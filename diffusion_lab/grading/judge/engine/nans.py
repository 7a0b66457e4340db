"""Where a nan or an infinity comes into the world: in which line, of what, and why."""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.grading.judge.calling import LocalCaller, leaves
from diffusion_lab.grading.judge.comparing import as_tensor
from diffusion_lab.grading.judge.engine.quoting import quoted
from diffusion_lab.grading.judge.engine.rebuilding import Source
from diffusion_lab.grading.judge.engine.wording import Mistake
from diffusion_lab.grading.judge.questions import Question

SEEN = "__seen__"
WATCHED = (ast.BinOp, ast.UnaryOp, ast.Call, ast.Subscript, ast.Name, ast.Attribute)
REASONS = {
    ("nan", "Div"): "0 is divided by 0 there, or infinity by infinity",
    ("nan", "Mult"): "0 is multiplied by infinity there",
    ("nan", "MatMult"): "0 meets infinity in it, or infinity minus infinity",
    ("nan", "Sub"): "infinity is taken from infinity there",
    ("nan", "Add"): "infinity and minus infinity are added there",
    ("nan", "Pow"): "a negative number has no root",
    ("nan", "sqrt"): "a negative number has no root",
    ("nan", "log"): "a negative number has no logarithm",
    ("infinite", "Div"): "something is divided by 0 there",
    ("infinite", "Pow"): "it is too large for the computer, or the inverse of 0",
    ("infinite", "rsqrt"): "something is divided by 0 there",
    ("infinite", "reciprocal"): "something is divided by 0 there",
    ("infinite", "log"): "0 has no logarithm",
    ("infinite", "exp"): "the exponential of it is too large for the computer",
}
"""(what comes out, operation) -> why."""
OF_POSITIVES = ("Pow", "sqrt", "log")
"""Operations that make nan of a negative number."""


@dataclass
class _Watch:
    """Notes which expressions have given no number although all that they are made of did."""

    nan: bool
    nodes: list[tuple[ast.expr, list[int]]]
    """Each expression, with the numbers of those that it is made of."""
    own: set[str]
    """The functions that are watched themselves."""
    bad: dict[int, bool] = field(default_factory=dict)
    births: dict[tuple[int, int], ast.expr] = field(default_factory=dict)

    def __call__(self, number: int, value: Any) -> Any:
        node, parts = self.nodes[number]
        tensor = as_tensor(value)
        found = tensor is not None and tensor.is_floating_point() and bool(self._odd(tensor).any())
        if found and self.counts(node) and not any(self.bad.get(part, False) for part in parts):
            self.births[node.lineno, node.col_offset] = node
        self.bad[number] = found
        return value

    def _odd(self, tensor: Tensor) -> Tensor:
        return tensor.isnan() if self.nan else tensor.isinf()

    def counts(self, node: ast.expr) -> bool:
        """Whether it calculates: a name has it from elsewhere, and a function of one's own is watched itself."""
        name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
        return isinstance(node, (ast.BinOp, ast.Call)) and name not in self.own


class _Wrapped(ast.NodeTransformer):
    """Every value handed through a call that looks at it."""

    def __init__(self, nodes: list[tuple[ast.expr, list[int]]]):
        self.nodes, self.inside = nodes, [[]]

    def visit(self, node: ast.AST) -> ast.AST:
        original = copy.deepcopy(node)
        watched = isinstance(node, WATCHED) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
        self.inside.append([])
        if isinstance(node, ast.Call):  # the function itself is no value
            node.args = [self.visit(a) for a in node.args]
            node.keywords = [self.visit(k) for k in node.keywords]
            if isinstance(node.func, ast.Attribute):
                node.func.value = self.visit(node.func.value)
        else:
            node = self.generic_visit(node)
        parts = self.inside.pop()
        if not watched:
            self.inside[-1] += parts
            return node
        self.nodes.append((original, parts))
        self.inside[-1].append(len(self.nodes) - 1)
        call = ast.Call(ast.Name(SEEN, ast.Load()), [ast.Constant(len(self.nodes) - 1), node], [])
        return ast.copy_location(call, original)


def origin(source: Source, question: Question, value: Any, limit: float) -> Mistake | None:
    """Why an answer holds nan or infinity where the right one has numbers, if that has one origin; else None."""
    kind = holds_no_number(question, value)
    if kind is None:
        return None
    watch = _Watch(kind == "nan", [], set(source.trees))
    function = source.rebuilt(_Wrapped(watch.nodes).visit, {SEEN: watch})
    LocalCaller(function, limit, lines=False)(question.arguments)
    if len(watch.births) != 1:
        return None
    (node,) = watch.births.values()
    name = type(node.op).__name__ if isinstance(node, ast.BinOp) else getattr(node.func, "attr", "")
    why = REASONS.get((kind, name))
    if why is None:
        return None
    text = quoted(node)
    code = f"{text} is" if text.startswith("`") else "what is computed is"
    hint = f"Line {node.lineno}: {code} {kind} in some entries, because {why}."
    if kind == "nan" and name in OF_POSITIVES:
        hint += " Should it be negative at all?"
    elif kind == "nan":
        hint += " Keep these out before it, by `torch.where`."
    return Mistake("no number", hint, f"edit: {kind} by {name}", 1, line=node.lineno)


def holds_no_number(question: Question, value: Any) -> str | None:
    """What an answer holds that the right one does not: "nan", "infinite", or None."""
    given = [as_tensor(leaf) for leaf in leaves(value)]
    if len(given) != len(question.expected.leaves):
        return None
    for tensor, leaf in zip(given, question.expected.leaves, strict=True):
        if tensor is None or tensor.shape != leaf.value.shape or not bool(torch.isfinite(leaf.value).all()):
            continue
        if bool(tensor.isnan().any()):
            return "nan"
        if bool(tensor.isinf().any()):
            return "infinite"
    return None
