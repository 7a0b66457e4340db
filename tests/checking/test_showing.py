"""A verdict as HTML says what the plain one says, and shows what a student's code gave without running it."""

from __future__ import annotations

import re

import pytest
from bs4 import BeautifulSoup

from diffusion_lab.exercises import exercise
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.checking import check, without_points
from diffusion_lab.grading.judge.showing import as_html
from diffusion_lab.grading.judge.telling import told

Q_SAMPLE = exercise("q_sample")


def forgot_the_root(x0, t, eps, alpha_bar):
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1)).to(x0)
    return kept * x0 + (1 - kept) * eps


def hostile(x0, t, eps, alpha_bar):
    raise ValueError("<script>alert(1)</script><img src=x onerror=alert(2)>")


def nearly(x0, t, eps, alpha_bar):
    return Q_SAMPLE.reference(x0, t, eps, alpha_bar) + (0.5 if x0.ndim == 4 else 0.0)


def not_written(x0, t, eps, alpha_bar):
    raise NotImplementedError()


@pytest.mark.parametrize("function", [forgot_the_root, hostile, nearly, not_written, Q_SAMPLE.reference])
def test_both_say_the_same(function):
    verdict = check(Q_SAMPLE, LocalCaller(function))
    page = BeautifulSoup(as_html(verdict), "html.parser")
    page.style.decompose()
    words = " ".join(page.get_text(" ").split())
    for line in told(verdict).splitlines():
        for number in re.findall(r"-?\d+\.\d{3,}", line):
            assert number in words
    assert told(verdict).splitlines()[0].split(". ")[0] in words
    for idea in verdict.ideas:
        assert " ".join(idea.hint.split()) in words


def test_the_first_failing_case_is_open_and_the_rest_is_folded():
    page = BeautifulSoup(as_html(check(Q_SAMPLE, LocalCaller(forgot_the_root))), "html.parser")
    folded = page.details.extract()
    assert {term.get_text() for term in page("dt")} >= {"expected", "yours"}
    assert "Case 1" in page.get_text() and "Case 1:" not in folded.get_text() and "Case 2" in folded.get_text()


def test_what_code_says_does_nothing():
    page = BeautifulSoup(as_html(check(Q_SAMPLE, LocalCaller(hostile))), "html.parser")
    assert page("script") == [] and page("img") == [] and "<script>alert(1)</script>" in page.get_text()
    page = BeautifulSoup(as_html(without_points(Q_SAMPLE, "missing", "<b>no</b>")), "html.parser")
    assert page("b") == [] and "<b>no</b>" in page.get_text()


def test_it_takes_its_colours_from_the_page():
    style = BeautifulSoup(as_html(check(Q_SAMPLE, LocalCaller(nearly))), "html.parser").style.get_text()
    assert "background" not in style and not re.search(r"[{;]\s*color:", style)
