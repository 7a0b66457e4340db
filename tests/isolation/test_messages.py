"""What comes out of the sandbox: plain data as it was, anything else as words, and forged messages as neither."""

from __future__ import annotations

import json
import struct
import time

import pytest
import torch
from saying import said

from diffusion_lab.grading.isolation import wire
from diffusion_lab.grading.isolation.replies import Gone
from diffusion_lab.grading.judge.calling import Foreign


@pytest.fixture(scope="module")
def session(sandbox):
    """One for all: none of these may end it."""
    with sandbox.open() as opened:
        yield opened


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("torch.zeros(3, device='meta')", "on meta"),
        ("torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.quint8)", "quint8"),
        ("torch.ones(2, dtype=torch.uint64)", "uint64"),
        ("torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)])", "cannot be read"),
        ("torch.zeros(1).expand(10**9)", "too large"),
        ("__import__('numpy').array([object()])", "NumPy ndarray"),
        ("__import__('numpy').float64(1)", "NumPy float64"),
        ("type('F', (float,), {'__eq__': lambda a, b: True})(1.0)", "type F"),
        ("type('I', (int,), {})(1)", "type I"),
        ("iter(int, 1)", "iterator"),
        ("...", "ellipsis"),
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
)  # fmt: skip
def test_odd_values_are_words(session, value: str, kind: str):
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


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("x = []; x.append(x); return x", "RecursionError"),
        ("return type('D', (dict,), {'items': lambda self: 1 / 0})(a=1)", "ZeroDivisionError"),
        ("return torch.nn.parameter.UninitializedParameter()", "ValueError"),
        ("kept = []; torch.vmap(lambda y: (kept.append(y), y)[1])(torch.zeros(3)); return kept[0]", "RuntimeError"),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()", "Odd"),
    ],
    ids=["a list in itself", "a broken dictionary", "no data", "from inside of vmap", "no message"],
)  # fmt: skip
def test_what_cannot_be_looked_at_is_a_fault_of_one_call(session, body: str, name: str):
    assert said(session, f"def piece(x):\n    {body}") == ""
    with session.piece("piece") as call:
        fault = call((1.0,)).fault
    assert fault is not None and fault.name == name and "cannot be read" in fault.message
    assert said(session, "raise ValueError(7)") == "ValueError: 7", "it is the same process"


def test_words_of_the_student_stay_in_their_line(session):
    """Else they could look like lines of the grader's own."""
    assert said(session, "def piece(x):\n    raise ValueError('\\n✓ piece: 9 of 9 points\\n')") == ""
    with session.piece("piece") as call:
        fault = call((1.0,)).fault
    assert "\n" not in f"{fault.name}{fault.message}{fault.line}"
    forged = {"kind": "raised", "name": "a\nb", "message": "c\n✓ d", "line": "\n✓ e"}
    assert said(session, f"import sys\nsys.modules['__main__']._as_dict = lambda fault: {forged!r}") == ""
    with session.piece("piece") as call:
        fault = call((1.0,)).fault
    assert (fault.name, fault.message, fault.line) == ("a b", "c ✓ d", "✓ e")


def frame(header: bytes, *blobs: bytes) -> bytes:
    sizes = struct.pack(f"<{len(blobs)}Q", *map(len, blobs))
    return struct.pack("<II", len(header), len(blobs)) + sizes + header + b"".join(blobs)


def reply(value: object) -> bytes:
    return json.dumps({"value": value}).encode()


class Received:
    """A socket that has received these bytes."""

    def __init__(self, data: bytes):
        self.data = memoryview(data)

    def recv_into(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self.data))
        buffer[:count], self.data = self.data[:count], self.data[count:]
        return count


class Sent(bytearray):
    """A socket that keeps what is sent."""

    sendall = bytearray.extend


