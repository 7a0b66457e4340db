"""A reply may be anything: it costs the submission its points, and never the grader its time, memory or verdict."""

from __future__ import annotations

import json
import struct
import threading
import time

import pytest
import torch
from handed_in import CHAPTER, filled, right
from hypothesis import given, settings
from hypothesis import strategies as st

import diffusion_lab
from diffusion_lab.exercises import exercise, notebook
from diffusion_lab.grading.classroom import marking, workers
from diffusion_lab.grading.classroom.timing import TooLong, at_most
from diffusion_lab.grading.isolation import wire
from diffusion_lab.grading.isolation.remote import RemoteCaller
from diffusion_lab.grading.isolation.replies import Gone, fault_of, returned_of, texts_of
from diffusion_lab.grading.judge.calling import Returned
from diffusion_lab.grading.judge.checking import check

EXERCISES = notebook(CHAPTER).exercises
HANDED_IN = EXERCISES[:5]
SOME = {item.name: right()[item.name] for item in HANDED_IN}
"""What is handed in; the rest is not written, which is quick."""
POINTS = sum(item.points for item in HANDED_IN)

PARTS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.text(max_size=20),
    st.sampled_from([
        {"tensor": ["float32", [2, 3], None, 0]}, {"tensor": ["bool", [0, 7], None, 1]}, {"float": "nan"},
        {"tensor": ["uint8", [24], [1], 0]}, {"foreign": ["x"]}, {"foreign": "x"}, {"tensor": [[], {}, 1, "0"]},
        {"probe": ["os", "system", {"tuple": ["true"]}]}, {"tensor": ["int64", [1] * 60, None, 0]},
    ]),
)  # fmt: skip
VALUES = st.recursive(
    PARTS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: {"tuple": parts}),
        st.lists(inner, max_size=4).map(lambda parts: {"list": parts}),
        st.dictionaries(st.text(max_size=5), inner, max_size=4).map(lambda parts: {"dict": parts}),
        st.dictionaries(st.text(max_size=5), inner, max_size=2),
    ),
    max_leaves=12,
)
FIELDS = (
    "value", "fault", "gradients", "modified", "graph", "mode_kept", "printed", "names", "all", "tried", "ended",
    "left", "stand_in", "arguments", "vector",
)  # fmt: skip


class Said:
    """A socket on which these bytes have come."""

    def __init__(self, message: dict):
        header, blobs = json.dumps(message).encode(), (bytes(24), b"")
        sizes = struct.pack("<2Q", *map(len, blobs))
        self.data = memoryview(struct.pack("<II", len(header), 2) + sizes + header + b"".join(blobs))

    def recv_into(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self.data))
        buffer[:count], self.data = self.data[:count], self.data[count:]
        return count


class Line:
    """A submission's process that gives these replies, the last of them for ever."""

    def __init__(self, *replies: dict):
        self.replies = list(replies)

    def ask(self, message, limit):
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def waited(self) -> float:
        return 0.0

    def lose(self, why):
        raise Gone(why)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_whatever_a_reply_holds_is_read_or_refused(message: dict):
    try:
        reply = wire.receive(Said(message))
    except wire.WireError:
        return
    returned = returned_of(reply)
    assert isinstance(returned.printed, str) and all(type(place) is int for place in returned.modified)
    assert all(isinstance(text, str) for name in ("names", "all", "tried") for text in texts_of(reply.get(name)))
    found = RemoteCaller(Line(reply, {}), 1.0, {"helper": lambda *given: given[0] * 2})((1.0,))
    assert isinstance(found, Returned)
    verdict = check(exercise("alpha_bar"), lambda *_, **__: returned, 3, explain=False)
    assert 0 <= verdict.points < verdict.out_of


@pytest.mark.parametrize("odd", [torch.zeros(10**6), {"a": 1}, [1] * 1000, 7, None, ("x",)])
def test_text_alone_is_taken_for_text(odd):
    assert returned_of({"printed": odd}).printed == ""
    fault = fault_of({"kind": odd, "name": odd, "message": odd, "line": odd})
    assert (fault.kind, fault.name, fault.message, fault.line) == ("raised", "", "", "")


@pytest.mark.parametrize(
    ("value", "blob"),
    [
        ({"list": [{"tensor": ["uint8", [24], None, 0]}] * 2}, None),
        ({"list": [{"tensor": ["uint8", [2, 12], [7_000_000, 1], 0]}, {"tensor": ["uint8", [0], None, 1]}]}, None),
        ({"tensor": ["float32", [0, 2**39], None, 1]}, None),
        ({"tensor": ["float32", [2**39, 0, 2**39], None, 1]}, None),
        ({"tensor": ["uint8", [24, *[1] * 30], None, 0]}, None),
    ],
    ids=["bytes twice", "strides", "a long axis", "two of them", "many axes"],
)
def test_a_message_takes_no_more_memory_than_it_may_have(value, blob):
    small = {"tensor": ["uint8", [24], [300_000], 0]}
    assert wire.receive(Said({"value": small}))["value"].shape == (24,)
    if value == {"list": [{"tensor": ["uint8", [2, 12], [7_000_000, 1], 0]}, {"tensor": ["uint8", [0], None, 1]}]}:
        assert len(wire.receive(Said({"value": value}))["value"]) == 2, "one of seven megabytes fits"
        value = {"tensor": ["uint8", [2, 12], [9_000_000, 1], 0]}
    with pytest.raises(wire.WireError):
        wire.receive(Said({"value": value}))


