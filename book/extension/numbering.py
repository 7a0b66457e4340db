"""Equations are numbered by chapter: the third one of chapter 5 is (5.3), wherever it is referred to."""

from __future__ import annotations

import re

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def by_chapter(app: Sphinx, env: BuildEnvironment) -> None:
    """Sphinx numbers them through the whole book; its numbers keep their order within a page."""
    for page, kinds in env.toc_fignumbers.items():
        chapter = re.match(r"(\d\d)_", page)
        equations = kinds.get("displaymath", {})
        for place, name in enumerate(sorted(equations, key=lambda name: equations[name][-1]), 1):
            equations[name] = (int(chapter[1]), place) if chapter else (place,)


def setup(app: Sphinx) -> None:
    app.connect("env-check-consistency", by_chapter)
