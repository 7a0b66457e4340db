"""Hints of the engine are true, or are not given: what few numbers, counts and clamped values do not prove."""

from __future__ import annotations

import ast
import re
import types

import pytest
import torch
from made_up import explained, made_up, trials_of

from diffusion_lab.exercises import Case, library
from diffusion_lab.grading.judge.diagnosing import ideas_behind
from diffusion_lab.grading.judge.engine import explained as explained_by
from diffusion_lab.grading.judge.engine import explaining, fingerprints, plausible, searching
from diffusion_lab.grading.judge.engine.rebuilding import SHELL, Source
from diffusion_lab.grading.judge.engine.vocabulary import meanings
from diffusion_lab.grading.judge.engine.wording import mistake
from diffusion_lab.grading.judge.expecting import expect
from diffusion_lab.grading.judge.relating import relation


def positive(x):
    return (x > 0).double().mean()


def above_one(x):
    return (x > 1).double().mean()


def sets_of_points(draw):
    for n in (6, 9, 12):
        yield Case("points", (draw.normal(n),))


@pytest.mark.parametrize("entries", [0, explained_by.ENTRIES])
def test_few_numbers_do_not_prove_a_far_fetched_edit(monkeypatch, entries):
    """Another constant gives the right three numbers here; so may one of hundreds of edits, by chance."""
    monkeypatch.setattr(fingerprints, "load", lambda exercise: None)
    monkeypatch.setattr(explained_by, "ENTRIES", entries)
    found = explained(made_up(positive, sets_of_points), above_one)
    assert bool(found) == (entries == 0)
    assert all(m.hint.startswith("Probably: ") for m in found)


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("len(x)", True),
        ("x.shape[0]", True),
        ("x.ndim - 1", True),
        ("n", True),
        ("torch.arange(n).double()", True),
        ("x", False),
        ("k / (n - 1)", False),
        ("std * n", False),
    ],
)
def test_counts_have_no_sign_and_no_root(text, counted):
    assert plausible.is_count(ast.parse(text, mode="eval").body, {"n"}) == counted


def scaled(x, factor):
    return x * factor


def clamped(x, factor):
    low = x.amax().clamp(min=100)
    return x * factor / low


def scales(draw):
    for n in (6, 9, 12):
        yield Case("points", (draw.normal(n), 0.5 + n))


@pytest.mark.parametrize(("text", "matters"), [("x.amax()", False), ("x * factor", True)])
def test_a_value_that_does_not_matter_explains_nothing(monkeypatch, text, matters):
    monkeypatch.setattr(fingerprints, "load", lambda exercise: None)
    exercise = made_up(scaled, scales)
    search = explaining._Search(exercise, *trials_of(exercise, clamped))
    (edit,) = [e for e in search.source.edits() if e.kind == "sign" and ast.unparse(e.old) == text and e.about is e.old]
    call = searching.edited(search.source, edit)
    assert search._whatever_its_value(edit, call) != matters


def shares(x, p):
    return x * (1 - p)


def test_half_of_an_explanation_does_not_make_a_constant_of_an_argument():
    missing = [e for e in Source(shares).edits() if e.kind == "term missing"]
    constants = [plausible.throws_away(e) for e in missing if isinstance(e.new, ast.Constant)]
    assert constants and all(constants)


def two_factors(x, level):
    factor = level.reshape(-1, 1)
    factor = factor + 1
    other = level.reshape(-1, 1)
    other = other + 2
    return x * factor / other


def test_two_quantities_without_a_name_of_the_students_are_not_called_a_wrong_shape():
    source = Source(two_factors)
    for edit in source.edits():
        if edit.kind == "name" and {ast.unparse(edit.old), ast.unparse(edit.new)} == {"factor", "other"}:
            assert mistake(edit, True, source.trees["two_factors"], {}, ("x", "level")).kind != "shape"


@pytest.mark.parametrize("name", ["linear_betas", "cosine_alpha_bar", "shifted_times", "strided_times"])
def test_what_words_cannot_tell_apart_is_not_said_to_belong_in_its_own_place(name):
    exercise = library()[name]
    for source in fingerprints.right_sources(exercise)[:3]:
        for edit in source.edits():
            hint = mistake(edit, True, source.trees.get(edit.function), {}, exercise.parameters).hint
            assert not re.search(r"(?i)(the expression with [^.:]+|this expression) is used where \1 belongs", hint), (
                hint
            )


def names_of_ours(source: Source) -> set[str]:
    """The local names and the helpers of right code, which no student has seen."""
    found = set(source.trees)
    for tree in source.trees.values():
        function = source.namespace[tree.name]
        if isinstance(function, types.FunctionType):
            found |= set(function.__code__.co_varnames)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cosine_alpha_bar", "masked_x0_loss", "transition_matrix", "shifted_times"])
