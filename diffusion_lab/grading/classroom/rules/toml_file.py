"""A TOML file whose mistakes are told with their line: keys that nobody knows, values of another kind."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from diffusion_lab.errors import LabError

LARGEST = 100_000
"""Bytes; a course's rules take a few thousand."""
KINDS: dict[type, str] = {str: "a text in quotation marks", list: "a list in [ ]", dict: "a table"}


def loads(text: str) -> dict[str, Any]:
    """TOML as a dictionary. Raises ValueError for what is none; LabError where nothing here reads TOML."""
    try:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
    except ImportError as error:
        raise LabError("a course.toml is read with tomli on this Python: pip install tomli") from error
    return tomllib.loads(text)


@dataclass(frozen=True)
class TomlFile:
    """What a file holds, and where."""

    path: Path
    text: str = field(repr=False)
    content: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> TomlFile:
        """Raises LabError, with the line, for what is no TOML; and for a file that cannot be read."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise LabError(f"{path} cannot be read: {error.strerror}") from error
        if len(data) > LARGEST:
            raise LabError(f"{path} has {len(data)} bytes; more than {LARGEST} are no rules of a course")
        try:
            text = data.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise LabError(f"{path}, line {line}: it is not in UTF-8, as TOML must be; save it so") from error
        try:
            return cls(path, text, loads(text))
        except ValueError as error:
            raise LabError(f"{path}: this is no TOML: {error}") from error

    def wrong(self, where: tuple[Any, ...], message: str) -> NoReturn:
        """Raise LabError with the file and the line of the key.

        Args:
            where: the way to it: keys of tables, and places in lists.
        """
        raise LabError(f"{self.path}, line {self.line(where)}: {message}")

    def line(self, where: tuple[Any, ...]) -> int:
        """The line, from 1, on which what `where` leads to begins.

        It is the first statement after which a file that ended there would hold it.
        """
        lines = self.text.split("\n")
        first = 1
        for last in range(1, len(lines) + 1):
            try:
                content = loads("\n".join(lines[:last]))
            except ValueError:  # in the middle of a value of several lines
                continue
            if _holds(content, where):
                break
            first = last + 1
        while first < last and (not lines[first - 1].strip() or lines[first - 1].lstrip().startswith("#")):
            first += 1
        return first

    def known(self, where: tuple[Any, ...], table: Mapping[str, Any], keys: Iterable[str]) -> None:
        """Raise LabError where a table has another key than these, with the nearest that there is."""
        keys = list(keys)
        for key in table:
            if key not in keys:
                near = difflib.get_close_matches(key.lower(), keys, n=1, cutoff=0.5)
                meant = f"did you mean '{near[0]}'? Possible are" if near else "possible are"
                self.wrong((*where, key), f"there is no '{key}' here; {meant} {', '.join(keys)}")

    def value(self, where: tuple[Any, ...], table: Mapping[str, Any], key: str, kind: type, default: Any = None) -> Any:
        """A value of this kind; `default` where the key is not there. Raises LabError for one of another kind."""
        if key not in table:
            return default
        if type(table[key]) is not kind:
            self.wrong((*where, key), f"'{key}' is {KINDS[kind]}, and this is {shown(table[key])}")
        return table[key]

    def number(self, where: tuple[Any, ...], table: Mapping[str, Any], key: str, default: float, most: float) -> float:
        """A number from 0 to `most`. Raises LabError for another one, and for what is none."""
        given = table.get(key, default)
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= most:
            self.wrong((*where, key), f"'{key}' is a number from 0 to {most:g}, and this is {shown(given)}")
        return float(given)


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = value.isoformat() if hasattr(value, "isoformat") else repr(value)
    return text if len(text) <= 60 else f"{text[:60]} …"


def _holds(content: Any, where: tuple[Any, ...]) -> bool:
    for step in where:
        if isinstance(content, dict) and step in content:
            content = content[step]
        elif isinstance(content, list) and isinstance(step, int) and step < len(content):
            content = content[step]
        else:
            return False
    return True
