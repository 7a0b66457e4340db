"""The process inside the sandbox: imports PyTorch once, and gives each submission a fork of itself.

    worker      waits for the grader; knows no student code
    └ guard     one for each submission: watches its memory and processes, and ends it when the grader says so
      └ first   process 1 of a tree of its own: runs the solution cells and calls the functions in them

Of the package, only this file, those that it imports and the probes exist in the sandbox.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import linecache
import math
import os
import resource
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffusion_lab import exercises
from diffusion_lab.exercises.boxes import Answer, Box
from diffusion_lab.grading.isolation import groups, guarding, namespaces, syscalls, wire
from diffusion_lab.grading.isolation.attempts import Attempts
from diffusion_lab.grading.judge.calling import (
    PACKAGE,
    Fault,
    LocalCaller,
    Returned,
    excuse,
    runnable,
    usual_settings,
    words_of,
)

PROBES: dict[str, Any] = {}
"""The modules of them, by name."""
LAZY = ("torch._dynamo", "torch.func", "torch.optim")
"""Parts of PyTorch that it imports when they are first used, in a second or two: `torch.func.grad` and the optimisers
need them. They are imported while the first submission is at work, and all that follow have them."""


def main() -> None:
    """Serve on the socket whose descriptor is the first argument, until the grader closes it.

    With limits in the place of a descriptor this is a process for one submission, on standard input and output: the
    walls are a container's, or there are none.
    """
    torch.set_num_threads(1)
    torch.nn.functional.softmax(torch.zeros(2, requires_grad=True), 0).sum().backward()  # wakes what is lazy
    for path in Path(exercises.__file__).parent.rglob("probes.py"):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        PROBES[name] = importlib.import_module(name)
    if not sys.argv[1].isdigit():
        _alone(json.loads(sys.argv[1]))
    control = socket.socket(fileno=int(sys.argv[1]))
    namespaces.hide_from_children()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    control.sendall(b"ready")
    warm = False
    while True:
        request, descriptors, *_ = socket.recv_fds(control, 65536, 4)
        if not request:
            return
        if os.fork() == 0:
            control.close()
            life, talk, *group = descriptors
            _guard(json.loads(request), socket.socket(fileno=life), socket.socket(fileno=talk), group)
        for descriptor in descriptors:
            os.close(descriptor)
        if not warm:
            warm = True
            for name in LAZY:
                with contextlib.suppress(Exception):  # whoever needs it learns why it is not there
                    importlib.import_module(name)
            gc.collect()
            gc.freeze()


def _guard(limits: dict[str, Any], life: socket.socket, talk: socket.socket, group: Sequence[int] = ()) -> None:
    """Start the submission's first process and watch it. Ends with a word on `life` about why.

    Args:
        group: descriptors of its control group's folder and of the door into it; empty where it has none.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        namespaces.enter_new(limits["tmp"], limits.get("files", 0), limits.get("below_tmp", ()))
        first = os.fork()
    except OSError as error:
        life.sendall(f"failed: {error}\n".encode())
        os._exit(1)
    if first == 0:
        try:
            if group:
                groups.enter(group[1])
        except OSError as error:
            life.sendall(f"failed: it cannot enter its control group: {error}\n".encode())
            os._exit(1)
        for descriptor in group:  # with them it could lift its own limits
            os.close(descriptor)
        life.close()
        _first(limits, talk)
    talk.close()
    guarding.watch(first, life, limits, group[0] if group else None)
    os._exit(0)


def _first(limits: dict[str, Any], talk: socket.socket) -> None:
    try:
        namespaces.go_first()
        namespaces.give_up_privileges()
        syscalls.refuse()
        _limit(limits)
        # The kernel counts both as one. This holds until the guard's next look, which tells them apart.
        tasks = 4 * (limits["processes"] + limits["threads"])
        resource.setrlimit(resource.RLIMIT_NPROC, (tasks, tasks))
        _mute()
        os.chdir("/tmp")
        _serve(talk)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _alone(limits: dict[str, Any]) -> None:
    """Serve one submission on what were standard input and output. Processes are not counted: others may be ours."""
    talk = _Pipes(os.dup(0), os.dup(1))
    if limits.get("walls"):
        syscalls.refuse()  # engines differ in what they refuse
    _limit(limits)
    wire.send(talk, {"ready": str(torch.__version__)})
    _mute()
    try:
        _serve(talk)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _limit(limits: dict[str, Any]) -> None:
    # A limit of 0 keeps no memory image from a program that the system starts to collect them; 1 does.
    for name, value in (
        ("CPU", limits["cpu"]), ("FSIZE", limits["tmp"]), ("CORE", 1), ("NOFILE", 128), ("AS", limits["address"]),
        # Who works with sound or video may go before all other programs; none of it comes from there to here.
        ("RTPRIO", 0), ("NICE", 0), ("MEMLOCK", 0), ("MSGQUEUE", 0),
    ):  # fmt: skip
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def _mute() -> None:
    """Standard input, output and error lead nowhere from now on."""
    nowhere = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


class _Pipes:
    """Two descriptors, used as a socket is."""

    def __init__(self, source: int, to: int):
        self.source, self.to = source, to

    def recv_into(self, buffer: memoryview) -> int:
        return os.readv(self.source, [buffer])

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.to, view) :]


