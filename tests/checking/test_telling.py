"""What a message shows: the failing case with its inputs, the student's own line, each fault once."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from diffusion_lab.errors import LabError
from diffusion_lab.exercises import CARE, Case, Draw, Exercise, exercise
from diffusion_lab.exercises.record import wrong
from diffusion_lab.grading.judge import shown, to_try
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.checking import Verdict, check
from diffusion_lab.grading.judge.comparing import difference
from diffusion_lab.grading.judge.expecting import Leaf
from diffusion_lab.grading.judge.telling import told
from diffusion_lab.grading.notebook.session import start


def scaled(x: Tensor, t: Tensor, start: float, mode: str) -> Tensor:
    """A made-up piece: start (t + 1) x, (B, D)."""
    return start * (t + 1).unsqueeze(1) * x


def nothing_at_all(x, t, start, mode):
    """The answer is no number."""
    return x / 0 * 0


def cases(draw):
    for b, part in ((4, "values"), (3, "square")):
        yield Case("points", (draw.normal(b, 3), draw.times(b, 9), 1e-4, "plain"), part)


SCALED = Exercise(
    "normal_1d", "data", "", "", scaled, {"values": 3, "square": 2, CARE: 1}, cases, (wrong(nothing_at_all),), ()
)


def verdict_on(function, exercise: Exercise = SCALED, seed: int = 0) -> Verdict:
    return check(exercise, LocalCaller(function), seed)


def test_shapes_have_the_names_of_their_arguments_and_small_inputs_are_shown():
    text = " ".join(told(verdict_on(lambda x, t, start, mode: x)).split())
    assert "case 1: points, for x (4, 3), t (4,)" in text
    t = next(cases(Draw(0, "scaled"))).arguments[1]
    assert f"with t = {t.tolist()}, start = 0.0001, mode = 'plain'" in text


def test_a_case_can_be_tried_by_hand():
    arguments, expected = shown(SCALED, 2)
    assert list(arguments) == ["x", "t", "start", "mode"]
    assert torch.equal(scaled(*arguments.values()), expected)
    arguments["x"].zero_()
    assert not torch.equal(shown(SCALED, 2).arguments["x"], arguments["x"]), "a copy"
    for number in (0, 3, "1", True):
        with pytest.raises(LabError, match="has cases 1 to 2"):
            shown(SCALED, number)


def test_a_notebook_gives_the_case_that_its_message_names(capsys):
    lab = start("normal_1d", {"alpha_bar": lambda betas: betas})
    lab.check("alpha_bar")
    assert 'lab.case("alpha_bar", 1)' in capsys.readouterr().out
    arguments, expected = lab.case("alpha_bar", 1)
    assert torch.allclose(torch.cumprod(1 - arguments["betas"], 0), expected)
    with pytest.raises(LabError, match="alpha_bar has cases"):
        lab.case("alpha_bar", 99)


def test_a_hidden_case_is_not_offered():
    assert to_try(verdict_on(lambda *arguments: None, seed=5)) == ""
    assert to_try(verdict_on(scaled)) == ""


@torch.no_grad()
def below_a_decorator_of_torch(x, t, start, mode):
    wide = x.reshape(-1, 999)
    return wide


def waiting(function):
    @functools.wraps(function)
    def inner(*arguments):
        return function(*arguments)

    return inner


@pytest.mark.parametrize(
    "function",
    [
        below_a_decorator_of_torch,
        waiting(below_a_decorator_of_torch),
        functools.partial(below_a_decorator_of_torch),
        torch.no_grad()(lambda *arguments: below_a_decorator_of_torch(*arguments)),
    ],
)
def test_an_error_below_decorators_shows_the_students_line(function):
    text = told(verdict_on(function))
    assert "wide = x.reshape(-1, 999)" in text and "func(*args" not in text


def test_a_fault_that_all_parts_have_is_told_once():
    text = told(verdict_on(lambda *arguments: 1 / 0))
    assert text.count("ZeroDivisionError") == 1 and text.count("the same as above") == 1


@pytest.mark.parametrize(("wanted", "yours"), [(0.99243, 0.99243 + 1e-9), (1.0, 1 + 1e-12), (1e-5, 1.0000001e-5)])
def test_expected_and_yours_never_look_the_same(wanted: float, yours: float):
    value = torch.tensor([wanted, 2.0], dtype=torch.float64)
    leaf = Leaf(value, torch.zeros(2, dtype=torch.float64), torch.float64)
    found = difference(torch.tensor([yours, 2.0], dtype=torch.float64), (leaf,))
    expected, given = found.summary.rsplit("expected ", 1)[1].split(", yours ")
    assert expected != given and found.expected != found.yours


def test_an_answer_without_any_number_is_not_taken_for_a_known_mistake():
    verdict = verdict_on(lambda x, t, start, mode: (x - 1e9).log())
    assert not any(idea.known for idea in verdict.ideas)


def test_a_known_mistake_is_recognised_through_its_own_rounding():
    def shifted(x: Tensor, big: float) -> Tensor:
        return x + (big + x) - big

    def twice(x, big):
        """x was added twice."""
        return x + 2 * ((big + x) - big)

    item = Exercise(
        "normal_1d", "data", "", "", shifted, {"values": 1, CARE: 1},
        lambda draw: [Case("", (draw.normal(5, 3), 4096.0))], (wrong(twice),), (),
    )  # fmt: skip
    verdict = verdict_on(lambda x, big: x + 2 * x, item)
    assert [idea.name for idea in verdict.ideas] == ["twice"]


def test_a_missing_function_of_a_script_is_not_asked_for_its_cell(capsys):
    start("normal_1d", {}).check("alpha_bar")
    assert "cell" not in capsys.readouterr().out
    start("normal_1d", {"get_ipython": None}).check("alpha_bar")
    assert "Have you run its cell?" in capsys.readouterr().out


def test_the_hint_for_a_case_is_given_for_every_exercise():
    assert shown(exercise("q_sample"), 1).expected.shape == shown(exercise("q_sample"), 1).arguments["x0"].shape
