"""How long a learner waits for a check: processor seconds of the visible cases, over all right answers.

    python benchmarks/checks.py                 # the slowest ten, later calls
    python benchmarks/checks.py --first         # in a fresh process for each exercise: what the first check takes

The first check of an exercise computes the expected answers too, and wakes what PyTorch loads at its first use; the
import of the package comes before it, in the notebook's first cell.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time

import diffusion_lab  # noqa: F401 - before torch, whose threads it keeps from spinning long

# isort: split
import torch

from diffusion_lab.exercises import Exercise, exercise, library
from diffusion_lab.grading.judge import LocalCaller, check

SHOWN = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", action="store_true", help="a fresh process for each exercise")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these exercises")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [exercise(name) for name in arguments.only or library()]
    rows = []
    for item in chosen:
        rows += alone(item.name) if arguments.first else measured(item, repeat=True)
    rows.sort(reverse=True)
    print("| exercise | right answer | processor seconds |\n| --- | --- | ---: |")
    for seconds, name, answer in rows[:SHOWN]:
        print(f"| {name} | {answer} | {seconds:.2f} |")
    print(f"\n{len(rows)} checks, {sum(seconds >= 1 for seconds, *_ in rows)} of them of a second or more")


def alone(name: str) -> list[tuple[float, str, str]]:
    """The first check in a process of its own.

    It is a copy of this one, which has imported the package and called nothing, and not a new Python: the import takes
    longer than nearly all first checks, and took four minutes for all of them together.
    """
    kind = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    with multiprocessing.get_context(kind).Pool(1) as pool:
        return pool.apply(first, (name,))


def first(name: str) -> list[tuple[float, str, str]]:
    torch.set_num_threads(1)
    return measured(exercise(name), repeat=False)


def measured(item: Exercise, repeat: bool) -> list[tuple[float, str, str]]:
    """Seconds, exercise and answer; without `repeat` for the reference alone, and with what a first check adds."""
    answers = [("the reference", item.reference), *((answer.name, answer.function) for answer in item.right_answers)]
    if repeat:
        check(item, LocalCaller(item.reference))
    found = []
    for name, function in answers if repeat else answers[:1]:
        began = time.process_time()
        check(item, LocalCaller(function))
        found.append((time.process_time() - began, item.name, name))
    return found


if __name__ == "__main__":
    main()