def test_what_only_the_reference_calls_so_is_never_quoted(name):
    exercise = library()[name]
    for source in fingerprints.right_sources(exercise)[:2]:
        ours = names_of_ours(source) - set(exercise.parameters)
        for edit in source.edits():
            body = source.trees.get(edit.function)
            hint = mistake(edit, True, body, meanings(exercise), exercise.parameters).hint
            for code in re.findall(r"`([^`]*)`", hint):
                try:
                    tree = ast.parse(code, mode="eval")
                except SyntaxError:  # as in `clamp(…)`
                    continue
                bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
                used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - bound
                assert not used & ours, (hint, ast.unparse(edit.old), ast.unparse(edit.new))


def mean_of_each(x):
    return x.flatten(1).mean(1)


def samples(draw):
    for shape in ((6, 1, 5), (6, 4), (5, 2, 3), (4, 1, 7)):
        yield Case("any shape", (draw.normal(*shape),))


@pytest.mark.parametrize(
    ("function", "said"), [(lambda x: x.mean(-1), False), (lambda x: x.flatten(1).mean(1, keepdim=True), True)]
)
def test_right_numbers_in_another_shape_are_so_in_all_cases(function, said):
    exercise = made_up(mean_of_each, samples)
    _, trials = trials_of(exercise, function)
    (idea,) = ideas_behind(exercise, trials, {})
    assert ("right numbers" in idea.hint) == said


@pytest.mark.parametrize(("place", "word"), [(0, "first"), (-1, "last")])
def test_one_wrong_end_of_a_list_is_said(place, word):
    right = torch.linspace(1, 2, 7)
    answer = right.clone()
    answer[place] = 5.0
    found = relation(answer, expect(lambda x: x, (right,)).leaves, lambda shift: None)
    assert found.words == f"all is right but the {word} entry: 5"


def noisy(x, level, noise):
    kept = level.unsqueeze(1)
    return kept.sqrt() * x + (1 - kept).sqrt() * noise


def one_student(x, level, noise):
    a = level.reshape(-1, 1)
    return a**0.5 * x + (1 - a) * noise


def another_student(x, level, noise):
    keep = level[:, None]
    lost = 1 - keep
    signal = torch.sqrt(keep) * x
    return signal + lost * noise


def noisy_cases(draw):
    for b, d in ((4, 3), (1, 5), (6, 2)):
        yield Case("points", (draw.normal(b, d), draw.uniform(b, low=0.2), draw.normal(b, d)))


def test_the_same_idea_has_the_same_name_whatever_students_call_their_quantities(monkeypatch):
    exercise = made_up(noisy, noisy_cases)
    table = fingerprints.recorded(exercise)
    monkeypatch.setattr(fingerprints, "load", lambda exercise: table)
    names = {explained(exercise, f)[0].name for f in (one_student, another_student)}
    assert names == {"edit: root missing 1 - level"}
    source = Source(noisy)
    ours = [mistake(e, True, source.trees["noisy"], {}, exercise.parameters) for e in source.edits()]
    assert names <= {m.name for m in ours}


def exchanging(first, second):
    return first - second


def test_two_arguments_that_have_changed_places_are_both_named():
    (edit,) = [e for e in Source(exchanging).edits() if e.kind == "order" and e.function == SHELL]
    assert "`first` and `second` have changed places" in mistake(edit, False).hint.replace(
        "`second` and `first`", "`first` and `second`"
    )


def low_bit_first_of_0_and_1(boards):
    return torch.stack([boards % 2, boards // 2], -1).float().flatten(1)


def test_a_listed_mistake_and_an_edit_are_read_from_many_bits():
    exercise = library()["board_to_bits"]
    found = explaining.explain(exercise, *trials_of(exercise, low_bit_first_of_0_and_1))
    assert [m.name for m in found if m.known] == ["zeros for minus ones"]
    assert any("order is wrong" in m.hint for m in found if not m.known)


def each_board_once_by_all_samples(boards, legal):
    known = {tuple(board) for board in legal.tolist()}
    return len({tuple(board) for board in boards.tolist()} & known) / len(boards)


def by_marks_and_no_list(boards, legal):
    crosses, noughts = (boards == 1).sum(1), (boards == 2).sum(1)
    fits = ((crosses == noughts) | (crosses == noughts + 1)) & (boards < 3).all(1)
    return fits.double().mean().item()


@pytest.mark.parametrize("function", [each_board_once_by_all_samples, by_marks_and_no_list], ids=lambda f: f.__name__)
def test_no_pair_is_read_from_four_shares(function):
    """Pairs fit both, and each has one mistake."""
    exercise = library()["legal_rate"]
    assert len(explaining.explain(exercise, *trials_of(exercise, function))) < 2
