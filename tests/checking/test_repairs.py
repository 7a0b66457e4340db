"""Mistakes that the student's own code shows: each is named, alone or beside another, and none that is not there."""

from __future__ import annotations

import math
import re

import pytest
import torch
from made_up import explained, made_up

from diffusion_lab.exercises import Case, library
from diffusion_lab.grading.judge import check
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.engine import explaining
from diffusion_lab.grading.judge.engine.evidence import DIGITS, bits
from diffusion_lab.grading.judge.engine.lines import lines_run
from diffusion_lab.grading.judge.engine.rebuilding import Source
from diffusion_lab.grading.judge.engine.vocabulary import meanings
from diffusion_lab.grading.judge.questions import ask, questions


@pytest.fixture(autouse=True)
def time_enough(monkeypatch):
    """A busy machine must not decide what is found."""
    for name in ("ONE", "APART", "ALL"):
        monkeypatch.setattr(explaining, name, 20.0)


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.mT


def blended(x, eps, level, gamma):
    """sqrt(level) x - sqrt(1 - level) eps, not above gamma."""
    level = level.reshape(-1, *[1] * (x.ndim - 1))
    return (level.sqrt() * x - (1 - level).sqrt() * eps).clamp(max=gamma)


def of_any_rank(draw):
    for shape in ((4, 3), (3, 2, 5), (5, 2)):
        yield Case("data", (draw.normal(*shape), draw.normal(*shape), draw.uniform(shape[0], low=0.1, high=0.9), 0.7))


def exchanged(x, eps, level, gamma):
    level = level.reshape(-1, *[1] * (x.ndim - 1))
    return (level.sqrt() * eps - (1 - level).sqrt() * x).clamp(max=gamma)


def number(x, eps, level, gamma):
    level = level.reshape(-1, *[1] * (x.ndim - 1))
    return (level.sqrt() * x - (1 - level).sqrt() * eps).clamp(max=0.25)


def overwritten(x, eps, level, gamma):
    level = level.reshape(-1, *[1] * (x.ndim - 1))
    out = (level.sqrt() * x - (1 - level).sqrt() * eps).clamp(max=gamma)
    out[0] = 0
    return out


def spread(cov, factor):
    """The root of a covariance, times a factor, and the logarithm of the factor."""
    return factor * root(cov), factor.log() / 4


def covariances(draw):
    for d in (2, 3, 4):
        data = draw.normal(d, d + 3)
        yield Case("covariance", (data @ data.T, draw.uniform(d, low=0.5, high=3.0).reshape(d, 1)))


def helper_left_out(cov, factor):
    spread = cov
    scaled = factor * spread
    return scaled, 0 * root(cov)[:, :1] + factor.log() / 4


def half_of_the_logarithm(cov, factor):
    return factor * root(cov), factor.log() / 2


def both_values(cov, factor):
    return root(cov) / factor, factor.log() / 2


def angles(first, second):
    """sin(first) + sin(second) / 2"""
    return torch.sin(first) + torch.sin(second) / 2


def pairs(draw):
    for n in (6, 9, 12):
        yield Case("angles", (draw.normal(n), draw.normal(n)))


def cosines(first, second):
    a = torch.cos(first)
    return a + second.cos() / 2


def mean_of_each(x):
    """The mean over all axes but the first."""
    return x.reshape(x.shape[0], -1).mean(1)


def samples(draw):
    for shape in ((6, 1, 5), (6, 4, 2, 2), (5, 2, 3), (4,)):
        yield Case("any shape", (draw.normal(*shape),))


def mean_of_images(x):
    return x.mean(dim=(1, 2, 3))


def in_bits(x):
    return x.reshape(x.shape[0], -1).mean(1) / math.log(2)


