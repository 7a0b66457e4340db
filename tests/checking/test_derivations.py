"""Derivations: each step is judged by itself, what follows rightly counts, and no right value is told."""

from __future__ import annotations

import ast
import json

import pytest
import torch

from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import LABS
from diffusion_lab.exercises.derivations import Derivation
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading import start
from diffusion_lab.grading.judge import LocalCaller, check, deriving, told
from diffusion_lab.grading.notebook.authoring import solution

TASKS = {task.chapter: task for lab in LABS for task in notebook(lab).exercises if isinstance(task, Derivation)}
ADA = TASKS["normal_1d"].drawn_for(Owner("ada", "a course"))
TRUTHS = {name: float(value) for name, value in ADA.truths(ADA.numbers).items()}
PRECISION, PULL, MEAN, DEVIATION, SHIFT, COST = TRUTHS.values()


def marks(*values, task=ADA):
    return check(task, LocalCaller(lambda *numbers: values), 3)


def states(verdict):
    return list(verdict.facts["steps"].values())


@pytest.mark.parametrize("chapter", TASKS)
def test_right_answers_are_full_and_every_slip_costs_its_own_step(chapter):
    found = deriving.audit(TASKS[chapter], (3,), owners=1)
    assert not found.gaps
    assert found.wrong >= 6 and found.right >= 2


def test_a_wrong_step_does_not_make_the_later_ones_wrong():
    """The precision is twice the right one; what is worked out from it counts, and so does what is right in itself."""
    wrong = 2 * PRECISION
    mean, deviation = PULL / wrong, wrong**-0.5
    verdict = marks(wrong, PULL, mean, deviation, SHIFT, COST)
    assert states(verdict) == ["wrong", "right", "follows", "follows", "right", "right"]
    assert verdict.points == 5 and verdict.state == "failed"
    assert "Your values of mean and deviation follow rightly from your own earlier steps" in told(verdict)


def test_one_can_go_round_an_earlier_mistake():
    """c_in is wrong, and c_skip is worked out from it; c_out from this c_skip and from the question's own numbers."""
    task = TASKS["cifar10"].drawn_for(Owner("ada"))
    spread, kept, *_ = task.numbers.values()
    truths = [float(value) for value in task.truths(task.numbers).values()]
    c_in = 1.3 * truths[0]
    c_skip = kept**0.5 * spread**2 * c_in**2
    rest = (1 - c_skip * kept**0.5) ** 2 * spread**2 + c_skip**2 * (1 - kept)
    verdict = marks(c_in, c_skip, rest**0.5, truths[3], truths[4], task=task)
    assert states(verdict) == ["wrong", "follows", "follows", "right", "right"]


def test_rounding_in_an_earlier_step_is_no_mistake():
    """Two numbers nearly cancel in the score, so four digits of the guess leave three of it."""
    task = next(
        one
        for one in (TASKS["mixture"].drawn_for(Owner(f"student {i}")) for i in range(200))
        if abs(float(one.truths(one.numbers)["score"])) < 0.05
    )
    typed = deriving.in_four_digits(task)
    truths = task.truths(task.numbers)
    assert not task.right(torch.tensor(typed[-1]), truths["score"])
    assert states(marks(*typed, task=task)) == ["right"] * 6


def test_a_slip_is_named_from_ones_own_earlier_step():
    """Somebody takes the variance for the deviation, of a precision that is wrong already."""
    verdict = marks(2 * PRECISION, PULL, PULL / PRECISION / 2, 1 / (2 * PRECISION), None, None)
    assert states(verdict) == ["wrong", "right", "follows", "wrong", "blank", "blank"]
    assert [idea.name for idea in verdict.ideas] == ["precision, a factor of two", "deviation, variance of it"]
    assert "This is the variance" in told(verdict) and "not filled in yet" in told(verdict)


@pytest.mark.parametrize(
    ("leads", "name"),
    [
        (lambda v: -v, "a sign"),
        (lambda v: v / 2, "a factor of two"),
        (lambda v: v**2, "a square or a root"),
        (lambda v: 1 / v, "upside down"),
    ],
)
def test_what_goes_wrong_anywhere_is_named(leads, name):
    verdict = marks(PRECISION, leads(PULL), MEAN, DEVIATION, SHIFT, COST)
    assert [idea.name for idea in verdict.ideas] == [f"pull, {name}"]


