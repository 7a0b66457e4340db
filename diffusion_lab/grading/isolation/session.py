"""One submission in the sandbox, from the grader's side."""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.boxes import MOST_ENTRIES
from diffusion_lab.grading.isolation import groups, guarding, wire
from diffusion_lab.grading.isolation.remote import RemoteCaller
from diffusion_lab.grading.isolation.replies import LATE, Gone, fault_of, texts_of
from diffusion_lab.grading.judge.calling import FAR, LIMIT, Fault

TOO_MUCH = {"memory": "it used too much memory", "processes": "it started too many processes or threads"}
PATIENCE = 3.0
"""Seconds beyond its own limit that a call may keep the grader waiting."""
MOST_TRIED = 20
"""How much of what its code has tried to open is kept."""


class SandboxError(LabError, RuntimeError):
    """The sandbox cannot be had on this machine, or broke. It is the grader's fault, never a student's."""


class Session:
    """One submission in the sandbox. Every method but `close` raises Gone where its processes no longer answer."""

    def __init__(self, life: socket.socket, talk: socket.socket, group: Path | None = None):
        self._life, self._talk, self._group = life, talk, group
        self._why, self._heard, self._counted = "", "", 0.0
        self.tried: set[str] = set()
        """What of this package its code has tried to import or open. Only who hides it well can keep it from here."""
        self.left = False
        """Whether a piece said that what it had started still runs. It might be counted against the next one."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def run_cell(self, name: str, source: str, limit: float = LIMIT) -> Fault | None:
        """Run one cell of the submission; None where nothing went wrong."""
        # As bytes: text in a message is cut at a length that code may well have.
        data = torch.tensor(list(source.encode()), dtype=torch.uint8)
        reply = self.ask({"op": "cell", "name": name, "source": data}, limit)
        return fault_of(reply.get("fault"))

    def names(self, wanted: list[str]) -> tuple[set[str], list[str]]:
        """Which of these are functions of the submission, and the names of all that it has."""
        reply = self.ask({"op": "names", "names": wanted}, PATIENCE)
        self._note_tried(reply)
        return set(texts_of(reply.get("names"))) & set(wanted), texts_of(reply.get("all"))

    @contextlib.contextmanager
    def piece(
        self,
        name: str,
        limit: float = LIMIT,
        stand_ins: Mapping[str, Callable] | None = None,
        together: float = math.inf,
        driver: Callable | None = None,
        entries: int = MOST_ENTRIES,
    ) -> Iterator[RemoteCaller]:
        """A `Caller` for one function of the submission.

        Args:
            stand_ins: functions of the grader's, which take the place of the submission's own of the same name. They
                are computed on this side: the sandbox sees what they return, and not how they are made.
            limit: seconds for one call.
            together: seconds for all calls.
            driver: what runs the function there, from one of the `probes.py` files; None calls it as it is.
            entries: of all tensors together that a stand-in may be given.
        """
        stand_ins = dict(stand_ins or {})
        runs = None if driver is None else (driver.__module__, driver.__name__)
        self._send({"op": "piece", "name": name, "stand_ins": tuple(stand_ins), "driver": runs})
        try:
            yield RemoteCaller(self, limit, stand_ins, together, entries)
        finally:
            if not self._why:
                with contextlib.suppress(Gone):
                    reply = self.ask({"op": "end"}, PATIENCE)
                    self._note_tried(reply)
                    self.left = self.left or reply.get("left") is True
                    if reply.get("ended") is not True:
                        self.lose("it broke the protocol")

    @property
    def lost(self) -> bool:
        """Whether its processes no longer answer."""
        return bool(self._why)

    def close(self) -> str:
        """End all of the submission's processes; why they ended, where it was not this call: "memory", "processes"."""
        if self._life.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._life.shutdown(socket.SHUT_WR)
                self._life.settimeout(10)
                while part := self._life.recv(200):
                    self._heard += part.decode(errors="replace")
            for word in self._heard.splitlines():
                self._why = word if word.startswith("failed") else TOO_MUCH.get(word, self._why)
            self._life.close()
            self._talk.close()
            if self._group is not None:
                groups.remove(self._group)
        return self._why

    def _note_tried(self, reply: dict[str, Any]) -> None:
        self.tried.update(texts_of(reply.get("tried"))[: max(0, MOST_TRIED - len(self.tried))])

    def waited(self) -> float:
        """Seconds, since it began, in which its process was ready to run and others ran. 0 where nobody counts them."""
        with contextlib.suppress(OSError):
            self._life.settimeout(PATIENCE)
            self._life.sendall(guarding.ASK)
            while "\n" not in self._heard:
                part = self._life.recv(200)
                if not part:
                    break
                self._heard += part.decode(errors="replace")
            line, newline, rest = self._heard.partition("\n")
            if newline and line.startswith(guarding.WAITED):
                self._heard = rest
                self._counted = float(line.removeprefix(guarding.WAITED))
        return self._counted

    def ask(self, message: dict[str, Any], limit: float) -> dict[str, Any]:
        self._send(message)
        return self._receive(limit)

    def _send(self, message: dict[str, Any]) -> None:
        if self._why:
            raise Gone(self._why)
        try:
            self._talk.settimeout(LIMIT + PATIENCE)
            wire.send(self._talk, message)
        except (OSError, wire.WireError) as error:
            self.lose(_words(error))

    def _receive(self, limit: float) -> dict[str, Any]:
        limit = max(limit, 0.0)
        end, before = time.monotonic() + limit + PATIENCE, self._counted
        given = 0.0

        def ends() -> float:
            """A process that others kept from running has as much longer, up to a far end."""
            nonlocal given
            if time.monotonic() >= end + given and given < FAR * limit:
                given = min(self.waited() - before, FAR * limit)
            return end + given

        try:
            return wire.receive(self._talk, ends=ends)
        except (OSError, EOFError, wire.WireError) as error:
            self.lose(_words(error))

    def lose(self, why: str) -> NoReturn:
        self._why = why
        why = self.close() or why
        if why.startswith("failed"):
            raise SandboxError(f"the kernel does not keep up the walls between submissions: {why}")
        raise Gone(why)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return LATE
    if isinstance(error, (EOFError, ConnectionError)):
        return "its process ended"
    return f"its answer cannot be read: {error}"
