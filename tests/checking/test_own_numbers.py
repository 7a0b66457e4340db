"""Numbers of one's own: what is marked, what is told and when, and that a prediction costs and earns nothing."""

from __future__ import annotations

import ast
import json

import pytest
import torch

from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import CHAPTERS, LABS
from diffusion_lab.exercises.own_numbers import OTHERS, OWN, OwnNumber
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading import start
from diffusion_lab.grading.judge import LocalCaller, audit, check, told, with_prediction
from diffusion_lab.grading.notebook import take_in_apart
from diffusion_lab.grading.notebook.predicting import predictions
from diffusion_lab.grading.notebook.statements import statements

TASKS = [task for lab in LABS for task in notebook(lab).exercises if isinstance(task, OwnNumber)]
ADA = TASKS[0].drawn_for(Owner("ada", "a course"))


def marks(function, seed=3):
    return check(ADA, LocalCaller(function), seed)


def test_each_chapter_asks_one():
    assert [task.chapter for task in TASKS] == list(CHAPTERS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_right_answers_are_full_and_wrong_ones_named(task):
    found = audit(task, (3,))
    assert not found.gaps
    assert found.wrong >= 4 and found.right >= 3


def test_a_number_that_is_typed_answers_for_one_student_only():
    verdict = marks(lambda *numbers: ADA.truth)
    assert verdict.parts == {OWN: (2.0, 2), OTHERS: (0.0, 1)}
    assert "same number whatever it is asked" in told(verdict)


def test_the_truth_is_told_beside_a_right_answer_alone():
    truth = f"{ADA.truth:.4g}"
    wrong = with_prediction(ADA, marks(lambda *numbers: 2 * ADA.reference(*numbers)), {ADA.variable: 0.5})
    assert truth not in told(wrong) and "You predicted 0.5" in told(wrong)
    right = with_prediction(ADA, marks(ADA.reference), {ADA.variable: 0.5})
    assert f"the truth is {truth}" in told(right) and right.passed


@pytest.mark.parametrize("guess", [None, 0.4, torch.tensor(0.4), "much", True, float("nan"), [1, 2]])
def test_a_prediction_changes_no_points(guess):
    verdict = with_prediction(ADA, marks(ADA.reference), {ADA.variable: guess})
    usable = isinstance(guess, (float, torch.Tensor)) and guess == guess
    assert verdict.points == ADA.points and verdict.passed
    assert verdict.facts["predicted"] == (pytest.approx(0.4) if usable else None)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "is `return` missing?"),
        (float("nan"), "it returned nan"),
        (torch.ones(2), "a tensor of shape (2,)"),
        ("0.4", "one finite number is expected"),
        (1j, "one finite number is expected"),
    ],
)
def test_what_is_no_number_is_called_so(answer, words):
    verdict = marks(lambda *numbers: answer)
    assert verdict.points == 0 and words in told(verdict)


def test_other_forms_of_a_right_number_count():
    """A tensor, float32, and what is off in the fourth digit."""
    for form in (torch.tensor, lambda value: torch.tensor([value], dtype=torch.float32), lambda value: 1.0005 * value):
        assert marks(lambda *numbers, form=form: form(ADA.reference(*numbers))).passed


def test_not_written_and_broken():
    def unwritten(*numbers):
        raise NotImplementedError

    assert marks(unwritten).state == "not written"
    assert "ZeroDivisionError" in told(marks(lambda *numbers: 1 / 0))
    assert marks(lambda std: std).points == 0


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("= 0.4", 0.4),
        ("= -2", -2.0),
        ("= 2 / 5", 0.4),
        ("= 1e-3 * (1 + 1)", 0.002),
        ("= None", None),
        ("= 1 / 0", "told"),
        ("= '0.4'", "told"),
        ("= True", "told"),
        ("= 10 ** 10 ** 10", "told"),
        ("= " + "-" * 50 + "1", "told"),
        (": float = 0.4", None),
    ],
)
def test_a_prediction_is_read_and_never_run(code, expected):
    found, odd = predictions(statements(f"predicted_{ADA.name} {code}", 10), [ADA.name])
    assert found.get(ADA.variable) == (None if expected == "told" else expected)
    assert bool(odd) == (expected == "told")


def test_the_last_prediction_counts():
    code = f"{ADA.variable} = 0.4\n{ADA.variable} = 'much'\n{ADA.variable} = 0.6\npredicted_other = 1\n"
    assert predictions(statements(code, 10), [ADA.name]) == ({ADA.variable: 0.6}, [])


def test_the_notebook_asks_before_it_computes():
    (first, question), (second, guess) = ADA.opening
    assert question == f'lab.question("{ADA.name}")'
    assert ast.parse(guess).body[0].targets[0].id == ADA.variable
    assert {first, second} == {f"{ADA.name}-question", f"{ADA.name}-prediction"}


def test_a_session_asks_keeps_the_guess_and_shows_all_three(capsys):
    mine = TASKS[0].drawn_for(Owner("ada"))
    namespace = {mine.name: mine.reference, mine.variable: 0.5}
    lab = start("normal_1d_lab", namespace, student=" Ada ")
    lab.question(mine.name)
    assert " ".join(capsys.readouterr().out.split()).startswith(mine.asked)
    assert lab.check(mine.name) == mine.points
    assert f"You predicted 0.5; you computed {mine.truth:.4g}, and the truth is" in capsys.readouterr().out
    lab.question("tiny_denoiser")
    assert "asks for no number of your own" in capsys.readouterr().out


def test_a_prediction_is_taken_from_a_submission():
    """In the process that reads it, from a cell that no tool has marked, and not as one of the student's own pages."""
    sources = [f"def {ADA.name}(*numbers):\n    return 1.0", f"{ADA.variable} = 2 / 5  # my guess", "mine = 3"]
    cells = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": source} for source in sources]
    intake, _ = take_in_apart(json.dumps({"cells": cells, "nbformat": 4}).encode(), [ADA.name])
    assert intake.predictions == {ADA.variable: 0.4}
    assert [cell.text for cell in intake.order] == [sources[0]]
