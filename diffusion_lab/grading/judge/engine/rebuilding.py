"""A function's own code, ready to be edited and built again; the function and its globals stay as they are."""

from __future__ import annotations

import ast
import builtins
import contextlib
import copy
import inspect
import linecache
import textwrap
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Any

import torch

from diffusion_lab.grading.judge.engine.edits import Edit, at, edits, put
from diffusion_lab.grading.judge.engine.repairs import repairs

SHELL = "__shell__"
"""The name of a function around the whole, whose edits change an argument or the answer."""
NOT_CALLED = {"open", "exec", "eval", "input", "compile", "__import__", "exit", "quit", "globals", "setattr", "delattr"}
NOT_USED = {"os", "sys", "subprocess", "shutil", "pathlib", "socket", "requests", "urllib", "builtins", "importlib"}
"""Code that reaches out of itself is never run in an edited form."""
FRAGILE = {"eig", "eigvals", "eigh", "eigvalsh", "svd", "svdvals", "schur", "sqrtm", "lstsq", "pinv", "cond"}
"""Routines of LAPACK, some of which crash on a nan; an edit makes nans easily."""
GUARD, GUARD_OF_ROOT = "__finite__", "__not_negative__"
HARMLESS = {f"{module}{name}" for module in ("torch.", "") for name in ("no_grad()", "inference_mode()")}
"""Decorators under which a function computes what it computes without them."""
LONGEST = 400
"""Lines of code beyond which no one looks for a small mistake."""
_numbers = count(1)


class Unreadable(Exception):
    """The function's code cannot be had, or must not be run in another form."""


class Source:
    """The code of a function and of the functions of its own file that it calls.

    Args:
        function: a plain function whose source Python can find: from a file, or from a notebook's cell.
        helpers: whether functions of its own module that it calls can be edited too.

    Raises:
        Unreadable: where there is no source, or where it does more than compute.
    """

    def __init__(self, function: Callable, helpers: bool = True):
        if not isinstance(function, types.FunctionType):
            raise Unreadable("not a plain function")
        function = inspect.unwrap(function)  # from under `@torch.no_grad()`, which stays in the tree
        self.function, self.name = function, function.__name__
        self.namespace: dict[str, Any] = {
            **function.__globals__,
            **_closed_over(function),
            "torch": torch,
            GUARD: _finite,
            GUARD_OF_ROOT: _not_negative,
        }
        self.trees: dict[str, ast.FunctionDef] = {}
        waiting = [function]
        while waiting:
            one = waiting.pop()
            tree = _parsed(one)
            if one.__name__ in self.trees:
                continue
            self.trees[one.__name__] = tree
            if helpers:
                names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
                found = [_inside(function.__globals__.get(name)) for name in sorted(names)]
                waiting += [f for f in found if _is_neighbour(f, function) and f.__name__ not in self.trees]
        parameters = list(inspect.signature(function).parameters)
        self._shell = _shell(self.name, parameters)
        self._delicate = {name: _is_delicate(tree) for name, tree in (*self.trees.items(), (SHELL, self._shell))}
        self._codes = {name: _compiled(tree, self._delicate[name]) for name, tree in self.trees.items()}
        self.watched: dict[str, tuple[Callable, Any]] = {}
        """Forms of it that note something down, and where; each is built once."""
        self._edits: list[Edit] | None = None
        self._repairs: list[Edit] | None = None

    def edits(self) -> list[Edit]:
        """All small edits, in an order that depends on the code alone."""
        if self._edits is None:
            self._edits = [e for tree in (self._shell, *self.trees.values()) for e in edits(tree)]
        return self._edits

    def repairs(self) -> list[Edit]:
        """All small edits and those that make sense on wrong code only."""
        if self._repairs is None:
            self._repairs = []
            for tree in (self._shell, *self.trees.values()):
                self._repairs += repairs(tree, [name for name in self.trees if name not in (tree.name, self.name)])
        return self.edits() + self._repairs

    def with_edits(self, chosen: Iterable[Edit]) -> Callable:
        """The function with these edits made. Raises SyntaxError or ValueError where that is no function."""
        chosen = list(chosen)
        changed = {edit.function for edit in chosen}
        fresh = any(_is_delicate(new) for edit in chosen for _, new in edit.changes)
        with _made(chosen):
            made = {n: _compiled(self.trees[n], fresh or self._delicate[n]) for n in changed - {SHELL}}
            shell = _compiled(self._shell, fresh or self._delicate[SHELL]) if SHELL in changed else None
        codes = {**self._codes, **made}
        namespace = dict(self.namespace)
        for code in codes.values():
            exec(code, namespace)
        if shell is not None:
            exec(shell, namespace)
        return namespace[SHELL if shell is not None else self.name]

    def rebuilt(self, change: Callable[[ast.FunctionDef], ast.AST], names: Mapping[str, Any]) -> Callable:
        """The function with copies of all its trees changed, and these names for them to use."""
        namespace = {**self.namespace, **names}
        for name, tree in self.trees.items():
            changed = ast.fix_missing_locations(change(copy.deepcopy(tree)))
            exec(_compiled(changed, self._delicate[name]), namespace)
        return namespace[self.name]

    def cancels(self, edit: Edit) -> bool:
        """Whether an edit makes something be divided by itself, or taken from itself: what stood there is away then,
        and nothing is said of what belongs there."""
        tree = self.trees.get(edit.function)
        if tree is None:
            return False
        before = _cancelled(tree)
        with _made([edit]):
            return _cancelled(tree) > before

    def written(self, chosen: Iterable[Edit]) -> Callable:
        """The same with source code that Python finds, as a student would have it; edits of the shell are left out.

        Raises SyntaxError or ValueError where that is no function.
        """
        with _made(e for e in chosen if e.function != SHELL):
            text = "\n\n".join(ast.unparse(tree) for tree in self.trees.values()) + "\n"
        name = f"<written {next(_numbers)}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        namespace = dict(self.namespace)
        exec(compile(text, name, "exec", dont_inherit=True), namespace)
        return namespace[self.name]

    def line(self, number: int) -> str:
        """That line of the file or the cell, or nothing."""
        return linecache.getline(self.function.__code__.co_filename, number).strip()


