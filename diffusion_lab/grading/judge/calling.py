"""One call of a student's function, with everything about it that a check looks at.

The check knows functions only through a `Caller`, which may stand for a function in this process or in another one.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import copy
import ctypes
import functools
import importlib
import inspect
import io
import linecache
import os
import signal
import threading
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.boxes import BlackBox, leaves

LIMIT = 5.0
"""Seconds that one call may take; the reference takes milliseconds."""
FAR = 3.0
"""How many times its limit a call may have on top, where other programs keep it from running."""
PACKAGE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Fault:
    """Why a call gave no answer."""

    kind: str
    """"not written", "raised" or "time"."""
    name: str
    """The exception's class."""
    message: str
    line: str = ""
    """The student's own line, with its number."""


class ProcessGone(Fault):
    """The fault of a call whose process is gone. No reply makes one, whatever the exception in it is called."""


@dataclass(frozen=True)
class Returned:
    """What one call gave."""

    value: Any = None
    fault: Fault | None = None
    gradients: tuple[Tensor, ...] = ()
    """Of the sum of the value, for every weight of the networks among the arguments, or else as `followed` says."""
    modified: tuple[int, ...] = ()
    """Positions of arguments that the call changed."""
    graph: bool = False
    """Whether the value still hangs on an autograd graph."""
    mode_kept: bool = True
    """Whether the networks are in the mode (training or evaluation) in which they came."""
    printed: str = ""


@dataclass(frozen=True)
class Foreign:
    """Part of an answer that is not plain data, on the side where it cannot exist: it equals nothing."""

    kind: str


class Caller(Protocol):
    """Calls one function of the student's."""

    def __call__(self, arguments: tuple, *, seed: int = 0, gradients: bool = False) -> Returned: ...


@dataclass
class LocalCaller:
    """Calls a function of this process on copies of the arguments."""

    function: Callable
    limit: float = LIMIT
    driver: Callable | None = None
    """Runs the function with the arguments, where calling it with them is not enough."""
    lines: bool = True
    """Whether the line of an error is looked for; of a thousand functions that are tried, no one asks."""
    own_networks: bool = True
    """Whether each call gets copies of the networks too, which takes most of the time of a short call. Where it does
    not, whoever calls knows that the function leaves them alone."""
    printed: str = field(default="", init=False)

    def __call__(self, arguments: tuple, *, seed: int = 0, gradients: bool = False) -> Returned:
        shared = () if self.own_networks else tuple(id(a) for a in arguments if isinstance(a, nn.Module))
        given = tuple(a if id(a) in shared else _copied(a) for a in arguments)
        for argument in given:
            if isinstance(argument, nn.Module):
                argument.train()
        sources = [weight for a in given if isinstance(a, nn.Module) for weight in a.parameters()]
        if gradients and (place := followed(given)) is not None:
            sources = [given[place].detach().requires_grad_()]
            with torch.enable_grad():  # a copy: a leaf could not be changed in place
                given = (*given[:place], _cloned(sources[0]), *given[place + 1 :])
        if self.driver is not None or hasattr(self.function, "driver"):
            _wake_optimizers()
        output = io.StringIO()
        value, fault = None, None
        try:
            with _quiet(output), torch.random.fork_rng(devices=[]), torch.enable_grad(), _time_limit(self.limit):
                torch.default_generator.manual_seed(seed)  # all that devices=[] puts back, and a third of the time
                value = self.function(*given) if self.driver is None else self.driver(self.function, *given)
        except NotImplementedError as error:
            fault = Fault("not written", "NotImplementedError", words_of(error), self._line(error))
        except _TooLong as error:
            fault = Fault("time", "TimeoutError", f"no answer after {self.limit:g} s", self._line(error))
        except (Exception, SystemExit) as error:
            fault = Fault("raised", type(error).__name__, words_of(error), self._line(error))
        if fault is None:
            try:
                return self._looked_at(value, arguments, given, sources if gradients else None, output.getvalue())
            except Exception as error:  # what is no plain data may do anything when it is looked at
                fault = Fault("raised", type(error).__name__, f"what it returned cannot be read: {words_of(error)}")
        return Returned(fault=fault, printed=output.getvalue())

    def _line(self, error: BaseException) -> str:
        return _own_line(error, self.function) if self.lines else ""

    @staticmethod
    def _looked_at(value: Any, arguments: tuple, given: tuple, sources: list[Tensor] | None, printed: str) -> Returned:
        networks = [argument for argument in given if isinstance(argument, nn.Module)]
        tensors = [leaf for leaf in leaves(value) if isinstance(leaf, Tensor)]
        graph = any(leaf.requires_grad for leaf in tensors)
        return Returned(
            value=_detached(value),
            gradients=_gradients(tensors, sources) if sources is not None and graph else (),
            modified=tuple(i for i, (a, b) in enumerate(zip(arguments, given, strict=True)) if not _same(a, b)),
            graph=graph,
            mode_kept=all(network.training for network in networks),
            printed=printed,
        )


