"""Small mistakes of the kinds that people make with cases, shares, sizes, axes, borders and nan, and what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_up import explained, made_up, trials_of

from diffusion_lab.exercises import Case, library
from diffusion_lab.grading.judge import check
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.diagnosing import ideas_behind
from diffusion_lab.grading.judge.engine import explaining
from diffusion_lab.grading.judge.engine.plausible import contrary, far_off
from diffusion_lab.grading.judge.engine.rebuilding import Source
from diffusion_lab.grading.judge.engine.wording import Mistake


@pytest.fixture(autouse=True)
def time_enough(monkeypatch):
    """A busy machine must not decide what is found."""
    for name in ("ONE", "APART", "ALL"):
        monkeypatch.setattr(explaining, name, 3.0)


def hints(name, function):
    return [idea.hint for idea in check(library()[name], LocalCaller(function)).ideas]


def mixed(x, y, share):
    """share x + (1 - share) y, and what is below sqrt(x^2 + 0.1)"""
    share = share[:, None]
    return (share * x + (1 - share) * y) / (x**2 + 0.1).sqrt()


def two_tensors(draw):
    for b, d in ((4, 4), (5, 5), (3, 7)):
        yield Case("data", (draw.normal(b, d), draw.normal(b, d), draw.uniform(b, low=0.1, high=0.4)))


def shares_exchanged(x, y, share):
    share = share[:, None]
    return ((1 - share) * x + share * y) / (x**2 + 0.1).sqrt()


def outside_of_the_root(x, y, share):
    share = share[:, None]
    return (share * x + (1 - share) * y) / ((x**2).sqrt() + 0.1)


def along_the_wrong_axis(x, y, share):
    return (share * x + (1 - share) * y) / (x**2 + 0.1).sqrt()


def weighed(x, y, share):
    """-(x - y) / (share x^2 + 1 - share)"""
    share = share.unsqueeze(1)
    return -(x - y) / (share * x**2 + 1 - share)


def bracket_forgotten(x, y, share):
    share = share.unsqueeze(1)
    return -(x - y) / (share * x**2) + 1 - share


def factor_behind_a_minus(x, y, share):
    share = share.unsqueeze(1)
    return -(1 - share).sqrt() * (x - y) / (share * x**2 + 1 - share)


def neighbours(x):
    return torch.stack([x, x.exp()], -1)[:, 1:].reshape(len(x), -1)


def rows(draw):
    for b, d in ((4, 6), (3, 6), (2, 9)):
        yield Case("rows", (draw.normal(b, d),))


def without_the_last(x):
    return torch.stack([x, x.exp()], -1)[:, :-1].reshape(len(x), -1)


def of_five(x):
    return torch.stack([x, x.exp()], -1)[:, 1:].reshape(-1, 10)


def slope(x, to):
    return x if to == 0 else x * to + 1 / to


def towards_zero(draw):
    for to in (0.0, 0.004, 0.5, 2.0):
        yield Case("step", (draw.normal(6), to))


def small_is_zero(x, to):
    return x if to < 0.01 else x * to + 1 / to


def by_time(matrix, x, t):
    return torch.where(t == 0, x @ matrix, x @ matrix + 1)


def times(draw):
    for n in (4, 5, 6):
        yield Case("t", (draw.normal(n, n), draw.normal(n, n), torch.arange(n) % 2))


def transposed_but_at_zero(matrix, x, t):
    return torch.where(t == 0, x @ matrix, x @ matrix.transpose(0, 1) + 1)


@pytest.mark.parametrize(
    ("reference", "cases", "function", "words"),
    [
        (mixed, two_tensors, shares_exchanged, "`1 - share` and `share` have changed places"),
        (mixed, two_tensors, outside_of_the_root, "`0.1` belongs under the root"),
        (mixed, two_tensors, along_the_wrong_axis, "`share` goes along the last axis"),
        (
            weighed,
            two_tensors,
            bracket_forgotten,
            "All of `share * x ** 2 + 1 - share` belongs below",
        ),
        (weighed, two_tensors, factor_behind_a_minus, "a factor `sqrt(1 - share)` too many"),
        (neighbours, rows, without_the_last, "The entry at the wrong end is left out"),
        (neighbours, rows, of_five, "The size `10` is written there"),
        (slope, towards_zero, small_is_zero, "The condition `to < 0.01` takes in too much or too little"),
        (by_time, times, transposed_but_at_zero, "`transpose(0, 1)` on `matrix` is too many"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_it_is_named(reference, cases, function, words):
    (found,) = explained(made_up(reference, cases), function)
    assert words in found.hint


def everywhere(x, t):
    return x.exp()


def numbers_and_times(draw):
    for n in (5, 6, 8):
        yield Case("t", (draw.normal(n), torch.arange(1, n + 1) % 3))


def wrong_in_the_other_cases(x, t):
    return torch.where(t == 0, x.exp(), x.tanh())


def wrong_in_the_case(x, t):
    return torch.where(t == 0, x.tanh(), x.exp())


@pytest.mark.parametrize(
    ("function", "words"),
    [(wrong_in_the_other_cases, "All is right in the case `t == 0`"), (wrong_in_the_case, "All is right but for")],
)
def test_where_only_one_of_two_cases_is_wrong_it_is_said_which(function, words):
    (found,) = explained(made_up(everywhere, numbers_and_times), function)
    assert words in found.hint


def entropy(p):
    return -torch.where(p > 0, p * torch.where(p > 0, p, torch.ones_like(p)).log(), torch.zeros_like(p)).sum(-1)


def shares(draw):
    for n in (4, 6):
        p = draw.uniform(3, n)
        p[:, 0] = 0
        yield Case("shares", (p / p.sum(-1, keepdim=True),))


def without_care_for_zero(p):
    logs = p.log()
    return -(p * logs).sum(-1)


def test_where_a_nan_comes_from_is_said():
    (found,) = explained(made_up(entropy, shares), without_care_for_zero)
    assert "`p * logs` is nan" in found.hint
    assert "0 is multiplied by infinity" in found.hint
    assert found.line == without_care_for_zero.__code__.co_firstlineno + 2


def direction(x, y):
    return x + 2 * (y - x)


def of_any_rank(draw):
    for shape in ((4, 3), (5,), (2, 3, 4)):
        yield Case("data", (draw.normal(*shape), draw.normal(*shape)))


def unit_direction(x, y):
    length = (y - x).flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
    return x + 2 * (y - x) / length


def test_beside_an_error_the_numbers_are_explained_alone():
    (found,) = explained(made_up(direction, of_any_rank), unit_direction)
    assert found.hint.startswith("Where there is no error: ")
    assert "`length` too many" in found.hint


def short_labels(labels, p, null, uniform):
    return torch.where(uniform < p, torch.full_like(labels, null), labels).int()


def as_floats(labels, p, null, uniform):
    return torch.where(uniform < p, torch.full_like(labels, null), labels).double()


def float32_made_double(T, beta_start, beta_end):
    return torch.linspace(beta_start, beta_end, T).double()


def to_zero_as_floats(T, steps):
    return torch.linspace(T - 1, 0, steps, dtype=torch.float64).round()


def test_the_words_for_a_dtype_are_those_for_this_dtype():
    assert "no integers any more" in hints("drop_labels", as_floats)[0]
    (said,) = hints("drop_labels", short_labels)
    assert "it returned int32, and int64 is expected" in said
    (said,) = hints("linear_betas", float32_made_double)
    assert said.startswith("Digits are lost") and "though its dtype is float64" in said
    said = hints("strided_times", to_zero_as_floats)
    assert len(said) == 2 and not any("numbers are right" in hint for hint in said)


def a_small_number_added(x_t, p_x0, t, Q, Q_bar):
    before = torch.cat([torch.eye(Q.shape[-1]).to(Q)[None], Q_bar])[t]
    cells = torch.arange(len(x_t))[:, None]
    evidence = Q_bar[t].transpose(1, 2)[cells, x_t]
    joint = Q[t].transpose(1, 2)[cells, x_t] * ((p_x0 / (evidence + 1e-8)) @ before)
    return joint / joint.sum(dim=-1, keepdim=True)


def test_lost_digits_are_not_laid_to_float32_alone():
    (said,) = hints("d3pm_posterior", a_small_number_added)
    assert said.startswith("Digits are lost") and "a small number" in said


def half_included(model, x, t, last, uniform):
    if last is None:
        last = torch.zeros_like(x)
        if uniform is not None:
            with torch.no_grad():
                first = model(x, t, None, last)
            last[uniform <= 0.5] = first[uniform <= 0.5]
    return model(x, t, None, last)


def test_a_mistake_at_a_threshold_is_not_a_matter_of_t():
    """There the right answer's tolerance is large, and the answer to another t lay within it."""
    verdict = check(library()["self_conditioned_x0"], LocalCaller(half_included))
    assert [o.label for o in verdict.outcomes if not o.passed] == ["a uniform of exactly 0.5"]
    assert not any("off by one" in idea.hint for idea in verdict.ideas)


