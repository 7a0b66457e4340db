"""A score that is reported beside its own floor.

No metric of a finite sample reaches its ideal value, not even on the truth itself: 2,000 fresh draws of a normal
distribution lie at a small but positive distance from it. That number is the metric's floor. A score is good when it is
near the floor of the same metric at the same sample sizes, so a chapter never reports one without the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Generator, Tensor, randperm

from diffusion_lab.errors import DataError


@dataclass(frozen=True)
class Score:
    """One metric of one run.

    Raises ValueError when `better` is neither "lower" nor "higher".
    """

    name: str
    """What was measured, such as "energy distance"."""
    value: float
    """What the generated samples score."""
    floor: float
    """What truth scores against truth at the same sample sizes; see `floor_of`."""
    threshold: float | None
    """The worst value that still passes; None where nobody has set one: then the floor alone stands beside."""
    better: Literal["lower", "higher"] = "lower"
    unit: str = ""
    """The unit of the three numbers, such as "dB" or "nats"; empty for a pure number."""
    note: str = ""
    """What a reader must know to read the number, in one sentence."""

    def __post_init__(self) -> None:
        if self.better not in ("lower", "higher"):
            raise ValueError(f"better is {self.better!r}; a score is better when it is 'lower' or 'higher'")

    @property
    def passed(self) -> bool:
        """Whether the value is as good as the threshold, if there is one. A value that is not finite never passes."""
        if not math.isfinite(self.value):
            return False
        if self.threshold is None:
            return True
        return self.value <= self.threshold if self.better == "lower" else self.value >= self.threshold

    @property
    def limit(self) -> str:
        """The threshold in a table, such as "≤ 15 dB"; "-" where there is none."""
        if self.threshold is None:
            return "-"
        return f"{'≤' if self.better == 'lower' else '≥'} {self.threshold:.3g} {self.unit}".rstrip()

    def as_dict(self) -> dict[str, Any]:
        """The fields and `passed`, for strict JSON: it has no NaN or infinity, which become "nan", "inf" and "-inf"."""
        fields = asdict(self)
        for key in ("value", "floor", "threshold"):
            if fields[key] is not None:
                number = float(fields[key])
                fields[key] = number if math.isfinite(number) else str(number)
        return fields | {"passed": None if self.threshold is None else self.passed}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Score:
        """The inverse of `as_dict`. `passed` is not read but derived again. Raises DataError naming a missing key."""
        missing = [key for key in ("name", "value", "floor", "threshold", "better") if key not in fields]
        if missing:
            raise DataError(f"a score needs {', '.join(missing)}; got the keys {', '.join(fields) or '(none)'}")
        return cls(
            name=fields["name"],
            value=float(fields["value"]),
            floor=float(fields["floor"]),
            threshold=None if fields["threshold"] is None else float(fields["threshold"]),
            better=fields["better"],
            unit=fields.get("unit", ""),
            note=fields.get("note", ""),
        )


def floor_of(metric: Callable[[Tensor], float], draw: Callable[[], Tensor], repeats: int = 5) -> float:
    """The floor of a metric: its mean over `repeats` fresh draws of the truth.

    `metric` is the very function that scores the generated samples, with the truth already bound to it. `draw` returns
    as many true samples as were generated, and other ones each time: it holds its own generator.
    Raises ValueError when `repeats` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; the floor needs at least 1 draw")
    return math.fsum(float(metric(draw())) for _ in range(repeats)) / repeats


def random_rows(data: Tensor, count: int, generator: Generator) -> Tensor:
    """`count` different rows (count, *S) of `data` (N, *S), for a truth that is known only as a list of examples.

    Raises DataError when there are fewer than `count` rows: a repeated row would put the floor too low.
    """
    if not 1 <= count <= len(data):
        raise DataError(f"{count} different rows were asked for, and the data has {len(data)}")
    return data[randperm(len(data), generator=generator)[:count].to(data.device)]
