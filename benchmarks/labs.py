"""What a written check and a bug add to the grading of a chapter: processor seconds of a submission, and the ratio.

    python benchmarks/labs.py [CHAPTER ...] [--size 5]

Each notebook is handed in solved, by `--size` students and two more: these are graded first and do not count, because
the sandbox imports the last of PyTorch beside the first of them. "Times" is a chapter with its check and its bug beside
the chapter without. What a lab has besides is left out of the marking, but its cells run. Processor seconds are read
from all processes of the grading twenty times a second, so that other programs on the machine do not count.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from grading import released

from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.bugs import BugTask
from diffusion_lab.exercises.catalogue import CHAPTERS, LAB, find, folder_name
from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.driving import piece_of
from diffusion_lab.grading.classroom import Classroom, records
from diffusion_lab.grading.notebook import EXERCISES, solution

WAKING = 2
"""Submissions that do not count."""
EVERY = 0.05
"""Seconds between two looks at the processes."""
SEED = "benchmark"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="by default all")
    parser.add_argument("--size", type=int, default=5, help="submissions of each notebook")
    given = parser.parse_args()
    print("| chapter | its pieces, s | its check and its bug, s | times |\n| --- | ---: | ---: | ---: |")
    worst = 0.0
    for chapter in [find(name) for name in given.chapters] or CHAPTERS:
        with tempfile.TemporaryDirectory(prefix="diffusion-lab-") as folder:
            pieces = seconds_of(Path(folder) / "chapter", chapter, given.size)
            more = seconds_of(Path(folder) / "lab", f"{chapter}{LAB}", given.size)
        worst = max(worst, (pieces + more) / pieces)
        print(f"| {folder_name(chapter)} | {pieces:.2f} | {more:.2f} | {(pieces + more) / pieces:.2f} |", flush=True)
    print(f"\nAt most {worst:.2f} times.")


def seconds_of(folder: Path, name: str, size: int) -> float:
    """Processor seconds to grade one solved submission of a notebook, or of a lab's check and bug."""
    course = released(folder, name)
    hand_in(course, name, size + WAKING)
    every = records.find(course / "submitted", [name])
    with Classroom(course, jobs=1) as room:
        graded = room.grade(every[:WAKING], seed=SEED)
        with processor_seconds() as spent:
            graded += room.grade(every[WAKING:], seed=SEED)
    short = [result.points for result in graded if not result.graded or result.points < expected(name)]
    if short:
        raise SystemExit(f"{name}: a solved notebook got {short[0]:g} of {expected(name)} points")
    return spent[0] / size


def expected(name: str) -> int:
    """The points of what is solved."""
    return sum(task.points for task in notebook(name).exercises if counts(name, task))


def counts(name: str, task: object) -> bool:
    return not name.endswith(LAB) or isinstance(task, (BugTask, CheckTask))


def hand_in(course: Path, name: str, size: int) -> None:
    """Solved notebooks. In a lab all but the check and the bug stays unwritten, which takes next to no time."""
    folder = folder_name(name)
    release = json.loads((course / EXERCISES / folder / f"{folder}.ipynb").read_text(encoding="utf-8"))
    solved = {task.name: solution(piece_of(task)) for task in notebook(name).exercises if counts(name, task)}
    for cell in release["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if grade_id in solved:
            cell["source"] = solved[grade_id]
    for number in range(size):
        place = course / "submitted" / f"student{number:04d}" / folder / f"{folder}.ipynb"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(release), encoding="utf-8")


@contextlib.contextmanager
def processor_seconds() -> Iterator[list[float]]:
    """What this process and all below it compute meanwhile; the number is in the list at the end."""
    seen: dict[tuple[int, float], tuple[float, float]] = {}
    me, over, total, own = psutil.Process(), threading.Event(), [0.0], [0.0]

    def look(first: bool = False) -> None:
        for process in (me, *me.children(recursive=True)):
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                times = process.cpu_times()
                key, now = (process.pid, process.create_time()), times.user + times.system
                seen[key] = (seen[key][0] if key in seen else now if first else 0.0, now)

    def watch() -> None:
        while not over.wait(EVERY):
            look()
        own[0] = time.thread_time()  # to look takes a tenth of a processor, which is none of the grading

    look(first=True)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield total
    finally:
        over.set()
        watcher.join()
        look()
        total[0] = sum(after - before for before, after in seen.values()) - own[0]


if __name__ == "__main__":
    main()
