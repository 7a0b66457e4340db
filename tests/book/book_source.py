"""The book as it is written: its pages taken apart into front matter, code, mathematics and prose."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from diffusion_lab.exercises.catalogue import BEYOND, CHAPTERS, folder_name

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
# The chapters that the book has so far.
WRITTEN = [chapter for chapter in (*CHAPTERS, *BEYOND) if (BOOK / f"{folder_name(chapter)}.md").is_file()]

FENCE = re.compile(r"^(?P<fence>`{3,}|:{3,}|~{3,})\s*(?P<info>.*?)\s*$")
DISPLAY = re.compile(r"\$\$(?P<math>.+?)\$\$[ \t]*(?P<label>\([\w:.-]+\))?", re.DOTALL)
ROLE = re.compile(r"\{[\w:-]+\}`[^`]*`")
# Fences whose content is no prose. What is in a fence of colons is.
SILENT = "`~"


@dataclass
class Page:
    """One page. Line numbers are those of the file."""

    name: str
    text: str
    front: dict = field(default_factory=dict)
    cells: list[str] = field(default_factory=list)
    """The code of its code cells, options left out."""
    directives: list[tuple[str, str, str]] = field(default_factory=list)
    """(name, argument, content) of the fences of backticks that are no code cells."""
    colons: list[tuple[str, str]] = field(default_factory=list)
    """(name, argument) of the fences of colons."""
    marked: str = ""
    """The Markdown outside of fences of backticks."""
    unfolded: str = ""
    """The same without what lies in a fold, which a reader opens or leaves."""

    @property
    def code(self) -> str:
        return "\n".join(self.cells)

    @property
    def equations(self) -> list[tuple[str, str | None]]:
        """(TeX, label without brackets) of what is displayed."""
        found = [(m["math"], m["label"] and m["label"][1:-1]) for m in DISPLAY.finditer(self.marked)]
        for name, _, content in self.directives:
            if name == "math":
                label = re.search(r"^:label:\s*(\S+)", content, re.MULTILINE)
                found.append((re.sub(r"^:[\w-]+:.*$", "", content, flags=re.MULTILINE), label and label[1]))
        return found

    @property
    def headings(self) -> list[str]:
        return re.findall(r"^#+ +(.+)$", self.marked, re.MULTILINE)

    @property
    def prose(self) -> str:
        """What a person reads as text: no code, no mathematics, no targets of links, no roles."""
        return self._read(self.marked)

    @staticmethod
    def _read(marked: str) -> str:
        text = DISPLAY.sub(" ", marked)
        text = re.sub(r"^(?::{3,}.*|:[\w-]+:.*|\([\w.-]+\)=|<!--.*?-->)$", " ", text, flags=re.MULTILINE)
        text = ROLE.sub(" ", text)
        text = re.sub(r"(`+)[^`].*?\1", " ", text, flags=re.DOTALL)
        text = re.sub(r"\]\([^)]*\)", "] ", text)
        text = re.sub(r"<https?:[^>]*>|https?://\S+", " ", text)
        return re.sub(r"\$[^$]+\$", " ", text)

    @property
    def main(self) -> str:
        """What everybody reads: no folds, and nothing from the exercises on."""
        return re.split(r"^## Exercises$", self.unfolded, maxsplit=1, flags=re.MULTILINE)[0]

    @property
    def main_prose(self) -> str:
        return self._read(self.main)

    @property
    def words(self) -> int:
        """The words of the main text."""
        return len(re.findall(r"[A-Za-z][\w’'-]*", self.main_prose))

    def roles(self, name: str) -> list[str]:
        """What the roles of this name, such as "term" or "cite:p", point at."""
        found = re.findall(rf"\{{{re.escape(name)}\}}`([^`]*)`", self.marked)
        return [re.sub(r"^.*<(.*)>$", r"\1", " ".join(target.split())) for target in found]


def read(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    page = Page(path.stem, text)
    lines = text.splitlines()
    if lines and lines[0] == "---":
        end = lines.index("---", 1)
        page.front = yaml.safe_load("\n".join(lines[1:end])) or {}
        lines = lines[end + 1 :]
    outside, unfolded, inside = [], [], None
    folds: list[tuple[str, bool]] = []  # (fence, whether it folds) of the fences of colons that are open
    for line in lines:
        fence = FENCE.match(line.strip())
        if inside is not None:
            opened, info, content = inside
            if fence and not fence["info"] and fence["fence"][0] == opened[0] and len(fence["fence"]) >= len(opened):
                _keep(page, info, content)
                inside = None
            else:
                content.append(line)
        elif fence and fence["fence"][0] in SILENT:
            inside = fence["fence"], fence["info"], []
        else:
            if fence and (match := re.match(r"\{([\w:-]+)\}\s*(.*)", fence["info"])):
                page.colons.append((match[1], match[2]))
                folds.append((fence["fence"], match[1] == "dropdown"))
                line = f"{match[2]}"  # the title of an admonition is read
            elif fence and folds and fence["fence"] == folds[-1][0]:
                folds.pop()
            outside.append(line)
            if not any(folding for _, folding in folds):
                unfolded.append(line)
    page.marked, page.unfolded = "\n".join(outside), "\n".join(unfolded)
    return page


def _keep(page: Page, info: str, content: list[str]) -> None:
    match = re.match(r"\{([\w:-]+)\}\s*(.*)", info)
    if not match:
        return  # code that is only shown
    body = "\n".join(content)
    if match[1] == "code-cell":
        page.cells.append("\n".join(line for line in content if not re.match(r":[\w-]+:", line)))
    else:
        page.directives.append((match[1], match[2], body))


def contents() -> list[str]:
    """The names of the pages in the table of contents."""
    table = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    entries = [entry for part in table["parts"] for entry in part["chapters"]]
    below = [[entry["file"], *(page["file"] for page in entry.get("sections", []))] for entry in entries]
    return [table["root"], *(name for names in below for name in names)]


def pages() -> dict[str, Page]:
    """The pages that exist, by name."""
    return {name: read(BOOK / f"{name}.md") for name in contents() if (BOOK / f"{name}.md").is_file()}


def chapter_page(chapter: str) -> Page:
    return read(BOOK / f"{folder_name(chapter)}.md")


__all__ = ["BOOK", "CHAPTERS", "ROOT", "WRITTEN", "Page", "chapter_page", "contents", "pages", "read"]
