"""A submitted notebook read in a process of its own: Python's parser ends the process that reads some texts.

Nothing of a submission runs here either. The process has limits on its time and memory, and what it says is plain data.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diffusion_lab.errors import SourceError
from diffusion_lab.grading.notebook.documents import of_notebook
from diffusion_lab.grading.notebook.intake import Cell, Intake, take_in

SECONDS = 10
"""Of processor time; people's notebooks take less than one."""
PATIENCE = 60
"""Seconds on the clock, on a machine that is busy."""
MEMORY = 2 << 30
"""Bytes."""


def take_in_apart(data: bytes, names: Sequence[str]) -> tuple[Intake, Any]:
    """What counts of a notebook's bytes, as `take_in` says it, and what the notebook calls its chapter.

    Raises:
        SourceError: with the reason, where the bytes are no notebook, or more than can be read.
    """
    command = [sys.executable, "-m", __name__, *names]
    root = Path(__file__).resolve().parents[3]  # `-m` looks for modules where it is started
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE, cwd=root)
        said = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise SourceError("its code takes more time or memory to read than anybody's work") from error
    if "refused" in said:
        raise SourceError(said["refused"])
    return _intake(said), said["chapter"]


def _main(names: Sequence[str]) -> None:
    _limit()
    try:
        document = of_notebook(sys.stdin.buffer.read())
        said = _plain(take_in(document, names)) | {"chapter": document.chapter}
    except SourceError as error:
        said = {"refused": str(error)}
    sys.stdout.write(json.dumps(said))


def _limit() -> None:
    try:
        import resource
    except ImportError:  # not on this system
        return
    for limit, value in ((resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (value, value))


def _plain(intake: Intake) -> dict[str, Any]:
    """The same as plain data, in which the text of a cell stands once."""
    cells = [*intake.order, *(cell for cell in intake.solutions.values() if not cell.gives)]
    written = {text: place for place, text in enumerate(dict.fromkeys(cell.written for cell in cells))}
    return {
        "written": list(written),
        "cells": [asdict(cell) | {"written": written[cell.written]} for cell in cells],
        "running": len(intake.order),
        "solutions": {name: cells.index(cell) for name, cell in intake.solutions.items()},
        "notes": intake.notes,
        "uses": {name: sorted(used) for name, used in intake.uses.items()},
    }


def _intake(said: dict[str, Any]) -> Intake:
    texts = said["written"]
    cells = [
        Cell(**given | {"written": texts[given["written"]], "gives": tuple(given["gives"])}) for given in said["cells"]
    ]
    return Intake(
        solutions={name: cells[place] for name, place in said["solutions"].items()},
        order=cells[: said["running"]],
        notes=said["notes"],
        uses={name: set(used) for name, used in said["uses"].items()},
    )


if __name__ == "__main__":
    _main(sys.argv[1:])
