"""A student's statement: the names that it binds and looks up, and the values that it may change. Runs nothing."""

from __future__ import annotations
import __future__

import ast
import dis
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass

from diffusion_lab.errors import SourceError
from diffusion_lab.grading.notebook.magics import NOT_PYTHON

SHOWING = {"print", "display", "help", "repr", "dir"}
"""Calls that change none of their arguments."""
MUTATORS = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "popleft", "appendleft", "remove"} | {
    "discard", "clear", "sort", "reverse", "register", "cache_clear", "eval", "train", "to", "load_state_dict",
}  # fmt: skip
"""Methods that change what they belong to, besides those of torch, whose names end in `_`."""
SETTINGS = {"set_default_dtype", "set_default_tensor_type"}
"""Functions that set a part of the module they belong to. `set_default_device` is left out: marks may be given on a
machine without that device, where all that is made on it would fail."""
_LOOKS_UP = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@dataclass(frozen=True)
class Statement:
    """A statement at the top of a cell."""

    node: ast.stmt
    line: int
    """The first, counted from 1 in its cell."""
    text: str
    binds: frozenset[str] = frozenset()
    loads: frozenset[str] = frozenset()
    """Names that it, or a function in it, looks up among the globals."""
    stores: frozenset[str] = frozenset()
    """Names of values of which it sets a part, as in `TABLE[0] = 1`."""
    calls: frozenset[str] = frozenset()
    """Names of values that a call in it may change, as in `TABLE.append(1)` or `fill(TABLE)`."""
    modules: frozenset[str] = frozenset()
    """What it imports."""
    fault: str = ""
    """Why it is no Python after all."""

    @property
    def defines(self) -> bool:
        """Whether it is a function or a class, or takes its names from elsewhere."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
        return isinstance(self.node, kinds)

    @property
    def is_stub(self) -> bool:
        """Whether it is a function that is not written yet: nothing in it but its docstring and an empty body."""
        if not isinstance(self.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return False
        return all(_is_nothing(inner) for inner in self.node.body)

    @property
    def takes_all(self) -> bool:
        """Whether it is `from … import *`, which binds nobody knows what."""
        return isinstance(self.node, ast.ImportFrom) and any(alias.name == "*" for alias in self.node.names)

    @property
    def is_script_part(self) -> bool:
        """Whether it is `if __name__ == "__main__":`."""
        return isinstance(self.node, ast.If) and "__name__" in {
            name.id for name in ast.walk(self.node.test) if isinstance(name, ast.Name)
        }

    @property
    def makes_lazy(self) -> bool:
        """Whether it is `from __future__ import annotations`."""
        return (
            isinstance(self.node, ast.ImportFrom) and self.node.module == "__future__" and "annotations" in self.binds
        )

    @property
    def begins(self) -> bool:
        """Whether it is `from diffusion_lab.grading import start`, or `hunt`."""
        return isinstance(self.node, ast.ImportFrom) and self.binds in ({"start"}, {"hunt"})

    @property
    def is_session(self) -> bool:
        """Whether it is `lab = start("mnist", globals())`, under whatever names."""
        call = getattr(self.node, "value", None)
        if not isinstance(self.node, (ast.Assign, ast.Expr)) or not isinstance(call, ast.Call):
            return False
        given = call.args[1:]
        return any(isinstance(g, ast.Call) and isinstance(g.func, ast.Name) and g.func.id == "globals" for g in given)

    def makes_function(self, functions: set[str], pieces: set[str]) -> bool:
        """Whether a name that it binds is a function then: one of its own, another one, or one made of another one.

        Args:
            functions: names of functions.
            pieces: of these the ones that return no function.
        """
        if self.defines or (isinstance(self.node, (ast.If, ast.Try, ast.With)) and _holds_definition(self.node)):
            return True
        if not isinstance(self.node, (ast.Assign, ast.AnnAssign)):
            return False
        value = self.node.value
        if isinstance(value, ast.Call):  # such as functools.partial(mine, 1)
            if isinstance(value.func, ast.Name) and value.func.id in pieces:
                return False
            return bool(value.args) and _is_function(value.args[0], functions)
        return _is_function(value, functions)


def statements(text: str, most: int = sys.maxsize) -> list[Statement]:
    """Those of a cell.

    Raises:
        SyntaxError: or another of `NOT_PYTHON`, where the cell is no Python.
        SourceError: where there are more than `most`.
    """
    nodes = ast.parse(text).body
    if len(nodes) > most:
        raise SourceError("it has more statements at the top of its cells than anybody writes")
    flags = _future(nodes)
    lines = [line.encode() for line in text.split("\n")]
    return [_statement(node, lines, flags) for node in nodes]


def _statement(node: ast.stmt, lines: list[bytes], flags: int) -> Statement:
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    held = lines[first - 1 : node.end_lineno]
    held[-1] = held[-1][: node.end_col_offset]
    if first == node.lineno:
        held[0] = held[0][node.col_offset :]
    text = b"\n".join(held).decode()
    try:
        code = compile(ast.Module([node], []), "<cell>", "exec", flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, True)
    except NOT_PYTHON as error:
        names = frozenset(filter(None, [getattr(node, "name", None)]))
        return Statement(node, first, text, binds=names, fault=_words(error))
    stores, calls = _changed(node)
    return Statement(
        node,
        first,
        text,
        frozenset(_bound(code)),
        frozenset(looked_up(code)),
        frozenset(stores),
        frozenset(calls),
        frozenset(_imported(node)),
    )


def looked_up(code: types.CodeType, how: frozenset[str] = _LOOKS_UP) -> set[str]:
    """The global names that this code looks up, itself or in functions that it makes."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in how}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= looked_up(constant, how)
    return names