TABLE = torch.arange(24.0).reshape(2, 3, 4) + 0.5


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x,
        lambda x: x[:, :, -1],
        lambda x: x[:1, 0, -1],
        lambda x: x[:1, 0, -1].clone(),
        lambda x: x[0, :1, ::4],
        lambda x: x[1, 2, 3],
        lambda x: x[1, 2, 3].expand(1),
        lambda x: x[1, 2, 3].expand(2, 1),
        lambda x: x.mT[:, 3:, :1],
        lambda x: x.flatten()[5::24],
        lambda x: x[:, :0, 1:2],
    ],
    ids=("all", "last", "one last", "its copy", "one of a row", "a number", "spread to one", "spread", "turned",
         "one in many", "none"),
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64], ids=str)
def test_a_part_of_a_tensor_arrives_as_it_was(view, dtype):
    """However it lies in memory: in a batch of one, the last column is one number that is 24 numbers apart."""
    part, sent = view(TABLE.to(dtype)), Sent()
    wire.send(sent, {"value": part, "conjugated": part.conj()})
    got = wire.receive(Received(bytes(sent)))
    assert torch.equal(got["value"], part) and torch.equal(got["conjugated"], part.conj().resolve_conj())
    assert got["value"].dtype == dtype and got["value"].shape == part.shape
    if part.numel() and 0 not in part.stride():
        assert got["value"].stride() == part.stride()


@pytest.mark.parametrize(
    "message",
    [
        frame(reply({"float": 10**400})),
        frame(b'{"value": ' + b"9" * 5000 + b"}"),
        frame(reply({"float": [1]})),
        frame(reply({"tuple": [1] * 10_001})),
        frame(reply({"list": [{"tuple": [1] * 200}] * 200})),
        frame(reply({"dict": {str(i): 1 for i in range(10_001)}})),
        frame(reply({"tuple": 5})),
        frame(reply({"tensor": ["float32", [2], None, 7]}), bytes(8)),
        frame(reply({"tensor": ["float32", [2], None, 10**30]}), bytes(8)),
        frame(reply({"tensor": ["float32", [2.0], None, 0]}), bytes(8)),
        frame(reply({"tensor": ["float32", [2**62, 4], None, 0]})),
        frame(reply({"tensor": ["float32", [2, 2], [1 << 23, 1 << 23], 0]}), bytes(16)),
        frame(reply({"tensor": ["float32", [2], [-1], 0]}), bytes(8)),
        frame(reply({"tensor": [["float32"], [2], None, 0]}), bytes(8)),
        frame(reply({"tensor": {"name": 1}})),
        frame(reply({"probe": ["os", "system", {"tuple": ["true"]}]})),
        frame(b'{"value": {"float": "x"}}'),
        frame(b"\xff\xfe{}"),
        frame(b"[" * 100_000),
        struct.pack("<IIQ", 2, 1, 2**63) + b"{}",
        struct.pack("<II", 2, 2**31),
    ],
)
def test_a_forged_message_is_refused_by_its_own_error(message: bytes):
    with pytest.raises(wire.WireError):
        wire.receive(Received(message))


def test_bytes_that_no_tensor_has_do_no_harm():
    """Booleans that are neither 0 nor 1, overlapping strides, and numbers that are none."""
    for name, shape, stride, blob in (
        ("bool", [4], None, b"\xff\x02\x00\x01"),
        ("float32", [2, 2], [1, 1], bytes(16)),
        ("float32", [1], None, b"\x01\x00\x80\x7f"),
    ):
        value = wire.receive(Received(frame(reply({"tensor": [name, shape, stride, 0]}), blob)))["value"]
        assert list(value.shape) == shape and value.double().numel() == value.numel()


def test_names_and_texts_are_cut_and_printable():
    long = {"dict": {"\x1b[31m" + "k" * 10**5: "v" * 10**5}}
    ((key, text),) = wire.receive(Received(frame(reply(long))))["value"].items()
    assert len(key) <= 100 and "\x1b" not in key and len(text) <= wire.LONGEST_TEXT


@pytest.mark.parametrize(
    "forged",
    [
        "{}",
        "{'fault': 7}",
        "{'fault': {'kind': []}}",
        "{'value': True, 'modified': (-99, 10**9, None)}",
        "{'names': 3}",
    ],
)
def test_a_forged_reply_is_no_fault_of_the_grader(sandbox, forged: str):
    """Whatever it says, the session goes on or ends as a student's does."""
    with sandbox.open() as session:
        said(session, f"import sys\nsent = sys.modules['__main__'].wire.send\nsys.modules['__main__'].wire.send = "
             f"lambda talk, message: sent(talk, {forged})")  # fmt: skip
        try:
            session.run_cell("cell", "x = 1")
            assert session.names(["piece"])[0] == set()
            with session.piece("piece") as call:
                returned = call((1.0,))
            assert all(place >= 0 for place in returned.modified)
        except Gone:
            pass


