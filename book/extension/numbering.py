"""Equations are numbered by chapter: the third one of chapter 5 is (5.3), wherever it is referred to."""

from __future__ import annotations

import copy
import re

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def through_the_book(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Before Sphinx numbers anew, and rewrites pages whose numbers have changed: the numbers that it gave itself."""
    env.toc_fignumbers = getattr(env, "lab_fignumbers", env.toc_fignumbers)
    return []


def by_chapter(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Sphinx numbers them through the whole book; its numbers keep their order within a page."""
    env.lab_fignumbers = env.toc_fignumbers
    env.toc_fignumbers = copy.deepcopy(env.toc_fignumbers)
    for page, kinds in env.toc_fignumbers.items():
        chapter = re.match(r"(\d\d)_", page)
        equations = kinds.get("displaymath", {})
        for place, name in enumerate(sorted(equations, key=lambda name: equations[name][-1]), 1):
            equations[name] = (int(chapter[1]), place) if chapter else (place,)
    return []


def setup(app: Sphinx) -> None:
    # Sphinx numbers between these two, in builds that read no page too.
    app.connect("env-get-updated", through_the_book, priority=100)
    app.connect("env-get-updated", by_chapter, priority=900)
