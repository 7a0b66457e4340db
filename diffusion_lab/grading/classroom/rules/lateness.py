"""When a notebook is due, for whom later, and what a late one loses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Late:
    """What is taken off for each day begun after the due date, in percent of the points that were reached."""

    percent_a_day: float
    at_most: float = 100.0
    """Percent."""
    grace: timedelta = timedelta(0)
    """As late as this costs nothing. Beyond it, days are counted from the due date."""

    def percent(self, late: timedelta) -> float:
        """What so much lateness costs, in percent."""
        if late <= max(self.grace, timedelta(0)):
            return 0.0
        return min(self.at_most, self.percent_a_day * math.ceil(late / DAY))

    def penalty(self, points: float, late: timedelta) -> float:
        """Points that are taken off, rounded to hundredths."""
        return round(points * self.percent(late) / 100, 2)


@dataclass(frozen=True)
class Dates:
    """The due date of a notebook, all times in UTC."""

    due: datetime | None = None
    extensions: Mapping[str, datetime] = field(default_factory=dict)
    """student -> a due date of their own."""

    def due_for(self, student: str) -> datetime | None:
        """When this student's notebook is due; None where nothing says."""
        return self.extensions.get(student, self.due)

    def late(self, student: str, handed_in: datetime | None) -> timedelta:
        """How late a submission is; nothing where it is in time, or nobody knows."""
        due = self.due_for(student)
        if due is None or handed_in is None:
            return timedelta(0)
        return max(timedelta(0), handed_in - due)
