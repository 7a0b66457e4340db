"""What is done with a task by its kind. A new kind of task is one more line in each of these functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from diffusion_lab.exercises import Exercise, Task
from diffusion_lab.exercises.bugs import BugTask
from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.derivations import Derivation
from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.grading.judge import accusing, auditing, checking, deriving, engine, numbering, questions, trying
from diffusion_lab.grading.judge.auditing import SEEDS, Audit
from diffusion_lab.grading.judge.calling import Caller
from diffusion_lab.grading.judge.checking import VISIBLE_SEED, Verdict


def check(task: Task, caller: Caller, seed: int = VISIBLE_SEED) -> Verdict:
    """Call the student's function as the task's kind asks for, and say what its points are and why."""
    if isinstance(task, Exercise):
        return checking.check(task, caller, seed)
    if isinstance(task, CheckTask):
        return trying.check(task, caller, seed)
    if isinstance(task, BugTask):
        return accusing.check(task, caller, seed)
    if isinstance(task, OwnNumber):
        return numbering.check(task, caller, seed)
    if isinstance(task, Derivation):
        return deriving.check(task, caller, seed)
    raise TypeError(f"nobody marks a {type(task).__name__}")


def with_prediction(task: Task, verdict: Verdict, values: Mapping[str, Any]) -> Verdict:
    """The verdict with what the student predicted, where the task asks for that.

    Args:
        values: by name, what a notebook holds.
    """
    if isinstance(task, OwnNumber):
        return numbering.beside_prediction(task, verdict, values.get(task.variable))
    return verdict


def prepare(task: Task, seed: int) -> None:
    """Compute what a check on this seed needs, before the time of a submission counts."""
    if isinstance(task, Exercise):
        questions.prepare(task, seed)
        if task.own:
            engine.load(task)


def audit(task: Task, seeds: Iterable[int] = SEEDS, more: Iterable[int] = ()) -> Audit:
    """Grade the grader of one task; see `auditing.audit`."""
    if isinstance(task, Exercise):
        return auditing.audit(task, seeds, more)
    few = (*tuple(seeds)[:2], *more)
    if isinstance(task, CheckTask):
        return trying.audit(task, few)
    if isinstance(task, BugTask):
        return accusing.audit(task, few)
    if isinstance(task, OwnNumber):
        return numbering.audit(task, few)
    if isinstance(task, Derivation):
        return deriving.audit(task, few)
    raise TypeError(f"nobody audits a {type(task).__name__}")
