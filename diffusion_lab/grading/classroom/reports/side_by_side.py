"""The page with pairs of submissions whose code is alike: side by side, without a verdict."""

from __future__ import annotations

import html
from collections.abc import Sequence

from diffusion_lab.grading.classroom.gradebook import plain
from diffusion_lab.grading.classroom.likeness import Likeness
from diffusion_lab.grading.classroom.page import PAGE
from diffusion_lab.grading.classroom.reports.class_report_frame import STYLE, number, text

NO_VERDICT = (
    "Alike is not copied. Two people who learned from the same lecture, book or assistant write alike, and so do two "
    "who worked together as you may have allowed. And what is not on this list may be copied all the same: rewritten "
    "in other words it is not found. Look at a pair, and talk to both before you think anything of it."
)
MOST_PAIRS = 100
OWN_STYLE = """
body { max-width: 70rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
.pair pre { margin: 0.2rem 0 1rem; padding: 0.6rem 0.8rem; overflow-x: auto; background: var(--track); }
.pair h3 { margin: 0; }
.pair mark { background: var(--warning); color: inherit; }
"""


def likeness_page(found: Sequence[Likeness], students: int) -> str:
    """The page, as HTML.

    Args:
        found: pairs, those that share most first.
        students: how many were compared.
    """
    shown = found[:MOST_PAIRS]
    more = f" The {MOST_PAIRS} that share most are shown." if len(found) > MOST_PAIRS else ""
    body = [
        "<header><p>Similarity</p><h1>Code that is alike beyond what the exercises force</h1></header>",
        "<main>",
        f'<section class="warning"><p>{html.escape(NO_VERDICT)}</p></section>',
        f"<p>{number(students, 'submission')} compared, {number(len(found), 'pair')} of answers found.{more}</p>",
        *(_pair(pair) for pair in shown),
        "</main>",
    ]
    return PAGE.format(title="Similarity", style=STYLE + OWN_STYLE, body="\n".join(body))


def _pair(pair: Likeness) -> str:
    sides = "".join(
        f"<div><h3>{text(name)}</h3><pre tabindex='0'><code>{_marked(source, lines)}</code></pre></div>"
        for name, source, lines in zip((pair.one, pair.other), pair.sources, pair.lines, strict=True)
    )
    return (
        f"<section><h2>{text(pair.exercise)}: {text(pair.one)} and {text(pair.other)}</h2>"
        f"<p>{pair.shared} places in common, {pair.share:.0%} of what is not common in the class. The lines that hold "
        f"them are marked.</p><div class='pair'>{sides}</div></section>"
    )


def _marked(source: str, lines: frozenset[int]) -> str:
    written = []
    for place, line in enumerate(plain(source).split("\n"), 1):
        shown = html.escape(line)
        written.append(f"<mark>{shown}</mark>" if place in lines else shown)
    return "\n".join(written)
