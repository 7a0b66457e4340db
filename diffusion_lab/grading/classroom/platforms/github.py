"""A pull request on GitHub: what its workflow runs, and the comment that it leaves.

The workflow has two jobs. The first runs students' code, in the sandbox, with a token that can only read. The second
may write a comment, and runs nothing of theirs: it posts the text that the first one made.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from diffusion_lab.errors import LabError
from diffusion_lab.files import write_atomically
from diffusion_lab.grading.classroom.platforms.alone import Settings, grade_folder, what_failed
from diffusion_lab.grading.classroom.result import REFUSED, Result

LONGEST_COMMENT = 60_000
"""Characters; GitHub takes 65,536."""
FENCE = re.compile(r"`{3,}|~{3,}")


def comment(result: Result, settings: Settings) -> str:
    """The marks and messages as Markdown. Nothing of a student's can end the box that it stands in, or call anybody."""
    title = f"### {result.chapter}: {result.points:g} of {result.out_of:g} points"
    if result.state == REFUSED:
        return f"{title}\n\nThe submission was refused:\n\n{_boxed(result.reason)}\n"
    lines = [title, "", "| exercise | points | parts |", "| --- | ---: | --- |"]
    for item in result.exercises:
        parts = ", ".join(f"{part} {points:g}/{most}" for part, (points, most) in item["parts"].items())
        mark = "✓" if item["state"] == "passed" else "✗"
        lines.append(f"| {mark} `{item['name']}` | {item['points']:g} of {item['out_of']} | {parts} |")
    text = "\n".join(lines) + "\n"
    for item in result.exercises:
        if item["state"] == "passed" or settings.hints != "visible":
            continue
        more = f"\n<details><summary>{item['name']}</summary>\n\n{_boxed(item['text'])}\n\n</details>\n"
        if len(text) + len(more) > LONGEST_COMMENT:
            return f"{text}\nMessages on further exercises have no room here; `diffusion-lab check` tells them.\n"
        text += more
    return text


def _boxed(text: str) -> str:
    """Text as it is, in a box that is longer than any it could hold itself."""
    longest = max((len(found) for found in FENCE.findall(text)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def main(folder: Path, to: Path, settings: Path) -> int:
    """Grade the notebook in a checkout; the comment goes to a file. Exit status 1 where the grader fails."""
    try:
        chosen = Settings.read(settings)
        result = grade_folder(folder, chosen)
    except (LabError, OSError) as error:
        print(what_failed(error), file=sys.stderr)
        write_atomically(
            to, f"### Not graded\n\nThe grader failed; this is no zero.\n\n{_boxed(what_failed(error))}\n".encode()
        )
        return 1
    write_atomically(to, comment(result, chosen).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