def _wake_optimizers() -> None:
    """Have PyTorch import what it puts off until the first optimizer is made, which takes seconds.

    Under the time limit of a call it could end half way, and be broken from then on.
    """
    with contextlib.suppress(Exception):  # whoever needs it learns why it is not there
        importlib.import_module("torch._dynamo")


@contextlib.contextmanager
def usual_settings() -> Iterator[None]:
    """PyTorch's settings as they are where marks are given, whatever a notebook has set; afterwards as before."""
    with settings_kept(), torch.enable_grad():
        torch.set_default_dtype(torch.float32)
        if _chosen_device() is not None:
            torch.set_default_device(None)
        yield


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Put the dtype and the device of new tensors back, whatever is set meanwhile."""
    dtype, device = torch.get_default_dtype(), _chosen_device()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        if _chosen_device() != device:
            torch.set_default_device(device)


def _chosen_device() -> torch.device | None:
    """What somebody has made the device of new tensors; None where nobody has.

    `torch.get_default_device` makes a tensor to find out, and fails where the device is not on this machine.
    """
    context = getattr(getattr(torch, "_GLOBAL_DEVICE_CONTEXT", None), "device_context", None)
    return None if context is None else context.device


def runnable(source: str, name: str, space: dict[str, Any]) -> Callable[[], Any]:
    """Code as a function that runs it in this namespace. As in a notebook, `await` may stand outside of functions.

    Raises:
        SyntaxError: or ValueError, RecursionError, MemoryError, where it is no Python.
    """
    code = compile(source, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    space.setdefault("__builtins__", vars(builtins))  # as `exec` does
    function = types.FunctionType(code, space)
    if not code.co_flags & inspect.CO_COROUTINE:
        return function
    return functools.wraps(function)(lambda: asyncio.run(function()))


def followed(arguments: tuple) -> int | None:
    """Where a loss that calls no network is differentiated: its first floating-point tensor; None with a network."""
    if any(isinstance(argument, nn.Module) for argument in arguments):
        return None
    return next((i for i, a in enumerate(arguments) if isinstance(a, Tensor) and a.is_floating_point()), None)


def _copied(argument: Any) -> Any:
    if isinstance(argument, BlackBox):
        return argument.handle()
    if isinstance(argument, nn.Module) and not argument._modules and not hasattr(argument, "__deepcopy__"):
        return _copied_network(argument)
    return _cloned(argument) if isinstance(argument, Tensor) else copy.deepcopy(argument)


def _copied_network(network: nn.Module) -> nn.Module:
    """What `copy.deepcopy` gives, in half the time: it takes each of a dozen empty containers apart."""
    memo: dict[int, Any] = {}
    made = memo[id(network)] = nn.Module.__new__(type(network))
    for name, value in vars(network).items():
        empty = isinstance(value, (dict, set)) and not value
        vars(made)[name] = type(value)() if empty else copy.deepcopy(value, memo)
    return made


def _cloned(tensor: Tensor) -> Tensor:
    """A copy with the same strides; clone() closes the gaps of a view, and an unusual memory layout must stay one."""
    if 0 in tensor.stride():
        return tensor.clone()
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype).copy_(tensor)


def _same(before: Any, after: Any) -> bool:
    if before is after:
        return True
    if isinstance(before, Tensor):
        return torch.equal(before, after) or (
            before.shape == after.shape and bool(torch.all((before == after) | ((before != before) & (after != after))))
        )
    if isinstance(before, nn.Module):
        return all(_same(a, b) for a, b in zip(before.state_dict().values(), after.state_dict().values(), strict=True))
    return True


def _detached(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _detached(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return (list if type(value) is list else tuple)(_detached(part) for part in value)
    return value.detach() if isinstance(value, Tensor) else value


def _gradients(tensors: list[Tensor], sources: list[Tensor]) -> tuple[Tensor, ...]:
    total = sum(leaf.sum() for leaf in tensors if leaf.requires_grad)
    try:
        found = torch.autograd.grad(total, sources, allow_unused=True)
    except RuntimeError:  # a graph that ends in nothing the sources had a part in
        found = [None] * len(sources)
    return tuple(torch.zeros_like(s) if g is None else g for s, g in zip(sources, found, strict=True))


def words_of(error: BaseException, limit: int = 400) -> str:
    """Its message, in one line."""
    try:
        message = " ".join(str(error).split())
    except Exception:  # a class of the student's own, whose `__str__` is wrong
        return "its message cannot be read"
    return message if len(message) <= limit else message[: limit - 1] + "…"


def _own_line(error: BaseException, function: Callable) -> str:
    """The last line of the student's own code on the way to the error, such as `line 3: return x / 0`."""
    frames = traceback.extract_tb(error.__traceback__)
    home = _home(function)
    own = [f for f in frames if f.filename == home] or [f for f in frames if not _foreign(f.filename)]
    if not own:
        return ""
    text = own[-1].line or linecache.getline(own[-1].filename, own[-1].lineno or 0).strip()
    return f"line {own[-1].lineno}: {text}" if text else f"line {own[-1].lineno}"