def no_root_yet_right_at_zero(x, t, eps, betas, noise, variance):
    ab = torch.cumprod(1 - betas, 0)
    mean = (x - betas[t] / (1 - ab[t]) * eps) / (1 - betas[t]).sqrt()
    before = ab[t - 1] if t else torch.ones(())
    var = betas[t] if variance == "beta" else (1 - before) / (1 - ab[t]) * betas[t]
    return (mean + (t > 0) * var.sqrt() * noise).to(x.dtype)


def test_a_mistake_that_float32_hides_is_not_called_a_loss_of_digits():
    assert not any("Digits" in hint for hint in hints("ddpm_step", no_root_yet_right_at_zero))


def rounded_counter(average, online, decay):
    new = online.state_dict()
    mixed = {k: decay * a + (1 - decay) * new[k] for k, a in average.state_dict().items()}
    return {k: v if new[k].is_floating_point() else v.round().to(new[k].dtype) for k, v in mixed.items()}


@pytest.mark.slow
def test_what_only_turns_a_mistake_into_a_listed_one_is_no_second_mistake(monkeypatch):
    monkeypatch.setattr(explaining, "ONE", 0.3)
    monkeypatch.setattr(explaining, "APART", 0.1)
    (said,) = hints("ema_update", rounded_counter)
    assert "come close to a mistake that is known" in said


