"""A notebook or Python file as it lies on disk: its cells with code, and what it says about itself. Runs nothing.

Whoever hands a file in decides about every byte of it, so nothing of the format is taken for granted. Notebooks of
nbformat 3 and 4 are read.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusion_lab.errors import SourceError

LARGEST = 20 << 20
"""Bytes of a file; a notebook with pictures has a few MB."""
MOST_CELLS = 2000
"""Of a notebook, with code in them."""
LONGEST_SOURCE = 1 << 20
"""Characters of all its code."""
METADATA = "diffusion_lab"
"""The key of a notebook's metadata that holds its chapter and the release that it was made for."""
_MARKER = re.compile(r"# ?(%%|In ?\[[\d ]*\]:)")
"""Where a cell begins in a Python file that a tool has made of a notebook."""


@dataclass(frozen=True)
class Written:
    """A code cell as it was written."""

    place: str
    """Such as "cell 7": its number among all cells. A Python file's name."""
    text: str
    """Lines end in a line feed alone."""
    grade_id: str = ""
    """Under which nbgrader knows it, if any."""
    above: int = 0
    """Lines of the file above the cell, where line numbers are those of the file."""


@dataclass(frozen=True)
class Document:
    """What was read."""

    cells: tuple[Written, ...]
    chapter: Any = None
    """What its metadata call its chapter."""
    release: Any = None
    """For which it was made."""
    is_notebook: bool = True
    offer: Any = None
    """What it says that its course has changed in it."""
    answers: dict[str, str] = field(default_factory=dict)
    """grade_id -> text, of every cell that nbgrader has an answer in: code, and written answers too."""


def content_of(path: Path) -> bytes:
    """What is in a file. Raises SourceError for what is not there, no plain file, or a very large one."""
    if not path.exists() and not path.is_symlink():
        raise SourceError("there is no such file")
    if path.is_symlink() or not path.is_file():
        raise SourceError("it is not a plain file")
    size = path.stat().st_size
    if size > LARGEST:
        raise SourceError(
            f"it has {size / 1e6:.0f} MB, and at most {LARGEST / 1e6:.0f} MB are read; clear the outputs of a notebook"
        )
    return path.read_bytes()


def of_notebook(data: bytes) -> Document:
    """The code cells of a notebook. Raises SourceError, with the reason, for what is none."""
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"it is not a notebook: {_fault_of(error)}") from error
    cells = _cells(content) if isinstance(content, dict) else None
    if cells is None:
        raise SourceError("it is not a notebook: it has no list of cells")
    found = list(_code(cells))
    if len(found) > MOST_CELLS:
        raise SourceError(f"it has more than {MOST_CELLS} cells with code")
    _not_too_long(found)
    metadata = content.get("metadata")
    about = metadata.get(METADATA) if isinstance(metadata, dict) else None
    about = about if isinstance(about, dict) else {}
    answers = dict(_answers(cells))
    if sum(map(len, answers.values())) > LONGEST_SOURCE:
        raise SourceError(f"its answers have more than {LONGEST_SOURCE} characters")
    return Document(tuple(found), about.get("chapter"), about.get("release"), answers=answers, offer=about.get("offer"))


def of_file(data: bytes, name: str) -> Document:
    """A Python file, in its cells where it has any (`# %%`, `# In[3]:`). Raises SourceError for what is no text."""
    try:
        text = _lines(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SourceError(f"it is not text in UTF-8: {error}") from error
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines) if _MARKER.match(line)]
    bounds = [0, *starts, len(lines)]
    pieces = [(first, "\n".join(lines[first:last])) for first, last in itertools.pairwise(bounds)]
    found = [Written(name, piece, above=first) for first, piece in pieces if piece.strip()]
    _not_too_long(found)
    return Document(tuple(found), is_notebook=False)


def _not_too_long(cells: list[Written]) -> None:
    if sum(len(cell.text) for cell in cells) > LONGEST_SOURCE:
        raise SourceError(f"it has more than {LONGEST_SOURCE} characters of code")


def _fault_of(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON, at line {error.lineno}"
    return "its JSON is nested too deeply" if isinstance(error, RecursionError) else "it is no JSON"


def _cells(content: dict[str, Any]) -> list[Any] | None:
    if isinstance(content.get("cells"), list):
        return content["cells"]
    sheets = content.get("worksheets")  # nbformat 3
    if not isinstance(sheets, list):
        return None
    lists = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
    return [cell for cells in lists if isinstance(cells, list) for cell in cells] if any(lists) else None


def _code(cells: list[Any]) -> Iterator[Written]:
    for number, cell in enumerate(cells, 1):
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        text = _text(cell.get("source", cell.get("input")))  # `input` in nbformat 3
        if not text.strip():
            continue
        yield Written(f"cell {number}", text, _grade_id(cell)[0])


def _answers(cells: list[Any]) -> Iterator[tuple[str, str]]:
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") in ("code", "markdown"):
            grade_id, is_answer = _grade_id(cell)
            if grade_id and is_answer:
                yield grade_id, _text(cell.get("source", cell.get("input")))


def _grade_id(cell: dict[str, Any]) -> tuple[str, bool]:
    """By which name nbgrader knows a cell, "" for none, and whether it holds an answer."""
    metadata = cell.get("metadata")
    marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    if not isinstance(marks, dict) or not isinstance(marks.get("grade_id"), str):
        return "", False
    return marks["grade_id"], marks.get("solution") is True or marks.get("task") is True


def _text(source: Any) -> str:
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        return ""
    # Halves of characters, which JSON allows and no file does.
    return _lines(source.encode(errors="replace").decode())


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
