"""What a course decides, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from diffusion_lab.exercises import Notebook
from diffusion_lab.exercises.catalogue import as_written
from diffusion_lab.exercises.offers import Offer
from diffusion_lab.grading.classroom.rules.lateness import Dates, Late

COURSE_FILE = "course.toml"


@dataclass(frozen=True)
class Question:
    """A written question of the course's own, which is marked by hand."""

    name: str
    """By which nbgrader knows it."""
    text: str
    """Markdown."""
    points: float
    after: str = ""
    """The exercise that it stands behind; "" for the last."""


@dataclass(frozen=True)
class NotebookRules:
    """What a course decides for one notebook."""

    offer: Offer
    dates: Dates = field(default_factory=Dates)
    late: Late | None = None
    best: bool = False
    """Whether the best of several attempts counts, and not the last."""
    questions: tuple[Question, ...] = ()

    @property
    def notebook(self) -> Notebook:
        """What it asks for."""
        return self.offer.applied(as_written(self.offer.notebook))

    def not_on_platforms(self, dates: bool = False) -> list[str]:
        """What graders on a platform do not see to, in words for whoever exports one.

        Args:
            dates: whether the platform tells its grader when something was handed in.
        """
        said = []
        if not dates and (self.dates.due is not None or self.late is not None or self.best):
            said.append(
                f"{COURSE_FILE}: due dates, lateness and attempts are the platform's to judge; set them there too"
            )
        if self.questions:
            names = ", ".join(question.name for question in self.questions)
            said.append(f"{COURSE_FILE}: {names} is marked by hand, so add its points on the platform")
        return said


@dataclass(frozen=True)
class Rules:
    """What a course decides."""

    path: Path
    notebooks: Mapping[str, NotebookRules] = field(default_factory=dict)
    common: NotebookRules = NotebookRules(Offer(""))
    """For notebooks that the file does not name."""
    timezone: str = ""
    """Of times that name none, by its name in the time zone database."""

    def of(self, notebook: str) -> NotebookRules:
        """For this notebook, by its name."""
        return self.notebooks.get(notebook) or replace(self.common, offer=Offer(notebook))

    @property
    def offers(self) -> tuple[Offer, ...]:
        return tuple(rules.offer for rules in self.notebooks.values() if rules.offer.digest)
