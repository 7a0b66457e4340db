"""Several chapters at once, each in a process of its own: for `diffusion-lab run all`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion_lab.cli.terminal import of_file
from diffusion_lab.errors import LabError

if TYPE_CHECKING:
    from diffusion_lab.report import Report

MEMORY = 2.5 * 2**30
"""Bytes of memory that a chapter may take."""
CONTAINER = Path("/sys/fs/cgroup")
"""Where Linux says how much memory a container may take."""
TOLD_EVERY = 0.25
"""Seconds between two looks at how far the chapters are."""
GONE = (
    "its process, or one beside it, ended early; where memory is short, `--jobs 1` runs one chapter after the other, "
    "and `--resume` goes on from where they were"
)


def free_memory() -> float:
    """Bytes that this process may still take, as the machine and its container say."""
    import psutil

    free = float(psutil.virtual_memory().available)
    try:
        limit, taken = ((CONTAINER / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return min(free, float(limit) - float(taken))
    except (OSError, ValueError):  # no such file, or "max"
        return free


def fitting(chapters: int) -> int:
    """How many of so many chapters this machine runs at once: as its processors and its free memory allow.

    One after the other with a graphics card, which they would share, and under `accelerate launch`.
    """
    import torch

    from diffusion_lab import threads

    if torch.cuda.is_available() or torch.backends.mps.is_available() or "RANK" in os.environ:
        return 1
    return max(1, min(chapters, threads.processors(), int(free_memory() / MEMORY)))


def in_words(error: LabError | OSError) -> str:
    """Why a chapter has failed; an error of the system that names no file is raised again, for it is not the user's."""
    if isinstance(error, LabError):
        return str(error)
    if error.filename is None:
        raise error
    return of_file(error)


def side_by_side(
    names: Sequence[str],
    options: dict[str, Any],
    jobs: int,
    on_step: Callable[[str, str, int, int], None],
    on_note: Callable[[str, str], None],
) -> Iterator[tuple[str, Report | str]]:
    """Run chapters, `jobs` at a time, and yield each with its report, or why there is none, when it has ended.

    The longest chapters are among the last, so they are begun first. Threads are shared as with any other program
    (`diffusion_lab.threads`). Reports come without samples and without the experiment.
    """
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()  # what is put into it is there at once, and so before the result

    def tell() -> None:
        while not queue.empty():
            what, *said = queue.get()
            (on_step if what == "step" else on_note)(*said)

    with ProcessPoolExecutor(jobs, context, _begin, (queue,)) as pool:
        running = {pool.submit(_work, name, options): name for name in reversed(names)}
        for name in list(running.values())[:jobs]:
            on_step(name, "starting", 0, 1)
        try:
            while running:
                ended = wait(running, TOLD_EVERY, FIRST_COMPLETED).done
                tell()
                for future in ended:
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        result = GONE
                    yield running.pop(future), result
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_queue: Any = None
"""Where a process of the pool tells how far it is."""


def _begin(queue: Any) -> None:
    """In a new process: end without a word on Ctrl-C, and when the command is gone."""
    global _queue
    _queue = queue
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = multiprocessing.parent_process()

    def end_with_it() -> None:
        connection.wait([command.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


def _work(name: str, options: dict[str, Any]) -> Report | str:
    said = 0.0

    def on_step(what: str, done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() >= said + TOLD_EVERY:
            said = time.monotonic()
            _queue.put(("step", name, what, done, total))

    from diffusion_lab.chapters import run_chapter

    def on_note(note: str) -> None:
        _queue.put(("note", name, note))

    try:
        report = run_chapter(name, **options, on_step=on_step, on_note=on_note)
    except (LabError, OSError) as error:
        return in_words(error)
    return replace(report, samples=None, experiment=None)
