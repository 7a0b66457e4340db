"""The directive `reference`: what a module's docstrings say, for every public name in it.

```{reference} diffusion_lab.samplers
```

Public is what `__all__` lists, and without it what the module itself defines under a name without an underscore.
"""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

SECTION = re.compile(r"(Args|Returns|Raises|Yields|Attributes|Note|Example)s?:$")
CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)


def public_names(module: ModuleType) -> list[str]:
    """The public names of a module, in the order of its source where it defines them itself."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    names = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if not name.startswith("_")]


def home_of(module: ModuleType, name: str) -> ModuleType:
    """The module that gives `name` its value, which `module` may only pass on."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return home_of(import_module(node.module), name)
    return module


def described(module: ModuleType, name: str) -> str:
    """The text below the assignment to `name`, or an empty one."""
    home = home_of(module, name)
    body = ast.parse(inspect.getsource(home)).body
    for node, below in zip(body, [*body[1:], None], strict=True):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                return inspect.cleandoc(str(below.value.value))
    return ""


def summary(value: Any) -> str:
    """What a value that nothing is written about says of itself."""
    if isinstance(value, (dict, tuple, list)):
        return ", ".join(f"`{each}`" for each in value)
    kind = type(value)
    return f"A `{kind.__name__}`." if kind.__module__.startswith("diffusion_lab") else ""


def entry(module: ModuleType, name: str) -> str:
    """One name as reStructuredText."""
    full, value = f"{module.__name__}.{name}", inspect.unwrap(getattr(module, name))
    if inspect.isclass(value):
        return f".. autoclass:: {full}\n   :members:\n"
    if inspect.isfunction(value):
        return f".. autofunction:: {full}\n"
    words = described(module, name) or summary(value)
    text = "\n".join(f"   {line}".rstrip() for line in as_rst(words.splitlines()))
    return f".. py:data:: {name}\n   :module: {module.__name__}\n\n{text}\n"


def as_rst(lines: list[str]) -> list[str]:
    """Docstrings of this package are plain text: its stars and bars are no markup, its deeper lines are shown as is."""
    out: list[str] = []
    section = shown = False
    for line in lines:
        deeper = line.startswith("    ")
        if line and not deeper:
            section, shown = bool(SECTION.match(line)), False
        elif deeper and not section and not shown and (not out or not out[-1]):
            out += ["::", ""]
            shown = True
        out.append(line if shown else line.replace("\\", "\\\\"))
        if not shown:
            out[-1] = _marked(out[-1])
    return out


def _marked(line: str) -> str:
    """Code in backticks as code, and everything else as it stands."""
    parts, end = [], 0
    for match in CODE.finditer(line):
        parts += [_escaped(line[end : match.start()]), f"``{match[2]}``"]
        end = match.end()
    return "".join([*parts, _escaped(line[end:])])


def _escaped(text: str) -> str:
    return re.sub(r"_(?=\W|$)", r"\\_", re.sub(r"([*|`])", r"\\\1", text))


def clean(app: Sphinx, what: str, name: str, obj, options, lines: list[str]) -> None:
    # Python's own words for the field of a named tuple say nothing.
    lines[:] = [] if lines and lines[0].startswith("Alias for field number") else as_rst(lines)
    if what in ("attribute", "property", "data"):
        lines[:0] = [
            "..",
            "",
        ]  # an empty comment, for napoleon takes what stands before a colon in the first line as a type


class Reference(SphinxDirective):
    """The module's own description, and an entry for each of its public names."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = import_module(self.arguments[0])
        entries = [f".. automodule:: {module.__name__}\n", *(entry(module, name) for name in public_names(module))]
        for name in public_names(module):
            self.env.note_dependency(str(Path(inspect.getsourcefile(home_of(module, name)))))
        text = "\n".join(["```{eval-rst}", f"*Module* ``{module.__name__}``\n", *entries, "```"])
        box = nodes.container(classes=["lab-reference"])
        lines = StringList(text.splitlines(), source=self.get_source_info()[0])
        self.state.nested_parse(lines, self.content_offset, box)
        return box.children


def setup(app: Sphinx) -> None:
    app.add_directive("reference", Reference)
    app.connect("autodoc-process-docstring", clean, priority=400)  # before napoleon reads its sections
