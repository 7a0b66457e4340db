"""Checks that learners write: a thorough one gets all points, naive and dishonest ones next to none."""

from __future__ import annotations

import pytest
import torch

from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import CHAPTERS, LABS
from diffusion_lab.exercises.checks import ALARMS, HIDDEN, LISTED, TWICE, CheckTask
from diffusion_lab.grading.judge import LocalCaller, check, told
from diffusion_lab.grading.judge.calling import Returned

TASKS = {task.name: task for lab in LABS for task in notebook(lab).exercises if isinstance(task, CheckTask)}
STEP = TASKS["check_ddpm_step"]
QUICK = TASKS["check_guided_eps"]


def marks(task, function, seed=0):
    return check(task, LocalCaller(function), seed)


def test_each_chapter_has_one():
    assert [task.chapter for task in TASKS.values()] == list(CHAPTERS)


@pytest.mark.parametrize("name", TASKS)
def test_thorough_is_full_and_naive_is_low(name):
    task = TASKS[name]
    verdict = marks(task, task.reference, 7)
    assert verdict.passed and verdict.points == task.points, told(verdict)
    assert len(task.listed) >= 4 and len(task.hidden) >= 2 and len(task.right) >= 3
    for naive in task.naive:
        assert marks(task, naive, 7).points < task.points / 2, naive.__name__


@pytest.mark.parametrize(
    "always",
    [lambda piece: None, lambda piece: True, lambda piece: False, lambda piece: 1 / 0, lambda piece: "wrong"],
    ids=["nothing", "True", "False", "raises", "a sentence"],
)
def test_one_verdict_for_all_earns_nothing(always):
    verdict = marks(QUICK, always)
    assert verdict.points == 0 and verdict.state == "failed" and "every piece" in told(verdict)


def test_to_be_right_as_often_as_a_coin_earns_nothing():
    """Half of the right pieces passed and half of the mistakes caught, each time the same, as a lucky coin might."""
    task = TASKS["check_convert"]
    half = [[answer.function for answer in part][::2] for part in (task.right, task.listed, task.hidden)]
    seen_as = [{task.piece(function) for function in functions} for functions in half]
    assert set.union(*seen_as), "pieces are the functions themselves, so they can be told apart here"

    def caller(arguments, **_):
        function = arguments[0].function
        right = function in {task.piece(answer.function) for answer in task.right}
        lucky = any(function in part for part in seen_as)
        return Returned(value=lucky == right)

    verdict = check(task, caller)
    facts = verdict.facts
    assert 0 < facts["alarms"] < facts["right"] and 0 < facts["caught"] < facts["wrong"]
    assert verdict.points <= 1, "what is left is for saying the same twice"


def test_each_way_to_fail_counts():
    """raise, False, a sentence, and a tensor of one truth."""

    def of(task, fail):
        def check_it(piece):
            try:
                task.reference(piece)
            except Exception:
                return fail()

        return check_it

    for fail in (lambda: False, lambda: "it is off", lambda: torch.tensor(False), lambda: [][0]):
        assert marks(QUICK, of(QUICK, fail)).passed


def test_what_slips_through_is_told_by_its_kind_and_hidden_ones_are_only_counted():
    text = told(marks(STEP, STEP.naive[0]))
    assert "a piece with this mistake: Noise was added at t = 0" in text
    page = told(marks(STEP, STEP.naive[2]))
    for answer in STEP.hidden:
        assert " ".join(answer.hint.split())[:40] not in page
    assert "a mistake that no list has" in page
    assert "def " not in page and "cumprod" not in page


def test_a_false_alarm_costs_the_points_of_catching():
    def exact(piece):
        cond, uncond = torch.randn(4, 3), torch.randn(4, 3)
        QUICK.reference(piece)
        assert torch.equal(piece(cond, uncond, 2.5), uncond + 2.5 * (cond - uncond)), "to the last digit"

    verdict = marks(QUICK, exact)
    assert verdict.parts[LISTED][0] == verdict.parts[HIDDEN][0] == 0 and not verdict.passed
    assert "a right piece" in told(verdict) and "rounding" in told(verdict)


def test_counting_calls_and_remembering_pieces_do_not_help():
    seen = []

    def every_other(piece):
        seen.append(piece)
        return len(seen) % 2 == 0

    verdict = marks(QUICK, every_other)
    assert verdict.points == 0 and "one verdict and then another" in told(verdict)

    answers: list[float] = []

    def majority(piece):
        """Right pieces agree with each other: what most pieces have said so far must be right."""
        found = piece(torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), 2.5)
        answers.append(round(float(found.sum()), 6))
        return answers[-1] == max(set(answers), key=answers.count)

    for seed in range(4):
        answers.clear()
        verdict = marks(QUICK, majority, seed)
        assert verdict.points < QUICK.points / 2 and not verdict.passed


def test_the_order_is_drawn_from_the_seed():
    def order(seed):
        found = []

        def listen(piece):
            found.append(float(piece(torch.ones(1), torch.zeros(1), 3.0).sum()))

        marks(QUICK, listen, seed)
        return found

    assert order(1) == order(1) and order(1) != order(2)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (lambda piece: 0.5, "a value of type float"),
        (lambda piece: [], "a list of 0 values"),
        (lambda piece: torch.zeros(3), "a tensor of shape (3,)"),
    ],
    ids=["a number", "a list", "a tensor"],
)
def test_neither_truth_nor_nothing(odd, said):
    text = told(marks(QUICK, odd))
    assert said in text and "return nothing (or True) for a right piece" in text and "0 of 8" in text


def test_other_arguments_are_told():
    def check_guided_eps(piece, scale):
        return None

    assert "cannot be called as check_guided_eps(piece)" in told(marks(QUICK, check_guided_eps))


def test_pages_of_print_are_cut_and_cost_nothing():
    def loud(piece):
        print("look " * 1000)
        QUICK.reference(piece)

    verdict = marks(QUICK, loud)
    assert verdict.points == QUICK.points and len(told(verdict)) < 500 and "it printed: look" in told(verdict)


def test_a_check_that_is_not_written():
    def stub(piece):
        raise NotImplementedError()

    assert marks(QUICK, stub).state == "not written"


def test_an_exception_with_the_name_of_a_lost_process_stops_nothing():
    """What a check raises has whatever name its author gives it; only the grader knows whose process is gone."""

    class ProcessGone(Exception):
        pass

    def check_it(piece):
        try:
            QUICK.reference(piece)
        except Exception:
            raise ProcessGone from None

    usual, verdict = marks(QUICK, QUICK.reference), marks(QUICK, check_it)
    assert verdict.passed and verdict.points == usual.points == QUICK.points, told(verdict)


def test_a_check_that_never_ends_stops_the_rest():
    def patient(piece):
        QUICK.reference(piece)
        while True:
            pass

    verdict = check(QUICK, LocalCaller(patient, limit=0.2), 0)
    assert verdict.points == 0 and "did not come to an end" in told(verdict)
    assert verdict.parts[ALARMS][0] == verdict.parts[TWICE][0] == 0
    # By this the grader of a class sees that it was late, and may try it again where the machine was busy.
    assert {outcome.raised.kind for outcome in verdict.outcomes if outcome.raised is not None} == {"time"}
