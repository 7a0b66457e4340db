"""What a check says of answers that no exercise lists: careless right ones, crashes, nonsense, unknown mistakes."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion_lab.exercises import CARE, Case, Exercise, Property
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import wrong
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.checking import Verdict, check
from diffusion_lab.grading.judge.telling import told


def blend(x: Tensor, y: Tensor, t: Tensor, weights: Tensor) -> Tensor:
    """A made-up piece: weights[t] x + y, with x and y (B, D), t (B,) int64 and weights (T,)."""
    return weights[t].unsqueeze(1) * x + y


def swapped(x, y, t, weights):
    """The weight belongs to x."""
    return x + weights[t].unsqueeze(1) * y


def no_weight(x, y, t, weights):
    """The weight is missing."""
    return x + y


def cases(draw):
    for b, d in ((4, 3), (1, 5), (3, 3)):
        t = draw.integers(1, 6, b)
        arguments = (draw.normal(b, d), draw.normal(b, d), t, draw.uniform(8, low=0.2, high=0.8))
        yield Case("points", arguments, "square" if b == d else "values")


BLEND = Exercise(
    chapter="normal_1d",
    kind="data",
    title="A made-up piece",
    statement="",
    reference=blend,
    parts={"values": 3, "square": 2, CARE: 1},
    cases=cases,
    wrong_answers=(wrong(swapped), wrong(no_weight)),
    right_answers=(),
    time="t",
)


def verdict_on(function, exercise: Exercise = BLEND, seed: int = 0, limit: float = 5.0) -> Verdict:
    return check(exercise, LocalCaller(function, limit), seed)


def ideas(verdict: Verdict) -> str:
    return " ".join(idea.hint for idea in verdict.ideas)


@pytest.mark.parametrize("seed", range(5))
def test_the_reference_has_full_points(seed: int):
    verdict = verdict_on(blend, seed=seed)
    assert (verdict.state, verdict.points, verdict.out_of, verdict.ideas) == ("passed", 6, 6, ())


def test_the_same_seed_asks_the_same_questions_and_another_seed_others():
    asked = []

    def spy(x, y, t, weights):
        asked[-1].append(x.clone())
        return blend(x, y, t, weights)

    for seed in (0, 0, 1):
        asked.append([])
        verdict_on(spy, seed=seed)
    assert all(torch.equal(a, b) for a, b in zip(asked[0], asked[1], strict=True))
    assert not torch.equal(asked[0][0], asked[2][0])


@pytest.mark.parametrize(
    ("function", "idea"),
    [
        (lambda x, y, t, w: -blend(x, y, t, w), "the sign is turned around"),
        (lambda x, y, t, w: 3 * blend(x, y, t, w), "the right answer times 3"),
        (lambda x, y, t, w: blend(x, y, t, w) + 2, "the right answer plus 2"),
        (lambda x, y, t, w: blend(x, y, t + 1, w), "one step later"),
        (lambda x, y, t, w: blend(x, y, t - 1, w), "one step earlier"),
        (lambda x, y, t, w: blend(x, y, t, w).flip(0), "the opposite order along axis 0"),
        (lambda x, y, t, w: blend(x, y, t, w).T, "another shape"),
        (lambda x, y, t, w: blend(x, y, t, w) / 0 * 0, "some entries are nan"),
        (lambda x, y, t, w: 1 - blend(x, y, t, w), "one minus the right answer"),
        (lambda x, y, t, w: 1 / blend(x, y, t, w), "one divided by the right answer"),
        (lambda x, y, t, w: blend(x, y, t, w).mean(), "a single number, and shape (4, 3)"),
        (lambda x, y, t, w: blend(x, y, t, w) / np.log(2), "which is 1 / log(2)"),
        (lambda x, y, t, w: blend(x, y, t, w) * len(x), "which is the batch size B, 4"),
        (lambda x, y, t, w: blend(x, y, t, w) * (1 + 1e-4 * torch.rand_like(x)), "changes from call to call"),
        (lambda x, y, t, w: blend(x, y, t, w) + 1e-4 * x.sign(), "agrees with the right answer to 4 digits"),
        (lambda x, y, t, w: blend(x, y, t, w).argmax(1), "an index is not what it points at"),
        (lambda x, y, t, w: blend(x, y, t, w).sum(1), "an axis is missing"),
        (lambda x, y, t, w: w[t].reshape(-1, 1, 1) * x + y, "along the wrong axis"),
        (lambda x, y, t, w: blend(x, y, t, w) + torch.randn(()), "The answer changes from call to call"),
        (lambda x, y, t, w: blend(x, y, t, w).to(torch.complex64) * 1j, "complex"),
    ],
)
def test_an_unknown_mistake_is_described(function, idea: str):
    verdict = verdict_on(function)
    assert verdict.points == 0
    assert idea in ideas(verdict)
    assert not any(i.known for i in verdict.ideas)


def test_what_holds_in_one_case_by_accident_is_not_told():
    def axes_averaged(x):
        return x.mean(dim=tuple(range(1, x.ndim)))

    def other_axes_averaged(x):
        return x.mean(dim=1)

    shapes = ((4, 1, 3), (4, 2, 1), (4, 2, 3), (3, 2, 5))
    exercise = Exercise(
        "normal_1d", "data", "", "", axes_averaged, {"values": 1, CARE: 1},
        lambda draw: [Case("data", (draw.normal(*shape),)) for shape in shapes], (), (),
    )  # fmt: skip
    verdict = verdict_on(other_axes_averaged, exercise)
    assert "another shape" not in ideas(verdict) and "an axis too many" in ideas(verdict)
    assert "one number for each sample" not in ideas(verdict_on(lambda x: x.mean(), BLEND_OF_VECTORS))


BLEND_OF_VECTORS = Exercise(
    "normal_1d", "data", "", "", lambda x: x.sum(0), {"values": 1, CARE: 1},
    lambda draw: [Case("data", (draw.normal(4, 3),))], (), (),
)  # fmt: skip


def test_a_mistake_in_one_part_keeps_the_points_of_the_other():
    def only_in_squares(x, y, t, weights):
        return swapped(x, y, t, weights) if len(x) == x.shape[1] else blend(x, y, t, weights)

    verdict = verdict_on(only_in_squares)
    assert verdict.parts == {"values": (3.0, 3), "square": (0.0, 2), CARE: (1.0, 1)}
    assert [idea.name for idea in verdict.ideas] == ["swapped"]


@pytest.mark.parametrize(
    ("function", "idea"),
    [
        (lambda x, y, t, w: blend(x.float(), y.float(), t, w.float()), "for float64 inputs it returned float32"),
        (lambda x, y, t, w: blend(x.double(), y.double(), t, w.double()), "for float32 inputs it returned float64"),
        (lambda x, y, t, w: blend(x.float(), y, t, w.float()).to(x), "no more digits than float32"),
        (lambda x, y, t, w: x.mul_(w[t].unsqueeze(1)).add_(y), "changes its input `x` in place"),
        (lambda x, y, t, w: w[t].unsqueeze(1).expand_as(x) * x.view(-1).view(x.shape) + y, "memory"),
    ],
)
def test_a_careless_right_answer_loses_the_point_for_care_only(function, idea: str):
    verdict = verdict_on(function)
    assert verdict.parts == {"values": (3.0, 3), "square": (2.0, 2), CARE: (0.0, 1)}
    assert idea in ideas(verdict)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None (is `return` missing?)"),
        (np.zeros((4, 3)), "a NumPy ndarray"),
        ((1, 2), "a tuple of 2 values"),
        ((i for i in range(3)), "type generator"),
        ("0.5", "type str"),
        (lambda: 0, "type function"),
        (torch.zeros(0), "the shape is (0,)"),
        (float("nan"), "the shape is ()"),
    ],
)
def test_an_answer_of_the_wrong_kind_is_named(value, words: str):
    verdict = verdict_on(lambda *arguments: value)
    assert verdict.points == 0
    assert words in told(verdict)


def test_objects_that_claim_to_be_equal_are_not():
    class Equal:
        def __eq__(self, other):
            return True

    class Agreeing(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), kwargs=None):
            return torch.tensor(True)

    assert verdict_on(lambda *arguments: Equal()).points == 0
    assert verdict_on(lambda x, *others: x.as_subclass(Agreeing)).points == 0


def test_a_crash_shows_the_students_line_and_not_our_stack():
    def crashes(x, y, t, weights):
        scale = weights[t]
        return scale * x.reshape(-1, 999)

    text = told(verdict_on(crashes))
    assert "RuntimeError" in text and "return scale * x.reshape(-1, 999)" in text
    assert "Traceback" not in text and "calling.py" not in text


def test_a_piece_that_is_not_written_says_so():
    def empty(x, y, t, weights):
        raise NotImplementedError

    verdict = verdict_on(empty)
    assert (verdict.state, verdict.points) == ("not written", 0)
    assert "Not written yet" in told(verdict)


def test_a_loop_without_end_ends():
    def endless(x, y, t, weights):
        while True:
            try:
                x = x + 1
            except Exception:
                pass

    began = time.monotonic()
    verdict = verdict_on(endless, limit=0.2)
    assert time.monotonic() - began < 3
    assert verdict.points == 0
    assert "no answer after 0.2 s" in told(verdict)


def test_what_a_piece_prints_and_warns_does_not_reach_the_screen(capfd):
    def talks(x, y, t, weights):
        import sys
        import warnings

        print("hello", x.shape)
        print("to stderr", file=sys.stderr)
        warnings.warn("careful", stacklevel=1)
        return blend(x, y, t, weights)

    verdict = verdict_on(talks)
    assert verdict.passed and "hello" in verdict.note
    assert capfd.readouterr() == ("", "")


def test_a_message_stays_short_for_large_answers():
    def large_cases(draw):
        yield Case("large", (draw.normal(200, 200), draw.normal(200, 200), draw.integers(0, 8, 200), draw.uniform(8)))

    exercise = Exercise("normal_1d", "data", "", "", blend, {"values": 1, CARE: 1}, large_cases, (), ())
    text = told(verdict_on(lambda x, y, t, w: x * y, exercise))
    assert len(text) < 1500 and max(map(len, text.splitlines())) <= 120


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    verdict_on(lambda x, y, t, w: torch.randn_like(x))
    assert torch.equal(torch.rand(3), expected)


def network_loss(model, x: Tensor, t: Tensor) -> Tensor:
    """A made-up loss, (B,)."""
    return model(x, t).square().flatten(1).mean(dim=1)


LOSS = Exercise(
    chapter="normal_1d",
    kind="loss",
    title="",
    statement="",
    reference=network_loss,
    parts={"values": 2, CARE: 1},
    cases=lambda draw: [Case("points", (Probe(3), draw.normal(4, 2), draw.integers(0, 9, 4)))],
    wrong_answers=(),
    right_answers=(),
    trains=True,
)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda model, x, t: network_loss(model, x, t).detach(), "no gradient reaches the network's weights"),
        (
            lambda model, x, t: (model(x, t).detach() * model(x, t)).flatten(1).mean(dim=1),
            "gradient for the network's weights",
        ),
    ],
)
def test_a_loss_with_the_right_value_and_the_wrong_gradient_is_refused(function, words: str):
    verdict = verdict_on(function, LOSS)
    assert verdict.points == 0
    assert words in told(verdict)


def sampled(model, x: Tensor, t: Tensor) -> Tensor:
    """A made-up sampler step that leaves no graph and the network as it is."""
    with torch.no_grad():
        return x - model(x, t)


STEP = Exercise("normal_1d", "sampler", "", "", sampled, {"values": 2, CARE: 1}, LOSS.cases, (), ())


def leaves_evaluation_mode(model, x, t):
    model.eval()
    return sampled(model, x, t)


@pytest.mark.parametrize(
    ("function", "words"), [(lambda model, x, t: x - model(x, t), "autograd graph"), (leaves_evaluation_mode, "mode")]
)
def test_a_sampler_step_leaves_no_graph_and_the_networks_mode(function, words: str):
    assert verdict_on(sampled, STEP).passed
    verdict = verdict_on(function, STEP)
    assert verdict.points == 2
    assert words in ideas(verdict)


def test_a_property_that_fails_costs_its_part_and_says_why():
    def sums(piece, draw) -> str | None:
        value = float(piece(*(draw.normal(2, 2) for _ in range(2)), torch.tensor([0, 1]), torch.ones(4)).sum())
        return None if value > 1e9 else f"the sum is {value:.3g}"

    exercise = Exercise(
        "normal_1d", "data", "", "", blend, {"values": 3, "square": 2, "sum": 1, CARE: 1}, cases, (), (),
        properties=(Property("a large sum", sums, "sum"),),
    )  # fmt: skip
    verdict = verdict_on(blend, exercise)
    assert verdict.parts["sum"] == (0.0, 1) and verdict.points == 6
    assert "the sum is" in told(verdict)
    crashed = verdict_on(lambda x, y, t, w: 1 / 0, exercise)
    assert "ZeroDivisionError" in told(crashed)


@pytest.mark.parametrize("value", [None, np.zeros(3), "text"])
def test_an_answer_of_the_wrong_kind_is_not_called_random(value):
    assert ideas(verdict_on(lambda *arguments: value)) == ""


@pytest.mark.parametrize("function", [blend, swapped, lambda x, y, t, w: blend(x, y, t, w).flip(0)])
def test_without_an_explanation_all_else_of_the_verdict_stays(function):
    verdict = verdict_on(function)
    assert bool(verdict.ideas) == (function is not blend)
    assert check(BLEND, LocalCaller(function), explain=False) == replace(verdict, ideas=())
