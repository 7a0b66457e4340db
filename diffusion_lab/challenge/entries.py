"""Entries: a file of pieces, or a network's weights and the code that opens it, read without running or unpickling."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from torch import Tensor

from diffusion_lab.challenge.inside import pieces_code
from diffusion_lab.challenge.rules import LONGEST_SOURCE, MOST_WEIGHTS, NAMES, ChallengeError, Rules, rules_of
from diffusion_lab.errors import SourceError

LONGEST_NAME = 40
BYTES_OF_HEADER = 1 << 20
SCOPES = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip
"""What keeps the names that it binds to itself."""


@dataclass(frozen=True)
class Entry:
    """What takes part."""

    name: str
    cells: tuple[str, ...] = ()
    """Its code; none is the course's own entry."""
    weights: dict[str, Tensor] | None = None
    """Of a network that was trained elsewhere; None trains here."""
    pieces: tuple[str, ...] = field(default=(), init=False)
    """The names that its code defines."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pieces", _defined(self.cells, _courses()))

    @property
    def digest(self) -> str:
        """By which the code of a row in the table is known again."""
        return hashlib.sha256("\n".join(self.cells).encode()).hexdigest()[:12]


def read_entry(rules: Rules, path: Path | None, weights: Path | None = None, name: str = "") -> Entry:
    """Read an entry.

    Args:
        path: a Python file or a notebook of pieces; None for the course's own.
        weights: a safetensors file.
        name: what the table calls it; by default the file's name.

    Raises:
        ChallengeError: for a file that is missing, too long or not what it should be, and for code that replaces none
            of the course's pieces: it would be the course's own entry under another name.
    """
    name = " ".join((name or (path or weights or Path("the course")).stem).split())
    if not name.isprintable() or not 0 < len(name) <= LONGEST_NAME or "|" in name:
        raise ChallengeError(f"an entry's name has 1 to {LONGEST_NAME} printable characters and no |, got {name!r}")
    cells = () if path is None else _cells(path)
    if path is not None:
        _replaces(rules, path, cells)
    return Entry(name, cells, None if weights is None else _weights(rules, weights))


def _cells(path: Path) -> tuple[str, ...]:
    from diffusion_lab.grading.notebook import content_of, of_notebook

    if path.suffix not in (".py", ".ipynb"):
        raise ChallengeError(f"an entry is a Python file (.py) or a notebook (.ipynb), got {path}")
    try:
        content = content_of(path)
        if path.suffix == ".ipynb":
            cells = tuple(cell.text for cell in of_notebook(content).cells)
        else:
            cells = (content.decode("utf-8-sig"),)
    except UnicodeDecodeError as error:
        raise ChallengeError(f"{path} is not text in UTF-8") from error
    except SourceError as error:
        raise ChallengeError(f"{path}: {error}") from error
    length = sum(map(len, cells))
    if length > LONGEST_SOURCE:
        raise ChallengeError(f"the code of an entry has at most {LONGEST_SOURCE:,} characters; {path} has {length:,}")
    return cells


def _replaces(rules: Rules, path: Path, cells: tuple[str, ...]) -> None:
    """Raise ChallengeError where an entry replaces none of the course's pieces."""
    if any(_parsed(cell) is None for cell in cells):
        return  # code that is no Python tells so when it runs
    known = _defined(tuple(pieces_code(rules)))
    found = _defined(cells, known)
    if set(found).isdisjoint(known):
        own = f"it defines {', '.join(found[:5])}" if found else "it defines nothing"
        raise ChallengeError(f"{path} replaces none of the course's pieces: {own}; the pieces are {', '.join(known)}")


def _weights(rules: Rules, path: Path) -> dict[str, Tensor]:
    try:
        if path.stat().st_size > 8 * rules.parameters + BYTES_OF_HEADER:
            raise ChallengeError(f"{path} is larger than {rules.parameters:,} parameters can be")
        found = tensors_of(path.read_bytes())
    except (SafetensorError, ValueError, KeyError) as error:
        if isinstance(error, ChallengeError):
            raise
        raise ChallengeError(
            f"{path} is no safetensors file ({error}); save weights with safetensors.torch.save_file(network."
            "state_dict(), file): pickles, which torch.save writes, can run code and are never opened"
        ) from error
    except OSError as error:
        raise ChallengeError(f"{path}: {error.strerror}") from error
    check_weights(rules, found)
    return found


def check_weights(rules: Rules, weights: dict[str, Tensor]) -> int:
    """How many numbers there are in a network's state.

    Raises:
        ChallengeError: more than the rules allow, or some that are not finite.
    """
    count = sum(value.numel() for value in weights.values())
    if count > rules.parameters or len(weights) > MOST_WEIGHTS:
        raise ChallengeError(
            f"the network has {count:,} parameters in {len(weights)} tensors; the challenge {rules.name!r} allows "
            f"{rules.parameters:,} in {MOST_WEIGHTS}"
        )
    broken = [name for name, value in weights.items() if not value.isfinite().all()]
    if broken:
        raise ChallengeError(f"the network's weights are not finite: {', '.join(broken[:3])}")
    return count


def _parsed(cell: str) -> ast.Module | None:
    """None for code that is no Python."""
    try:
        return ast.parse(cell)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _courses() -> tuple[str, ...]:
    """The names of the course's pieces, of all challenges."""
    return _defined(tuple(text for name in NAMES for text in pieces_code(rules_of(name))))


def _defined(cells: tuple[str, ...], pieces: Sequence[str] = ()) -> tuple[str, ...]:
    """The names that code binds at its top, whatever binds them: not those inside its functions and classes.

    Args:
        cells: code. What is no Python tells so when it runs.
        pieces: imported names that count too; others, such as `torch`, are only used.
    """
    found: dict[str, None] = {}
    waiting = [tree for tree in map(_parsed, reversed(cells)) if tree is not None]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = None
        elif isinstance(node, ast.alias) and (node.asname or node.name.partition(".")[0]) in pieces:
            found[node.asname or node.name.partition(".")[0]] = None
        elif isinstance(node, ast.AnnAssign) and node.value is None:
            continue  # it says what a name holds, and gives it nothing
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = None
        if not isinstance(node, SCOPES):
            waiting += reversed(list(ast.iter_child_nodes(node)))
    return tuple(found)
