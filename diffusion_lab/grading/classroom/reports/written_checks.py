"""What the class report tells of the checks that students have written."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.grading.classroom import Result
from diffusion_lab.grading.classroom.reports.class_report_frame import text

MOST_KINDS = 5
"""Of mistakes that slip through."""


def written_checks(tasks: Sequence[CheckTask], graded: Sequence[Result]) -> list[str]:
    """For each check: false alarms, how much is caught, and what slips through most often."""
    lines = []
    for task in tasks:
        items = [item for result in graded for item in result.exercises if item["name"] == task.name]
        told = [item["facts"] for item in items if "caught" in (item.get("facts") or {})]
        if not told:
            continue
        alarms = sum(facts["alarms"] > 0 for facts in told)
        caught = statistics.fmean(facts["caught"] / max(facts["wrong"], 1) for facts in told)
        lines.append(
            f"<p><code>{text(task.name)}</code>: {alarms} of {len(told)} checks fail a right piece. On average, a "
            f"check catches {caught:.0%} of the mistakes.</p>"
        )
        slipped = Counter(kind for facts in told for kind in dict.fromkeys(facts["slipped"]))
        rows = [f"<li>{text(kind)}: {count} of {len(told)}</li>" for kind, count in slipped.most_common(MOST_KINDS)]
        if rows:
            lines += ["<p>What slips through most often:</p><ul>", *rows, "</ul>"]
    return lines
