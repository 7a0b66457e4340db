"""The table of entries: a JSON file, replaced whole, and the same in Markdown."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from diffusion_lab.challenge.rules import ChallengeError
from diffusion_lab.files import write_atomically

RECORDED = Path(__file__).parent / "recorded"


@dataclass(frozen=True)
class Row:
    """One scored entry."""

    name: str
    challenge: str
    data: str
    """What the data really were; entries on other data cannot be compared."""
    metric: str
    made_of: tuple[str, ...]
    """The pieces of its own; none is the course's own entry."""
    digest: str
    """Of its code."""
    trained_here: bool
    """Whether it was trained under the rules, or came as weights."""
    parameters: int
    seconds: float
    """Of processor time for the training, as its process says; 0 for weights. The kernel ends it above the cap."""
    values: dict[str, list[float]]
    """evaluations -> the score of each seed; lower is better."""
    floors: dict[str, list[float]]
    """evaluations -> what true data score, for each seed."""
    others: dict[str, dict[str, float]]
    """evaluations -> the chapter's other scores, averaged over the seeds."""
    copied: float
    """The share of samples, at the most evaluations, that are training examples or nearly so."""
    processor: str
    versions: dict[str, str]

    def mean(self, evaluations: int) -> float:
        """The mean score over the seeds."""
        return statistics.fmean(self.values[str(evaluations)])

    def spread(self, evaluations: int) -> float:
        """The standard deviation over the seeds."""
        values = self.values[str(evaluations)]
        return statistics.stdev(values) if len(values) > 1 else 0.0

    @property
    def floor(self) -> float:
        """What true data score, over all seeds."""
        return statistics.fmean(value for values in self.floors.values() for value in values)


def reference_table(challenge: str) -> list[Row]:
    """The course's own entries, which are the ones to beat."""
    path = RECORDED / f"{challenge}.json"
    return read_table(path) if path.is_file() else []


def read_table(path: Path) -> list[Row]:
    """The rows of a table; none where there is no file yet.

    Raises:
        ChallengeError: the file is no table.
    """
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [_row(each) for each in content["entries"]]
        if not all(math.isfinite(v) for row in rows for values in row.values.values() for v in values):
            raise ValueError("a score is not finite")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ChallengeError(
            f"{path} is no table of a challenge ({error}); move it away or name another --out"
        ) from error
    return rows


def write_table(path: Path, rows: Sequence[Row]) -> Path:
    """Replace a table as a whole: a reader sees the old one or the new one."""
    text = json.dumps({"entries": [asdict(row) for row in rows]}, indent=1, allow_nan=False)
    return write_atomically(path, f"{text}\n".encode())


def with_row(rows: Iterable[Row], new: Row) -> list[Row]:
    """The rows with another one, in the place of the entry of the same name on the same data."""
    return [*(row for row in rows if (row.name, row.data) != (new.name, new.data)), new]


def as_markdown(rows: Sequence[Row]) -> str:
    """One table for each kind of data, best at the most evaluations first. "" for no rows."""
    parts = []
    for data in dict.fromkeys(row.data for row in rows):
        here = [row for row in rows if row.data == data]
        counts = sorted({int(count) for row in here for count in row.values})
        here.sort(key=lambda row: row.mean(counts[-1]))
        calls = [f"{count} evaluation{'s' * (count > 1)}" for count in counts]
        head = ["entry", "made of", "weights", "parameters", "training", *calls, "copies"]
        lines = [head, ["---", "---", "---", *["---:"] * (len(head) - 3)]]
        lines += [_cells(row, counts) for row in here]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        floor = statistics.fmean(row.floor for row in here)
        machines = ", ".join(dict.fromkeys(row.processor for row in here))
        note = (
            f"{here[0].metric}, mean ± standard deviation over the seeds; lower is better, true data score {floor:.3g}."
        )
        parts.append(f"{data}: {note} Measured on: {machines}.\n\n{table}")
    return "\n\n".join(parts)


def _cells(row: Row, counts: Sequence[int]) -> list[str]:
    return [
        row.name,
        ", ".join(f"`{name}`" for name in row.made_of) or "the course's own",
        "trained here" if row.trained_here else "brought along",
        f"{row.parameters:,}",
        f"{row.seconds:.0f} s" if row.trained_here else "–",
        *(f"{row.mean(count):.3g} ± {row.spread(count):.1g}" for count in counts),
        f"{row.copied:.0%}",
    ]


def _row(content: dict[str, Any]) -> Row:
    known = {field.name for field in fields(Row)}
    if content.keys() != known:
        raise ValueError(f"an entry has the keys {', '.join(sorted(known))}")
    return Row(**{**content, "made_of": tuple(content["made_of"])})
