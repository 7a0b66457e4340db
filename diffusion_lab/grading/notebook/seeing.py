"""What a function does to the chapter's samples, right or wrong, beside the reference: drawn, and told in words."""

from __future__ import annotations

import base64
import html
import math
import textwrap
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.errors import LabError
from diffusion_lab.exercises import Task, exercise, library, task
from diffusion_lab.exercises.bugs import BugTask
from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.derivations import Derivation
from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.grading.judge import WIDTH, Fault, LocalCaller, usual_settings
from diffusion_lab.grading.notebook.stand_ins import Namespace, missing_note, standing_in, usable_others
from diffusion_lab.plots import Items, LabFigure, View, beside
from diffusion_lab.plots.figure import to_png

LIMIT = 30.0
"""Seconds that a function may take to play its scene; references take less than three."""
ALIKE = 1e-4
"""Relative difference below which two pictures are called the same; float32 and another order of sums make less."""

NEAR = 1e-2
"""Below this, rounding that grows on the way through a network may be all there is to see."""


@dataclass(frozen=True)
class Sight:
    """What was seen of one function."""

    name: str
    says: str
    """What is drawn."""
    verdict: str
    """How the two pictures compare, in a sentence; or why there is no picture of the learner's function."""
    figure: LabFigure | None
    mine: tuple[View, ...] = ()
    theirs: tuple[View, ...] = ()
    note: str = ""
    """Which other functions were taken from us."""

    @property
    def text(self) -> str:
        """All of it in words and numbers, for a terminal or a screen reader."""
        lines = [f"{self.name}: {self.verdict}", self.note, self.says]
        for place, view in enumerate(self.theirs):
            if place < len(self.mine):
                lines.append(f"  yours: {self.mine[place].told()}")
            lines.append(f"  ours:  {view.told()}")
        return "\n".join(
            part for line in lines if line for part in textwrap.wrap(line, WIDTH, subsequent_indent="    ")
        )

    @property
    def html(self) -> str:
        """The picture with its words, for a notebook. The picture brings its own white ground into dark pages."""
        picture = ""
        if self.figure is not None:
            data = base64.b64encode(to_png(self.figure)).decode()
            alt = html.escape(self.figure.alt, quote=True)
            picture = f'<img alt="{alt}" src="data:image/png;base64,{data}" style="max-width:100%;background:white">'
        words = "".join(f"<p>{html.escape(line)}</p>" for line in (self.note, self.says) if line)
        return f"<div><p><b>{html.escape(self.name)}</b>: {html.escape(self.verdict)}</p>{words}{picture}</div>"


def _elsewhere(item: Task) -> str:
    """Where to look for what has no scene."""
    if isinstance(item, CheckTask):
        return f"{item.name} is a check, and there is a picture of the piece that it checks: {item.exercise.name}"
    if isinstance(item, BugTask):
        return f"{item.name} has no picture: what its pipeline gives is in bug.outputs, for you to plot"
    if isinstance(item, OwnNumber):
        return f"{item.name} is one number and has no picture: its check shows it beside your guess"
    if isinstance(item, Derivation):
        return f"{item.name} is a derivation and has no picture: its check says which of your steps are right"
    return f"{item.name} has no picture of its own: run the last cells of its notebook, which train and sample with it"


def see(name: str, namespace: Namespace, *, pieces: Collection[str] | None = None, fault: str = "") -> Sight:
    """Draw what the function of this exercise does, right or wrong, beside what the reference does.

    Both play the same scene with the same random numbers. Where the function calls others of the course, those that do
    not pass their check are replaced by ours for the time.

    Args:
        name: an exercise.
        namespace: the learner's globals; they are left as they were.
        pieces: as in `check_piece`.
        fault: why the function is not there, where that is known.

    Raises:
        LabError: where there is no such exercise, or no picture of it.
    """
    from diffusion_lab.grading.notebook.scenes import scenes

    if name not in scenes():
        raise LabError(_elsewhere(task(name)))
    item = exercise(name)
    scene, function = scenes()[name], namespace.get(name)
    if not callable(function):
        return Sight(name, "", fault or missing_note(name, [k for k, v in namespace.items() if callable(v)]), None)
    with usual_settings():
        theirs, truth = _reference(name)
        used, wrong, note = usable_others(name, namespace, library() if pieces is None else pieces)
        with standing_in(used, wrong):
            mine, problem = _played(scene.play, function, item.reference)
    if problem is not None and problem.kind == "not written":
        return Sight(name, "", "It is not written yet. Write it, run its cell, and look again.", None, note=note)
    says = _words_of(problem) if problem is not None else _compared(mine, theirs)
    rows = [
        (mine[place] if place < len(mine) else None, view, truth if place == _place_of_truth(theirs) else None)
        for place, view in enumerate(theirs)
    ]
    figure = beside(rows, title=name, names=("yours", "ours", "data"), fault="" if problem is None else says)
    return Sight(name, scene.says, says, figure, tuple(mine), theirs, note)