@pytest.mark.parametrize(
    ("reference", "cases", "function", "words"),
    [
        (blended, of_any_rank, exchanged, "`eps` and `x` have changed places"),
        (blended, of_any_rank, number, "The number `0.25` is written where `gamma` belongs"),
        (blended, of_any_rank, overwritten, "The step that sets `out[0]` is too many"),
        (spread, covariances, helper_left_out, "`root()` on `cov` is left out"),
        (
            spread,
            covariances,
            half_of_the_logarithm,
            "The number `2` in `log(factor) / 2` is half of what it should be",
        ),
        (angles, pairs, cosines, "`cos` is computed where `sin` belongs. It is so at every place"),
        (mean_of_each, samples, in_bits, "There is a division by `log(2)` too many"),
        (mean_of_each, samples, mean_of_images, "`mean` must go over all axes but the first"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_it_is_named(reference, cases, function, words):
    (found,) = explained(made_up(reference, cases), function)
    assert words in found.hint.replace("`x` and `eps`", "`eps` and `x`")
    assert found.line


def test_which_value_of_the_answer_is_wrong_is_said():
    (found,) = explained(made_up(spread, covariances), half_of_the_logarithm)
    assert found.hint.endswith("Only value 2 of the 2 is wrong, the other is right.")


def test_two_values_with_a_mistake_each_have_a_hint_each():
    found = explained(made_up(spread, covariances), both_values)
    assert len(found) == 2
    hints = " ".join(m.hint for m in found)
    assert "divided by `factor`" in hints
    assert "`2`" in hints


def turned(x, level, target):
    """Data or noise."""
    if target == "data":
        return x / level.sqrt()
    return x / (1 - level).sqrt()


def both_targets(draw):
    for target in ("data", "noise"):
        for n in (7, 9):
            yield Case("target", (draw.normal(n), draw.uniform(n, low=0.1, high=0.9), target), part=target)


def wrong_in_both_cases(x, level, target):
    if target == "data":
        return x / level
    return x * (1 - level).sqrt()


def test_two_cases_with_a_mistake_each_have_a_hint_each():
    exercise = made_up(turned, both_targets)
    found = explained(exercise, wrong_in_both_cases)
    lines = {m.line - wrong_in_both_cases.__code__.co_firstlineno for m in found}
    assert lines == {2, 3}


def every_kind_of_statement(x, level):
    total = torch.zeros_like(x)
    for i in range(2):
        if i == 1 and level > 2:
            total = total + 1
        elif i == 5:
            total = -total
        else:
            total = torch.add(
                total,
                x,
            )
    while level < 0:
        level = level + 1
    try:
        return helped(total)
    except ValueError:
        return total


def helped(x):
    return [v for v in x]


def test_the_lines_that_a_case_runs():
    x, level = torch.ones(3), torch.full((3,), 0.5)
    first = wrong_in_both_cases.__code__.co_firstlineno
    assert lines_run(Source(wrong_in_both_cases), (x, level, "noise"), 9.0) == {first + 1, first + 3}
    first = every_kind_of_statement.__code__.co_firstlineno
    inside = {helped.__code__.co_firstlineno + 1}
    run = {first + line for line in (1, 2, 3, 5, 8, 9, 10, 11, 12, 14, 15)}  # a statement over lines is one
    assert lines_run(Source(every_kind_of_statement), (x, 0.5), 9.0) == run | inside


def rescaled(x, eps, level, gamma):
    out = blended(x, eps, level, gamma)
    return out * (x.std() / out.std())


def test_what_cancels_says_nothing():
    """With `out` for `x` the factor is 1; that x does not belong there is all that this would tell."""
    for mistake in explained(made_up(blended, of_any_rank), rescaled):
        assert "`out` belongs" not in mistake.hint


def silent(x, eps, level, gamma):
    return blended(x, 0 * eps, level, gamma)


def loud(x, eps, level, gamma):
    return blended(x, 3 * eps, level, gamma)


def test_no_mistake_is_claimed_that_would_hide_what_an_argument_does():
    exercise = made_up(blended, of_any_rank)
    call = LocalCaller(loud)
    search = explaining._Search(exercise, call, [ask(exercise, q, call) for q in questions(exercise, 0)])
    assert search._heeds_what_is_ignored(LocalCaller(silent))
    assert not search._heeds_what_is_ignored(LocalCaller(blended))


def test_a_number_that_comes_again_tells_nothing_new():
    zeros, values = torch.zeros(()), torch.tensor([0.1, 0.2])
    told = [LocalCaller(lambda v=v: v)(()) for v in (zeros, zeros, zeros, values, values)]
    assert bits(told) == pytest.approx(3 * DIGITS + 2)  # the pair that comes again: one bit for each of its entries


def data_back_at_the_old_level(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    kept, to = alpha_bar_t.to(x.dtype), alpha_bar_s.to(x.dtype)
    x0 = (x - torch.sqrt(1 - kept) * eps) / torch.sqrt(kept)
    var = eta**2 * (1 - to) / (1 - kept) * (1 - kept / to)
    return torch.sqrt(kept) * x0 + torch.sqrt((1 - to - var).clamp(min=0)) * eps + torch.sqrt(var) * noise


def test_what_explains_all_cases_is_told_before_what_fits_the_last_step_by_accident():
    """There, where alpha_bar_s is 1, it computes what a division that is missing would."""
    (idea,) = check(library()["ddim_step"], LocalCaller(data_back_at_the_old_level)).ideas
    assert "belongs" in idea.hint
    assert not idea.known


@pytest.mark.parametrize("name", library())
def test_the_quantities_are_in_words(name):
    exercise = library()[name]
    for words in meanings(exercise).values():
        assert 4 < len(words) < 60
        assert not re.search(r"[\[\]()`]|\b(in|or|of)$|^any\b", words), words
        if exercise.chapter == "games":
            assert "variance" not in words


def test_bits_are_those_of_shannon():
    (told,) = [LocalCaller(lambda: torch.tensor([1, 0, 0, 0]))(())]
    assert bits([told]) == pytest.approx(4 * (0.25 * 2 + 0.75 * math.log2(4 / 3)))


def mean_of_squares(x):
    """The mean square of each sample."""
    return x.reshape(len(x), -1).square().mean(dim=1)


def axis_of_size_1(x):
    return x.reshape(len(x), -1).square().mean(dim=1, keepdim=True)


def axis_of_size_1_by_a_function(x):
    return torch.mean(x.reshape(len(x), -1).square(), dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("mine", "words"),
    [
        (axis_of_size_1, "`mean` keeps the axis that it goes over, as one of size 1: leave out `keepdim`."),
        (axis_of_size_1_by_a_function, "`keepdim=True` is given where `keepdim=False` belongs."),
    ],
)
def test_an_axis_that_stays_is_no_wrong_axis(mine, words):
    def data(draw):
        for shape in ((4, 3), (3, 2, 5), (5, 2)):
            yield Case("data", (draw.normal(*shape),))

    (found,) = explained(made_up(mean_of_squares, data), mine)
    assert found.hint.endswith(words)