def imported(code: types.CodeType) -> set[str]:
    """The modules that this code imports when it runs."""
    return looked_up(code, frozenset({"IMPORT_NAME"}))


def _bound(code: types.CodeType, top: bool = True) -> set[str]:
    wanted = {"STORE_GLOBAL", "STORE_NAME"} if top else {"STORE_GLOBAL"}
    names = {i.argval for i in dis.get_instructions(code) if i.opname in wanted}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _bound(constant, top=False)
    return names


def _future(nodes: list[ast.stmt]) -> int:
    """The compiler flags of `from __future__ import ...`."""
    flags = 0
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            for alias in node.names:
                flags |= getattr(getattr(__future__, alias.name, None), "compiler_flag", 0)
    return flags


def _imported(node: ast.stmt) -> set[str]:
    found: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            found |= {alias.name for alias in inner.names}
        elif isinstance(inner, ast.ImportFrom) and inner.module and not inner.level:
            found.add(inner.module)
    return found


def _changed(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """Names of values of which it sets a part, and of those that a call in it may change."""
    stores, calls = set(), set()
    for node in _outside_of_functions(statement):
        for decorator in getattr(node, "decorator_list", []):
            calls |= {name.id for name in ast.walk(decorator) if isinstance(name, ast.Name)}
        if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            stores.add(_root(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in SETTINGS:
                stores.add(_root(node.func))
            if node.func.attr in MUTATORS or node.func.attr.endswith("_"):
                calls.add(_root(node.func))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            if not (isinstance(node.value.func, ast.Name) and node.value.func.id in SHOWING):
                calls |= _handed_over(node.value)
    return stores - {""}, calls - {""}


def _handed_over(call: ast.Call) -> set[str]:
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    names = {argument.id for argument in given if isinstance(argument, ast.Name)}
    return names | ({_root(call.func)} if isinstance(call.func, ast.Attribute) else set())


def _outside_of_functions(node: ast.AST) -> Iterator[ast.AST]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _INNER):
            waiting.extend(ast.iter_child_nodes(node))


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_nothing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Pass):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if not isinstance(node, ast.Raise) or node.exc is None:
        return False
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def _holds_definition(node: ast.stmt) -> bool:
    return any(isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)) for inner in _outside_of_functions(node))


def _is_function(node: ast.expr | None, functions: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in functions
    return isinstance(node, ast.Lambda)


def _words(error: Exception) -> str:
    return error.msg if isinstance(error, SyntaxError) else f"{type(error).__name__}: {error}"
