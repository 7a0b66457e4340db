"""A student's function, called in the sandbox, and the stand-ins that it may ask the grader for meanwhile."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from diffusion_lab.exercises.boxes import MOST_ENTRIES, SIZES, Answer, BlackBox, leaves, moderate
from diffusion_lab.grading.isolation import wire
from diffusion_lab.grading.isolation.replies import LATE, Gone, returned_of
from diffusion_lab.grading.judge.calling import FAR, Fault, ProcessGone, Returned, kept_waiting

SLOW = 0.5
"""Seconds of a call from which on it is asked whether others kept it from running."""
MOST_STAND_INS = 1000
"""How often one call may ask for a stand-in."""
MOST_QUESTIONS = 4000
"""How often it may ask at all; boxes refuse to answer long before."""
STAND_IN_MEMORY = 2 << 30
"""Bytes that stand-ins and boxes may take to compute the answers of one call."""


class Line(Protocol):
    """The way to a submission's process."""

    def ask(self, message: dict[str, Any], limit: float) -> dict[str, Any]:
        """Its reply within so many seconds. Raises Gone where none comes."""

    def waited(self) -> float:
        """Seconds, since it began, in which it was ready to run and others ran."""

    def lose(self, why: str) -> NoReturn:
        """Give the process up. Raises Gone."""


class RemoteCaller:
    """Calls a function in the sandbox. Everything in what it returns was checked to be plain data of a bounded size."""

    def __init__(
        self,
        line: Line,
        limit: float,
        stand_ins: Mapping[str, Callable],
        together: float = math.inf,
        entries: int = MOST_ENTRIES,
    ):
        self.line, self.limit, self.stand_ins, self.entries = line, limit, stand_ins, entries
        self.together, self.ends = together, time.monotonic() + together
        self._waited, self._given, self._answering = line.waited(), 0.0, 0.0
        self.used: set[str] = set()
        """The stand-ins that the function has called."""

    def __call__(self, arguments: tuple, *, seed: int = 0, gradients: bool = False) -> Returned:
        now = time.monotonic()
        limit = min(self.limit, self.ends - now)
        too_long = Returned(fault=Fault("time", "TimeoutError", f"all calls together took {self.together:.0f} s"))
        if limit <= 0:
            return too_long
        question = {"op": "call", "arguments": arguments, "seed": seed, "gradients": gradients, "limit": limit}
        boxes = [argument for argument in arguments if isinstance(argument, BlackBox)]
        for box in boxes:
            box.asked = 0
        asks = boxes or self.stand_ins
        try:
            reply = self.line.ask(question, limit)
            # Once for all that it asks: to look how much memory this process has takes as long as a short answer.
            with memory_bounded(STAND_IN_MEMORY) if asks else contextlib.nullcontext():
                reply = self._answered(boxes, reply, now, limit)
            returned = returned_of(reply)
            is_late = returned.fault is not None and returned.fault.kind == "time" and limit < self.limit
            return too_long if is_late else returned
        except Gone as error:
            kind = "time" if "time" in error.why else "raised"
            return Returned(fault=ProcessGone(kind, "ProcessGone", error.why))
        finally:
            if time.monotonic() - now > SLOW:
                self._give()

    def _answered(self, boxes: list[BlackBox], reply: dict[str, Any], began: float, limit: float) -> dict[str, Any]:
        """Answer what it asks, until it says what the call gave."""
        stand_ins, last = 0, kept_waiting()
        for _ in range(MOST_QUESTIONS):
            stand_ins += "stand_in" in reply
            if not ("stand_in" in reply or "box" in reply) or stand_ins > MOST_STAND_INS:
                break
            answer = self._stand_in(reply) if "stand_in" in reply else _of_box(boxes, reply)
            now = kept_waiting()
            waited, last = now - last, now
            self._answering += waited
            left = began + limit - time.monotonic()
            if left <= 0:  # it may have been kept from running, or this process that answers it
                left += min(self._kept() - self._waited, FAR * limit)
            if left <= 0:  # what the grader computes takes time too
                self.line.lose(LATE)
            reply = self.line.ask(answer | {"waited": waited}, left)
        return reply

    def _kept(self) -> float:
        """Seconds for which its process, or this one while it answered it, was ready to run and others ran."""
        return self.line.waited() + self._answering

    def _give(self) -> None:
        """Time in which others kept it from running does not count, up to a far end."""
        waited = self._kept()
        given = min(self._given + waited - self._waited, FAR * self.together)
        self.ends += given - self._given
        self._waited, self._given = waited, given

    def _stand_in(self, request: dict[str, Any]) -> dict[str, Any]:
        """What the grader's function gives, or its vector-Jacobian products, for arguments from the sandbox."""
        name, arguments, vector = (request.get(key) for key in ("stand_in", "arguments", "vector"))
        if not isinstance(name, str) or name not in self.stand_ins or not isinstance(arguments, tuple):
            return {"value": None, "refused": "there is no such piece"}
        if any(isinstance(a, wire.Foreign) for a in arguments) or not moderate(arguments, self.entries):
            return {"value": None, "refused": "it takes tensors of moderate size, numbers and text here"}
        self.used.add(name)
        tracked = [isinstance(a, Tensor) and a.is_floating_point() for a in arguments]
        arguments = tuple(
            a.detach().requires_grad_(vector is not None) if t else a for a, t in zip(arguments, tracked, strict=True)
        )
        try:
            value = self.stand_ins[name](*arguments)
            if vector is not None:
                sources = [a for a, t in zip(arguments, tracked, strict=True) if t]
                found = torch.autograd.grad(value, sources, vector, allow_unused=True)
                value = tuple(torch.zeros_like(a) if g is None else g for a, g in zip(sources, found, strict=True))
        except Exception as error:  # whatever the submission's arguments make of it
            return {"value": None, "refused": f"it raised {type(error).__name__}: {str(error)[:200]}"}
        return {"value": value, "refused": ""}


def _of_box(boxes: list[BlackBox], request: dict[str, Any]) -> dict[str, Any]:
    """What a black box gives for arguments from the sandbox."""
    number, arguments, named = (request.get(key) for key in ("box", "arguments", "named"))
    if type(number) is not int or not 0 <= number < len(boxes):
        answer = Answer(error="ValueError", message="there is no such piece")
    elif not isinstance(arguments, tuple) or not isinstance(named, dict) or _foreign((arguments, named)):
        answer = Answer(error="ValueError", message=SIZES)
    else:
        answer = boxes[number].answer(arguments, named)
    return {"value": answer.value, "error": answer.error, "message": answer.message}


def _foreign(value: Any) -> bool:
    return any(isinstance(leaf, wire.Foreign) for leaf in leaves(value))


@contextlib.contextmanager
def memory_bounded(size: int) -> Iterator[None]:
    """So many bytes more than this process has now, and no more.

    What takes more ends in an error; on systems that cannot say how much a process has, nothing is bounded.
    """
    try:
        import resource

        with open("/proc/self/statm") as file:
            now = int(file.read().split()[5]) * resource.getpagesize()
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        lower = now + size
        if soft == resource.RLIM_INFINITY or lower < soft:
            resource.setrlimit(resource.RLIMIT_DATA, (lower, hard))
    except (ImportError, OSError, ValueError):
        yield
        return
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
