"""What the class report tells of derivations: how far the class came in each step, and what it slipped on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from diffusion_lab.exercises.derivations import Derivation
from diffusion_lab.grading.classroom import Result
from diffusion_lab.grading.classroom.reports.class_report_frame import text

STATES = ("right", "follows", "wrong", "blank")
"""Of a step, as the check names them in its facts."""
MOST_SLIPS = 3
"""Of each step."""


def derivations(tasks: Sequence[Derivation], graded: Sequence[Result]) -> list[str]:
    """For each derivation a table with a row for each step: what became of it, and the slips that are most common."""
    lines = []
    for task in tasks:
        items = [item for result in graded for item in result.exercises if item["name"] == task.name]
        told = [item["facts"] for item in items if (item.get("facts") or {}).get("steps")]
        told = [facts for facts in told if not facts.get("another draw")]
        if not told:
            lines.append(f"<p>Nobody has filled in a step of <code>{text(task.name)}</code>.</p>")
            continue
        whole = sum(all(state == "right" for state in facts["steps"].values()) for facts in told)
        lines.append(
            f"<p><code>{text(task.name)}</code>: {len(told)} of {len(items)} have worked on it, and {whole} have all "
            "steps right. What follows rightly from a wrong step has its point.</p>"
        )
        rows = [_row(name, told) for name in task.blanks]
        lines += [
            '<table><thead><tr><th scope="col">step</th><th scope="col">right</th><th scope="col">follows</th>'
            '<th scope="col">wrong</th><th scope="col">blank</th><th scope="col">slips</th></tr></thead><tbody>',
            *rows,
            "</tbody></table>",
        ]
    return lines


def _row(name: str, told: Sequence[dict]) -> str:
    states = Counter(facts["steps"].get(name, "blank") for facts in told)
    slips = Counter(facts["slips"][name] for facts in told if name in (facts.get("slips") or {}))
    most = "; ".join(f"{slip} ({count})" for slip, count in slips.most_common(MOST_SLIPS))
    cells = "".join(f"<td>{states[state]}</td>" for state in STATES)
    return f"<tr><td><code>{text(name)}</code></td>{cells}<td>{text(most) if most else '–'}</td></tr>"
