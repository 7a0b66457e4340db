"""Mistakes that no exercise lists: the edit that explains them is found, said in words, and never a false one."""

from __future__ import annotations

import ast
import functools
import gc
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion_lab.exercises import CARE, Case, Exercise, library
from diffusion_lab.exercises.record import right
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.engine import fingerprints
from diffusion_lab.grading.judge.engine.evidence import DIGITS, bits
from diffusion_lab.grading.judge.engine.explaining import explain
from diffusion_lab.grading.judge.engine.rebuilding import Source, Unreadable
from diffusion_lab.grading.judge.questions import ask, questions
from diffusion_lab.grading.judge.rehearsing import MADE, rehearse


def noisy(x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """A made-up piece: sqrt(alpha_bar[t]) x0 + sqrt(1 - alpha_bar[t]) noise.

    Args:
        x0: (B, D), the clean data.
        t: (B,) int64.
        noise: (B, D), standard normal.
        alpha_bar: (T,).
    """
    kept = alpha_bar[t].unsqueeze(1)
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


def by_powers(x0, t, noise, alpha_bar):
    kept = alpha_bar[t][:, None]
    return kept**0.5 * x0 + (1 - kept) ** 0.5 * noise


def cases(draw):
    for b, d in ((4, 3), (1, 5), (6, 2)):
        yield Case("points", (draw.normal(b, d), draw.integers(1, 7, b), draw.normal(b, d), draw.uniform(8, low=0.2)))


EXERCISE = Exercise(
    chapter="made_up",
    kind="sampler",
    title="Made up",
    statement="",
    reference=noisy,
    parts={"values": 2, CARE: 1},
    cases=cases,
    wrong_answers=(),
    right_answers=(right(by_powers),),
)


def no_root(x0, t, noise, alpha_bar):
    keep = torch.stack([alpha_bar[i] for i in t]).reshape(-1, 1)
    spread = 1 - keep
    return keep.sqrt() * x0 + spread * noise


def minus(x0, t, noise, alpha_bar):
    keep = alpha_bar[t].reshape(-1, 1)
    return torch.sqrt(keep) * x0 - torch.sqrt(1 - keep) * noise


def step_before(x0, t, noise, alpha_bar):
    keep = alpha_bar[t - 1].reshape(-1, 1)
    return torch.sqrt(keep) * x0 + torch.sqrt(1 - keep) * noise


def unscaled(x0, t, noise, alpha_bar):
    out = x0.clone()
    for i, step in enumerate(t.tolist()):
        out[i] += (1 - alpha_bar[step]) ** 0.5 * noise[i]
    return out


def clipped(x0, t, noise, alpha_bar):
    keep = alpha_bar[t].reshape(-1, 1)
    return (torch.sqrt(keep) * x0 + torch.sqrt(1 - keep) * noise).clamp(-1, 1)


def two_mistakes(x0, t, noise, alpha_bar):
    keep = alpha_bar[t - 1].reshape(-1, 1)
    return x0 + (1 - keep).sqrt() * noise


def something_else(x0, t, noise, alpha_bar):
    return torch.tanh(x0 * noise) + alpha_bar[t].reshape(-1, 1).sin()


SINGLE = {
    no_root: "square root of",
    minus: "sign of",
    step_before: "the index is off",
    unscaled: "factor `sqrt(alpha_bar[t])` is missing",
    clipped: "`clamp(-1, 1)`",
}


class Elsewhere:
    """Calls a function as if it were in another process: its code is out of reach."""

    def __init__(self, function):
        self.call = LocalCaller(function)

    def __call__(self, arguments, *, seed=0, gradients=False):
        return self.call(arguments, seed=seed, gradients=gradients)


@pytest.fixture(scope="module")
def table():
    return fingerprints.recorded(EXERCISE)


@pytest.fixture(autouse=True)
def recorded_table(monkeypatch, table):
    monkeypatch.setattr(fingerprints, "load", lambda exercise: table)


def explained(function, caller=LocalCaller, seed=0):
    call = caller(function)
    return explain(EXERCISE, call, [ask(EXERCISE, q, call) for q in questions(EXERCISE, seed)])


@pytest.mark.parametrize("function", SINGLE, ids=lambda f: f.__name__)
def test_an_unlisted_mistake_is_named(function):
    (found,) = explained(function)
    assert SINGLE[function] in found.hint


@pytest.mark.parametrize("function", [no_root, minus, step_before, unscaled], ids=lambda f: f.__name__)
def test_it_is_named_where_the_code_is_out_of_reach_and_other_cases_are_graded(function):
    (found,) = explained(function, Elsewhere, seed=5)
    assert found.name.startswith("edit: ")
    assert not found.line


def test_no_collection_of_garbage_takes_the_time_of_a_search():
    collects = []

    def watched(x0, t, noise, alpha_bar):
        collects.append(gc.isenabled())
        return clipped(x0, t, noise, alpha_bar)

    explained(watched, Elsewhere, seed=5)  # on other cases than those it is asked about while searching
    assert collects[0] and not collects[-1] and gc.isenabled()


def test_two_mistakes_are_both_named():
    found = explained(two_mistakes)
    hints = " ".join(m.hint for m in found)
    assert len(found) == 2
    assert "index is off" in hints
    assert "sqrt(alpha_bar[t])" in hints


def test_the_line_is_the_students_own():
    (found,) = explained(clipped)
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    assert ".clamp(-1, 1)" in lines[found.line - 1]
    assert found.hint.startswith(f"Line {found.line}: ")


@pytest.mark.parametrize("caller", [LocalCaller, Elsewhere])
@pytest.mark.parametrize("function", [something_else, noisy, by_powers], ids=lambda f: f.__name__)
def test_nothing_is_claimed_of_what_no_small_edit_explains(function, caller):
    assert explained(function, caller) == ()


def test_nothing_is_read_from_nans_and_zeros():
    def nothing(x0, t, noise, alpha_bar):
        return x0 * float("nan")

    def zeros(x0, t, noise, alpha_bar):
        return x0 * 0

    for function in (nothing, zeros):
        assert explained(function, Elsewhere) == ()


def test_mistakes_of_our_own_making_are_named():
    result = rehearse(EXERCISE, singles=6, pairs=2)
    assert result.singles == 6
    assert result.named >= 4
    assert result.both_named <= result.one_named <= result.pairs == 2
    assert sum(result.made_of.values()) == result.singles
    assert sum(result.named_of.values()) == result.named
    assert set(result.made_of) <= MADE
    assert all(result.named_of[kind] <= made for kind, made in result.made_of.items())


def test_edits_leave_the_function_and_its_globals_alone():
    source = Source(no_root)
    before = {name: id(value) for name, value in globals().items()}
    text = ast.dump(source.trees["no_root"])
    for edit in source.edits():
        source.with_edits([edit])
    assert ast.dump(source.trees["no_root"]) == text
    assert {name: id(value) for name, value in globals().items()} == before


def writes(x):
    with open("/nowhere/at/all", "w") as file:
        file.write("x")
    return x


def test_code_that_reaches_out_of_itself_is_never_edited():
    with pytest.raises(Unreadable, match="open"):
        Source(writes)


def eigenvalues(x):
    return torch.linalg.eigvals(x).real.sum()


def test_a_nan_never_reaches_routines_that_crash_on_it():
    edited = Source(eigenvalues)
    function = edited.with_edits(edited.edits()[:1])
    returned = LocalCaller(function)((torch.full((3, 3), float("nan")),))
    assert returned.fault is not None
    assert returned.fault.name == "ValueError"


def test_equal_functions_have_equal_fingerprints_and_others_have_not(table):
    one, other = (fingerprints.print_of(LocalCaller(f), EXERCISE) for f in (noisy, by_powers))
    assert one.first == pytest.approx(other.first, abs=fingerprints.CLOSE * one.size_first)
    assert one.rest == pytest.approx(other.rest, abs=fingerprints.CLOSE * one.size_rest)
    seen = fingerprints.print_of(LocalCaller(minus), EXERCISE)
    assert abs(seen.first - one.first) > 100 * fingerprints.CLOSE * one.size_first


def test_the_order_of_edits_is_the_same_each_time():
    """A table names an edit by its number."""
    for exercise in list(library().values())[::12]:
        one, other = (Source(exercise.reference).edits() for _ in range(2))
        assert [(e.kind, ast.dump(e.new)) for e in one] == [(e.kind, ast.dump(e.new)) for e in other]


def test_saved_tables_are_read_back(tmp_path, table):
    path = fingerprints.save(EXERCISE, table, tmp_path)
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize("name", library())
def test_recorded_fingerprints_are_of_this_code(name):
    """`python scripts/record_fingerprints.py` records those that are stale or missing."""
    exercise = library()[name]
    path = fingerprints.FOLDER / f"{name}.npz"
    assert path.exists()
    with np.load(path) as stored:
        assert str(stored["code"]) == fingerprints.code_of(exercise)


@torch.no_grad()
def clipped_under_a_decorator(x0, t, noise, alpha_bar):
    keep = alpha_bar[t].reshape(-1, 1)
    return keep.sqrt() * x0.clamp(-1, 1) + (1 - keep).sqrt() * noise


def test_a_function_under_no_grad_is_read_too():
    (found,) = explained(clipped_under_a_decorator)
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    assert "x0.clamp(-1, 1)" in lines[found.line - 1]
    assert not Source(clipped_under_a_decorator).written([])(torch.ones(2, 3, requires_grad=True), *GIVEN).requires_grad


GIVEN = (torch.tensor([1, 2]), torch.zeros(2, 3), torch.full((8,), 0.5))


@functools.lru_cache
def kept_in_a_cache(x0):
    return x0


def test_any_other_decorator_is_left_alone():
    with pytest.raises(Unreadable):
        Source(kept_in_a_cache)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (torch.arange(96) % 2, 96),
        (torch.tensor([0, 0, 0, 1]), 4 * (0.75 * math.log2(4 / 3) + 0.5)),
        (torch.full((50,), 7), 0),
        (torch.linspace(0, 1, 4), 4 * DIGITS),
    ],
)
def test_how_many_bits_answers_tell(values, told):
    """Shannon's entropy, and `DIGITS` for each different number."""
    assert bits([LocalCaller(lambda: values)(())]) == pytest.approx(told)
