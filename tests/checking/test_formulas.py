"""Mistakes in formulas that the student's own code shows, and what must not be read from it."""

from __future__ import annotations

import ast
import itertools
import math

import pytest
import torch
from made_up import explained, made_up, trials_of

from diffusion_lab.exercises import Case, library
from diffusion_lab.exercises.normal_1d.probes import Counting
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.grading.judge import check
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.engine import explaining
from diffusion_lab.grading.judge.engine.attempts import Attempts
from diffusion_lab.grading.judge.engine.evidence import keeps_its_shape
from diffusion_lab.grading.judge.engine.plausible import by_two
from diffusion_lab.grading.judge.engine.rebuilding import Source
from diffusion_lab.grading.judge.engine.searching import Clock
from diffusion_lab.grading.judge.questions import questions


@pytest.fixture(autouse=True)
def time_enough(monkeypatch):
    """A busy machine must not decide what is found."""
    for name in ("ONE", "APART", "ALL"):
        monkeypatch.setattr(explaining, name, 20.0)


def left(betas, most):
    """What is left after steps of which none takes more than `most`."""
    return (1 - betas.clamp(max=most)).cumprod(0)


def steps(draw):
    for n in (7, 9, 12):
        yield Case("steps", (draw.uniform(n, low=0.05, high=0.6), 0.4))


def added_up(betas, most):
    return 1 - torch.cumsum(betas.clamp(max=most), 0)


def bounded_below(betas, most):
    return (1 - betas.clamp(min=most)).cumprod(0)


def mixed(x, eps, table, t):
    """sqrt(a) x + sqrt(1 - a) eps, with a = table[t] / table[0]."""
    a = (table[t] / table[0]).unsqueeze(1)
    return a.sqrt() * x + (1 - a).sqrt() * eps


def levels(draw):
    for b in (4, 6):
        table = draw.uniform(8, low=0.1).sort(descending=True).values
        yield Case("levels", (draw.normal(b, 3), draw.normal(b, 3), table, draw.integers(1, 7, b)))


def no_roots(x, eps, table, t):
    a = (table[t] / table[0]).unsqueeze(1)
    return a * x + (1 - a) * eps


def root_of_the_wrong_part(x, eps, table, t):
    a = (table[t] / table[0]).unsqueeze(1)
    return a.sqrt() * x + (1 - a.sqrt()) * eps


def root_under_a_name(x, eps, table, t):
    a = (table[t] / table[0]).unsqueeze(1)
    signal = a.sqrt()
    noise = 1 - signal
    return signal * x + noise * eps


def level_for_the_ratio(x, eps, table, t):
    kept = table[t][:, None]
    a = kept / table[0]
    return a.sqrt() * x + (1 - kept).sqrt() * eps


def turned(x, y, angle):
    """Points turned by an angle."""
    c, s = torch.cos(angle), torch.sin(angle)
    return torch.stack([c * x - s * y, s * x + c * y], 1)


def angles(draw):
    for n in (6, 8):
        yield Case("angles", (draw.normal(n), draw.normal(n), draw.uniform(n, low=0.2, high=1.2)))


def exchanged_everywhere(x, y, angle):
    c, s = torch.cos(angle), torch.sin(angle)
    return torch.stack([s * x - c * y, c * x + s * y], 1)


def moved(u, shift):
    """shift u / (1 + (shift - 1) u)"""
    return shift * u / (1 + (shift - 1) * u)


def times(draw):
    for n in (6, 9):
        yield Case("times", (draw.uniform(n), 3.0))


def without_a_bracket(u, shift):
    return shift * u / (1 + shift - 1 * u)


