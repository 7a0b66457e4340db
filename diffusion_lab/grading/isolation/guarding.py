"""The guard of one submission: how much memory, how many processes and threads it has, all of them counted.

Where the submission has a control group, the kernel counts and sets the limits itself. Elsewhere the guard reads what
the kernel says of every process in the sandbox. A process can give itself any name, end its first thread and leave the
others, or hide from being read: whatever cannot be counted counts as too much.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
from dataclasses import dataclass
from typing import Any

from diffusion_lab.grading.isolation import groups
from diffusion_lab.grading.isolation.groups import Unreadable

WATCH_EVERY = 0.05
"""Seconds between two looks."""
HELD = (b"RssAnon", b"RssShmem", b"VmSwap", b"VmPTE", b"HugetlbPages")
"""Memory that a process holds: its own, shared, moved to disk, the tables of its addresses. Files are not in it."""
MOST_FORKS = 8
"""How many forks may hold what they have inherited without its being counted: they share it until they write to it, and
a kernel does not say to others whether they have."""
SOCKET_BUFFER = 1 << 19
"""Bytes that may wait in one socket, whoever holds it."""
LEAST_NICE = 19
ASK = b"?"
"""The grader's question: for how many seconds was the submission's process ready to run, and was not let?"""
WAITED = "waited "
"""Before the answer, in a line of its own as all that a guard says."""


@dataclass(frozen=True)
class Process:
    """One process of a submission."""

    memory: int
    """Bytes that it holds."""
    threads: int
    forked: bool = False
    """Whether it has what the first process had from the start; a program that was started anew has not."""


@dataclass(frozen=True)
class Usage:
    """What all processes of a submission hold together."""

    processes: tuple[Process, ...]
    sockets: int
    inherited: int
    """Bytes that a fork has from the start."""

    def too_much(self, limits: dict[str, Any]) -> str:
        """ "memory", "processes", or "" where it keeps to the limits."""
        shared = sorted((min(p.memory, self.inherited) for p in self.processes if p.forked), reverse=True)
        held = sum(p.memory for p in self.processes) + self.sockets * SOCKET_BUFFER
        if held - sum(shared) > limits["memory"]:
            return "memory"
        threads = sum(p.threads for p in self.processes)
        many = len(self.processes) > limits["processes"] or threads > limits["threads"]
        return "processes" if many or held - sum(shared[:MOST_FORKS]) > limits["memory"] else ""


def watch(first: int, life: socket.socket, limits: dict[str, Any], group: int | None = None) -> None:
    """Watch a submission until its first process or the grader ends it, and say on `life` why it ended.

    Args:
        group: the descriptor of its control group's folder; None where it has none.
    """
    why, own = "", looked_at("self").memory
    while not why and not _over(first, life):
        why = _seen(limits, own) if group is None else _counted(limits, group)
        if not why:
            _let_others_run(first)
    if group is not None:  # which still knows what the kernel has ended, and that it has
        why = why or _counted(limits, group)
    with contextlib.suppress(ProcessLookupError):
        os.kill(first, signal.SIGKILL)  # and with it every process of its tree
    with contextlib.suppress(ChildProcessError):
        os.waitpid(first, 0)
    with contextlib.suppress(OSError):
        life.sendall(f"{why or 'ended'}\n".encode())


def _counted(limits: dict[str, Any], group: int) -> str:
    """What its control group says. No submission can bring about that it says nothing: that is the system's fault."""
    try:
        return groups.too_much(group, limits)
    except Unreadable as error:
        return f"failed: {error}"


def _seen(limits: dict[str, Any], own: int) -> str:
    """What a look at every process says."""
    try:
        return usage({os.getpid(), os.getppid(), 1}, own).too_much(limits)
    except Unreadable:
        return "processes"


def _over(first: int, life: socket.socket) -> bool:
    """Wait for the next look and answer the grader meanwhile; whether the grader or the process has ended."""
    readable, _, _ = select.select([life], [], [], WATCH_EVERY)
    if readable:
        asked = life.recv(16)
        if not asked:
            return True
        with contextlib.suppress(OSError):
            life.sendall(f"{WAITED}{waited(first):.3f}\n".encode() * len(asked))
    # Not waited for: its number is not given to another process until the watch has ended.
    return os.waitid(os.P_PID, first, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def usage(others: set[int], inherited: int) -> Usage:
    """What every process but `others` holds.

    Args:
        inherited: bytes that a fork has from the start.
    """
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in others:
            try:
                found.append(looked_at(name))
            except (FileNotFoundError, ProcessLookupError):  # ended since
                continue
            except OSError as error:
                raise Unreadable from error
    return Usage(tuple(found), sockets(), inherited)


def looked_at(process: str) -> Process:
    """What the kernel says of a process."""
    values = _status(f"/proc/{process}/status")
    threads = _number(values.get(b"Threads"))
    if HELD[0] not in values and threads > 1:
        # Its first thread has ended, and the memory is with the others.
        for thread in os.listdir(f"/proc/{process}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                other = _status(f"/proc/{process}/task/{thread}/status")
                if HELD[0] in other:
                    values = other
                    break
    # A process that has ended and is not waited for has no memory.
    held = 1024 * sum(_number(values[name]) for name in HELD if name in values)
    # Forks are hidden as the first process is, and what is hidden belongs to root; a new program is not hidden, and
    # the filter of calls keeps it from hiding.
    return Process(held, threads, os.stat(f"/proc/{process}/status").st_uid != os.getuid())


def _status(path: str) -> dict[bytes, bytes]:
    with open(path, "rb") as file:  # not as text: a name may be any bytes
        return dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)


def _number(text: bytes | None) -> int:
    found = re.match(rb"\s*(\d+)", text or b"")
    if found is None:
        raise Unreadable
    return int(found[1])


def sockets() -> int:
    """How many there are in the sandbox, those on their way from one process to another among them."""
    try:
        with open("/proc/net/unix", "rb") as file:
            return max(file.read().count(b"\n") - 1, 0)
    except OSError:  # a kernel without them
        return 0


def waited(process: int | str) -> float:
    """Seconds for which a process's first thread was ready to run and another one ran; 0 where nobody counts them."""
    try:
        with open(f"/proc/{process}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, LookupError, ValueError):
        return 0.0


def _let_others_run(first: int) -> None:
    """Every thread but the one that is graded runs only where nobody else wants to, as far as the kernel sees it."""
    for process in os.listdir("/proc"):
        if process.isdigit() and int(process) not in (1, os.getpid(), os.getppid()):
            with contextlib.suppress(OSError):
                for thread in os.listdir(f"/proc/{process}/task"):
                    if int(thread) != first:
                        os.setpriority(os.PRIO_PROCESS, int(thread), LEAST_NICE)
