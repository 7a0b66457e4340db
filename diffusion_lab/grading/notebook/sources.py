"""A student's pieces, read from a Python file or from one of the course's notebooks, and made to run here.

What counts of a file is `intake`'s to say. Each statement runs on its own, so that a fault loses that statement and no
other.
"""

from __future__ import annotations

import builtins
import contextlib
import linecache
import sys
import types
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusion_lab import __version__
from diffusion_lab.errors import LabError, SourceError
from diffusion_lab.exercises import notebook, tasks
from diffusion_lab.exercises.catalogue import as_written, find, home_of
from diffusion_lab.exercises.offers import adopt, offer_of
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading.judge import Fault, LocalCaller, runnable, settings_kept
from diffusion_lab.grading.notebook.documents import Document, content_of, of_file, of_notebook
from diffusion_lab.grading.notebook.intake import CELL_LIMIT, PACKAGE, Cell, Intake, take_in
from diffusion_lab.grading.notebook.naming import COURSE, STUDENT

MODULE = "diffusion_lab_pieces"
"""What `__name__` is in a file's namespace; not "__main__", which is this program's."""


@dataclass(frozen=True)
class Submission:
    """What was read, before anything of it has run."""

    path: Path
    chapter: str | None
    """None for a Python file, which may hold pieces of any chapter."""
    intake: Intake
    notes: tuple[str, ...] = ()

    @property
    def is_notebook(self) -> bool:
        return self.path.suffix == ".ipynb"


@dataclass(frozen=True)
class Sources:
    """A student's functions, ready to be checked."""

    path: Path
    namespace: dict[str, Any]
    faults: dict[str, str]
    """What did not run: an exercise's name, or a place, and what was wrong."""
    chapter: str | None
    notes: tuple[str, ...] = ()
    pieces: Collection[str] = field(default_factory=tasks)
    """The exercises that may stand in for each other: those of the chapter, and for a Python file all."""
    owner: Owner | None = None
    """By the name in the file, where there is one."""

    @property
    def names(self) -> list[str]:
        """The exercises that this file is about, in the course's order: its chapter's, or those that it defines."""
        if self.chapter is not None:
            return [exercise.name for exercise in notebook(self.chapter).exercises]
        return [name for name in tasks() if name in self.namespace or name in self.faults]


def load(path: str | Path, chapter: str | None = None) -> Sources:
    """Read a file and run what its pieces need.

    Args:
        path: a `.py` file, or a notebook of this course.
        chapter: the chapter whose exercises are looked for; by default the notebook's own.

    Raises:
        SourceError: where there is nothing that could be checked; the message says what the file is instead.
    """
    submission = read(path)
    if chapter is not None:
        chapter = find(chapter)
        if submission.chapter not in (None, chapter):
            raise SourceError(f"{submission.path} is a notebook of chapter '{submission.chapter}', not of '{chapter}'")
    namespace, faults = run(submission)
    if submission.chapter is not None:
        for name in _exercises(submission.chapter):
            if name not in submission.intake.solutions:
                fault = f"{submission.path.name} has no function {name} and no cell for it any more."
                faults.setdefault(name, f"{fault} Take it from a fresh notebook.")
    pieces = tasks() if submission.chapter is None else _exercises(submission.chapter)
    namespace.update(submission.intake.predictions)  # what a notebook predicts is no part of what its functions need
    owner = _owner(submission)
    return Sources(submission.path, namespace, faults, chapter or submission.chapter, submission.notes, pieces, owner)


def _owner(submission: Submission) -> Owner | None:
    said = submission.intake.typed
    try:
        return Owner(said[STUDENT], said.get(COURSE, "")) if said.get(STUDENT) else None
    except LabError as error:
        raise SourceError(f"{submission.path}: {error}") from error


def _adopt(document: Document, chapter: str) -> None:
    """Follow what a course has changed in a notebook, as its release says in it; what is not clear changes nothing."""
    if isinstance(document.offer, dict):
        with contextlib.suppress(LabError):
            offer = offer_of(chapter, document.offer)
            offer.applied(as_written(chapter))
            adopt(offer)


def read(path: str | Path) -> Submission:
    """Take a file apart without running any of it. Raises SourceError as `load` does."""
    path = Path(path)
    document = open_document(path)
    try:
        if not document.is_notebook:
            intake = take_in(document, tasks())
            return Submission(path, None, intake, tuple(intake.notes))
        chapter = chapter_of(document)
        _adopt(document, chapter)
        intake = take_in(document, _exercises(chapter))
    except LabError as error:
        raise SourceError(f"{path}: {error}") from error
    notes = list(intake.notes)
    if document.chapter is not None and document.release not in (None, __version__):
        made = f"{path.name} was made for release {document.release}, and this is {__version__}; names still count."
        notes.insert(0, made)
    return Submission(path, chapter, intake, tuple(notes))