@pytest.mark.parametrize("thread", [False, True], ids=["main thread", "another thread"])
def test_computing_has_a_limit_in_any_thread(thread: bool):
    found = []

    def compute():
        try:
            with at_most(0.3):
                while True:
                    try:
                        sum(range(1000))
                    except Exception:
                        continue
        except TooLong:
            found.append("too long")
        with at_most(60):
            found.append(sum(range(10**5)))

    if thread:
        run = threading.Thread(target=compute)
        run.start()
        run.join(60)
    else:
        compute()
    assert found == ["too long", sum(range(10**5))]


def test_waiting_is_not_computing():
    with at_most(0.2):
        time.sleep(0.8)


def graded(sources: dict[str, str], isolation: str = "bubblewrap") -> dict:
    order = {"student": "s", "chapter": CHAPTER, "digest": "", "seed": 5, "seed_id": "", "isolation": isolation}
    data = json.dumps(filled(SOME | sources)).encode()
    return workers.graded(order | {"data": data, "version": diffusion_lab.__version__})


@pytest.fixture(scope="module")
def _done():
    """One sandbox for all of these, which ends with them."""
    yield
    workers.done()


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("faults", [(RuntimeError("odd"), MemoryError(), RecursionError()), ("slow",)], ids=repr)
def test_what_goes_wrong_while_answers_are_compared_is_that_submissions(faults, monkeypatch: pytest.MonkeyPatch):
    """A piece of it loses its points, and the others keep theirs."""
    true_check, fault_in, tried = marking.check, dict(zip(SOME, faults, strict=False)), set()

    def broken(asked, caller, seed):
        if asked.name in fault_in and isinstance(caller, RemoteCaller):
            tried.add(asked.name)
            while fault_in[asked.name] == "slow":
                sum(range(1000))
            raise fault_in[asked.name]
        return true_check(asked, caller, seed)

    monkeypatch.setattr(marking, "check", broken)
    monkeypatch.setattr(marking, "COMPARING_LIMIT", 0.5 if faults == ("slow",) else 60.0)
    result = graded({})
    assert tried == set(fault_in) and result["state"] == "graded"
    assert result["points"] == POINTS - sum(item.points for item in EXERCISES if item.name in fault_in) > 0
    assert all(any(name in note for note in result["notes"]) for name in fault_in)


@pytest.mark.usefixtures("warm")
def test_a_fault_that_the_references_own_answers_have_is_the_graders(monkeypatch: pytest.MonkeyPatch):
    def broken(asked, caller, seed):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(marking, "check", broken)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        graded({})


@pytest.mark.parametrize("fault", [ValueError("x"), MemoryError(), KeyError("y")], ids=repr)
def test_a_notebook_that_breaks_its_reader_is_refused(fault, monkeypatch: pytest.MonkeyPatch):
    def broken(data, chapter):
        raise fault

    monkeypatch.setattr(workers, "parsed", broken)
    result = graded({})
    assert result["state"] == "refused" and type(fault).__name__ in result["reason"]


ODD = [
    "{'value': True, 'printed': torch.zeros(9), 'mode_kept': True}",
    "{'value': [torch.zeros(2)] * 3, 'printed': {'a': [1]}, 'fault': {'message': torch.ones(10**6)}}",
    "{'modified': torch.ones(3), 'gradients': {'x': 1}, 'fault': [1]}",
]


@pytest.mark.slow
@pytest.mark.usefixtures("_done")
@pytest.mark.parametrize("forged", ODD)
def test_odd_replies_get_marks_like_any_other_wrong_answer(forged: str):
    # Whoever calls `globals` may need every line, so this one is run.
    body = f"import sys\nglobals()\nsys.modules['__main__']._reply = lambda returned: {forged}\n"
    result = graded({EXERCISES[0].name: body + SOME[EXERCISES[0].name]}, "none")
    assert result["state"] == "graded" and result["points"] == 0


@pytest.mark.parametrize("name", ["rescale_zero_terminal_snr", "sqrt_alpha_bar", "alpha_bar"])
@pytest.mark.parametrize("make", [lambda x: torch.full_like(x, float("nan")), lambda x: x[:0]], ids=["nan", "empty"])
def test_nonsense_has_no_property(name: str, make):
    asked = exercise(name)

    def answer(arguments, **_):
        return Returned(value=make(asked.reference(*arguments)))

    labels = {item.label for item in asked.properties}
    found = [outcome for outcome in check(asked, answer, 3, explain=False).outcomes if outcome.label in labels]
    assert found and not any(outcome.passed for outcome in found)
