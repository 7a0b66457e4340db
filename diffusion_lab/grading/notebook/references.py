"""What chapters score with the reference pieces, recorded once, so that a student's run can be shown beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from diffusion_lab import exercises
from diffusion_lab.exercises.catalogue import find
from diffusion_lab.metrics import Score
from diffusion_lab.report import Report

RECORDED = Path(exercises.__file__).parent / "references.json"
"""Written by scripts/record_references.py."""


@dataclass(frozen=True)
class Reference:
    """One recorded run of a chapter with the references of all its exercises."""

    chapter: str
    source: str
    """"generated", "bundled" or "real", as in the report of the run."""
    budget: str
    dataset: str
    seed: int
    scores: dict[str, Score]
    """By name."""
    seconds: float
    """The whole run, on the machine that recorded it."""
    versions: Mapping[str, str]


def record(report: Report) -> dict[str, Any]:
    """What is kept of a run, ready for JSON."""
    return {
        "chapter": report.chapter,
        "source": report.source,
        "budget": report.budget,
        "dataset": report.dataset,
        "seed": report.seed,
        "scores": [score.as_dict() for score in report.scores],
        "seconds": report.seconds["total"],
        "versions": report.versions,
    }


def reference_scores(chapter: str, source: str, budget: str, path: Path = RECORDED) -> Reference | None:
    """The recorded run of this chapter on data of this source, or None where there is none.

    Args:
        source: as in `Report.source`.
    """
    return _all(path).get((find(chapter), source, budget))


def comparison(report: Report, path: Path = RECORDED) -> str:
    """The scores of a run beside the reference's, as a table of text."""
    reference = reference_scores(report.chapter, report.source, report.budget, path)
    rows = [("", "yours", "reference", "floor", "must be", "")]
    for score in report.scores:
        there = reference.scores.get(score.name) if reference is not None else None
        mark = "-" if not report.judged else "✓" if score.passed else "✗"
        rows.append(
            (
                score.name,
                f"{score.value:.4g}",
                "-" if there is None else f"{there.value:.4g}",
                f"{score.floor:.4g}",
                score.limit,
                mark,
            )
        )
    lines = table(rows)
    if reference is None and report.meaningful:
        lines.append("No run with our pieces was recorded for these data and this budget.")
    elif reference is not None:
        made = ", ".join(f"{name} {version}" for name, version in reference.versions.items())
        lines.append(f"The reference: our pieces, seed {reference.seed}, {reference.seconds:.0f} s, {made}.")
    return "\n".join(lines)


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of text with aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]


@cache
def _all(path: Path) -> dict[tuple[str, str, str], Reference]:
    if not path.is_file():
        return {}
    found = {}
    for run in json.loads(path.read_text(encoding="utf-8"))["runs"]:
        scores = {fields["name"]: Score.from_dict(fields) for fields in run["scores"]}
        found[run["chapter"], run["source"], run["budget"]] = Reference(**{**run, "scores": scores})
    return found