def dot_for_cosine(first, second, amount):
    def wide(v):
        return v.to(first.dtype).reshape(-1, *[1] * (first.ndim - 1))

    u = wide(amount)
    theta = wide((first * second).flatten(1).sum(1)).clamp(-1, 1).acos()
    s = theta.sin()
    line = s.abs() <= 1e-7
    safe = torch.where(line, torch.ones_like(s), s)
    arc = ((1 - u) * theta).sin() / safe * first + (u * theta).sin() / safe * second
    return torch.where(line, (1 - u) * first + u * second, arc)


def test_of_two_listed_mistakes_that_do_not_fit_elsewhere_none_is_claimed_for_all():
    exercise = library()["slerp"]
    _, trials = trials_of(exercise, dot_for_cosine)
    listed = "angle without norms kept off the ends"
    assert [idea.name for idea in ideas_behind(exercise, trials, {})] == [listed]
    # Without it, and without the cases that tell it apart, it is like one mistake here and like another there.
    others = tuple(answer for answer in exercise.wrong_answers if answer.name != listed)
    trials = [t for t in trials if t.case.label not in ("weaker noises", "more than a right angle apart")]
    ideas = ideas_behind(replace(exercise, wrong_answers=others), trials, {})
    assert len(ideas) == 2
    assert all(idea.hint.startswith("In the part") for idea in ideas)


def factor_forgotten_for_eps(alpha_bar_t, std, target):
    noise = 1 - alpha_bar_t
    floor = noise * std**2 / (alpha_bar_t * std**2 + noise)
    if target == "eps":
        return floor / noise
    return floor if target == "x0" else floor / noise


def test_nobody_who_asks_for_a_case_is_told_that_they_ignore_it():
    (said,) = hints("loss_floor", factor_forgotten_for_eps)
    assert "not treated on its own" not in said
    assert "`alpha_bar_t`" in said


def sums_for_boards(boards, legal):
    return torch.isin(boards.sum(1), legal.sum(1)).double().mean()


def test_no_number_of_ours_is_spoken_of_as_if_it_were_the_students():
    assert not any("`5`" in hint for hint in hints("legal_rate", sums_for_boards))


def tenfold_by_ten(highest, lowest, steps):
    decibels = torch.linspace(highest, lowest, steps, dtype=torch.float64)
    return 10 ** (decibels * 10)


def test_an_edit_that_gives_an_integer_of_many_digits_is_passed_over():
    assert not check(library()["decibel_levels"], LocalCaller(tenfold_by_ten)).passed


def squared_in_the_exponent(x):
    return 10.0 ** (x * x)


def in_the_exponent(x):
    return 10.0**x


def numbers(draw):
    yield Case("numbers", (20 * torch.ones(3, 5, dtype=torch.float64),))


def test_what_is_too_large_is_not_told_as_an_inverse_of_zero_alone():
    exercise = made_up(in_the_exponent, numbers)
    _, trials = trials_of(exercise, squared_in_the_exponent)
    told = [idea.hint for idea in ideas_behind(exercise, trials, {}) if "infinite" in idea.hint]
    assert told and all("too large" in hint or "overflow" in hint for hint in told)


def signs_before_the_mean(x):
    return (x.log().abs() - 0.5).mean(1)


def quiet_or_loud(draw):
    for part, size in (("loud", 3.0), ("quiet", 1e-6)):
        for n in (5, 7):
            yield Case(part, ((1 + size * draw.uniform(4, n)),), part=part)


def after_the_mean(x):
    return (x.log().mean(1) * 1.7).abs() - 0.5


def test_that_digits_agree_in_one_part_does_not_explain_the_others():
    exercise = made_up(signs_before_the_mean, quiet_or_loud)
    _, trials = trials_of(exercise, after_the_mean)
    assert not any("digits" in idea.hint for idea in ideas_behind(exercise, trials, {}))


def test_one_plus_a_share_is_tried_late():
    signs = [e for e in Source(mixed).edits() if e.kind == "sign" and far_off(e)]
    assert signs
    assert all(type(e.new.op).__name__ == "Add" and e.old.left.value == 1 for e in signs)


@pytest.mark.parametrize("hint", ["These are powers, the squares of the magnitudes.", "The root is missing."])
def test_a_root_too_many_does_not_stand_beside_one_that_is_missing(hint):
    root = Mistake("root too many", "The square root was taken.", "edit: root too many x", 2, line=3)
    assert contrary(root, Mistake("powers", hint, "powers", 1, known=True))
    assert not contrary(root, Mistake("counts", "The batch was averaged.", "counts", 1, known=True))
