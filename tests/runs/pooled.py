"""What the processes of a pool do in tests/runs/test_side_by_side.py, in a file that loads fast."""

from __future__ import annotations

import os
import time

from diffusion_lab.cli import side_by_side


def work(name: str, options: dict) -> str:
    """A sentence in the place of a report, after a word on how far it is and a note."""
    if name == "gone":
        time.sleep(1)  # the others are done by then
        os._exit(9)
    if name == "long":
        print(os.getpid(), flush=True)
        time.sleep(600)
    side_by_side._queue.put(("step", name, "training", 1, 2))
    side_by_side._queue.put(("note", name, "read from memory"))
    return f"{name} ran with {options}"


def together(names: list[str], jobs: int = 2) -> tuple[dict, set, set]:
    """What came of each name, and the steps and the notes that were told."""
    steps, notes = set(), set()
    side_by_side._work = work
    ended = side_by_side.side_by_side(
        names, {"seed": 3}, jobs, lambda *step: steps.add(step), lambda *note: notes.add(note)
    )
    return dict(ended), steps, notes


if __name__ == "__main__":
    together(["long", "long too"])
