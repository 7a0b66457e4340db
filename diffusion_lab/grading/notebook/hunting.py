"""What a learner has in front of them while they look for a bug: the pieces, what they make, and a check."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.boxes import BlackBox
from diffusion_lab.exercises.bugs import BugTask, bug_task
from diffusion_lab.exercises.owner import Owner, by_chance
from diffusion_lab.grading.judge import VISIBLE_SEED, LocalCaller, Verdict, check, told, without_points

BY_CHANCE = (
    "No name is given, so this bug is drawn by chance and is another one the next time. With hunt(..., student='ada') "
    "it stays."
)


def hunt(chapter: str | int, namespace: dict[str, Any], student: str = "") -> Hunt:
    """Begin to look for the bug in a chapter's pipeline.

    Args:
        chapter: its name, number or folder.
        namespace: `globals()` of the notebook, where your function is looked up at every check.
        student: any name, which gives the same bug each time; "" draws one by chance.

    Raises:
        LabError: where there is no such chapter, or the name cannot be used.
    """
    if not student:
        print(BY_CHANCE)
    owner = Owner(student) if student else by_chance()
    return Hunt(bug_task(str(chapter)).drawn_for(owner), namespace)


class Hunt:
    """A pipeline in which one piece is wrong."""

    def __init__(self, task: BugTask, namespace: dict[str, Any]):
        self.task, self.namespace = task, namespace
        self.pieces = {name: BlackBox(piece).handle() for name, piece in task.pieces(task.bug).items()}
        """The pipeline's functions, by name: call them with whatever you like."""
        self.numbers: dict[str, float] = task.numbers
        """The numbers of your own pipeline."""
        self.outputs: dict[str, Tensor] = task.outputs(task.bug)
        """What your pipeline gives, "samples" among it."""
        self.ideas = task.ideas
        """What can have gone wrong. Some of them are nowhere in the pipeline."""

    def __repr__(self) -> str:
        return f"<a bug of chapter '{self.task.chapter}'>"

    @property
    def samples(self) -> Tensor:
        """What your pipeline has drawn."""
        return self.outputs["samples"]

    def show(self) -> None:
        """Print the pieces, the numbers, what the pipeline gives and the ideas."""
        print("The pieces, as bug.pieces[name]:")
        for part in self.task.pipeline:
            print(f"  {part.signature}")
        print("The numbers of your pipeline, as bug.numbers:")
        for name, number in self.numbers.items():
            print(f"  {name}: {number:g}")
        print("What it gives, as bug.outputs[name]:")
        for name, value in self.outputs.items():
            print(f"  {name}: {tuple(value.shape)}, mean {value.double().mean():.4g}, from {value.min():.4g} to "
                  f"{value.max():.4g}")  # fmt: skip
        print("The ideas, one of which is behind the mistake:")
        for idea in self.ideas:
            print(f"  {idea}")

    def check(self) -> float:
        """Check your function, print what came of it, and return its points."""
        with _plainly():
            verdict = self.verdict()
            print(told(verdict))
        return float(verdict.points)

    def verdict(self, seed: int = VISIBLE_SEED) -> Verdict:
        """What your function's answer is worth, as data."""
        function = self.namespace.get(self.task.name)
        if not callable(function):
            note = f"There is no function {self.task.name} yet: {self.task.signature}"
            return without_points(self.task, "missing", note)
        try:
            return check(self.task, LocalCaller(function), seed)
        except LabError as error:
            return without_points(self.task, "not run", str(error))


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """nbgrader takes whatever is on standard error for a fault."""
    with contextlib.redirect_stderr(sys.stdout):
        yield
