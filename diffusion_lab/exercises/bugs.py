"""What "find the bug" is made of: a chapter's pipeline, and the mistakes that one of its pieces may have."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.catalogue import chapter_of, find
from diffusion_lab.exercises.drawing import Draw
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.exercises.record import Exercise, WrongAnswer
from diffusion_lab.exercises.tasks import Task

PIECE, IDEA, EVIDENCE = "which piece", "which idea", "evidence"
PARTS = {PIECE: 2, IDEA: 2, EVIDENCE: 2}
HOW = """
One of these pieces is wrong, in a way that published code has been wrong. Which one it is was drawn for you, from your
name. You cannot read the pieces, but you can call them and plot what they give.

1. Look at what the pipeline makes, and say what you would expect of it: `bug.outputs` has all of it, and `bug.numbers`
   the numbers of your pipeline.
2. Test the pieces one by one, such as `bug.pieces["{piece}"]`, with inputs for which you know the answer: zeros, ones,
   a single step.
3. Write `{name}`. It gets the pieces as its arguments and returns four things: the name of the piece that is wrong;
   the idea behind it, from the list that `bug.show()` prints; a number that you computed by calling this piece; and the
   number that a right piece would give.

Your function is also run on the same pipeline without its bug. There the two numbers must agree: evidence that accuses
a right piece is none. The list also has ideas that sound likely and are nowhere in this pipeline.
"""
"""Below what a pipeline does."""


class Silent(nn.Module):
    """A network that answers 0 whatever it sees, so that its loss is known without any training."""

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        return torch.zeros_like(x)


@dataclass(frozen=True)
class Part:
    """One piece of a pipeline."""

    exercise: Exercise
    bound: Callable[[Callable], Callable] | None = None
    """Hands in what the pipeline has and a learner does not, such as a network: piece -> piece with fewer arguments."""

    @property
    def name(self) -> str:
        return self.exercise.name

    def around(self, function: Callable) -> Callable:
        return function if self.bound is None else self.bound(function)

    @property
    def signature(self) -> str:
        names = inspect.signature(self.around(self.exercise.reference)).parameters
        return f"{self.name}({', '.join(names)})"


@dataclass(frozen=True)
class Bug:
    """A mistake that public code has had: one of the listed wrong answers of one exercise."""

    piece: str
    mistake: str
    """The wrong answer's name."""
    idea: str
    """In a few words, as the list in the notebook has it."""


@dataclass(frozen=True, eq=False)
class BugTask(Task):
    """Find the one piece of a pipeline that is wrong."""

    chapter: str
    title: str
    about: str
    """Markdown: what the pipeline does and what each piece promises."""
    pipeline: tuple[Part, ...]
    bugs: tuple[Bug, ...]
    decoys: tuple[str, ...]
    """Ideas that sound as likely and are nowhere in the pipeline."""
    settings: Callable[[Draw], dict[str, float]]
    """The numbers of one student's pipeline."""
    run: Callable[[Mapping[str, Callable], Mapping[str, float], Draw], dict[str, Tensor]]
    """(pieces, settings, draw) -> what the pipeline gives, "samples" among it."""
    reference: Callable
    """A script that finds every bug with what the chapter has taught: pieces -> (piece, idea, found, expected)."""
    parts: Mapping[str, int] = field(default_factory=PARTS.copy)
    hints: tuple[str, ...] = ()
    source: str = ""
    owner: Owner | None = None

    @property
    def statement(self) -> str:
        """Markdown: what the pipeline does, and how to look for its bug."""
        how = HOW.format(name=self.name, piece=self.pipeline[0].name)
        return f"{self.about.strip()}\n\n{how.strip()}"

    @property
    def opening(self) -> tuple[tuple[str, str], ...]:
        """The cells in which the learner looks at the pipeline: (name, code), ... ."""
        return ((f"{self.name}-pipeline", "bug = lab.hunt()\nbug.show()"), (f"{self.name}-look", "bug.samples"))

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.pipeline)

    @property
    def ideas(self) -> tuple[str, ...]:
        """All that can be answered, in the order of the alphabet, which tells nothing."""
        return tuple(sorted({bug.idea for bug in self.bugs} | set(self.decoys)))

    def drawn_for(self, owner: Owner) -> BugTask:
        """The task with this student's own bug and numbers."""
        return replace(self, owner=owner)

    @property
    def bug(self) -> Bug:
        """The one that its owner has. Raises LabError where nobody owns the task yet."""
        return self.bugs[int(self._draw("bug").permutation(len(self.bugs))[0])]

    @property
    def numbers(self) -> dict[str, float]:
        """The settings of its owner's pipeline."""
        return self.settings(self._draw("settings"))

    def pieces(self, bug: Bug | None) -> dict[str, Callable]:
        """The pipeline's functions by name: all right, or with this bug."""
        found = {}
        for part in self.pipeline:
            wrong = bug is not None and bug.piece == part.name
            found[part.name] = part.around(self.mistake(bug).function if wrong else part.exercise.reference)
        return found

    def mistake(self, bug: Bug) -> WrongAnswer:
        """The listed wrong answer behind a bug. Raises LabError where the exercise lists none of this name."""
        part = next((part for part in self.pipeline if part.name == bug.piece), None)
        listed = {} if part is None else {wrong.name: wrong for wrong in part.exercise.wrong_answers}
        if bug.mistake not in listed:
            raise LabError(f"'{bug.piece}' of the pipeline lists no mistake '{bug.mistake}'")
        return listed[bug.mistake]

    def outputs(self, bug: Bug | None) -> dict[str, Tensor]:
        """What its owner's pipeline gives with this bug: the same numbers each time."""
        return self.run(self.pieces(bug), self.numbers, self._draw("run"))

    def _draw(self, purpose: str) -> Draw:
        if self.owner is None:
            raise LabError(f"'{self.name}' is drawn for a student, and none is named")
        return self.owner.draw(f"{self.name} {purpose}")


def bug_task(chapter: str) -> BugTask:
    """The pipeline of a chapter. Raises LabError where there is no such chapter."""
    return importlib.import_module(f"diffusion_lab.exercises.{chapter_of(find(chapter))}.bug").TASK
