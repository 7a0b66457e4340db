"""Write the notebooks of the exercises, solutions/ and exercises/, from their records; and the links of the README.

It needs nbgrader.

    python scripts/build_notebooks.py [--check] [CHAPTER ...]

With --check it writes nothing, names the notebooks that are not what their records say, and exits with 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from diffusion_lab.addresses import first_links
from diffusion_lab.errors import LabError
from diffusion_lab.exercises.catalogue import NOTEBOOKS, find
from diffusion_lab.grading.notebook import EXERCISES, SOLUTIONS, build

ROOT = Path(__file__).resolve().parents[1]
README = "README.md"
OPENING, CLOSING = "<!-- `make notebooks` writes these links. -->", "<!-- The end of the links. -->"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a notebook is stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="the root of the repository")
    parser.add_argument("chapters", nargs="*", help="names or numbers of chapters; without one, all of them")
    chosen = parser.parse_args(arguments)
    try:
        wanted = build([find(name) for name in chosen.chapters] or NOTEBOOKS)
    except LabError as error:
        sys.exit(f"error: {error}")
    stale = [path for path, data in wanted.items() if not _holds(chosen.root / path, data)]
    extra = [] if chosen.chapters else sorted(set(_notebooks(chosen.root)) - set(wanted))
    if not chosen.chapters and (chosen.root / README).is_file():
        wanted[README] = with_links((chosen.root / README).read_text(encoding="utf-8")).encode()
        stale += [] if _holds(chosen.root / README, wanted[README]) else [README]
    if chosen.check:
        for path in stale:
            print(f"stale: {path}")
        for path in extra:
            print(f"made from no chapter: {path}")
        if stale or extra:
            print("`make notebooks` writes them anew; they are not edited by hand.")
        return 1 if stale or extra else 0
    for path in stale:
        place = chosen.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(wanted[path])
        print(f"written: {path}")
    for path in extra:
        (chosen.root / path).unlink()
        print(f"removed: {path}")
    return 0


def with_links(text: str) -> str:
    """The README with the links that follow from the addresses."""
    head, opening, rest = text.partition(OPENING)
    _, closing, tail = rest.partition(CLOSING)
    if not opening or not closing:
        sys.exit(f"error: {README} needs the lines {OPENING} and {CLOSING}, with the links between them")
    return f"{head}{opening}\n{first_links()}\n{closing}{tail}"


def _holds(file: Path, data: bytes) -> bool:
    return file.is_file() and file.read_bytes() == data


def _notebooks(root: Path) -> list[str]:
    files = [file for folder in (SOLUTIONS, EXERCISES) for file in (root / folder).glob("*/*.ipynb")]
    return [file.relative_to(root).as_posix() for file in files]


if __name__ == "__main__":
    sys.exit(main())
