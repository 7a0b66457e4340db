"""A submitted notebook read in a process of its own: Python's parser ends the process that reads some texts.

Nothing of a submission runs here either. What the process says is plain data, and it has limits on its time and memory:
on Linux for both; elsewhere as far as the system has them, and by the clock everywhere. It stays for the next
submission, because to start it takes as long as half of a grading.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

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
                with self._limited():
                    _send(self._process.stdin, json.dumps(list(names)).encode())
                    _send(self._process.stdin, data)
                    return json.loads(_received(self._process.stdout, LARGEST))
            except (OSError, EOFError, ValueError) as error:
                self._end()
                raise SourceError("its code takes more time or memory to read than anybody's work") from error

    def _start(self) -> None:
        self._end()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[3],  # `-m` looks for modules where it is started
        )

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        """End the process where it takes too long by the clock: a pipe can be waited for so on every system."""
        timer = threading.Timer(PATIENCE, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):  # what was not sent is not sent any more
                    pipe.close()
            self._process.wait()
            self._process = None


def _send(pipe: IO[bytes], content: bytes) -> None:
    """Send bytes with their number before them."""
    pipe.write(len(content).to_bytes(8, "little") + content)
    pipe.flush()


def _received(pipe: IO[bytes], most: int) -> bytes:
    """What `_send` has sent; EOFError where the other side has hung up, ValueError for more than `most` bytes."""
    head = pipe.read(8)
    size = int.from_bytes(head, "little")
    if size > most:
        raise ValueError(f"{size} bytes, and at most {most} are taken")
    content = pipe.read(size)
    if len(head) < 8 or len(content) < size:
        raise EOFError
    return content


_reader = _Reader()
atexit.register(lambda: _reader._end())  # it would end by itself, and Python would warn of what it left behind


def _main(asked: IO[bytes], answers: IO[bytes], seconds: float) -> None:
    """Answer until the other side hangs up, which its end does too."""
    _limit_memory()
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            names, data = json.loads(_received(asked, LARGEST)), _received(asked, LARGEST)
            _allow(seconds)
            try:
                document = of_notebook(data)
                said = _plain(take_in(document, names)) | {"chapter": document.chapter}
            except SourceError as error:
                said = {"refused": str(error)}
            _send(answers, json.dumps(said).encode())
            _allow(0)


def _allow(seconds: float) -> None:
    """End this process after so much processor time, where the system can: Windows cannot, and the clock is left.

    No handler: one would have to wait for the parser.
    """
    import signal

    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, value in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS has no limit on address space
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
    pipe, sys.stdout = sys.stdout, sys.stderr  # nothing else is written between answers
    _main(sys.stdin.buffer, pipe.buffer, float(sys.argv[1]))
