"""A piece of a submission, called in the sandbox: as it is called here, and what it leaves behind."""

from __future__ import annotations

import pytest
import torch
from saying import said

from diffusion_lab.exercises.probes import Probe
from diffusion_lab.grading.judge.calling import LocalCaller


@pytest.fixture
def session(sandbox):
    with sandbox.open() as opened:
        yield opened


def test_a_call_in_the_sandbox_is_a_call_here(session):
    source = "def piece(model, x, t):\n    return model(x, t).square().flatten(1).mean(dim=1)"
    space: dict = {}
    exec(source, space)
    assert session.run_cell("piece", source) is None
    arguments = (Probe(4), torch.randn(3, 2), torch.arange(3))
    here = LocalCaller(space["piece"])(arguments, gradients=True)
    with session.piece("piece") as call:
        there = call(arguments, gradients=True)
    assert torch.equal(here.value, there.value) and here.graph and there.graph
    assert all(torch.equal(a, b) for a, b in zip(here.gradients, there.gradients, strict=True))


def test_a_stand_in_is_computed_outside_and_gradients_go_through_it(session):
    source = "def piece(model, x, t):\n    return helper(model(x, t), x, 2.0).sum()"

    def helper(a, b, c):
        return torch.sin(a) * b * c

    space: dict = {"helper": helper}
    exec(source, space)
    assert session.run_cell("piece", source) is None
    arguments = (Probe(4), torch.randn(3, 2), torch.arange(3))
    here = LocalCaller(space["piece"])(arguments, gradients=True)
    with session.piece("piece", stand_ins={"helper": helper}) as call:
        there = call(arguments, gradients=True)
    assert call.used == {"helper"}
    assert torch.allclose(here.value, there.value)
    assert all(torch.allclose(a, b) for a, b in zip(here.gradients, there.gradients, strict=True))
    with session.piece("piece", stand_ins={"helper": lambda *a: 1 / 0}) as call:
        assert "ZeroDivisionError" in call(arguments).fault.message


@pytest.mark.parametrize(
    ("work", "left"),
    [
        ("pass", False),
        ("waiter = threading.Thread(target=time.sleep, args=(0.01,)); waiter.start(); waiter.join()", False),
        ("subprocess.run(['true'])", False),
        ("threading.Thread(target=time.sleep, args=(30,), daemon=True).start()", True),
        ("os.fork() or time.sleep(30)", True),
    ],
    ids=["nothing", "a thread that has ended", "a program that has ended", "a thread", "a process"],
)
def test_what_a_piece_leaves_running_is_told(session, work: str, left: bool):
    """The next piece must not be charged for it, so it gets a process of its own."""
    assert said(session, f"import os, subprocess, threading, time\ndef piece():\n    {work}\n    return 1") == ""
    with session.piece("piece") as call:
        assert call(()).value == 1
    assert session.left is left


def test_after_a_piece_the_usual_dtype_and_the_students_own_functions_are_back(session):
    source = (
        "def helper():\n    return 1\ndef piece():\n    torch.set_default_dtype(torch.float64)\n    return helper()"
    )
    assert said(session, source) == ""
    with session.piece("piece", stand_ins={"helper": lambda: 2, "another": lambda: 3}) as call:
        assert call(()).value == 2
    assert session.names(["helper", "another"])[0] == {"helper"}
    assert said(session, "def piece():\n    return helper(), torch.ones(1) / 3") == ""
    with session.piece("piece") as call:
        number, third = call(()).value
    assert (number, third.dtype) == (1, torch.float32)