def test_no_right_value_is_told():
    verdict = marks(*(1.07 * value + 0.013 for value in TRUTHS.values()))
    assert not any(f"{value:.3g}" in told(verdict) for value in TRUTHS.values())
    assert not any(f"{value:.3g}" in json.dumps(verdict.facts["steps"]) for value in TRUTHS.values())


@pytest.mark.parametrize("number", [0.0, 1.0, -1.0, 0.3, 7.0, 1e300, 1e-300])
@pytest.mark.parametrize("chapter", TASKS)
def test_one_number_in_every_step_earns_nothing(chapter, number):
    task = TASKS[chapter].drawn_for(Owner("ben"))
    verdict = marks(*(torch.full_like(v, number) for v in task.truths(task.numbers).values()), task=task)
    assert verdict.points == 0


def test_noughts_behind_a_right_step_earn_nothing():
    verdict = marks(PRECISION, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert verdict.points == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("much", "one number is expected"),
        (True, "one number is expected"),
        ([0.1, 0.2], "a list of 2 values, and one number is expected"),
        (float("nan"), "finite numbers are expected"),
        (float("inf"), "finite numbers are expected"),
        (1j, "one number is expected"),
        ({"a": 1}, "one number is expected"),
        (10**400, "one number is expected"),
        (torch.ones(2, 2), "a tensor of shape (2, 2), and one number is expected"),
    ],
)
def test_what_is_no_number_costs_its_own_step(value, words):
    verdict = marks(value, PULL, MEAN, DEVIATION, SHIFT, COST)
    assert verdict.points == 5 and words in " ".join(told(verdict).split())


@pytest.mark.parametrize("answer", [None, 1.0, (1.0,), torch.ones(6), [[1.0] * 6], {"precision": 1.0}])
def test_another_answer_than_all_steps_is_called_so(answer):
    verdict = check(ADA, LocalCaller(lambda *numbers: answer))
    assert verdict.points == 0 and "6 values are expected, one for each step" in " ".join(told(verdict).split())


def test_not_written_broken_and_rounded():
    def unwritten(*numbers):
        raise NotImplementedError

    assert check(ADA, LocalCaller(unwritten)).state == "not written"
    assert "ZeroDivisionError" in told(check(ADA, LocalCaller(lambda *numbers: 1 / 0)))
    assert marks(*(float(f"{value:.4g}") for value in TRUTHS.values())).passed
    assert marks(*map(torch.tensor, TRUTHS.values())).passed


def test_several_numbers_come_as_lists_or_tensors():
    task = TASKS["normal_2d"].drawn_for(Owner("ada"))
    truths = task.truths(task.numbers)
    assert marks(*(value.tolist() for value in truths.values()), task=task).passed
    assert marks(*(value.float() for value in truths.values()), task=task).passed
    flat = marks(*(value.flatten() for value in truths.values()), task=task)
    assert states(flat) == ["wrong", "wrong", "right", "right"]
    assert "a list of 2 rows of 2 numbers is expected" in " ".join(told(flat).split())


def test_the_notebook_has_blanks_and_keeps_the_last_line():
    lines = solution(ADA.reference, ADA.blanks).splitlines()
    begin, end = (next(i for i, line in enumerate(lines) if mark in line) for mark in ("BEGIN", "END"))
    assert lines[begin - 1] == f"    {' = '.join(ADA.blanks)} = None"
    assert lines[end + 1 :] == [f"    return {', '.join(ADA.blanks)}"]
    student = "\n".join([*lines[:begin], "    mean = 0.5", *lines[end + 1 :]])
    namespace: dict = {}
    exec(compile(ast.parse(student), "student", "exec"), namespace)
    verdict = check(ADA, LocalCaller(namespace[ADA.name]))
    assert states(verdict) == ["blank", "blank", "wrong", "blank", "blank", "blank"]


def test_a_session_prints_the_numbers_and_judges_them(capsys):
    mine = TASKS["normal_1d"].drawn_for(Owner("ada"))
    lab = start("normal_1d_lab", {mine.name: mine.reference}, student=" Ada ")
    lab.question(mine.name)
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith(mine.asked) and "Now finish the derivation" in printed
    assert lab.check(mine.name) == mine.points