def _place_of_truth(views: tuple[View, ...]) -> int:
    """Which view the data stand beside: the first that shows some."""
    return next((place for place, view in enumerate(views) if isinstance(view, Items)), -1)


@cache
def _reference(name: str) -> tuple[tuple[View, ...], View | None]:
    """What the reference shows, and the truth: the same each time, so it is drawn once."""
    from diffusion_lab.grading.notebook.scenes import scenes

    scene = scenes()[name]
    with torch.random.fork_rng(devices=[]):
        return tuple(scene.play(exercise(name).reference)), None if scene.truth is None else scene.truth()


def _played(play: Callable, function: Callable, reference: Callable) -> tuple[list[View], Fault | None]:
    """The views of this function, and what went wrong after them: only an interruption gets out of here."""
    views: list[View] = []

    def performance() -> None:
        for view in play(_held_to(function, reference)):
            view.told()  # what cannot be told cannot be drawn
            views.append(view)

    performance.__wrapped__ = function  # the learner's own lines are the ones to name
    returned = LocalCaller(performance, LIMIT)(())
    return views, returned.fault


class UnlikeReferenceError(LabError):
    """The function's first answer cannot stand where the reference's does."""


def _held_to(function: Callable, reference: Callable) -> Callable:
    """The function, whose first answer must have the reference's form: a sampler would fail far from the cause."""
    asked = False

    def piece(*arguments: Any) -> Any:
        nonlocal asked
        if asked:
            return _called(function, arguments)
        asked = True
        copies = [a.clone() if isinstance(a, Tensor) else a for a in arguments]
        with torch.random.fork_rng(devices=[]):
            expected = _form(reference(*copies))
        answer = _called(function, arguments)
        if (given := _form(answer)) != expected:
            raise UnlikeReferenceError(f"it returned {given}, and the course needs {expected}")
        return answer

    return piece


def _called(function: Callable, arguments: tuple) -> Any:
    """The answer; a function may differentiate by itself, as it may in its check, although samplers do without."""
    if torch.is_grad_enabled():
        return function(*arguments)
    with torch.enable_grad():
        answer = function(*arguments)
    if isinstance(answer, (tuple, list)):
        return type(answer)(value.detach() if isinstance(value, Tensor) else value for value in answer)
    return answer.detach() if isinstance(answer, Tensor) else answer


def _form(value: Any) -> str:
    """What an answer looks like from outside: its kind and its shapes."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}" if value.ndim else "a number"
    if isinstance(value, (float, int)) and not isinstance(value, bool):
        return "a number"
    if isinstance(value, (tuple, list)):
        return f"{len(value)} values ({', '.join(map(_form, value))})"
    if isinstance(value, dict):
        return f"a dictionary with {', '.join(map(str, sorted(value)))}"
    return "nothing (is there a `return`?)" if value is None else f"a {type(value).__name__}"


def _words_of(fault: Fault) -> str:
    """Why there is no picture, in a sentence or two."""
    if fault.kind == "time":
        return (
            f"Your function had not finished after {LIMIT:g} seconds, so it was stopped. Is there an endless loop, or "
            "a Python loop over single numbers?"
        )
    if fault.name == UnlikeReferenceError.__name__:
        return f"Yours cannot be put in place: {fault.message}."
    if "does not require grad" in fault.message:
        return (
            "Nothing can be learned from this loss, because it does not depend on the network's "
            "weights any more. Look for `no_grad`, `detach` or `item`."
        )
    if fault.name in ("PieceError", "TrainingError"):  # of the course, on what the function gave
        return f"What yours gives cannot be used any further: {fault.message}."
    where = f" ({fault.line})" if fault.line else ""
    return f"Your function ended with {fault.name}: {fault.message}{where}"


def _compared(mine: list[View], theirs: tuple[View, ...]) -> str:
    """How like the two pictures are."""
    numbers = [(a.numbers(), b.numbers()) for a, b in zip(mine, theirs, strict=True)]
    if any(not bool(a.isfinite().all()) and bool(b.isfinite().all()) for a, b in numbers):
        worst = max(float((~a.isfinite()).double().mean()) for a, _ in numbers)
        return f"Yours gives numbers that are nan or infinite: {worst:.0%} of what is drawn."
    far = max(difference(a, b) for a, b in numbers)
    if far < ALIKE:
        return "Yours and ours give the same picture. Its check also looks at what cannot be seen here."
    if far < NEAR:
        return f"Yours and ours can hardly be told apart here: by {far:.1g} times the spread of what ours shows."
    if math.isinf(far):
        return "Yours and ours have different sizes."
    return f"Yours differs from ours, by {far:.2g} times the spread of what ours shows."


def difference(a: Tensor, b: Tensor) -> float:
    """The root mean square difference of two tensors, over the standard deviation of the second; inf for other shapes.

    Places where both are nan or equally infinite count as equal.
    """
    if a.shape != b.shape:
        return math.inf
    apart = torch.where((a == b) | (a.isnan() & b.isnan()), torch.zeros_like(a), a - b)
    spread = b[b.isfinite()].std(correction=0).clamp(min=1e-12)
    return float(apart.square().mean().sqrt() / spread)