@pytest.mark.parametrize(
    ("reference", "cases", "function", "words"),
    [
        (left, steps, added_up, "is added up, and the sum taken from 1"),
        (left, steps, bounded_below, "`most` is set at the wrong end: `min` where `max` belongs"),
        (mixed, levels, no_roots, "The square roots of `a` and `1 - a` are missing"),
        (mixed, levels, root_of_the_wrong_part, "meant is the root of the whole difference"),
        (mixed, levels, root_under_a_name, "You subtract a root from 1, in `1 - signal`"),
        (mixed, levels, level_for_the_ratio, "`kept` is used where `a` belongs"),
        (turned, angles, exchanged_everywhere, "`c` and `s` have changed places"),
        (moved, times, without_a_bracket, "A bracket is missing or in the wrong place"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_it_is_named(reference, cases, function, words):
    (found,) = explained(made_up(reference, cases), function)
    assert words in found.hint.replace("`s` and `c`", "`c` and `s`")
    assert found.line


def between(first, second, amount):
    """Along the circle, and along the straight line where both are the same."""
    angle = torch.acos((first * second).sum(1).clamp(-1, 1))
    near = torch.sin(angle) < 1e-6
    safe = torch.where(near, torch.ones_like(angle), torch.sin(angle))
    one = torch.where(near, 1 - amount, torch.sin((1 - amount) * angle) / safe)
    other = torch.where(near, amount, torch.sin(amount * angle) / safe)
    return one[:, None] * first + other[:, None] * second


def directions(draw):
    for n in (5, 8):
        first, second = (torch.nn.functional.normalize(draw.normal(n, 3), dim=1) for _ in range(2))
        yield Case("directions", (first, second, draw.uniform(n)))


def half_an_angle(first, second, amount):
    angle = torch.acos((first * second).sum(1).clamp(-1, 1)) / 2
    near = torch.sin(angle) < 1e-6
    safe = torch.where(near, torch.ones_like(angle), torch.sin(angle))
    one = torch.where(near, 1 - amount, torch.sin((1 - amount) * angle) / safe)
    other = torch.where(near, amount, torch.sin(amount * angle) / safe)
    return one[:, None] * first + other[:, None] * second


def test_an_edit_that_only_opens_another_case_does_not_count():
    """With the sign turned, the angle is below the bound and never looked at again."""
    exercise = made_up(between, directions)
    call, trials = trials_of(exercise, half_an_angle)
    search = explaining._Search(exercise, call, trials)
    found = {}
    for edit, edited in search.tried.edits(Clock(20.0)):
        whole = edit.line == half_an_angle.__code__.co_firstlineno + 1 and edit.old.col_offset == 12
        if whole and isinstance(edit.old, ast.BinOp) and (edit.kind == "sign" or by_two(edit)):
            found[edit.kind] = search._whatever_its_value(edit, edited)
    assert found == {"sign": True, "factor too many": False, "divisor too many": False}


def sign_of_the_step(x, keep):
    return torch.where(keep > 0.5, x, torch.zeros_like(x))


def draws(draw):
    for n in (8, 12):
        yield Case("draws", (draw.normal(n), draw.uniform(n)))


def others_stay(x, keep):
    chosen = keep > 0.5
    return torch.where(chosen, x, x)


def test_a_flag_is_not_taken_for_a_number():
    """`chosen` is 0 where it is False, and so would give the right zeros."""
    for mistake in explained(made_up(sign_of_the_step, draws), others_stay):
        assert "`chosen` belongs" not in mistake.hint


def asks_twice(model, x, t):
    return model(x, t) - model(x, t + 1) / 2


@pytest.mark.parametrize(("network", "kept"), [(Probe, True), (Counting, False)])
def test_networks_are_shared_by_edits_unless_a_call_leaves_a_trace(network, kept):
    exercise = made_up(asks_twice, lambda draw: [Case("network", (network(3), draw.normal(4, 2), draw.uniform(4)))])
    (question,) = questions(exercise, 0)
    tried = Attempts(LocalCaller(asks_twice), (), False)
    networks = set()
    for edit, edited in itertools.islice(tried.edits(Clock(20.0)), 80):
        networks.add(id(tried._arguments(question)[0]))
        alone = LocalCaller(tried.source.with_edits([edit]))(question.arguments)
        answer = tried.answer(edited, question)
        if isinstance(alone.value, torch.Tensor) and isinstance(answer.value, torch.Tensor):
            torch.testing.assert_close(answer.value, alone.value, equal_nan=True)
    assert (len(networks) == 1) == kept


def test_an_answer_that_is_rightly_an_argument_is_kept():
    exercise = made_up(lambda x, t: x * t, lambda draw: [Case(f"t = {t}", (draw.normal(5), t)) for t in (1.0, 0.5)])
    whole, half = questions(exercise, 0)
    handed_back = LocalCaller(lambda x, t: x)
    assert keeps_its_shape(handed_back(whole.arguments), whole)
    assert not keeps_its_shape(handed_back(half.arguments), half)


def either(x, level, source, target):
    """Data from noise, noise from data."""
    a, s = level.sqrt(), (1 - level).sqrt()
    data = (x - s * 2) / a if source == "noise" else x
    noise = x if source == "noise" else (3 - a * x) / s
    return data if target == "data" else noise if target == "noise" else a * noise - s * data


def kinds(draw):
    for source in ("noise", "data"):
        for target in ("noise", "data", "v"):
            yield Case("kinds", (draw.normal(6), draw.uniform(6, low=0.1, high=0.9), source, target))


def two_that_meet(x, level, source, target):
    a, s = level.sqrt(), (1 - level).sqrt()
    data = (x - s * 2) / a if source == "noise" else x
    noise = x if source == "noise" else (3 - a * x) / a
    return data if target == "data" else noise if target == "noise" else a * noise + s * data


def test_two_mistakes_of_which_both_show_in_one_case_are_both_named():
    found = explained(made_up(either, kinds), two_that_meet)
    hints = " ".join(m.hint for m in found)
    assert len(found) == 2
    assert "sign of `s * data`" in hints
    assert "`a` is used where `s` belongs" in hints


def distance(mean1, cov1, mean2, cov2):
    values, vectors = torch.linalg.eigh(cov1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    cross = torch.linalg.eigvalsh(root @ cov2 @ root).clamp(min=0).sqrt().sum()
    return ((mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross).sqrt()


def with_a_half(model, x, t, last, uniform):
    zeros = torch.zeros_like(x)
    if uniform is None:
        return model(x, t, None, zeros if last is None else last)
    with torch.no_grad():
        first = model(x, t, None, zeros)
    keep = (uniform <= 0.5).reshape(-1, *[1] * (x.ndim - 1))
    return model(x, t, None, torch.where(keep, first, zeros))


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("gaussian_w2", distance, "what is under the root can fall below 0"),
        ("self_conditioned_x0", with_a_half, "`uniform <= 0.5` or `uniform < 0.5`"),
    ],
)
def test_what_only_a_property_shows_is_named_too(name, function, words):
    verdict = check(library()[name], LocalCaller(function))
    assert all(outcome.passed for outcome in verdict.outcomes if outcome.number)
    (idea,) = verdict.ideas
    assert words in idea.hint


def share_of_the_power(alpha_bar, signals):
    power = torch.fft.rfft(signals[:, 0]).abs().square().mean(0)
    power = power / power.sum()
    return (alpha_bar / (1 - alpha_bar))[:, None] * power


def test_what_stands_in_the_place_of_what_is_missing_is_not_called_wrong_itself():
    (idea,) = check(library()["band_snr"], LocalCaller(share_of_the_power)).ideas
    assert idea.known
    assert idea.hint.startswith("Suppose you leave out the division by `power.sum()` (line ")


def weighed(x, weight):
    return x * weight


def unweighed(x, weight):
    return x.tanh() * math.pi


def test_an_argument_that_is_never_read_is_said_where_nothing_else_is_found():
    exercise = made_up(weighed, lambda draw: [Case("weights", (draw.normal(6), draw.uniform(6)))])
    (found,) = explained(exercise, unweighed)
    assert found.uncertain
    assert "`weight`" in found.hint
    assert "not used" in found.hint


def cancelling(x, y):
    return x * (y.std() / x.std().clamp(min=1e-6))


@pytest.mark.parametrize(("name", "cancels"), [("x", True), ("z", False)])
def test_what_stands_on_both_sides_of_a_quotient_cancels(name, cancels):
    source = Source(cancelling)
    edits = [e for e in source.edits() if e.kind == "name" and e.line == cancelling.__code__.co_firstlineno + 1]
    (edit,) = [e for e in edits if e.old.id == "y" and e.new.id == "x"]
    edit.new.id = name
    assert source.cancels(edit) == cancels
