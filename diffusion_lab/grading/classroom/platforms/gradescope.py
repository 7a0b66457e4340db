"""Gradescope's autograder: what it runs for a submission, and the results.json that it reads.

The layout is that of https://gradescope-autograders.readthedocs.io/en/latest/specs/: /autograder/submission has the
student's files, /autograder/source what the teacher uploaded, and run_autograder writes
/autograder/results/results.json. What is printed is for teachers alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusion_lab.errors import LabError
from diffusion_lab.files import write_atomically
from diffusion_lab.grading.classroom.platforms.alone import SETTINGS, Settings, grade_folder, what_failed
from diffusion_lab.grading.classroom.platforms.deadlines import judged, metadata_in
from diffusion_lab.grading.classroom.result import REFUSED, Result

VISIBILITIES = ("visible", "after_due_date", "after_published", "hidden")
LONGEST_OUTPUT = 20_000
"""Characters of a message."""


def results(result: Result, settings: Settings, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of results.json: one test for each part of an exercise, and below them what went wrong.

    Args:
        result: of the submission.
        settings: as a teacher has set them.
        metadata: what Gradescope tells of the submission, for lateness and earlier attempts.
    """
    score, words = judged(result.points, settings.late, metadata or {})
    if result.state == REFUSED:
        refusal = f"The submission was refused: {result.reason}. Mend it and hand it in again."
        told = " ".join([refusal, *words])
        return {"score": score, "output": told, "output_format": "text", "stdout_visibility": "hidden", "tests": []}
    tests: list[dict[str, Any]] = []
    for number, item in enumerate(result.exercises, 1):
        parts = item["parts"] or {"": [item["points"], item["out_of"]]}
        for place, (part, (points, most)) in enumerate(parts.items(), 1):
            tests.append(
                {
                    "name": f"{item['name']}: {part}" if part else item["name"],
                    "number": f"{number}.{place}" if part else f"{number}",
                    "score": points,
                    "max_score": most,
                    "status": "passed" if points == most else "failed",
                    "visibility": settings.visibility,
                }
            )
        if item["state"] != "passed":
            tests.append(
                {
                    "name": f"{item['name']}: what went wrong",
                    "number": f"{number}.{len(parts) + 1}",
                    "output": item["text"][:LONGEST_OUTPUT],
                    "output_format": "text",
                    "status": "failed",
                    "visibility": _later(settings.hints, settings.visibility),
                }
            )
    return {
        "score": score,
        **({"output": " ".join(words), "output_format": "text"} if words else {}),
        "execution_time": round(result.seconds),
        "stdout_visibility": "hidden",
        "tests": tests,
        "extra_data": {"version": result.version, "sha256": result.digest, "notes": list(result.notes)},
    }


def _later(*visibilities: str) -> str:
    """The one that shows least: hints tell where points were lost."""
    return max(visibilities, key=VISIBILITIES.index)


def main(root: Path = Path("/autograder")) -> int:
    """Grade what is in root/submission; exit status 1, and no results.json, where the grader fails."""
    try:
        settings = Settings.read(root / "source" / SETTINGS)
        metadata = metadata_in(root)  # before students' code has run
        result = grade_folder(root / "submission", settings)
        content = json.dumps(results(result, settings, metadata), indent=1).encode()
        write_atomically(root / "results" / "results.json", content)
    except (LabError, OSError) as error:
        print(what_failed(error))
        return 1
    for line in (f"{result.state}: {result.points:g} of {result.out_of:g} points", result.reason, *result.notes):
        if line:
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
