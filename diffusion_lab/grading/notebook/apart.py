"""A submitted notebook read in a process of its own: Python's parser ends the process that reads some texts.

Nothing of a submission runs here either. The process has limits on its time and memory, and what it says is plain data.
It stays for the next submission, because to start it takes as long as half of a grading.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from diffusion_lab.errors import SourceError
from diffusion_lab.grading.notebook.documents import of_notebook
from diffusion_lab.grading.notebook.intake import Cell, Intake, take_in

SECONDS = 10
"""Of processor time for one submission; people's notebooks take less than one."""
PATIENCE = 60
"""Seconds on the clock, on a machine that is busy."""
MEMORY = 2 << 30
"""Bytes."""
LARGEST = 64 << 20
"""Bytes of what it says: some ten times the most code that is read."""


def take_in_apart(data: bytes, names: Sequence[str]) -> tuple[Intake, Any]:
    """What counts of a notebook's bytes, as `take_in` says it, and what the notebook calls its chapter.

    Raises:
        SourceError: with the reason, where the bytes are no notebook, or more than can be read.
    """
    said = _reader.ask(data, names)
    if "refused" in said:
        raise SourceError(said["refused"])
    return _intake(said), said["chapter"]


class _Reader:
    """The other process, started when it is first needed and again where a text has ended it."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._process: subprocess.Popen | None = None

    def ask(self, data: bytes, names: Sequence[str]) -> dict[str, Any]:
        with self._one_at_a_time:
            if self._process is None or self._process.poll() is not None:
                self._start()
            try:
                self._line.send_bytes(json.dumps(list(names)).encode())
                self._line.send_bytes(data)
                if not self._line.poll(PATIENCE):
                    raise TimeoutError
                return json.loads(self._line.recv_bytes(LARGEST))
            except (OSError, EOFError, ValueError) as error:
                self._end()
                raise SourceError("its code takes more time or memory to read than anybody's work") from error

    def _start(self) -> None:
        self._end()
        self._line, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), str(SECONDS)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=Path(__file__).resolve().parents[3],  # `-m` looks for modules where it is started
            )

    def _end(self) -> None:
        if self._process is not None:
            self._line.close()
            self._process.kill()
            self._process.wait()
            self._process = None


_reader = _Reader()


def _main(line: Connection, seconds: float) -> None:
    """Answer until the other side hangs up, which its end does too."""
    _limit_memory()
    with contextlib.suppress(EOFError):
        while True:
            names, data = json.loads(line.recv_bytes()), line.recv_bytes()
            _allow(seconds)
            try:
                document = of_notebook(data)
                said = _plain(take_in(document, names)) | {"chapter": document.chapter}
            except SourceError as error:
                said = {"refused": str(error)}
            line.send_bytes(json.dumps(said).encode())
            _allow(0)


def _allow(seconds: float) -> None:
    """End this process after so much processor time. No handler: one would have to wait for the parser."""
    import signal

    signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory() -> None:
    import resource

    for limit, value in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
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
        "answers": intake.answers,
        "pages": intake.pages,
        "typed": intake.typed,
        "predictions": intake.predictions,
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
        answers=said["answers"],
        pages=said["pages"],
        typed=said["typed"],
        predictions=said["predictions"],
    )


if __name__ == "__main__":
    _main(Connection(int(sys.argv[1])), float(sys.argv[2]))