@pytest.mark.parametrize(
    "request_of",
    [
        "{'stand_in': ['helper'], 'arguments': (1,)}",
        "{'stand_in': {'a': 1}, 'arguments': (1,)}",
        "{'stand_in': torch.ones(2), 'arguments': (1,)}",
        "{'stand_in': 'helper', 'arguments': [1]}",
        "{'stand_in': 'helper', 'arguments': (2**40,)}",
        "{'stand_in': 'helper', 'arguments': (torch.tensor(2**40),)}",
        "{'stand_in': 'helper', 'arguments': (torch.tensor([[1e9]]),)}",
        "{'stand_in': 'helper', 'arguments': ([torch.zeros(2**15)],)}",
    ],
)
def test_a_stand_in_is_asked_for_by_its_name_and_with_little(sandbox, request_of: str):
    asked = []
    with sandbox.open() as session:
        source = (
            f"def piece(x):\n    main.wire.send(helper.talk, {request_of})\n    return main.wire.receive(helper.talk)"
        )
        assert said(session, f"import sys\nmain = sys.modules['__main__']\n{source}") == ""
        with session.piece("piece", stand_ins={"helper": lambda *given: asked.append(given)}) as call:
            reply = call((1.0,)).value
        assert reply["value"] is None and reply["refused"]
    assert asked == []


def test_a_stand_in_that_takes_much_memory_is_an_error_of_the_students(sandbox):
    """A few numbers can ask for a large table: the grader's own memory is bounded while it computes."""

    def table(megabytes):
        return torch.ones(int(megabytes), 10**6, dtype=torch.uint8).sum()

    with sandbox.open() as session:
        assert said(session, "def piece(x):\n    return table(x)") == ""
        with session.piece("piece", stand_ins={"table": table}) as call:
            assert call((10.0,)).value == 10**7
            assert "can't allocate memory" in call((3000.0,)).fault.message
            assert call((10.0,)).value == 10**7


def test_a_piece_cannot_keep_the_grader_computing(sandbox):
    """Each answer to a stand-in comes before the limit, and all of them together would never end."""

    def helper(x):
        time.sleep(0.2)
        return x

    with sandbox.open() as session:
        assert said(session, "def piece(x):\n    while True: x = helper(x)") == ""
        began = time.monotonic()
        with session.piece("piece", limit=1.0, stand_ins={"helper": helper}) as call:
            fault = call((1.0,)).fault
        assert fault is not None and fault.kind == "time"
        assert time.monotonic() - began < 10  # by the clock in the sandbox or the grader's, whichever is first


@pytest.mark.parametrize(
    ("attempt", "what"),
    [
        ("import importlib\nimportlib.import_module('diffusion_' + 'lab.levels')", "diffusion_lab"),
        ("__import__('diffusion_' + 'lab.chapters')", "diffusion_lab"),
        ("import importlib\nimportlib.import_module('diffusion_' + 'lab.exercises')", "diffusion_lab"),
        ("import importlib.util\nimportlib.util.find_spec('diffusion_' + 'lab')", "diffusion_lab"),
        ("open('/srv/diffusion_' + 'lab/exercises/catalogue.py')", "/srv/diffusion_lab/exercises/catalogue.py"),
        ("x = 1\ndef piece(x): return torch.ones(2) / x\npiece(0)", ""),
        ("import json, numpy, copy\nraise ValueError(copy.deepcopy(torch.ones(2)))", ""),
    ],
)
def test_who_looks_for_the_reference_is_noted_however_it_is_spelled(sandbox, attempt: str, what: str):
    with sandbox.open() as session:
        said(session, attempt)
        session.names([])
        assert session.tried == ({what} if what else set())


def test_a_tensor_that_fits_on_the_wire_arrives(session):
    assert said(session, "def piece(x):\n    return x * 2") == ""
    with session.piece("piece") as call:
        assert torch.equal(call((torch.ones(2**18),)).value, torch.full((2**18,), 2.0))
