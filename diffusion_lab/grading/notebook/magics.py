"""A cell as IPython understands it, made into Python: magics, shell lines and questions go, line numbers stay.

IPython is not needed for it, so that a cell means the same wherever it is read.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

KEPT_BODIES = {"time", "timeit", "capture", "prun", "debug", "memit", "mprun", "lprun", "snakeviz", "pyinstrument"}
"""Cell magics that run the Python below them. All others, such as %%bash and %%writefile, do something else with it."""
NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What the parser raises: it has its own words for null bytes and for brackets that are nested too deeply."""

_CELL_MAGIC = re.compile(r"%%(\w*)")
_TIMED = re.compile(r"(\s*)%time\s+(\S.*)")
_ESCAPED = re.compile(r"\s*[%!?,;/]")
_ASSIGNED = re.compile(r"(\s*[A-Za-z_][\w.,\[\] ]*=)\s*[%!]")
_PROMPT = re.compile(r"(>>>|\.\.\.|In \[\d+\]:|\s*\.{3,}:)( |$)")
_PLAIN = re.compile(r"[^'\"#()\[\]{}\\]+")


@dataclass(frozen=True)
class Python:
    """What is left of a cell."""

    text: str
    """As many lines as the cell has."""
    other: str = ""
    """The cell magic, such as "bash", because of which nothing is left."""


def python_of(text: str) -> Python:
    """The Python of a cell. What is no Python for other reasons than IPython's stays as it is.

    A line is a magic only where a statement begins: a continued line may well start with `%`.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if is_python(text):
        return Python(text)
    lines = _without_prompts(text.split("\n"))
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    while first is not None and (found := _CELL_MAGIC.match(lines[first])):
        if found[1] not in KEPT_BODIES:
            return Python("\n" * (len(lines) - 1), found[1] or "%")
        lines[first] = ""
        first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is not None:
        indent = re.match(r"[ \t]*", lines[first])[0]  # as IPython does, for what was pasted from inside a function
        lines = [line.removeprefix(indent) for line in lines]
    return Python("\n".join(_without_magics(lines)))


def is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except NOT_PYTHON:
        return False
    return True


def _without_prompts(lines: list[str]) -> list[str]:
    first = next((line for line in lines if line.strip()), "")
    if not _PROMPT.match(first) or first.startswith("..."):
        return lines
    return [_PROMPT.sub("", line, count=1) for line in lines]


def _without_magics(lines: list[str]) -> list[str]:
    kept: list[str] = []
    depth, quote, continued, magic = 0, "", False, False
    for line in lines:
        if magic:  # the rest of a magic that a backslash has continued
            kept.append("")
            magic = line.endswith("\\")
            continue
        begins = depth == 0 and not quote and not continued
        if begins and _ESCAPED.match(line):
            timed = _TIMED.fullmatch(line)
            kept.append(timed[1] + timed[2] if timed else f"{line[: len(line) - len(line.lstrip())]}pass")
            magic = line.endswith("\\")
            continue
        if begins and (given := _ASSIGNED.match(line)):
            kept.append(f"{given[1]} None")
            magic = line.endswith("\\")
            continue
        end, after, inside = _scanned(line, depth, quote)
        if begins and not inside and line[:end].rstrip().endswith("?"):
            kept.append(f"{line[: len(line) - len(line.lstrip())]}pass")
            continue
        kept.append(line)
        depth, quote = after, inside
        continued = not quote and line[:end].endswith("\\")
        if len(quote) == 1 and not line.endswith("\\"):
            quote = ""  # a string that is not closed ends with its line; Python will complain
    return kept


def _scanned(line: str, depth: int, quote: str) -> tuple[int, int, str]:
    """Where the line's code ends and a comment begins, how many brackets are open after it, and which string is."""
    place = 0
    while place < len(line):
        if quote:
            if line[place] == "\\":
                place += 2
            elif line.startswith(quote, place):
                place, quote = place + len(quote), ""
            else:
                place += 1
            continue
        if plain := _PLAIN.match(line, place):
            place = plain.end()
            continue
        character = line[place]
        if character == "#":
            return place, depth, ""
        if character in "'\"":
            quote = character * 3 if line.startswith(character * 3, place) else character
            place += len(quote)
            continue
        depth = depth + 1 if character in "([{" else max(0, depth - 1) if character in ")]}" else depth
        place += 1
    return len(line), depth, quote
