"""How long a notebook takes a learner, by one rule for all of them. It is an estimate: no class has been timed.

Text with formulas is read at `WORDS` a minute, an answer of the reference's length written at `LINE` minutes a line,
and every task has minutes of thought beside that, by its kind.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass

from diffusion_lab.exercises.bugs import BugTask
from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.derivations import Derivation
from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.exercises.record import Notebook
from diffusion_lab.exercises.tasks import Task

SHORTEST, LONGEST = 45, 90
"""Minutes of one sitting."""
WORDS = 100
"""Words a minute."""
LINE = 0.75
"""Minutes for a line of an answer, as Python itself would lay it out."""
THOUGHT = 4
"""Minutes for a function beside that: the formula on paper, what the check says, a second try."""
TESTS = 8
"""The same for a check: what right pieces promise, and how they break."""
GUESS = 3
"""Minutes for a guess before the function that computes it."""
SEARCH = 25
"""Minutes to find a bug and to prove it."""
RUN = 5
"""Minutes for the run at the end, and for a look at what it shows."""


@dataclass(frozen=True)
class Sitting:
    """What is done in one go."""

    first: int
    """Number of its first task, from 1."""
    last: int
    minutes: int
    """To the nearest five."""


def minutes_of(task: Task) -> float:
    """Minutes for one task of a notebook."""
    if isinstance(task, Derivation):
        return task.minutes  # as its own statement says
    reading = _words(task.statement)
    if isinstance(task, BugTask):
        return SEARCH + reading  # the reference finds every bug, so its length says nothing
    thought = TESTS if isinstance(task, CheckTask) else THOUGHT + GUESS * isinstance(task, OwnNumber)
    return reading + thought + LINE * _lines(task)


def sittings(notebook: Notebook) -> tuple[Sitting, ...]:
    """The sittings of a notebook: one, or two where it is too long for one and has a pause.

    The second begins with the task that `pause` names. Where a course has left so much out that this makes one of them
    too short or too long, it begins with the nearest task that does not.
    """
    tasks = notebook.exercises
    whole = _sitting(notebook, 0, len(tasks))
    pause = next((place for place, task in enumerate(tasks) if task.name == notebook.pause), 0)
    if not pause or whole.minutes <= LONGEST:
        return (whole,)
    found = [
        (_sitting(notebook, 0, place), _sitting(notebook, place, len(tasks)))
        for place in sorted(range(1, len(tasks)), key=lambda place: abs(place - pause))
    ]
    return next((two for two in found if all(SHORTEST <= part.minutes <= LONGEST for part in two)), found[0])


def told(notebook: Notebook) -> str:
    """How long it takes, in a sentence or two."""
    parts = sittings(notebook)
    if len(parts) == 1:
        return f"It takes about {parts[0].minutes} minutes."
    first, second = parts
    return (
        f"It takes about {first.minutes + second.minutes} minutes, so take it in two sittings: {first.minutes} minutes "
        f"for 1 to {first.last}, and {second.minutes} for the rest."
    )


def _sitting(notebook: Notebook, first: int, last: int) -> Sitting:
    """The tasks from `first` on, counted from 0, to the one before `last`; its start and end too."""
    minutes = sum(map(minutes_of, notebook.exercises[first:last])) + (_words(notebook.recall) if first == 0 else 0)
    if last == len(notebook.exercises) and (notebook.slots is not None or notebook.finale):
        minutes += _words(notebook.closing) + RUN
    return Sitting(first + 1, last, 5 * round(minutes / 5))


def _words(text: str) -> float:
    return len(text.split()) / WORDS


def _lines(task: Task) -> int:
    """Lines of the reference below its docstring."""
    function = ast.parse(textwrap.dedent(inspect.getsource(task.reference))).body[0]
    assert isinstance(function, ast.FunctionDef)
    return len(ast.unparse(ast.Module(function.body[1:], [])).splitlines())
