"""What an examination finds, as data and as text."""

from __future__ import annotations

import math
import textwrap
from dataclasses import asdict, dataclass, field
from typing import Any

from diffusion_lab.addresses import web_page

WIDTH = 72
"""Characters of a line: a page of the book shows so many."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    code: str
    """Its short name, such as "noise-at-the-end"; always the same for the same mistake."""
    piece: str
    """The function or table that has it."""
    says: str
    """What is wrong, in one plain sentence."""
    of: str
    """Which number was measured."""
    measured: float
    expected: float
    page: str
    """The page of the book that explains it, with its section: "01_normal_1d#walking-back"."""

    def as_text(self) -> str:
        """The finding in three lines: what is wrong, the two numbers, the page."""
        numbers = f"{self.of}: {_number(self.measured)}, expected {_number(self.expected)}"
        whole = {"break_long_words": False, "break_on_hyphens": False}  # an address stays one
        below = [
            textwrap.fill(line, WIDTH, initial_indent="    ", subsequent_indent="      ", **whole)
            for line in (numbers, f"read on: {link(self.page)}")
        ]
        return "\n".join([textwrap.fill(f"{self.piece}: {self.says}", WIDTH), *below])


@dataclass(frozen=True)
class Checkup:
    """The result of an examination."""

    findings: tuple[Finding, ...] = ()
    examined: tuple[str, ...] = ()
    """What was examined, in words."""
    not_examined: tuple[str, ...] = ()
    """What was not, and why or what would be needed."""
    taken: tuple[str, ...] = field(default=())
    """What the doctor took for granted because nobody said otherwise."""

    @property
    def well(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the findings, in order, each once."""
        return tuple(dict.fromkeys(finding.code for finding in self.findings))

    def as_data(self) -> dict[str, Any]:
        """Plain lists, strings and numbers, for JSON; a number that is not finite is None there."""
        data = asdict(self)
        for finding in data["findings"]:
            finding.update({k: None for k in ("measured", "expected") if not math.isfinite(finding[k])})
        return data

    def as_text(self) -> str:
        """The whole report."""
        count = len(self.findings)
        found = "Nothing is wrong with what was examined." if self.well else f"{count} thing{'s' * (count > 1)} found:"
        blocks = [found, *(finding.as_text() for finding in self.findings)]
        for title, lines in (
            ("Examined", self.examined),
            ("Taken for granted", self.taken),
            ("Not examined", self.not_examined),
        ):
            if lines:
                wrapped = (
                    textwrap.fill(line, WIDTH, initial_indent="  - ", subsequent_indent="    ") for line in lines
                )
                blocks.append("\n".join([f"{title}:", *wrapped]))
        return "\n\n".join(blocks)

    def __str__(self) -> str:
        return self.as_text()


def link(page: str) -> str:
    """Where to read on: the section's address, or without a published book the command that opens the page.

    Args:
        page: a page and a section, such as "01_normal_1d#walking-back".
    """
    name, _, section = page.partition("#")
    address = web_page(name)
    if address:
        return f"{address}#{section}" if section else address
    words = section.replace("-", " ")
    return f"`diffusion-lab book {name}`" + (f", section '{words}'" if words else "")


def _number(value: float) -> str:
    return f"{value:.4g}"
