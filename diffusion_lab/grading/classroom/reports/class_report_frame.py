"""The style of the class report, beside what all pages share, and what its parts are made with."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

from diffusion_lab.grading.classroom.gradebook import plain
from diffusion_lab.grading.classroom.page import STYLE as SHARED

WIDTH = 360
"""Of a figure, in its own units; text in it stays readable on a telephone."""
LONGEST = 600
"""Characters of a hint, reason or note."""
STYLE = (
    SHARED
    + """
figure { margin: 1rem 0; }
figcaption { margin-top: 0.5rem; color: var(--faint); font-size: 0.9rem; }
svg { display: block; width: 100%; max-width: 29rem; height: auto; }
svg text { fill: var(--ink); font-size: 12px; font-family: system-ui, sans-serif; }
svg .code { font-family: ui-monospace, monospace; }
svg .middle { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .faint { fill: var(--faint); }
svg .small { font-size: 9.5px; }
svg .some, svg .right { fill: var(--right); }
svg .partly { fill: var(--partly); }
svg .none { fill: var(--none); }
svg .base { stroke: var(--faint); }
svg .count { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
svg .median { stroke: var(--ink); stroke-dasharray: 4 3; }
.key { display: inline-block; width: 0.8em; height: 0.8em; }
.key.right { background: var(--right); }
.key.partly { background: var(--partly); }
.key.none { background: var(--none); }
.ideas > li { margin: 1rem 0; }
.track { height: 0.5rem; background: var(--track); }
.track > div { height: 100%; background: var(--right); }
details { color: var(--faint); font-size: 0.9rem; }
summary { cursor: pointer; }
.warning {
  margin-top: 1.5rem; padding: 0.2rem 1rem 0.6rem; background: var(--warning); border-left: 4px solid var(--edge);
}
.warning h2 { margin-top: 0.6rem; }
"""
)


def figure(picture: str, caption: str) -> str:
    """A picture and what it shows, both HTML."""
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def svg(title: str, alt: str, height: int, shapes: Iterable[str]) -> str:
    """A picture of these shapes; `alt` says in words what it shows."""
    label = text(alt, longest=20_000)
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} {height}" aria-label="{label}">'
        f"<title>{text(title)}</title>{''.join(shapes)}</svg>"
    )


def text(value: Any, longest: int = LONGEST) -> str:
    """Text of any origin, as text of the page."""
    text = " ".join(plain(str(value)).split())
    return html.escape(text if len(text) <= longest else f"{text[:longest]}…", quote=True)


def number(count: int, what: str) -> str:
    """Such as "1 submission" and "3 submissions"."""
    return f"{count} {what}{'' if count == 1 else 's'}"