def _serve(talk: socket.socket) -> None:
    """Answer the grader until it hangs up. Everything the student's code could do here, it does to itself alone."""
    tried = Attempts().seen
    space: dict[str, Any] = {
        "__name__": "__main__", "math": math, "torch": torch, "Tensor": Tensor, "nn": nn, "functional": functional,
    }  # fmt: skip
    while True:
        message = wire.receive(talk, _probe)
        if message["op"] == "cell":
            fault = _run_cell(message["name"], bytes(message["source"].tolist()).decode(), space)
            wire.send(talk, {"fault": None if fault is None else _as_dict(fault)})
        elif message["op"] == "names":
            there = [name for name in message["names"] if callable(space.get(name))]
            wire.send(talk, {"names": there, "all": _defined(space), "tried": tried})
        elif message["op"] == "piece":
            stand_ins = {name: _StandIn(talk, name) for name in message["stand_ins"]}
            threads = threading.active_count()
            with _replaced(space, stand_ins), usual_settings():
                _serve_piece(talk, space[message["name"]], message["driver"])
            left = threading.active_count() > threads or _has_children()
            wire.send(talk, {"ended": True, "tried": tried, "left": left})


def _has_children() -> bool:
    """Whether processes that were started here still run. Those that have ended are cleared away."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return False
    return True


@contextlib.contextmanager
def _replaced(space: dict[str, Any], functions: dict[str, Any]) -> Iterator[None]:
    """Other functions in the place of the student's, which come back afterwards."""
    before = {name: space[name] for name in functions if name in space}
    space.update(functions)
    try:
        yield
    finally:
        for name in functions:
            space.pop(name, None)
        space.update(before)


def _serve_piece(talk: socket.socket, function: Any, driver: tuple[str, str] | None) -> None:
    runs = None if driver is None else getattr(PROBES[driver[0]], driver[1])
    while True:
        message = wire.receive(talk, _probe, lambda number: Box.around(_Asking(talk, number)))
        if message["op"] == "end":
            return
        call = LocalCaller(function, message["limit"], runs)
        returned = call(message["arguments"], seed=message["seed"], gradients=message["gradients"])
        wire.send(talk, _reply(returned))


class _StandIn:
    """A piece that the student's code calls and that the grader computes; gradients go through it."""

    def __init__(self, talk: socket.socket, name: str):
        self.talk, self.__name__ = talk, name

    def __call__(self, *arguments: Any) -> Any:
        if any(isinstance(a, Tensor) and a.requires_grad for a in arguments):
            places = [i for i, a in enumerate(arguments) if isinstance(a, Tensor) and a.is_floating_point()]
            return _Differentiable.apply(self, arguments, places, *(arguments[i] for i in places))
        return self.ask(arguments)

    def ask(self, arguments: tuple, vector: Tensor | None = None) -> Any:
        reply = _asked(self.talk, {"stand_in": self.__name__, "arguments": arguments, "vector": vector})
        if reply["refused"]:
            raise TypeError(f"{self.__name__}: {reply['refused']}")
        return reply["value"]


class _Asking:
    """The calls of a black box: each goes out, and the grader computes the answer."""

    def __init__(self, talk: socket.socket, number: int):
        self.talk, self.number = talk, number

    def __call__(self, arguments: tuple, named: dict[str, Any]) -> Answer:
        reply = _asked(self.talk, {"box": self.number, "arguments": arguments, "named": named})
        return Answer(reply["value"], reply["error"], reply["message"])


def _asked(talk: socket.socket, question: dict[str, Any]) -> dict[str, Any]:
    """The grader's reply in the middle of a call. What others kept the grader from running is no time of the call's."""
    wire.send(talk, question)
    reply = wire.receive(talk)
    excuse(reply["waited"])
    return reply


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, stand_in: _StandIn, arguments: tuple, places: list[int], *tensors: Tensor) -> Tensor:
        context.stand_in, context.arguments = stand_in, arguments
        return stand_in.ask(arguments)

    @staticmethod
    def backward(context: Any, vector: Tensor) -> tuple:
        return (None, None, None, *context.stand_in.ask(context.arguments, vector))


def _reply(returned: Returned) -> dict[str, Any]:
    return {
        "value": _described(returned.value),
        "fault": None if returned.fault is None else _as_dict(returned.fault),
        "gradients": returned.gradients,
        "modified": returned.modified,
        "graph": returned.graph,
        "mode_kept": returned.mode_kept,
        "printed": returned.printed[: wire.LONGEST_TEXT],
    }


def _described(value: Any) -> Any:
    """NumPy arrays by their own name: people return them by mistake."""
    return wire.Foreign(f"a NumPy {type(value).__name__}") if type(value).__module__ == "numpy" else value


def _run_cell(name: str, source: str, space: dict[str, Any]) -> Fault | None:
    """Run one solution cell; a fault in it is told with the line that made it."""
    lines = [f"{line}\n" for line in source.split("\n")]  # where Python sees lines, and nowhere else
    linecache.cache[name] = (len(source), None, lines, name)
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            runnable(source, name, space)()
    except SyntaxError as error:
        return Fault("raised", "SyntaxError", str(error.msg), f"line {error.lineno}: {(error.text or '').strip()}")
    except (Exception, SystemExit) as error:
        own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
        return Fault(
            "raised", type(error).__name__, words_of(error), f"line {own[-1].lineno}: {own[-1].line}" if own else ""
        )
    return None


def _defined(space: dict[str, Any]) -> list[str]:
    return [name for name, value in space.items() if callable(value) and not name.startswith("_")][:200]


def _as_dict(fault: Fault) -> dict[str, str]:
    return {"kind": fault.kind, "name": fault.name, "message": fault.message, "line": fault.line}


def _probe(module: str, name: str, arguments: tuple, state: dict[str, Tensor]) -> nn.Module:
    made = getattr(PROBES[module], name)(*arguments)
    made.load_state_dict(state)
    return made


if __name__ == "__main__":
    main()
