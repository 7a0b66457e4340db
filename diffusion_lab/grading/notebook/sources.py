"""A student's pieces, read from a Python file or from one of the course's notebooks.

Reading (`read`) runs nothing. Running (`load`) takes each statement on its own, so that a fault in one cell loses that
cell and no other.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import io
import linecache
import logging
import sys
import traceback
import types
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusion_lab import __version__
from diffusion_lab.errors import LabError, SourceError
from diffusion_lab.exercises import library, notebook
from diffusion_lab.exercises.catalogue import find

LARGEST = 20 * 2**20
"""Bytes of the largest file that is read: a notebook with pictures has a few MB."""
METADATA = "diffusion_lab"
"""The key of a notebook's metadata that holds its chapter and the release that it was made for."""
MODULE = "diffusion_lab_pieces"
"""What `__name__` is in a student's namespace; not "__main__", so that a file's script part does not run."""
CHECK_SUFFIX = "-check"
"""The grade_id of an exercise's test cell is its function's name and this."""


@dataclass(frozen=True)
class Cell:
    """Some of a student's code."""

    name: str
    """The exercise that the cell belongs to, or "" for imports and helpers."""
    place: str
    """Such as `05_mnist.ipynb, cell 7`; line numbers count from the top of the cell."""
    source: str


@dataclass(frozen=True)
class Submission:
    """What was read, before anything of it has run."""

    path: Path
    chapter: str | None
    """None for a Python file, which may hold pieces of any chapter."""
    cells: tuple[Cell, ...]
    faults: dict[str, str] = field(default_factory=dict)
    """Exercises of the chapter that have no cell, and why."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """A student's functions, ready to be checked."""

    path: Path
    namespace: dict[str, Any]
    faults: dict[str, str]
    """What did not run: an exercise's name, or a place, and what was wrong."""
    chapter: str | None
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The exercises that this file is about, in the course's order: its chapter's, or those that it defines."""
        if self.chapter is not None:
            return [exercise.name for exercise in notebook(self.chapter).exercises]
        return [name for name in library() if name in self.namespace or name in self.faults]


def load(path: str | Path, chapter: str | None = None) -> Sources:
    """Read a file and run its definitions.

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
    # A function that is there after all, from another cell, has no fault.
    missing = {name: fault for name, fault in submission.faults.items() if not callable(namespace.get(name))}
    return Sources(submission.path, namespace, {**missing, **faults}, chapter or submission.chapter, submission.notes)


def read(path: str | Path) -> Submission:
    """Take a file apart without running any of it. Raises SourceError as `load` does."""
    path = Path(path)
    if not path.exists():
        raise SourceError(f"there is no file {path}")
    if path.is_dir():
        inside = sorted(file.name for file in path.glob("*.ipynb"))
        raise SourceError(f"{path} is a folder{'; name a file in it: ' + ', '.join(inside) if inside else ''}")
    if path.suffix not in (".py", ".ipynb"):
        raise SourceError(f"{path} is neither a Python file (.py) nor a notebook (.ipynb)")
    if path.stat().st_size > LARGEST:
        raise SourceError(
            f"{path} has {path.stat().st_size / 2**20:.0f} MB, and more than {LARGEST / 2**20:.0f} are not read; "
            "in a notebook, clear the outputs"
        )
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not text in UTF-8: {error}") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    return _notebook(path, text) if path.suffix == ".ipynb" else _file(path, text)


def run(submission: Submission) -> tuple[dict[str, Any], dict[str, str]]:
    """Run the cells in one new namespace: the namespace, and what went wrong, by exercise or place."""
    module = types.ModuleType(MODULE)
    namespace, faults = module.__dict__, {}
    before = sys.modules.get(MODULE)
    sys.modules[MODULE] = module  # dataclasses look up the module of a class
    sys.path.insert(0, str(submission.path.parent.resolve()))
    try:
        for cell in submission.cells:
            for name, fault in _run(cell, namespace).items():
                if not callable(namespace.get(name)):
                    faults.setdefault(name, fault)
    finally:
        sys.path.remove(str(submission.path.parent.resolve()))
        if before is not None:
            sys.modules[MODULE] = before
    return namespace, faults


def _run(cell: Cell, namespace: dict[str, Any]) -> dict[str, str]:
    """Run a cell statement by statement; what went wrong first, by the exercise, the function or the place."""
    remember(cell)
    try:
        statements = ast.parse(cell.source, cell.place).body
    except (SyntaxError, ValueError, RecursionError) as error:
        return {cell.name or cell.place: _syntax(error, cell)}
    faults: dict[str, str] = {}
    flags = _future(statements)
    output = io.StringIO()
    for statement in statements:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                exec(compile(ast.Module([statement], []), cell.place, "exec", flags, dont_inherit=True), namespace)
            except (Exception, SystemExit) as error:
                name = cell.name or getattr(statement, "name", cell.place)
                faults.setdefault(name, _raised(error, cell))
    return faults


def remember(cell: Cell) -> None:
    """Let tracebacks show the lines of this cell."""
    lines = cell.source.splitlines(keepends=True)
    # Without a time of change, linecache does not look for a file of that name.
    linecache.cache[cell.place] = (len(cell.source), None, lines, cell.place)


def _future(statements: list[ast.stmt]) -> int:
    """The compiler flags of `from __future__ import ...`, which hold for the whole file."""
    flags = 0
    for statement in statements:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            for alias in statement.names:
                flags |= getattr(getattr(__future__, alias.name, None), "compiler_flag", 0)
    return flags


