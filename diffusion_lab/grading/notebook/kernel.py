"""What the cells of a running notebook have run, so that a function is not judged that its cell no longer has.

A cell that is renamed, or broken, leaves the function of its earlier run in memory, where a check would find it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import Any

from diffusion_lab.errors import SourceError
from diffusion_lab.grading.notebook.magics import NOT_PYTHON, python_of
from diffusion_lab.grading.notebook.statements import statements


@dataclass(frozen=True)
class Ran:
    """One run of a cell."""

    number: int
    """In the order of runs."""
    cell: str
    """The cell's id; "" where the editor does not say."""
    text: str
    fault: str
    """What ended it, such as "SyntaxError: invalid syntax, line 2"."""
    bound: frozenset[str]
    """Names that it gave another value to."""
    defines: frozenset[str]
    """Functions and other names in its text."""


@dataclass
class Kernel:
    """The runs of one kernel's cells since the notebook began its work."""

    namespace: dict[str, Any]
    runs: list[Ran] = field(default_factory=list)
    before: dict[str, int] = field(default_factory=dict)
    """Which object every name stood for when the latest cell began."""

    def begin(self, *_: Any) -> None:
        self.before = {name: id(value) for name, value in self.namespace.items()}

    def end(self, result: Any) -> None:
        """Take note of a run; `result` is IPython's."""
        info = getattr(result, "info", None)
        text = getattr(info, "raw_cell", None)
        if not isinstance(text, str) or not text.strip():
            return
        error = getattr(result, "error_before_exec", None) or getattr(result, "error_in_exec", None)
        now = {name for name, value in list(self.namespace.items()) if self.before.get(name) != id(value)}
        cell = getattr(info, "cell_id", None)
        self.add(text, cell if isinstance(cell, str) else "", error, now)

    def add(self, text: str, cell: str, error: BaseException | None, bound: set[str]) -> None:
        try:
            found = {name for item in statements(python_of(text).text) for name in item.binds}
        except (*NOT_PYTHON, SourceError):
            found = set(re.findall(r"^[ \t]*(?:async +)?def +(\w+)", text, re.M))
        fault = "" if error is None else _words(error)
        self.runs.append(Ran(len(self.runs), cell, text, fault, frozenset(bound & found), frozenset(found)))

    def stale(self, name: str) -> str:
        """Why the function of this name in memory is not the one in the notebook; "" where nothing says so."""
        made = next((run for run in reversed(self.runs) if name in run.bound), None)
        if made is None or name not in self.namespace:
            return ""
        later = self.runs[made.number + 1 :]
        broken = [run for run in later if run.fault and name in run.defines]
        if broken:
            return (
                f"Its cell did not run to its end the last time: {broken[-1].fault}. The {name} in memory is an "
                "older one, and is not checked. Mend the cell, run it, and check again."
            )
        again = [run for run in later if run.cell and run.cell == made.cell]
        if again and name not in again[-1].defines:
            other = sorted(again[-1].bound - made.defines)
            has = f" has {other[0]} now, and" if other else ""
            return (
                f"The cell that {name} came from{has} no longer defines {name}. The one in memory is an older one, "
                "and is not checked."
            )
        return ""


def watching(namespace: dict[str, Any]) -> Kernel | None:
    """Watch the cells of the kernel whose namespace this is; None elsewhere. IPython is not imported for the question.

    Of several notebooks' sessions in one kernel the latest watches.
    """
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None or getattr(shell, "user_ns", None) is not namespace:
        return None
    for event in ("pre_run_cell", "post_run_cell"):
        for callback in list(shell.events.callbacks.get(event, [])):
            if isinstance(getattr(callback, "__self__", None), Kernel):
                shell.events.unregister(event, callback)
    kernel = Kernel(namespace)
    kernel.begin()
    shell.events.register("pre_run_cell", kernel.begin)
    shell.events.register("post_run_cell", kernel.end)
    return kernel


def _words(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}, line {error.lineno}"
    message = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
