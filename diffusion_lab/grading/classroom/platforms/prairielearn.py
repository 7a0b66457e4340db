"""PrairieLearn's external grader: what it runs for a submission, and the results.json that it reads.

The layout is that of https://prairielearn.readthedocs.io/en/latest/externalGrading/: /grade/student has the student's
files, /grade/tests those of the question, and the results are /grade/results/results.json, of at most 1 MB.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from diffusion_lab.errors import LabError
from diffusion_lab.files import write_atomically
from diffusion_lab.grading.classroom.platforms.alone import SETTINGS, Settings, grade_folder, what_failed
from diffusion_lab.grading.classroom.platforms.identity import another_draw, is_drawn, on_prairielearn
from diffusion_lab.grading.classroom.result import REFUSED, Result

LONGEST_OUTPUT = 20_000
"""Characters of a message; a chapter has at most ten exercises."""


def results(result: Result, settings: Settings) -> dict[str, Any]:
    """The content of results.json. What is no submission is "not gradable" there, and costs no attempt."""
    if result.state == REFUSED:
        return {"gradable": False, "format_errors": [f"The submission was refused: {result.reason}."]}
    tests = []
    for item in result.exercises:
        parts = "; ".join(f"{part}: {points:g} of {most}" for part, (points, most) in item["parts"].items())
        shown = settings.hints == "visible" and item["state"] != "passed"
        tests.append(
            {
                "name": item["name"],
                "description": parts,
                "points": item["points"],
                "max_points": item["out_of"],
                "output": item["text"][:LONGEST_OUTPUT] if shown else "",
            }
        )
    score = result.points / result.out_of if result.out_of else 0.0
    told = another_draw(result)
    return {"gradable": True, "score": score, **({"message": told[0]} if told else {}), "tests": tests}


def main(root: Path = Path("/grade")) -> int:
    """Grade what is in root/student; exit status 1, and no results.json, where the grader fails."""
    try:
        settings = Settings.read(root / "tests" / SETTINGS)
        whose = on_prairielearn(root) if is_drawn(settings) else ()  # before students' code has run
        result = grade_folder(root / "student", settings, *whose)
        write_atomically(root / "results" / "results.json", json.dumps(results(result, settings)).encode())
    except (LabError, OSError) as error:
        print(what_failed(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
