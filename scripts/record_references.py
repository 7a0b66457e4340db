"""Run chapters with the reference pieces of all exercises and record their scores.

    python scripts/record_references.py [CHAPTER ...] [--budget quick] [--seed 0] [--out FILE]

A run with a student's pieces is shown beside these. Every chapter is run on all data that are on this machine: bundled,
and real where they are on disk. Runs that were recorded before are kept unless they are made again. The file is written
after each run, so an interrupted recording loses one run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from diffusion_lab.chapters import run_chapter
from diffusion_lab.errors import DataError
from diffusion_lab.exercises import library, notebook
from diffusion_lab.exercises.catalogue import BEYOND, CHAPTERS, find, number_of
from diffusion_lab.exercises.driving import piece_of
from diffusion_lab.files import write_atomically
from diffusion_lab.grading.notebook import RECORDED, record
from diffusion_lab.report import Report


def runs(chapter: str, budget: str, seed: int, data_root: Path | None) -> Iterator[Report]:
    """The chapter's run with the reference pieces, on each kind of data that is here."""
    functions = {name: piece_of(item) for name, item in library().items()}
    for source in ("bundled", "real"):
        slots = notebook(chapter).slots(functions)
        try:
            report = run_chapter(chapter, budget=budget, seed=seed, source=source, data_root=data_root, **slots)
        except DataError as error:
            print(f"{chapter}, {source}: left out: {error}", flush=True)
            continue
        yield report
        if report.source != source:  # generated: there is one kind only
            return


def merged(path: Path, report: Report) -> list[dict]:
    """The runs in the file at `path`, with this one in its place, in the course's order."""
    found = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else []
    new = record(report)

    def key(run: dict) -> tuple:
        return number_of(run["chapter"]), run["source"], run["budget"]

    return sorted([run for run in found if key(run) != key(new)] + [new], key=key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="by default all")
    parser.add_argument("--budget", default="quick", choices=("smoke", "quick", "full"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-root", type=Path, help="folder of the real data; by default as for `diffusion-lab run`")
    parser.add_argument("--out", type=Path, default=RECORDED)
    arguments = parser.parse_args()
    for chapter in [find(name) for name in arguments.chapters] or (*CHAPTERS, *BEYOND):
        for report in runs(chapter, arguments.budget, arguments.seed, arguments.data_root):
            content = {"runs": merged(arguments.out, report)}
            write_atomically(arguments.out, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
            print(report, flush=True)


if __name__ == "__main__":
    main()
