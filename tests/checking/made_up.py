"""An exercise that no list of mistakes knows, and what the search says of a function for it."""

from __future__ import annotations

from diffusion_lab.exercises import CARE, Exercise
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.engine import explaining
from diffusion_lab.grading.judge.questions import ask, questions


def made_up(reference, cases) -> Exercise:
    return Exercise(
        chapter="made_up",
        kind="sampler",
        title="Made up",
        statement="",
        reference=reference,
        parts={"values": 2, CARE: 1},
        cases=cases,
        wrong_answers=(),
        right_answers=(),
    )


def trials_of(exercise, function):
    call = LocalCaller(function)
    return call, [ask(exercise, q, call) for q in questions(exercise, 0)]


def explained(exercise, function):
    return explaining.explain(exercise, *trials_of(exercise, function))
