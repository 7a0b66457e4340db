"""Are mistakes named? Functions that someone wrote without sight of the grader, and the hint that each of them gets.

    python benchmarks/diagnosis.py FOLDER ...

A folder holds one file for each exercise, such as `q_sample.py`, with functions of the exercise's own arguments: names
that begin with `right_` must be accepted, `wrong_` has one mistake and `double_` two, which the docstring tells. Prints
each hint beside its docstring, for a reader to judge: a hint is worth something when a student with that mistake would
know from it what to think again. At the end how many got a hint, of which kind, and the processor time of a check.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from diffusion_lab.exercises import library
from diffusion_lab.grading.judge import LocalCaller, Verdict, check

KINDS = ("right", "wrong", "double")


def functions(path: Path) -> Iterator[tuple[str, Callable]]:
    """Those of a file that are to be judged, with their kind."""
    spec = importlib.util.spec_from_file_location(f"held_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in vars(module).items():
        kind = name.split("_")[0]
        if kind in KINDS and inspect.isfunction(value):
            yield kind, value


def source_of(verdict: Verdict) -> str:
    """Where the first hint of a verdict comes from."""
    if not verdict.ideas:
        return "nothing"
    first = verdict.ideas[0]
    return "a listed mistake" if first.known else "an edit" if first.name.startswith("edit") else "an observation"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    paths = [p for folder in parser.parse_args().folders for p in sorted(folder.rglob("*.py")) if p.stem in library()]
    counts: dict[str, Counter] = {kind: Counter() for kind in KINDS}
    seconds = []
    for path in paths:
        exercise = library()[path.stem]
        check(exercise, LocalCaller(exercise.reference))  # the first check of an exercise makes its questions
        for kind, function in functions(path):
            start = time.process_time()
            verdict = check(exercise, LocalCaller(function))
            seconds.append(time.process_time() - start)
            if kind == "right":
                counts[kind]["accepted" if verdict.passed else "refused"] += 1
                continue
            counts[kind][source_of(verdict)] += 1
            print(f"{exercise.name} {function.__name__} ({seconds[-1]:.2f} s)")
            print(f"    mistake: {' '.join((inspect.getdoc(function) or '').split())}")
            for idea in verdict.ideas:
                print(f"    hint:    {' '.join(idea.hint.split())}")
    for kind, found in counts.items():
        print(f"{kind}: {', '.join(f'{number} {what}' for what, number in found.most_common())}")
    if seconds:
        seconds.sort()
        print(f"processor time of a check: median {seconds[len(seconds) // 2]:.2f} s, longest {seconds[-1]:.2f} s")


if __name__ == "__main__":
    main()
