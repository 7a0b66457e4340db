"""The guard of one submission: how much memory, how many processes and threads it has, all of them counted.

It reads what the kernel says of every process in the sandbox. A process can give itself any name, end its first thread
and leave the others, or hide from being read: whatever cannot be counted counts as too much.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import struct
from dataclasses import dataclass
from typing import Any

WATCH_EVERY = 0.05
"""Seconds between two looks."""
HELD = (b"RssAnon", b"RssShmem", b"VmSwap", b"VmPTE", b"HugetlbPages")
"""Memory that a process holds: its own, shared, moved to disk, the tables of its addresses. Files are not in it."""
MOST_FORKS = 4
"""How many processes may hold what they have inherited without its being counted. Forks share it; programs that are
started anew have none of it, and a kernel does not say which is which."""
SOCKET_BUFFER = 1 << 19
"""Bytes that may wait in one socket, whoever holds it."""
LEAST_NICE = 19
WAITED = struct.Struct("<d")
"""The guard's answer to `ASK`: seconds that the submission's own process was ready to run and was not let."""
ASK = b"?"


class _Unreadable(Exception):
    """Something that is there and cannot be counted."""


@dataclass(frozen=True)
class Usage:
    """What all processes of a submission hold together."""

    memory: int
    """Bytes beyond what was inherited."""
    processes: int
    threads: int

    def too_much(self, limits: dict[str, Any]) -> str:
        """ "memory", "processes", or "" where it keeps to the limits."""
        if self.memory > limits["memory"]:
            return "memory"
        return "processes" if self.processes > limits["processes"] or self.threads > limits["threads"] else ""


def watch(first: int, life: socket.socket, limits: dict[str, Any]) -> None:
    """Watch a submission until its first process or the grader ends it, and say on `life` why it ended."""
    why, own = "ended", held_by("self")[0]
    while not _over(first, life):
        try:
            too_much = usage({os.getpid(), os.getppid(), 1}, own).too_much(limits)
        except _Unreadable:
            too_much = "processes"
        if too_much:
            why = too_much
            break
        _let_others_run(first)
    with contextlib.suppress(ProcessLookupError):
        os.kill(first, signal.SIGKILL)  # and with it every process of its tree
    with contextlib.suppress(ChildProcessError):
        os.waitpid(first, 0)
    with contextlib.suppress(OSError):
        life.sendall(why.encode())


def _over(first: int, life: socket.socket) -> bool:
    """Wait for the next look and answer the grader meanwhile; whether the grader or the process has ended."""
    readable, _, _ = select.select([life], [], [], WATCH_EVERY)
    if readable:
        asked = life.recv(16)
        if not asked:
            return True
        with contextlib.suppress(OSError):
            life.sendall(WAITED.pack(waited(first)) * len(asked))
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
                found.append(held_by(name))
            except (FileNotFoundError, ProcessLookupError):  # ended since
                continue
            except OSError as error:
                raise _Unreadable from error
    beyond = sorted((max(0, held - inherited) - held for held, _ in found))[:MOST_FORKS]
    memory = sum(held for held, _ in found) + sum(beyond) + sockets() * SOCKET_BUFFER
    return Usage(memory, len(found), sum(threads for _, threads in found))


def held_by(process: str) -> tuple[int, int]:
    """Bytes that a process holds, and how many threads it has."""
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
    return 1024 * sum(_number(values[name]) for name in HELD if name in values), threads


def _status(path: str) -> dict[bytes, bytes]:
    with open(path, "rb") as file:  # not as text: a name may be any bytes
        return dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)


def _number(text: bytes | None) -> int:
    found = re.match(rb"\s*(\d+)", text or b"")
    if found is None:
        raise _Unreadable
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
