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
from diffusion_lab.grading.classroom.platforms.identity import another_draw, guessed_at, is_drawn, on_gradescope
from diffusion_lab.grading.classroom.result import REFUSED, Result

VISIBILITIES = ("visible", "after_due_date", "after_published", "hidden")
LONGEST_OUTPUT = 20_000
"""Characters of a message."""


def results(result: Result, settings: Settings, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of results.json: one test for each part of an exercise, and below them what went wrong.

    Where a bug is looked for, its marks and the total wait until the due date at least.

    Args:
        result: of the submission.
        settings: as a teacher has set them.
        metadata: what Gradescope tells of the submission, for lateness and earlier attempts.
    """
    score, words = judged(result.points, settings.late, metadata or {})
    waiting = guessed_at(settings)
    in_all = _waits(settings.visibility) if waiting else settings.visibility
    told = another_draw(result)
    # What lateness takes off, and what an earlier attempt had, say what the points are: they wait with them.
    seen = in_all == "visible"
    refused = result.state == REFUSED
    tests = [_test("the points in all", "0", " ".join(words), in_all)] if not seen and (words or refused) else []
    told += words if seen else []
    if refused:
        told.insert(0, f"The submission was refused: {result.reason}. Mend it and hand it in again.")
        return {**_output(told), "score": score, "stdout_visibility": "hidden", "tests": tests}
    for number, item in enumerate(result.exercises, 1):
        parts = item["parts"] or {"": [item["points"], item["out_of"]]}
        visibility = _waits(settings.visibility) if item["name"] in waiting else settings.visibility
        for place, (part, (points, most)) in enumerate(parts.items(), 1):
            tests.append(
                {
                    "name": f"{item['name']}: {part}" if part else item["name"],
                    "number": f"{number}.{place}" if part else f"{number}",
                    "score": points,
                    "max_score": most,
                    "status": "passed" if points == most else "failed",
                    "visibility": visibility,
                }
            )
        if item["state"] != "passed":
            wrong = _test(
                f"{item['name']}: what went wrong",
                f"{number}.{len(parts) + 1}",
                item["text"][:LONGEST_OUTPUT],
                _later(settings.hints, visibility),
            )
            tests.append({**wrong, "status": "failed"})
    return {
        "score": score,
        **_output(told),
        "execution_time": round(result.seconds),
        "stdout_visibility": "hidden",
        "tests": tests,
        "extra_data": {"version": result.version, "sha256": result.digest, "notes": list(result.notes)},
    }


def _output(told: list[str]) -> dict[str, str]:
    """What is said of the whole submission, at once."""
    return {"output": " ".join(told), "output_format": "text"} if told else {}


def _test(name: str, number: str, output: str, visibility: str) -> dict[str, Any]:
    """A test without points."""
    return {"name": name, "number": number, "output": output, "output_format": "text", "visibility": visibility}


def _waits(visibility: str) -> str:
    """When marks are seen that nobody may see at each attempt.

    Gradescope shows no total as long as a test waits for a date. One that is never seen does not keep it back.
    """
    return "after_published" if visibility == "hidden" else _later("after_due_date", visibility)


def _later(*visibilities: str) -> str:
    """The one that shows least: hints tell where points were lost."""
    return max(visibilities, key=VISIBILITIES.index)


def main(root: Path = Path("/autograder")) -> int:
    """Grade what is in root/submission; exit status 1, and no results.json, where the grader fails."""
    try:
        settings = Settings.read(root / "source" / SETTINGS)
        metadata = metadata_in(root)  # before students' code has run
        whose = on_gradescope(settings, metadata) if is_drawn(settings) else ()
        result = grade_folder(root / "submission", settings, *whose)
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
