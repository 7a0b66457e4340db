"""How the pages speak: one notation, and no turns that a native teacher would not use aloud."""

from __future__ import annotations

import re

import pytest
from book_source import ROOT, pages

PAGES = {name: page.text for name, page in pages().items()}
PAGES |= {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
MATHS = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$", re.DOTALL)

STIFF = {
    "shall": r"\bshall\b",
    "who does X, has Y": r"(?:^|[.:;] )Who (?!can say|knows)(?:\w+s|has|is|wants|does) [^?.]{3,90}\.(?:\s|$)",
    "translated words": r"\b(?:noughts|wherein|thereof|hereby|herewith|whosoever|respectively|amongst)\b",
    "in order to": r"\bin order to\b",
    "it is to be": r"\bis to be (?:noted|seen|remarked)\b",
}
STRAYS = {
    "a mean is \\mathbb E": r"\\mathrm ?\{?E\b|\\operatorname\{E\}|(?<!mathbb )(?<![A-Za-z\\{])E\[",
    "a derivative in t has a dot": r"\\(?:alpha|sigma)'",
    "the logarithm is \\log": r"\\ln\b",
    "the noise is \\varepsilon": r"\\epsilon\b",
    "a covariance is C": r"\\Sigma\b",
    "the earlier time is r": r"\b[pqx]_s\b|\\(?:alpha|sigma|theta|bar\\alpha)_s\b|\bs \\mid t\b",
    "lambda is the log-SNR": r"\\lambda_[ij\d]|\\sqrt ?\{?\\lambda|\(1 - \\lambda\)",
}


@pytest.mark.parametrize("page", PAGES)
def test_no_stiff_turns(page: str):
    prose = MATHS.sub(" ", CODE.sub(" ", PAGES[page]))
    prose = " ".join(line.strip() for line in prose.splitlines())
    assert {name: found for name, turn in STIFF.items() if (found := re.findall(turn, prose))} == {}


@pytest.mark.parametrize("page", PAGES)
def test_one_notation(page: str):
    maths = "\n".join(MATHS.findall(CODE.sub(" ", PAGES[page])))
    assert {name: found for name, stray in STRAYS.items() if (found := re.findall(stray, maths))} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Who does not know the floor cannot tell.", "who does X, has Y"),
        ("The input of F shall have variance 1.", "shall"),
        ("Who can say what noise it was? Nobody.", None),
        ("asked for noughts", "translated words"),
    ],
)
def test_a_stiff_turn_is_seen(text: str, found: str | None):
    assert [name for name, turn in STIFF.items() if re.search(turn, text)] == ([found] if found else [])
