"""Black boxes: a student's function calls them here and in the sandbox alike, and never has what answers."""

from __future__ import annotations

import gc
import time

import pytest
import torch
from saying import said

from diffusion_lab.exercises.boxes import MOST_CALLS, MOST_ENTRIES, BlackBox, Box
from diffusion_lab.grading.isolation import remote
from diffusion_lab.grading.isolation.wire import Foreign
from diffusion_lab.grading.judge import LocalCaller


@pytest.fixture(scope="module")
def session(sandbox):
    with sandbox.open() as opened:
        yield opened


PATIENT = 60.0
"""Seconds for one call: thousands of answers may take long on a busy machine."""


def both_ways(session, code: str, *boxes: BlackBox):
    """What `check`, defined by the code, returns or raises for these boxes in this process and in the sandbox."""
    space = {"torch": torch}
    exec(code, space)
    assert said(session, code) == ""
    here = LocalCaller(space["check"], PATIENT)(boxes)
    with session.piece("check", limit=PATIENT) as call:
        there = call(boxes)
    assert (here.fault and (here.fault.name, here.fault.message)) == (
        there.fault and (there.fault.name, there.fault.message)
    )
    if isinstance(here.value, torch.Tensor):
        assert torch.equal(here.value, there.value)
    else:
        assert here.value == there.value
    return there.value if there.fault is None else there.fault


def tripled(x, times=3):
    if times == 0:
        raise ZeroDivisionError("by nothing")
    if times < 0:
        raise LookupError("of an odd kind")
    return times * x


def test_calls_go_out_and_numbers_come_back(session):
    box = BlackBox(tripled)
    code = "def check(piece):\n    return piece(torch.arange(3.0)) + piece(torch.ones(3), times=torch.tensor(2))"
    assert torch.equal(both_ways(session, code, box), torch.tensor([2.0, 5.0, 8.0]))
    assert both_ways(session, "def check(piece, other):\n    return piece(1) - other(5)", box, BlackBox(abs)) == -2


def test_a_piece_that_gives_a_tuple_with_names_gives_a_tuple(session):
    box = BlackBox(lambda x: x.topk(2))
    code = "def check(piece):\n    values, places = piece(torch.tensor([3.0, 1.0, 2.0]))\n    return values * places"
    assert torch.equal(both_ways(session, code, box), torch.tensor([0.0, 4.0]))
    assert both_ways(session, "def check(piece):\n    return str(type(piece(torch.ones(2))))", box) == str(tuple)


def test_errors_come_back_by_type_and_message(session):
    box = BlackBox(tripled)
    fault = both_ways(session, "def check(piece):\n    piece(1.0, 0)", box)
    assert (fault.name, fault.message) == ("ZeroDivisionError", "by nothing")
    assert both_ways(session, "def check(piece):\n    piece(1.0, -1)", box).name == "RuntimeError", "not a usual kind"
    code = "def check(piece):\n    try:\n        piece()\n    except TypeError as error:\n        return str(error)"
    assert "missing 1 required positional argument" in both_ways(session, code, box)


def test_sizes_and_counts_are_limited(session):
    box = BlackBox(tripled)
    for given in (f"torch.zeros({MOST_ENTRIES + 1})", "1e6", "lambda: 1", "[torch.zeros(9000)]"):
        fault = both_ways(session, f"def check(piece):\n    piece({given})", box)
        assert fault.name == "ValueError" and str(MOST_ENTRIES) in fault.message, given
    wide = BlackBox(lambda x: x[:, None] * x)
    assert "entries" in both_ways(session, "def check(piece):\n    piece(torch.ones(5000))", wide).message
    code = f"def check(piece):\n    for _ in range({MOST_CALLS} + 1):\n        piece(1)"
    assert str(MOST_CALLS) in both_ways(session, code, box).message
    assert both_ways(session, "def check(piece):\n    return piece(1)", box) == 3, "each call counts anew"


def test_a_piece_cannot_change_or_hold_what_it_is_given(session):
    def in_place(x):
        return x.add_(1)

    code = "def check(piece):\n    x = torch.zeros(2)\n    piece(x)\n    return x"
    assert torch.equal(both_ways(session, code, BlackBox(in_place)), torch.zeros(2))


def test_handles_look_alike_and_lead_nowhere(session):
    code = (
        "def check(piece, other):\n    names = [n for n in dir(piece) if not n.startswith('__')]\n"
        "    return [type(piece) is type(other), repr(piece) == repr(other), names, hasattr(piece, '__dict__')]"
    )
    assert both_ways(session, code, BlackBox(tripled), BlackBox(abs)) == [True, True, ["around"], False]


def test_in_the_sandbox_there_is_nothing_to_find(session):
    """Closures, the garbage collector and the frames lead to handles alone."""
    code = (
        "import gc, sys\n"
        "def check(piece):\n"
        "    frame, names = sys._getframe(), set()\n"
        "    while frame:\n"
        "        names |= set(frame.f_globals) | set(frame.f_locals)\n"
        "        frame = frame.f_back\n"
        "    held = [getattr(o, '__name__', '') for o in gc.get_objects()]\n"
        "    return 'marked_function' in held or 'marked_function' in names"
    )

    def marked_function(x):
        return x

    assert any(getattr(o, "__name__", "") == "marked_function" for o in gc.get_objects()), "it is found where it is"
    assert said(session, code) == ""
    with session.piece("check") as call:
        assert call((BlackBox(marked_function),)).value is False


def test_a_forged_question_is_refused(session):
    code = (
        "def check(piece):\n"
        "    asking = next(iter(__import__('sys').modules['__main__'].Box.__call__.__globals__['_asked'].values()))\n"
        "    asking.number = 7\n"
        "    return asking((1,), {}).message"
    )
    assert said(session, code) == ""
    with session.piece("check") as call:
        assert call((BlackBox(tripled),)).value == "there is no such piece"
    with session.piece("check") as call:
        assert not isinstance(call((BlackBox(tripled),)).value, (Foreign, Box))


def test_what_keeps_the_grader_from_running_is_no_time_of_the_call(sandbox, monkeypatch):
    """On a busy machine an answer takes long, and the student's code has nothing to do with it."""
    waited, really = [0.0], remote.kept_waiting

    def kept_from_running(x):
        time.sleep(0.25)
        waited[0] += 0.25
        return x

    with sandbox.open() as session:
        assert said(session, "def check(piece):\n    return [piece(i) for i in range(4)]") == ""
        with monkeypatch.context() as busy:
            busy.setattr(remote, "kept_waiting", lambda: really() + waited[0])
            with session.piece("check", limit=0.6) as call:
                assert call((BlackBox(kept_from_running),)).value == [0, 1, 2, 3]
        with session.piece("check", limit=0.6) as call:  # what it computes is
            assert call((BlackBox(kept_from_running),)).fault.kind == "time"
