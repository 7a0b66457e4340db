"""Similarity: a copy under other names is found, people who wrote by themselves are not, and there is no verdict."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from handed_in import CHAPTER, filled, put, right
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from diffusion_lab.cli import app
from diffusion_lab.exercises import exercise
from diffusion_lab.grading.classroom.likeness import GRAM, WINDOW, alike, forced, tokens, winnowed
from diffusion_lab.grading.notebook import solution

# Four ways to write it, as different people do; and the first again, under other names, with remarks.
ADA = """
def q_sample(x0, t, eps, alpha_bar):
    shape = (x0.shape[0],) + (1,) * (x0.ndim - 1)
    kept = alpha_bar.gather(0, t).to(x0.dtype).reshape(shape)
    lost = torch.ones_like(kept) - kept
    signal = torch.mul(torch.sqrt(kept), x0)
    noise = torch.mul(torch.sqrt(lost), eps)
    return torch.stack([signal, noise]).sum(dim=0)
"""
COPY = '''
def q_sample(x0, t, eps, alpha_bar):
    """My own work."""
    s = (x0.shape[0],) + (1,) * (x0.ndim - 1)   # the shape
    a = alpha_bar.gather(0, t).to(x0.dtype).reshape(s)

    b = torch.ones_like(a) - a
    first = torch.mul(torch.sqrt(a), x0)
    second = torch.mul(
        torch.sqrt(b), eps)
    return torch.stack([first, second]).sum(dim=0)
'''
BEN = """
def q_sample(x0, t, eps, alpha_bar):
    a = alpha_bar[t].to(x0)
    while a.ndim < x0.ndim:
        a = a.unsqueeze(-1)
    return a.sqrt() * x0 + (1 - a).sqrt() * eps
"""
CID = """
def q_sample(x0, t, eps, alpha_bar):
    noisy = []
    for clean, step, e in zip(x0, t, eps):
        level = alpha_bar[step].type_as(clean)
        noisy.append(level ** 0.5 * clean + (1 - level) ** 0.5 * e)
    return torch.stack(noisy)
"""
DEE = """
def q_sample(x0, t, eps, alpha_bar):
    level = torch.take(alpha_bar, t).type(x0.type())
    flat, noise = x0.flatten(1), eps.flatten(1)
    mixed = torch.einsum("b,bd->bd", level.sqrt(), flat) + torch.einsum("b,bd->bd", (1 - level).sqrt(), noise)
    return mixed.view_as(x0)
"""
CLASS = {"ada": ADA, "ben": BEN, "cid": CID, "dee": DEE}


def pairs(answers: dict[str, str]) -> set[tuple[str, str]]:
    given = {student: {"q_sample": source} for student, source in answers.items()}
    return {(found.one, found.other) for found in alike(given, [exercise("q_sample")])}


def test_a_copy_under_other_names_is_found_and_nobody_else():
    assert pairs(CLASS | {"eve": COPY}) == {("ada", "eve")}
    (found,) = alike({"ada": {"q_sample": ADA}, "eve": {"q_sample": COPY}}, [exercise("q_sample")])
    assert found.share == 1 and max(found.lines[0]) <= len(ADA.splitlines())


def test_people_who_wrote_by_themselves_are_not_found():
    assert pairs(CLASS) == set()


def test_what_the_course_knows_says_nothing():
    """The reference, right answers and common mistakes: many write them, and need no neighbour for it."""
    import inspect

    task = exercise("q_sample")
    known = [answer.function for answer in (*task.right_answers, *task.wrong_answers)]
    for text in [solution(task.reference), *(inspect.getsource(function) for function in known)]:
        assert pairs({"ada": text, "ben": text}) == set()


def test_what_many_in_the_class_have_says_nothing():
    assert pairs({name: ADA for name in ("ada", "ben", "cid", "dee")}) == set()
    assert pairs({name: ADA for name in ("ada", "ben")} | {"cid": CID, "dee": DEE}) == {("ada", "ben")}


def test_what_is_no_python_has_no_tokens():
    assert tokens("def broken(:\n") == [] and winnowed("") == {} and pairs({"ada": "def (", "ben": "def ("}) == set()
    assert tokens("a = 1  # one\n") == tokens("b = 1\n") and tokens('"""A word."""\nx = 2')[0][0] == "·"


words = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30)


@settings(max_examples=40)
@given(words, words, words, words, st.lists(st.sampled_from("pqrs"), min_size=GRAM + WINDOW - 1, max_size=20))
def test_what_is_alike_for_long_enough_is_always_found(before, after, first, last, shared):
    """The guarantee of winnowing: of GRAM + WINDOW - 1 tokens in a row at least one fingerprint is in both."""
    one, other = (" + ".join(f"q.{word}" for word in (*head, *shared, *tail)) for head, tail in
                  ((before, after), (first, last)))  # fmt: skip
    assert winnowed(one).keys() & winnowed(other).keys()


def test_the_command_shows_pairs_and_gives_no_verdict(tmp_path: Path):
    put(tmp_path, "ada", filled(right() | {"q_sample": ADA}))
    put(tmp_path, "ben", filled(right() | {"q_sample": COPY}))
    put(tmp_path, "<b>cid", b"no notebook")
    put(tmp_path, "cid", filled(right() | {"q_sample": textwrap.dedent(CID)}))
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["similarity", str(tmp_path), "--chapter", CHAPTER, "--to", str(page)])
    assert done.exit_code == 0, done.output
    assert "3 submissions compared, 1 pair of answers alike" in done.output and "Alike is not copied" in done.output
    text = page.read_text(encoding="utf-8")
    assert "q_sample: ada and ben" in text and "Alike is not copied" in text and "<mark>    a = " in text
    assert "<script" not in text and "<b>cid" not in text


@pytest.mark.parametrize(("folder", "words"), [("nowhere", "there is no folder"), ("", "no two submissions")])
def test_a_folder_without_submissions_is_told(tmp_path: Path, folder: str, words: str):
    done = CliRunner().invoke(app, ["similarity", str(tmp_path / folder), "--to", str(tmp_path / "page.html")])
    assert done.exit_code == 2 and words in done.output
    assert not (tmp_path / "page.html").exists()


def test_forced_is_not_all_there_is():
    marks = winnowed(ADA).keys()
    assert forced(exercise("q_sample")) and marks - forced(exercise("q_sample"))
