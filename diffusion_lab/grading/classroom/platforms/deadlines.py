"""Lateness and the best of several attempts at Gradescope, which tells its graders when a submission came, and whose.

The layout is that of https://gradescope-autograders.readthedocs.io/en/latest/submission_metadata/: created_at, users
with their email, and previous_submissions with the score of each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from diffusion_lab.grading.classroom.rules import Dates, Late, NotebookRules

METADATA = "submission_metadata.json"


def settings_for(rules: NotebookRules, emails: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """What the grader there must know, as plain data; and the students whose extension it cannot give.

    Args:
        rules: of the notebook.
        emails: student -> their address, by which Gradescope knows them.
    """
    addresses = {name: emails.get(name) or (name if "@" in name else "") for name in rules.dates.extensions}
    said: dict[str, Any] = {
        "due": rules.dates.due.isoformat() if rules.dates.due is not None else "",
        "extensions": {
            addresses[name].casefold(): due.isoformat()
            for name, due in rules.dates.extensions.items()
            if addresses[name]
        },
        "best": rules.best,
    }
    if rules.late is not None:
        said["late"] = asdict(rules.late) | {"grace": rules.late.grace.total_seconds()}
    return said, sorted(name for name, address in addresses.items() if not address)


def judged(points: float, said: Mapping[str, Any], metadata: Mapping[str, Any]) -> tuple[float, list[str]]:
    """The score of a submission after lateness, and of its attempts where the best counts; and what to say of it.

    Args:
        points: as the checks gave them.
        said: what `settings_for` made.
        metadata: what Gradescope tells of the submission.
    """
    words, score = [], points
    extensions = {who: due for who, text in said.get("extensions", {}).items() if (due := _moment(text)) is not None}
    dates = Dates(_moment(said.get("due")), extensions)
    users = emails(metadata)
    handed_in = _moment(metadata.get("created_at"))
    if said.get("late"):
        rule = Late(**{**said["late"], "grace": timedelta(seconds=said["late"]["grace"])})
        late = min(dates.late(user, handed_in) for user in users or [""])
        lost = rule.penalty(points, late)
        if lost:
            score = points - lost
            words.append(f"It came {_in_words(late)} late: {lost:g} of its {points:g} points are taken off.")
    if said.get("best"):
        earlier = [_number(each.get("score")) for each in _parts(metadata, "previous_submissions")]
        if earlier and max(earlier) > score:
            words.append(f"An earlier attempt was worth more, so its {max(earlier):g} points count.")
            score = max(earlier)
    return score, words


def emails(metadata: Mapping[str, Any]) -> list[str]:
    """The address of each student who handed it in, in small letters; "" for one of whom Gradescope names none."""
    found = [user.get("email") for user in _parts(metadata, "users")]
    return [email.strip().casefold() if isinstance(email, str) else "" for email in found]


def metadata_in(root: Path) -> dict[str, Any]:
    """What Gradescope tells of a submission; nothing where its file is not there or not as it should be."""
    try:
        content = json.loads((root / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _parts(metadata: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A list in it; what is there and not as it should be counts as one that says nothing."""
    found = metadata.get(name)
    return [part if isinstance(part, dict) else {} for part in found] if isinstance(found, list) else []


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _in_words(late: timedelta) -> str:
    hours = late.total_seconds() / 3600
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
