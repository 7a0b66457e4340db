"""A piece of a submission, called in the sandbox: what goes in and comes back, and what it leaves behind."""

from __future__ import annotations

import pytest
import torch
from saying import said

from diffusion_lab.exercises.probes import Probe
from diffusion_lab.grading.judge.calling import Foreign, LocalCaller


@pytest.fixture
def session(sandbox):
    with sandbox.open() as opened:
        yield opened


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("(i for i in range(3))", "generator"),
        ("object()", "object"),
        ("__import__('numpy').zeros(3)", "NumPy ndarray"),
        ("torch.zeros(3).as_subclass(type('T', (torch.Tensor,), {}))", "type T"),
        ("torch.zeros(10**8)", "too large"),
        ("torch.eye(3).to_sparse()", "layout"),
        ("type('E', (), {'__eq__': lambda a, b: True, '__reduce__': lambda a: (print, ())})()", "type E"),
        ("10**30", "53 bits"),
        ("[[[[[[[[[[1]]]]]]]]]]", ""),
        ("torch.nn.Linear(1, 1)", "type Linear"),
    ],
)
def test_what_is_not_plain_data_comes_as_its_description(session, value: str, kind: str):
    assert said(session, f"def piece(x):\n    return {value}") == ""
    with session.piece("piece") as call:
        found = call((1.0,)).value
    while isinstance(found, list):
        found = found[0]
    assert isinstance(found, Foreign) and kind in found.kind


def test_values_of_every_plain_kind_arrive_as_they_were(session):
    values = (
        1, -2.5, float("inf"), True, None, "text", torch.arange(6).reshape(2, 3), torch.tensor(1.5).double(),
        torch.zeros(0, 3), torch.ones(2, dtype=torch.bool), torch.tensor([1j]), {"a": torch.ones(1)}, [1, (2.0,)],
        torch.arange(12.0).reshape(3, 4).T, torch.arange(12.0)[::2],
    )  # fmt: skip
    assert (
        said(session, "def piece(*values):\n    return values, [getattr(v, 'is_contiguous', bool)() for v in values]")
        == ""
    )
    with session.piece("piece") as call:
        back, contiguous = call(values).value
    for sent, found in zip(values, back, strict=True):
        assert type(sent) is type(found)
        if isinstance(sent, torch.Tensor):
            assert sent.dtype == found.dtype and torch.equal(sent, found)
        elif isinstance(sent, dict):
            assert torch.equal(sent["a"], found["a"])
        else:
            assert sent == found
    assert contiguous[-2:] == [False, False]


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
