"""Code as a hint quotes it: short, in names that the reader knows, without casts and reshapes."""

from __future__ import annotations

import ast
import builtins
import copy
import re
from collections.abc import Collection

from diffusion_lab.grading.judge.engine.nodes import CASTS, MODULES

LONGEST = 44
"""Characters of code that a hint quotes; more would be a solution, or hide what matters."""
SHAPES = {"reshape", "view", "unsqueeze", "squeeze", "expand", "expand_as", "flatten"}
"""Calls that change how numbers lie, and not the numbers."""
WHOLE = "the answer"
VAGUE = "this expression"
NOT_QUANTITIES = {"torch", "math", "sqrt", "square", "exp", "log", "cumprod", "abs", "__answer__", "Tensor"}
"""Names that stand for what is done, and not for what it is done to."""


def quoted(node: ast.AST, known: dict[str, ast.AST] | None = None, seen: Collection[str] | None = None) -> str:
    """The code of an expression, in backquotes: short, without casts and reshapes, local names spelled out.

    Args:
        known: local name -> what it stands for.
        seen: the names that the reader knows; None for all, as in the reader's own code. An expression in which others
            are left is not quoted: only the names in it that the reader does know are.
    """
    if isinstance(node, ast.stmt) and seen is not None:
        return VAGUE
    for depth in (3, 2, 1, 0) if known else (0,):
        plain = _Plain(known or {}, depth).visit(copy.deepcopy(node))
        try:
            text = ast.unparse(ast.fix_missing_locations(plain))
        except (AttributeError, ValueError, RecursionError):
            return VAGUE
        text = " ".join(text.split())
        if len(text) <= LONGEST and not unknown(plain, seen):
            break
    if "__answer__" in text:
        return text.replace("__answer__", WHOLE) if text != "__answer__" else WHOLE
    if len(text) > LONGEST or unknown(plain, seen) or (seen is not None and _makes_tensors(plain)):
        names = list(dict.fromkeys(n.id for n in ast.walk(plain) if isinstance(n, ast.Name)))
        called = {n.func.id for n in ast.walk(plain) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        strange = unknown(plain, seen)
        names = [f"`{n}`" for n in names if n not in NOT_QUANTITIES | MODULES | strange | called][:4]
        return f"the expression with {', '.join(names)}" if names else VAGUE
    return f"`{text}`"


class _Plain(ast.NodeTransformer):
    """Code as one would say it: `kept.reshape(-1, 1).sqrt()` is `sqrt(alpha_bar[t])`."""

    def __init__(self, known: dict[str, ast.AST], depth: int):
        self.known, self.depth = known, depth

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.known and self.depth:
            return _Plain(self.known, self.depth - 1).visit(copy.deepcopy(self.known[node.id]))
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        function = node.func
        inner = None
        if isinstance(function, ast.Attribute):
            of_module = isinstance(function.value, ast.Name) and function.value.id in ("torch", "math", "np", "F")
            inner = (node.args[0] if node.args else None) if of_module else function.value
            if inner is not None and function.attr in CASTS | SHAPES and not isinstance(inner, ast.Starred):
                return self.visit(inner)
            if inner is not None and function.attr in ("sqrt", "square", "exp", "log", "cumprod", "abs"):
                return ast.Call(ast.Name(function.attr, ast.Load()), [self.visit(inner)], [])
        if isinstance(function, ast.Name) and function.id in ("float", "int") and node.args:
            return self.visit(node.args[0])
        if _is_shell_call(node):
            return ast.Name("__answer__", ast.Load())
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        left, right = node.left, node.right
        if isinstance(node.op, ast.Pow) and isinstance(right, ast.Constant) and right.value == 0.5:
            return ast.Call(ast.Name("sqrt", ast.Load()), [self.visit(left)], [])
        if isinstance(left, ast.BinOp) and {type(left.op), type(node.op)} == {ast.Add, ast.Sub}:
            if ast.dump(left.right) == ast.dump(right):
                return self.visit(left.left)  # t - 1 + 1
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if _only_axes(node.slice):
            return self.visit(node.value)
        return self.generic_visit(node)


def vague(hint: str) -> bool:
    """Whether a hint names only some of what an expression is made of."""
    return VAGUE in hint or "expression with" in hint or re.search(r"\b(factor|term) with `", hint) is not None


def _makes_tensors(node: ast.AST) -> bool:
    """Whether it calls functions of torch or makes new tensors: how right code does it is nobody else's way."""
    return any(
        isinstance(n, ast.Attribute) and (n.attr.startswith("new_") or getattr(n.value, "id", "") == "torch")
        for n in ast.walk(node)
    )


def _is_shell_call(node: ast.Call) -> bool:
    return bool(getattr(node, "is_shell", False))


def _only_axes(index: ast.AST) -> bool:
    """As in x[:, None]: new axes and nothing else."""
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    kinds = [
        (isinstance(p, ast.Slice) and p.lower is p.upper is p.step is None)
        or (isinstance(p, ast.Constant) and (p.value is None or p.value is ...))
        for p in parts
    ]
    return all(kinds) and any(isinstance(p, ast.Constant) for p in parts)


def local_names(body: ast.AST) -> dict[str, ast.AST]:
    """Local names that are set once, to something short, and what they stand for."""
    times: dict[str, int] = {}
    found: dict[str, ast.AST] = {}
    for node in ast.walk(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            times[node.id] = times.get(node.id, 0) + 1
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
    arguments = {a.arg for a in body.args.args} if isinstance(body, ast.FunctionDef) else set()
    short = {name: value for name, value in found.items() if times[name] == 1 and name not in arguments}
    return {name: value for name, value in short.items() if sum(1 for _ in ast.walk(value)) <= 40}


def unknown(node: ast.AST, seen: Collection[str] | None) -> set[str]:
    """Names in an expression that its reader has never seen."""
    if seen is None:
        return set()
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    bound = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names - bound - set(seen) - NOT_QUANTITIES - MODULES - set(dir(builtins))


def set_anew(body: ast.AST) -> set[str]:
    """Names that are set to something else than a form of themselves: a parameter among them is no longer what its
    reader knows, as after `last = zeros`, while `x = x.double()` still is."""
    found = set()
    for node in ast.walk(body):
        if isinstance(node, ast.Assign):
            read = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
            stored = {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
            found |= stored - read
    return found
