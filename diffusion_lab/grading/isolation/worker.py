"""The process inside the sandbox: imports PyTorch once, and gives each submission a fork of itself.

    worker      waits for the grader; knows no student code
    └ guard     one for each submission: watches its memory and processes, and ends it when the grader says so
      └ first   process 1 of a tree of its own: runs the solution cells and calls the functions in them

Of the package, only this file, `wire`, `calling`, `namespaces`, `syscalls` and the probes exist in the sandbox.
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
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffusion_lab import exercises
from diffusion_lab.grading.isolation import namespaces, syscalls, wire
from diffusion_lab.grading.judge.calling import PACKAGE, Fault, LocalCaller, Returned, words_of

PROBES: dict[str, Any] = {}
"""The modules of them, by name."""
MOST_ATTEMPTS = 5
WATCH_EVERY = 0.05
"""Seconds between two looks of a guard."""


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
    while True:
        request, descriptors, *_ = socket.recv_fds(control, 65536, 2)
        if not request:
            return
        if os.fork() == 0:
            control.close()
            _guard(json.loads(request), *(socket.socket(fileno=descriptor) for descriptor in descriptors))
        for descriptor in descriptors:
            os.close(descriptor)


def _guard(limits: dict[str, Any], life: socket.socket, talk: socket.socket) -> None:
    """Start the submission's first process and watch it. Ends with a word on `life` about why."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        namespaces.enter_new(limits["tmp"])
        first = os.fork()
    except OSError as error:
        life.sendall(f"failed: {error}".encode())
        os._exit(1)
    if first == 0:
        life.close()
        _first(limits, talk)
    talk.close()
    why, own = b"ended", _memory_and_threads("self")[0]
    while True:
        readable, _, _ = select.select([life], [], [], WATCH_EVERY)
        if readable:  # the grader has closed its end
            break
        if os.waitpid(first, os.WNOHANG)[0]:
            first = 0
            break
        memory, processes, threads = _usage({os.getpid(), os.getppid(), 1}, own)
        if memory > limits["memory"]:
            why = b"memory"
        elif processes > limits["processes"] or threads > limits["threads"]:
            why = b"processes"
        else:
            continue
        break
    if first:
        os.kill(first, signal.SIGKILL)  # and with it every process of its tree
        os.waitpid(first, 0)
    with contextlib.suppress(OSError):
        life.sendall(why)
    os._exit(0)


def _usage(others: set[int], inherited: int) -> tuple[int, int, int]:
    """Bytes of memory beyond what each process inherited, processes, and their threads, of all but `others`."""
    memory = processes = threads = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in others:
            with contextlib.suppress(OSError, ValueError):
                held, running = _memory_and_threads(name)
                memory += max(0, held - inherited)
                threads += running
                processes += 1
    return memory, processes, threads


def _memory_and_threads(process: str) -> tuple[int, int]:
    """Bytes that a process holds, shared or moved to disk among them and files not, and how many threads it has."""
    with open(f"/proc/{process}/status") as file:
        values = dict(line.split(":", 1) for line in file)
    # A process that has ended and is not waited for has no memory.
    held = (values.get(name, "0").split()[0] for name in ("RssAnon", "RssShmem", "VmSwap"))
    return 1024 * sum(map(int, held)), int(values["Threads"])


def _first(limits: dict[str, Any], talk: socket.socket) -> None:
    try:
        namespaces.give_up_privileges()
        syscalls.refuse()
        _limit(limits)
        resource.setrlimit(resource.RLIMIT_NPROC, (limits["processes"], limits["processes"]))
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
    tried = _Attempts().seen
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
            with _replaced(space, {name: _StandIn(talk, name) for name in message["stand_ins"]}):
                _serve_piece(talk, space[message["name"]])
            wire.send(talk, {"ended": True, "tried": tried})


class _Attempts:
    """From here on there is no module of this package to import, and whoever looks for one, or for a file, is noted."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        for name in [name for name in sys.modules if name.partition(".")[0] == "diffusion_lab"]:
            del sys.modules[name]
        sys.meta_path.insert(0, self)
        sys.addaudithook(self._hear)

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] == "diffusion_lab":
            self._note(name)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def _hear(self, event: str, given: tuple) -> None:
        # Tracebacks open the files that do exist here.
        if event == "open" and isinstance(given[0], str) and "diffusion_lab" in given[0]:
            if not given[0].startswith(str(PACKAGE)):
                self._note(given[0])

    def _note(self, what: str) -> None:
        if what not in self.seen and len(self.seen) < MOST_ATTEMPTS:
            self.seen.append(what)


@contextlib.contextmanager
def _replaced(space: dict[str, Any], functions: dict[str, Any]) -> Iterator[None]:
    """Other functions in the place of the student's, which come back afterwards, as PyTorch's usual dtype does."""
    before, dtype = {name: space[name] for name in functions if name in space}, torch.get_default_dtype()
    space.update(functions)
    try:
        yield
    finally:
        for name in functions:
            space.pop(name, None)
        space.update(before)
        torch.set_default_dtype(dtype)


def _serve_piece(talk: socket.socket, function: Any) -> None:
    while True:
        message = wire.receive(talk, _probe)
        if message["op"] == "end":
            return
        call = LocalCaller(function, message["limit"])
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
        wire.send(self.talk, {"stand_in": self.__name__, "arguments": arguments, "vector": vector})
        reply = wire.receive(self.talk)
        if reply["refused"]:
            raise TypeError(f"{self.__name__}: {reply['refused']}")
        return reply["value"]


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
            exec(compile(source, name, "exec", dont_inherit=True), space)
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