def _syntax(error: Exception, cell: Cell) -> str:
    if not isinstance(error, SyntaxError):
        return f"{cell.place}: {type(error).__name__}: {error}"
    text = f", in `{error.text.strip()}`" if error.text and error.text.strip() else ""
    return f"{cell.place}, line {error.lineno}: {type(error).__name__}: {error.msg}{text}"


def _raised(error: BaseException, cell: Cell) -> str:
    if isinstance(error, SyntaxError):  # such as `return` outside a function, which only the compiler finds
        return _syntax(error, cell)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == cell.place]
    message = " ".join(str(error).split())[:400]
    where = f"{cell.place}, line {own[-1].lineno}" if own else cell.place
    return f"{where}: {type(error).__name__}: {message}" + (f", in `{own[-1].line}`" if own and own[-1].line else "")


def _file(path: Path, text: str) -> Submission:
    cell = Cell("", str(path), text)
    try:
        ast.parse(text, str(path))
    except (SyntaxError, ValueError, RecursionError) as error:
        remember(cell)
        raise SourceError(f"this is not Python: {_syntax(error, cell)}") from error
    return Submission(path, None, (cell,))


def _notebook(path: Path, text: str) -> Submission:
    content = _parse(path, text)
    code = [
        (number, cell, _nbgrader(cell))
        for number, cell in enumerate(content.cells, 1)
        if cell.cell_type == "code" and isinstance(cell.source, str)
    ]
    solutions = {marks["grade_id"] for _, _, marks in code if marks.get("solution") and marks.get("grade_id")}
    chapter, notes = _chapter(path, content, solutions)
    cells, notes = [], list(notes)
    for number, cell, marks in code:
        place = f"{path.name}, cell {number}"
        if marks.get("solution") and marks.get("grade_id"):
            cells.append(Cell(marks["grade_id"], place, _without_magics(cell.source)))
        elif not marks.get("grade"):
            try:
                source = _definitions(_without_magics(cell.source), without=solutions)
            except (SyntaxError, ValueError, RecursionError) as error:
                notes.append(f"left out: {_syntax(error, Cell('', place, cell.source))}")
                continue
            if source.strip():
                cells.append(Cell("", place, source))
    faults = {
        exercise.name: f"{path.name} has no cell for {exercise.name} any more. Take it from a fresh notebook."
        for exercise in notebook(chapter).exercises
        if exercise.name not in solutions
    }
    return Submission(path, chapter, tuple(cells), faults, tuple(notes))


def _parse(path: Path, text: str) -> Any:
    try:
        import nbformat
    except ImportError as error:
        raise SourceError(f"to read {path}, install nbformat: pip install 'diffusion-lab[notebook]'") from error
    logger = logging.getLogger("traitlets")
    disabled, logger.disabled = logger.disabled, True  # it would write about an invalid notebook to standard error
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            content = nbformat.reads(text, as_version=4)
        for cell in content.cells:
            _ = cell.cell_type, cell.source, cell.metadata
    except Exception as error:  # nbformat raises whatever its many readers of old formats come across
        what = "JSON" if isinstance(error, nbformat.reader.NotJSONError) else "a Jupyter notebook"
        raise SourceError(f"{path} is not {what}: {' '.join(str(error).split())[:200]}") from error
    finally:
        logger.disabled = disabled
    return content


def _nbgrader(cell: Any) -> dict[str, Any]:
    marks = cell.metadata.get("nbgrader") if isinstance(cell.metadata, dict) else None
    return marks if isinstance(marks, dict) and isinstance(marks.get("grade_id", ""), str) else {}


def _chapter(path: Path, content: Any, solutions: set[str]) -> tuple[str, list[str]]:
    """The chapter that a notebook belongs to, and what to say about its release."""
    about = content.metadata.get(METADATA)
    if not isinstance(about, dict) or "chapter" not in about:
        # Some editors drop a notebook's metadata and keep its cells'.
        homes = [library()[name].chapter for name in solutions if name in library()]
        if not homes:
            raise SourceError(f"{path} is not a notebook of this course: it has none of its cells")
        return max(homes, key=homes.count), []
    try:
        chapter = find(about["chapter"])
    except LabError as error:
        raise SourceError(f"{path}: {error}") from error
    release = about.get("release")
    if release in (None, __version__):
        return chapter, []
    return chapter, [f"{path.name} was made for release {release}, and this is {__version__}; names still count."]


def _without_magics(source: str) -> str:
    """A cell without the lines that only IPython understands, such as `%matplotlib inline`; numbers of lines stay."""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError):
        ast.parse(source)
        return source
    return "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in source.split("\n"))


def _definitions(source: str, without: set[str]) -> str:
    """The imports, functions, classes and plain constants of a cell, each in its lines; the rest is blank.

    A student's own cells hold helpers, and also trials that may take long and that no check needs.

    Args:
        without: functions that have a cell of their own.
    """
    lines = [line.encode() for line in source.split("\n")]
    kept = [b""] * len(lines)
    for node in ast.parse(source).body:
        if not _is_definition(node) or getattr(node, "name", None) in without:
            continue
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        for i in range(first - 1, node.end_lineno):
            start = node.col_offset if i == node.lineno - 1 else 0
            end = node.end_col_offset if i == node.end_lineno - 1 else None
            kept[i] = b"; ".join(part for part in (kept[i], lines[i][start:end]) if part)
    return b"\n".join(kept).decode()


def _is_definition(node: ast.stmt) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return True
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not all(isinstance(t, ast.Name) for t in targets):
        return False
    try:
        ast.literal_eval(node.value)
    except (ValueError, TypeError):
        return False
    return True