def _home(function: Any) -> str | None:
    """The file in which the innermost function was written, below decorators such as `torch.no_grad()`."""
    for _ in range(100):  # a wrapper may lead back to itself
        inner = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
        if not callable(inner):
            break
        function = inner
    function = getattr(function, "__func__", function)
    return getattr(getattr(function, "__code__", None), "co_filename", None)


def _foreign(filename: str) -> bool:
    path = Path(filename)
    return "site-packages" in path.parts or PACKAGE in path.resolve().parents


class _TooLong(BaseException):
    """Not an Exception, so that `except Exception` in a loop does not swallow it."""


_counts: dict[tuple[int, int], int] = {}
"""(process, thread) -> the descriptor of what the kernel counts of it."""


_elsewhere = [0.0]
"""Seconds for which another process, whose answers this one waited for, was kept from running."""


def excuse(seconds: float) -> None:
    """Count what another process was kept waiting while this one needed its answer."""
    _elsewhere[0] += seconds


def kept_waiting() -> float:
    """Seconds for which this thread was ready to run and others ran; 0 on systems that do not count them."""
    me = os.getpid(), threading.get_native_id()
    try:
        if me not in _counts:  # kept open, because every call asks; a fork has its own
            while _counts:
                os.close(_counts.popitem()[1])
            _counts[me] = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        return int(os.pread(_counts[me], 100, 0).split()[1]) / 1e9
    except (AttributeError, OSError, LookupError, ValueError):
        return 0.0


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise _TooLong in this thread, whose waiting for other programs does not count, up to a far end."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        with _watched(seconds):
            yield
        return
    began, waited = time.monotonic(), kept_waiting() + _elsewhere[0]

    def ring(*_: Any) -> None:
        others = kept_waiting() + _elsewhere[0] - waited
        left = seconds + min(others, FAR * seconds) - (time.monotonic() - began)
        if left <= 0.01:
            raise _TooLong
        signal.setitimer(signal.ITIMER_REAL, left)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _watched(seconds: float) -> Iterator[None]:
    """The same where there are no timers, as on Windows, and outside of the main thread: by the clock on the wall."""
    thread, over = ctypes.c_ulong(threading.get_ident()), threading.Event()

    def watch() -> None:
        if not over.wait(seconds):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_TooLong))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)  # what came too late is not for what follows


@contextlib.contextmanager
def _quiet(output: io.StringIO) -> Iterator[None]:
    """Keep what the function prints and warns: nbgrader gives no mark to a cell that writes to standard error."""
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