def open_document(path: Path) -> Document:
    """What is in a file. Raises SourceError where it is neither a notebook nor Python."""
    if not path.exists():
        raise SourceError(f"there is no file {path}")
    if path.is_dir():
        inside = sorted(file.name for file in path.glob("*.ipynb"))
        raise SourceError(f"{path} is a folder{'; name a file in it: ' + ', '.join(inside) if inside else ''}")
    if path.suffix not in (".py", ".ipynb"):
        raise SourceError(f"{path} is neither a Python file (.py) nor a notebook (.ipynb)")
    try:
        data = content_of(path.resolve())
        document = of_notebook(data) if path.suffix == ".ipynb" else of_file(data, str(path))
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    if not document.is_notebook and len(document.cells) == 1:
        _parse(document)
    return document


def chapter_of(document: Document) -> str:
    """The chapter that a notebook belongs to.

    Raises:
        LabError: where it belongs to none.
    """
    if document.chapter is not None:
        return find(str(document.chapter))
    # Some editors drop a notebook's metadata and keep its cells'; some drop these too.
    homes = [home_of(cell.grade_id) for cell in document.cells if cell.grade_id in tasks()]
    if not homes:
        homes = [home_of(name) for name in take_in(document, tasks()).solutions]
    if not homes:
        raise SourceError("it is not a notebook of this course: it has none of its cells and functions")
    return max(homes, key=homes.count)


def run(submission: Submission) -> tuple[dict[str, Any], dict[str, str]]:
    """Run what counts in one new namespace: the namespace, and what went wrong, by exercise or place."""
    with settings_kept(), _module(submission) as namespace:
        failed = {cell.name: _run(cell, submission, namespace) for cell in submission.intake.order}
    faults: dict[str, str] = {}
    for cell in submission.intake.order:
        if failed[cell.name]:
            for name in cell.gives or [cell.name]:
                if not callable(namespace.get(name)):
                    faults[name] = failed[cell.name]
    return namespace, faults


@contextlib.contextmanager
def _module(submission: Submission) -> Iterator[dict[str, Any]]:
    """A namespace as the pieces find it where marks are given; for a Python file, as Python gives it."""
    if submission.is_notebook:
        import math

        import torch
        from torch import Tensor, nn
        from torch.nn import functional

        given = {"math": math, "torch": torch, "Tensor": Tensor, "nn": nn, "functional": functional}
        yield {"__name__": "__main__", "__builtins__": _builtins(submission.path)} | given
        return
    module = types.ModuleType(MODULE)
    folder = str(submission.path.parent.resolve())
    before = sys.modules.get(MODULE)
    sys.modules[MODULE] = module  # dataclasses look up the module of a class
    sys.path.insert(0, folder)
    try:
        yield module.__dict__
    finally:
        sys.path.remove(folder)
        if before is not None:
            sys.modules[MODULE] = before


def _builtins(path: Path) -> Mapping[str, Any]:
    """Python's own, with an import that finds no more than there is where marks are given."""
    folder = path.parent.resolve()

    def guarded(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        root = name.partition(".")[0]
        if root == PACKAGE:
            raise ModuleNotFoundError(f"No module named {name!r}: the course's package is not there for marks")
        beside = [folder / f"{root}.py", folder / root / "__init__.py"]
        if root not in sys.stdlib_module_names and any(file.is_file() for file in beside):
            raise ModuleNotFoundError(f"No module named {name!r}: only the notebook is handed in, not {root} beside it")
        return builtins.__import__(name, globals, locals, fromlist, level)

    return vars(builtins) | {"__import__": guarded}


def _run(cell: Cell, submission: Submission, namespace: dict[str, Any]) -> str:
    """Run one statement; what went wrong, or "".

    Tracebacks show the lines of the cell as the student wrote it.
    """
    place = f"{submission.path.name}, {cell.place}" if submission.is_notebook else cell.place
    source = cell.source
    if submission.is_notebook:
        _remember(place, cell.written)
    elif place not in linecache.cache:
        linecache.updatecache(place)
    try:
        function = runnable(source, place, namespace)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return _syntax(error, place)
    fault = LocalCaller(function, CELL_LIMIT)(()).fault
    return "" if fault is None else _raised(fault, place)


def _remember(place: str, text: str) -> None:
    # Without a time of change, linecache does not look for a file of that name.
    linecache.cache[place] = (len(text), None, [f"{line}\n" for line in text.split("\n")], place)


def _syntax(error: Exception, place: str) -> str:
    if not isinstance(error, SyntaxError):
        return f"{place}: {type(error).__name__}: {error}"
    text = f", in `{error.text.strip()}`" if error.text and error.text.strip() else ""
    return f"{place}, line {error.lineno}: {type(error).__name__}: {error.msg}{text}"


def _raised(fault: Fault, place: str) -> str:
    where, _, text = fault.line.partition(": ")
    place = f"{place}, {where}" if where else place
    return f"{place}: {fault.name}: {fault.message}" + (f", in `{text}`" if text else "")


def _parse(document: Document) -> None:
    """Raises SourceError for a Python file that is none."""
    cell = document.cells[0]
    try:
        compile(cell.text, cell.place, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SourceError(f"this is not Python: {_syntax(error, cell.place)}") from error


def _exercises(chapter: str) -> list[str]:
    return [exercise.name for exercise in notebook(chapter).exercises]
