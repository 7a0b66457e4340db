"""A submission is read in a process of its own, and says there what it says here; what ends that process is refused."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from handed_in import CHAPTER, cell, filled, right
from odd_notebooks import ODD

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.submission import IntakeError, parsed
from diffusion_lab.grading.isolation import SandboxError, sandbox_of
from diffusion_lab.grading.notebook import apart
from diffusion_lab.grading.notebook.documents import of_notebook
from diffusion_lab.grading.notebook.intake import take_in

NAMES = [exercise.name for exercise in notebook(CHAPTER).exercises]


@pytest.mark.parametrize("name", ["split, helper first", "not there", "no Python", "a wrong attempt above", "format 3"])
def test_it_says_the_same(name: str):
    data = json.dumps(ODD[name].document).encode()
    assert apart.take_in_apart(data, NAMES) == (take_in(of_notebook(data), NAMES), CHAPTER)


HOSTILE = {
    "ends the parser": "alpha_bar = [x " + "for x in y " * 80_000 + "]",
    "takes its time": "alpha_bar = a" + " < b" * 200_000,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "limit"), [("ends the parser", "SECONDS"), ("takes its time", "SECONDS"), ("takes its time", "PATIENCE")]
)
def test_what_cannot_be_read_is_refused(case: str, limit: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(apart, "_reader", apart._Reader())
    monkeypatch.setattr(apart, limit, 1)
    document = filled(right())
    cell(document, "alpha_bar")["source"] = HOSTILE[case]
    with pytest.raises(IntakeError, match="than anybody"):
        parsed(json.dumps(document).encode(), notebook(CHAPTER))


@pytest.mark.parametrize("system", ["Windows", "macOS"])
def test_where_the_system_has_no_limits_it_says_the_same(system: str, monkeypatch: pytest.MonkeyPatch):
    """Windows has neither timers nor the module for limits; macOS refuses one of address space."""
    monkeypatch.delattr(signal, "setitimer")  # it would end this process
    refusing = SimpleNamespace(RLIMIT_AS=0, RLIMIT_CORE=0, setrlimit=Mock(side_effect=ValueError("not here")))
    monkeypatch.setitem(sys.modules, "resource", None if system == "Windows" else refusing)
    data = json.dumps(filled(right())).encode()
    asked, answers = io.BytesIO(), io.BytesIO()
    for content in (json.dumps(NAMES).encode(), data):
        apart._send(asked, content)
    asked.seek(0)
    apart._main(asked, answers, 1.0)
    answers.seek(0)
    assert apart._intake(json.loads(apart._received(answers, apart.LARGEST))) == take_in(of_notebook(data), NAMES)
    with pytest.raises(EOFError):
        apart._received(answers, apart.LARGEST)


@pytest.mark.parametrize("kind", ["bubblewrap", "container", "account", "none"])
def test_nothing_is_graded_where_processes_cannot_be_ended(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "killpg")
    with pytest.raises(SandboxError, match="grade on Linux, real or virtual"):
        sandbox_of(kind)


def test_the_next_submission_is_read_after_one_that_ended_the_reader():
    data = json.dumps(filled(right())).encode()
    before = apart.take_in_apart(data, NAMES)
    apart._reader._process.kill()
    apart._reader._process.wait()
    assert apart.take_in_apart(data, NAMES) == before


def test_a_reader_that_ends_is_a_refusal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(apart, "_reader", apart._Reader())
    monkeypatch.setattr(apart.sys, "executable", "/bin/false")
    with pytest.raises(IntakeError, match="than anybody"):
        parsed(json.dumps(filled(right())).encode(), notebook(CHAPTER))


@pytest.mark.parametrize("when", ["before the answer", "inside the answer"])
def test_an_answer_that_nobody_waited_for_is_not_the_next_ones(when: str, monkeypatch: pytest.MonkeyPatch):
    class Enough(BaseException):
        """As where a submission has taken too long."""

    def interrupted(pipe, _):
        if when == "inside the answer":
            pipe.read(8)
        raise Enough

    ada, ben = (json.dumps(filled(right() | {"alpha_bar": f"alpha_bar = {n}"})).encode() for n in (1, 2))
    with monkeypatch.context() as patched:
        patched.setattr(apart, "_received", interrupted)
        with pytest.raises(Enough):
            apart.take_in_apart(ada, NAMES)
    assert apart.take_in_apart(ben, NAMES)[0].solutions["alpha_bar"].text == "alpha_bar = 2"
