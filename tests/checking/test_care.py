"""The point for care: dtypes, digits, tables in float64 beside float32 data. What costs it, and what costs only it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffusion_lab.exercises import CARE, Case, Exercise, Property, library
from diffusion_lab.exercises.drawing import apart
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.grading.judge import calling
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.checking import Verdict, check
from diffusion_lab.grading.judge.questions import questions
from diffusion_lab.grading.judge.telling import told


def kept(x: Tensor, t: Tensor, alpha_bar: Tensor) -> Tensor:
    """A made-up piece: sqrt(alpha_bar[t]) x, (B, D), of the dtype of x."""
    return alpha_bar[t].to(x.dtype).sqrt().unsqueeze(1) * x


def promoting(x, t, alpha_bar):
    return alpha_bar[t].sqrt().unsqueeze(1) * x


def by_matrix(x, t, alpha_bar):
    return torch.diag(alpha_bar[t].sqrt()) @ x


def cases(draw):
    for b in (4, 2):
        yield Case("points", (draw.normal(b, 3), draw.times(b, 9), draw.alpha_bar(9)))


SILENT = Exercise("normal_1d", "data", "", "", kept, {"values": 3, CARE: 1}, cases, (), ())
SAID = replace(SILENT, like="x")


def verdict_on(function, exercise: Exercise) -> Verdict:
    return check(exercise, LocalCaller(function))


@pytest.mark.parametrize("exercise", [SILENT, SAID])
def test_the_reference_passes_with_a_float64_table_beside_float32_data(exercise: Exercise):
    assert verdict_on(kept, exercise).passed
    question = questions(exercise, 0)[0]
    assert [a.dtype for a in question.mixed] == [torch.float32, torch.int64, torch.float64]


def test_where_the_statement_is_silent_either_dtype_passes_and_an_error_does_not():
    assert verdict_on(promoting, SILENT).passed
    verdict = verdict_on(by_matrix, SILENT)
    assert verdict.points == 3 and "`alpha_bar` in float64 and data in float32" in told(verdict)


def test_where_the_statement_names_the_dtype_another_costs_the_point_for_care():
    verdict = verdict_on(promoting, SAID)
    assert verdict.parts == {"values": (3.0, 3), CARE: (0.0, 1)}
    assert "it returned float64, and float32, the dtype of `x`, is expected" in " ".join(told(verdict).split())


def predicted(model, x: Tensor, t: Tensor, alpha_bar: Tensor) -> Tensor:
    """A made-up piece that hands its network what x becomes."""
    with torch.no_grad():
        return model(kept(x, t, alpha_bar), t)


def predicted_in_float64(model, x, t, alpha_bar):
    with torch.no_grad():
        return model(promoting(x, t, alpha_bar), t).to(x.dtype)


def test_a_network_takes_the_dtype_of_the_data_alone_where_the_statement_says_so():
    exercise = replace(SILENT, reference=predicted, cases=lambda d: [Case("", (Probe(3), *next(cases(d)).arguments))])
    said = replace(exercise, like="x")
    assert verdict_on(predicted, exercise).passed and verdict_on(predicted_in_float64, exercise).passed
    assert verdict_on(predicted, said).passed
    verdict = verdict_on(predicted_in_float64, said)
    assert verdict.points == 3 and "the network's weights are float32, and it got x in float64" in told(verdict)


def in_the_widest(function):
    """As sums and products do it: all that has digits gets as many as the argument that has the most."""

    def piece(*arguments):
        floats = [a for a in arguments if isinstance(a, Tensor) and a.is_floating_point()]
        widest = max((a.dtype for a in floats), key=lambda dtype: torch.finfo(dtype).bits)
        return function(*(a.to(widest) if any(a is other for other in floats) else a for a in arguments))

    return piece


def denoised_in_float64(denoise, x, sigma, sigma_next):
    reference = library()["heun_step"].reference
    return reference(lambda state, level: denoise(state.double(), level).to(state.dtype), x, sigma, sigma_next)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("score_2d", "it returned float64, and float32, the dtype of `x`, is expected"),
        ("v_loss", "the network's weights are float32, and it got x in float64"),
        ("dsm_loss", "the network's weights are float32, and it got x in float64"),
        ("edm_loss", "the network's weights are float32, and it got x in float64"),
        ("heun_step", "the network's weights are float32, and it got x in float64"),
    ],
)
def test_the_dtype_of_the_data_is_kept_where_the_exercise_promises_it(name: str, words: str):
    exercise = library()[name]
    careless = denoised_in_float64 if name == "heun_step" else in_the_widest(exercise.reference)
    verdict = verdict_on(careless, exercise)
    lost = {part for part, (got, most) in verdict.parts.items() if got < most}
    assert lost == {CARE} and words in " ".join(told(verdict).split())


def test_a_network_for_one_dtype_is_the_same_network():
    x, t = torch.randn(4, 2), torch.arange(4)
    network = Probe(5, null=3)
    only = network.taking(torch.float32)
    assert only.recipe == (5, 3, "float32") and torch.equal(only(x, t), network(x, t))
    with pytest.raises(TypeError, match="got x in float64"):
        only(x.double(), t)
    with pytest.raises(TypeError, match="got t in float64"):
        only(x, t.double())


def line(n: int, end: float) -> Tensor:
    """A made-up table without tensors among its arguments, (n,) float64."""
    return torch.arange(n, dtype=torch.float64) * (end / (n - 1))


def ends(piece, draw) -> str | None:
    value = float(piece(7, 0.3)[-1])
    return None if abs(value - 0.3) < 1e-12 else f"the last entry is {value}"


LINE = Exercise(
    "normal_1d", "schedule", "", "", line, {"values": 3, CARE: 1},
    lambda draw: [Case("", (draw.integer(5, 9), draw.number(0.1, 0.9)))], (), (), (Property("its end", ends),),
)  # fmt: skip


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda n, end: torch.linspace(0, end, n), "it returned float32, and float64 is expected"),
        (lambda n, end: torch.linspace(0, end, n).double(), "no more digits than float32"),
    ],
)
def test_digits_lost_without_an_input_in_float64_cost_the_point_for_care_only(function, words: str):
    assert verdict_on(line, LINE).passed
    verdict = verdict_on(function, LINE)
    assert verdict.parts == {"values": (3.0, 3), CARE: (0.0, 1)}
    assert words in " ".join(told(verdict).split())


def test_a_property_is_not_forgiven_to_a_wrong_answer_in_float32():
    verdict = verdict_on(lambda n, end: torch.linspace(0, end, n) * (1 if n > 7 or end != 0.3 else 1.1), LINE)
    assert verdict.parts["values"] == (0.0, 3) and "the last entry is 0.33" in told(verdict)


def test_alpha_bar_in_float32_loses_the_point_for_care_as_anywhere_else():
    verdict = verdict_on(lambda betas: torch.cumprod(1 - betas.float(), 0), library()["alpha_bar"])
    assert verdict.points == verdict.out_of - 1


def indexed(x: Tensor) -> Tensor:
    """A made-up piece that counts."""
    return x.argmax(dim=1)


def test_whole_numbers_are_not_asked_to_have_the_dtype_of_the_inputs():
    exercise = replace(SILENT, reference=indexed, cases=lambda draw: [Case("", (draw.normal(4, 3),))])
    text = " ".join(told(verdict_on(lambda x: x.argmax(dim=1).to(x.dtype), exercise)).split())
    assert "int64 is expected" in text and "dtype and device of the inputs" not in text


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [(1, 1 + 3e-8, ("1", "1.00000003")), (0.5, 0.25, ("0.5", "0.25")), (2.0, 2.0, ("2", "2"))],
)
def test_two_numbers_are_printed_with_enough_digits(one: float, other: float, words: tuple[str, str]):
    assert apart(one, other) == words


@pytest.mark.parametrize("copied", [copy.deepcopy, calling._copied], ids=["copy.deepcopy", "ours"])
def test_the_copy_of_a_network_is_its_own_in_every_part(copied: Callable):
    """Ours leaves out what takes time, and gives what Python's own copy does."""
    network = Probe(1, takes="float64").eval()
    network.gain.requires_grad_(False)
    network.register_buffer("seen", torch.ones(2), persistent=False)
    network.also = [network.shift]
    before, twin = copy.deepcopy(network.state_dict()), copied(network)
    assert type(twin) is Probe and set(vars(twin)) == set(vars(network)) and not twin.training
    assert twin.recipe == network.recipe and twin.takes == "float64" and not twin.gain.requires_grad
    assert twin.also[0] is twin.shift is not network.shift and twin.seen is not network.seen
    twin.register_forward_hook(lambda *_: torch.zeros(3))
    twin.shift.data += 1
    assert torch.equal(twin(torch.ones(3, dtype=torch.float64), 0.0), torch.zeros(3))
    assert not network._forward_hooks and all(map(torch.equal, before.values(), network.state_dict().values()))