def _cancelled(tree: ast.AST) -> int:
    """How many quotients and differences there are in which the same stands on both sides."""
    both = [n for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, (ast.Div, ast.Sub))]
    return sum(
        bool(_factors(n.left) & _factors(n.right))
        if isinstance(n.op, ast.Div)
        else ast.dump(n.left) == ast.dump(n.right)
        for n in both
    )


def _factors(node: ast.AST) -> set[str]:
    """The code of what is multiplied there, without bounds."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _factors(node.left) | _factors(node.right)
    while isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("clamp", "clip", "clamp_min"):
        node = node.func.value
    return {ast.dump(node)} if not isinstance(node, ast.Constant) else set()


@contextlib.contextmanager
def _made(chosen: Iterable[Edit]) -> Iterator[None]:
    """While this is open, the trees have these edits."""
    changes = [change for edit in chosen for change in edit.changes]
    before = [(slot, at(slot)) for slot, _ in changes]
    try:
        for slot, new in changes:
            put(slot, new)
        yield
    finally:
        for slot, old in reversed(before):
            put(slot, old)


def _parsed(function: types.FunctionType) -> ast.FunctionDef:
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError, IndentationError, ValueError) as error:
        raise Unreadable(str(error)) from error
    node = tree.body[0] if tree.body else None
    if not isinstance(node, ast.FunctionDef) or len(lines) > LONGEST:
        raise Unreadable("not a plain function definition")
    if any(ast.unparse(d) not in HARMLESS for d in node.decorator_list):
        raise Unreadable("not a plain function definition")
    if node.name != function.__name__:
        raise Unreadable("the source is another function's")
    ast.increment_lineno(node, first - 1)
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Global, ast.Nonlocal, ast.Yield, ast.YieldFrom, ast.Await)):
            raise Unreadable("it changes names outside itself")
        if isinstance(inner, ast.Name) and inner.id in NOT_CALLED | NOT_USED:
            raise Unreadable(f"it uses {inner.id}")
        if isinstance(inner, ast.arg):
            inner.annotation = None
        if isinstance(inner, ast.FunctionDef):
            inner.returns = None
    if ast.get_docstring(node) is not None:
        node.body = node.body[1:] or [ast.Pass()]
    return node


def _closed_over(function: types.FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError as error:
            raise Unreadable(f"{name} is not assigned yet") from error
    return found


def _inside(value: Any) -> Any:
    return inspect.unwrap(value) if isinstance(value, types.FunctionType) else value


def _is_neighbour(value: Any, function: types.FunctionType) -> bool:
    return (
        isinstance(value, types.FunctionType)
        and value.__globals__ is function.__globals__
        and value.__code__.co_filename == function.__code__.co_filename
        and not hasattr(builtins, value.__name__)
        and value.__closure__ is None
    )


def _shell(name: str, parameters: list[str]) -> ast.FunctionDef:
    given = ", ".join(parameters)
    tree = ast.parse(f"def {SHELL}({given}):\n    return {name}({given})").body[0]
    tree.body[0].value.is_shell = True  # so that words can call it the answer
    return tree


class _Guarded(ast.NodeTransformer):
    """Calls that can end the whole process when they are given a nan, with a check before them."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in FRAGILE:
            if node.args:
                node.args[0] = ast.Call(ast.Name(GUARD, ast.Load()), [node.args[0]], [])
            else:
                node.func.value = ast.Call(ast.Name(GUARD, ast.Load()), [node.func.value], [])
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if _is_root(node):
            node.left = ast.Call(ast.Name(GUARD_OF_ROOT, ast.Load()), [node.left], [])
        return node


def _is_root(node: ast.AST) -> bool:
    half = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Constant)
    return half and node.right.value == 0.5


def _not_negative(value: Any) -> Any:
    if bool((torch.as_tensor(value) < 0).any()):
        raise ValueError("a root of a negative number, whose nan may go unseen")
    return value


def _finite(value: Any) -> Any:
    if not bool(torch.as_tensor(value).isfinite().all()):
        raise ValueError("not finite")
    return value


def _is_delicate(tree: ast.AST) -> bool:
    return any(_is_root(n) or (isinstance(n, ast.Attribute) and n.attr in FRAGILE) for n in ast.walk(tree))


def _compiled(tree: ast.FunctionDef, delicate: bool) -> types.CodeType:
    if delicate:
        tree = ast.fix_missing_locations(_Guarded().visit(copy.deepcopy(tree)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd code, which edits make
        return compile(ast.Module([tree], []), "<edited>", "exec", dont_inherit=True)
