"""What this book adds to Sphinx: code, exercise cards, networks that run in a page, pictures with words."""

from __future__ import annotations

import os
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from . import exercises, freshness, kernels, media, numbering, offline, places, playground, reference, source

PROCESSES = 2


def deal_out(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    """Sphinx gives the first half of the pages to one process. This deals the chapters, which take long, to all."""
    names[:] = [name for start in range(PROCESSES) for name in names[start::PROCESSES]]


def setup(app: Sphinx) -> dict[str, Any]:
    for part in (exercises, freshness, kernels, media, numbering, offline, places, playground, reference, source):
        part.setup(app)
    # Pages run their code while they are read, so some are read at once, each with one thread for torch.
    app.parallel = max(app.parallel, min(PROCESSES, os.cpu_count() or 1))
    # It numbers sections when all pages have been read, and only does not say that this is no hindrance.
    # A build of one page, which has no table of contents, does without it.
    if "sphinx_multitoc_numbering" in app.extensions:
        app.extensions["sphinx_multitoc_numbering"].parallel_read_safe = True
    app.connect("env-before-read-docs", deal_out)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
