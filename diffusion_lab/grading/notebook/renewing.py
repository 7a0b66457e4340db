"""What a release changed in a notebook that somebody has worked in, and the new notebook with their answers in it.

Cells are known by their names: nbgrader's, or the cell's own. nbgrader's checksum of a cell tells what was released
there, whatever has become of it since. Nothing here needs the libraries of notebooks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from diffusion_lab.errors import SourceError
from diffusion_lab.grading.notebook.documents import METADATA

PARTS = {"-text": "text", "-check": "check", "": "function"}
"""What stands behind an exercise's name in the name of a cell of the course -> which of its cells that is."""


@dataclass(frozen=True)
class Cell:
    """A cell as it lies in the file, under the name by which a release knows it."""

    name: str
    text: str
    content: dict[str, Any]

    @property
    def metadata(self) -> dict[str, Any]:
        return self.content.get("metadata", {})

    @property
    def marks(self) -> dict[str, Any]:
        """nbgrader's; empty where it does not know the cell."""
        return self.metadata.get("nbgrader", {})

    @property
    def is_answer(self) -> bool:
        return self.marks.get("solution") is True

    @property
    def is_answered(self) -> bool:
        """Whether somebody has written in a cell for answers, or it cannot be known."""
        return self.is_answer and self.marks.get("checksum") != released_checksum(self.name, self.text)

    def was_released_like(self, other: Cell) -> bool:
        """Whether the course wrote the same here; where it left no checksum, the texts tell."""
        sums = self.marks.get("checksum"), other.marks.get("checksum")
        return sums[0] == sums[1] if all(sums) else self.text.rstrip() == other.text.rstrip()


@dataclass(frozen=True)
class Paper:
    """A notebook by its cells."""

    content: dict[str, Any]
    cells: tuple[Cell, ...]

    @property
    def release(self) -> str:
        """For which it was made; "" where it does not say."""
        about = self.content.get("metadata", {}).get(METADATA)
        return str(about.get("release", "")) if isinstance(about, dict) else ""

    @property
    def answers(self) -> dict[str, Cell]:
        """The cells that somebody has written an answer in, by name."""
        return {cell.name: cell for cell in self.cells if cell.is_answered}

    @property
    def asked(self) -> list[str]:
        return [cell.name for cell in self.cells if cell.is_answer]

    def named(self) -> dict[str, Cell]:
        return {cell.name: cell for cell in self.cells if cell.name}


def released_checksum(name: str, text: str) -> str:
    """nbgrader's checksum of a cell for an answer in code, as `nbgrader.utils.compute_checksum` makes it."""
    return hashlib.md5(f"{text}codeFalseTrueFalse{name}".encode(errors="replace"), usedforsecurity=False).hexdigest()


def paper_of(data: bytes) -> Paper:
    """Read a notebook of nbformat 4. Raises SourceError, with the reason, for anything else."""
    try:
        content = json.loads(data.decode("utf-8-sig"))
        cells = tuple(map(_cell, content["cells"]))
        content.get("metadata", {}).get(METADATA)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError("it cannot be read as a notebook") from error
    return Paper(content, cells)


def changes(old: Paper, new: Paper) -> list[str]:
    """What `new` has otherwise than `old`, answers left out, each in words; empty where they are the same."""
    was, asked, asked_now = old.named(), old.asked, new.asked
    differing: dict[str, list[str]] = {}
    for cell in new.cells:
        home, part = _home(cell.name, asked_now)
        if home in asked_now and home not in asked:
            continue
        if cell.name not in was or not cell.was_released_like(was[cell.name]):
            differing.setdefault(part, []).append(home)
    told = [
        _listed("it asks for", (name for name in asked_now if name not in asked)),
        _listed("it no longer asks for", (name for name in asked if name not in asked_now)),
        *(_listed(f"another {part} for" if part else "another cell", names) for part, names in differing.items()),
    ]
    return [words for words in told if words]


def renewed(old: Paper, new: Paper) -> bytes:
    """`new` with the answers of `old`, its outputs where nothing changed, and the cells that learners have added.

    An added cell stays behind the cell that it followed. An answer to what is no longer asked becomes such a cell.
    """
    was, added = old.named(), _added(old, new)
    taken = {cell.name for cell in new.cells}
    cells = [_own(cell, taken) for cell in added.get("", [])]
    for cell in new.cells:
        before = was.get(cell.name)
        if before is None or not (before.is_answered if cell.is_answer else before.text == cell.text):
            cells.append(cell.content)
        else:
            metadata = before.metadata | cell.metadata
            cells.append(before.content | {"id": cell.content["id"], "metadata": metadata})
        cells += [_own(one, taken) for one in added.get(cell.name, [])]
    return (json.dumps(new.content | {"cells": cells}, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def _added(old: Paper, new: Paper) -> dict[str, list[Cell]]:
    """The cells of a learner's own, by the name of the cell of the new notebook that they follow."""
    known, asked = new.named(), old.asked
    # Some services leave the names of cells out. Then texts of the course and of a learner look alike.
    has_names = any(cell.name in known and not cell.marks for cell in old.cells)
    texts = {cell.text for cell in new.cells}
    found: dict[str, list[Cell]] = {}
    last = ""
    for cell in old.cells:
        if cell.name in known:
            last = cell.name
        elif cell.marks:
            if cell.is_answered:
                found.setdefault(last, []).append(cell)
        elif _home(cell.name, asked)[0] not in asked and cell.text not in texts:
            if has_names or cell.content.get("cell_type") == "code":
                found.setdefault(last, []).append(cell)
    return found


def _own(cell: Cell, taken: set[str]) -> dict[str, Any]:
    """The cell as one that nbgrader does not know, under a name that no other has."""
    name = cell.name
    if not name or name in taken:
        name = next(name for number in range(len(taken) + 1) if (name := f"kept-{number + 1}") not in taken)
    taken.add(name)
    metadata = {key: value for key, value in cell.metadata.items() if key not in ("nbgrader", "deletable", "editable")}
    return cell.content | {"id": name, "metadata": metadata}


def _cell(content: dict[str, Any]) -> Cell:
    metadata = content.get("metadata", {})
    marks = metadata.get("nbgrader", {})
    source = content["source"]
    text = source if isinstance(source, str) else "".join(source)
    name = marks.get("grade_id") or content.get("id") or metadata.get("id") or ""
    return Cell(str(name), text.replace("\r\n", "\n"), content)


def _home(name: str, asked: Iterable[str]) -> tuple[str, str]:
    """The exercise that a cell belongs to and which of its cells it is; the cell's own name and "" for no exercise."""
    for ending, part in PARTS.items():
        if name.endswith(ending) and name.removesuffix(ending) in asked:
            return name.removesuffix(ending), part
    return name, ""


def _listed(words: str, names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"{words} {listed}" if listed else ""
