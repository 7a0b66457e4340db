"""The directive `source`: the code of a function or class of the package, read from where it is.

```{source} diffusion_lab.samplers.ddim_step
```
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

import diffusion_lab

from .code import narrow, without_docstrings

ROOT = Path(diffusion_lab.__file__).parents[1]
CLOSED = "diffusion_lab.exercises"


def find(name: str) -> Any:
    """The object with this dotted name. Raises ValueError where there is none, and for what a learner must not see."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        break
    else:
        found = None
    if not (inspect.isfunction(found) or inspect.isclass(found)):
        raise ValueError(f"'{name}' is no function and no class")
    if parts[0] != "diffusion_lab" or f"{found.__module__}.".startswith(f"{CLOSED}."):
        raise ValueError(f"'{name}' is not shown: it may be an exercise's solution, or is not ours")
    return found


class Source(SphinxDirective):
    """The code, and under it where it stands and where its description is."""

    required_arguments = 1
    final_argument_whitespace = False

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        try:
            found = inspect.unwrap(find(name))  # the function itself, not what torch.no_grad made of it
            text = narrow(without_docstrings(inspect.getsource(found)))
        except ValueError as error:
            raise self.error(str(error)) from None
        file = Path(inspect.getsourcefile(found)).resolve()
        self.env.note_dependency(str(file))
        code = nodes.literal_block(text, text, language="python")
        self.set_source_info(code)
        # A missing entry in the reference is found by a test, and must not stop somebody who writes a page.
        link = addnodes.pending_xref(
            "", nodes.literal(text=name), refdomain="py", reftype="obj", reftarget=name, refexplicit=True,
            refdoc=self.env.docname, refwarn=False, lab_source=True,
        )  # fmt: skip
        where = nodes.paragraph("", "", link, nodes.Text(" in "), nodes.literal(text=file.relative_to(ROOT).as_posix()))
        return [nodes.container("", code, where, classes=["lab-source"])]


def unresolved(app: Sphinx, env: BuildEnvironment, node: nodes.Element, content: nodes.TextElement) -> Any:
    """The name without a link, where the reference has no entry for it."""
    return content if node.get("lab_source") else None


def setup(app: Sphinx) -> None:
    app.add_directive("source", Source)
    app.connect("missing-reference", unresolved)
