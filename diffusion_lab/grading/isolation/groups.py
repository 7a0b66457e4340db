"""A control group for each submission, where the system lends one: the kernel itself counts and limits what it holds.

This is version 2 of control groups (https://docs.kernel.org/admin-guide/cgroup-v2.html). A program may make groups
below its own where that one was given into its hands, as `systemd-run --user --scope -p Delegate=yes` does. The grader
makes them; in the sandbox, where no group can be seen, the guard has its submission's by two descriptors.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
GRADER = "diffusion-lab-grader"
"""Where the grader's own processes go: a group that limits those below it holds no process itself."""
CONTROLLERS = {"memory", "pids"}
TRIES = 50
"""How often a group is emptied or removed. Processes that have just started or ended need a moment."""
PAUSE = 0.02
"""Seconds between two tries."""


class Unreadable(Exception):
    """Something that is there and cannot be counted."""


def lent(root: Path = ROOT, own: Path = OWN) -> Path | None:
    """The folder in which this process may make groups; None where it may make none, or not of the kind that is needed.

    The processes in it move to a group beside those of the submissions. They are this one and those that it has
    started: where there are others, such as the shell of a terminal, the group is not the grader's to divide.

    Args:
        root: where the system shows its groups.
        own: the file in which it says which one this process is in.
    """
    try:
        name = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
        folder = root / name.strip("/")
        if ".." in folder.parts:  # outside of what can be seen here
            return None
        if folder.name == GRADER:  # another process of this grader has made everything ready
            folder = folder.parent
        elif not CONTROLLERS <= set((folder / "cgroup.controllers").read_text().split()) or not _emptied(folder):
            return None
        if not CONTROLLERS <= set((folder / "cgroup.subtree_control").read_text().split()):
            _write(folder / "cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(CONTROLLERS)))
        trial = made(folder, {"memory": 1 << 20, "tmp": 0, "threads": 1, "processes": 1})
        try:
            with handles(trial) as (group, _):
                return None if too_much(group, {"processes": 1}) else folder
        finally:
            remove(trial)
    except (OSError, StopIteration, Unreadable):
        return None


def made(folder: Path, limits: dict[str, Any]) -> Path:
    """A new group in a folder that was `lent`, with the limits of a submission. Raises OSError."""
    group = folder / f"submission-{uuid.uuid4().hex}"
    group.mkdir()
    try:
        group.chmod(0o755)  # the guard, which reads it, is another user where the grader is root
        # Files in /tmp are in memory and count as such.
        _write(group / "memory.max", str(limits["memory"] + limits["tmp"]))
        _write(group / "memory.oom.group", "1")
        _write(group / "pids.max", str(limits["threads"]))
        with contextlib.suppress(FileNotFoundError):  # a kernel that moves no memory to disk
            _write(group / "memory.swap.max", "0")
    except OSError:
        remove(group)
        raise
    return group


@contextlib.contextmanager
def handles(group: Path) -> Iterator[tuple[int, int]]:
    """Descriptors of a group's folder, and of the file through which a process enters it.

    The kernel asks whoever has opened that file whether a process may move, and the grader may.
    """
    folder = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    try:
        door = os.open("cgroup.procs", os.O_WRONLY, dir_fd=folder)
        try:
            yield folder, door
        finally:
            os.close(door)
    finally:
        os.close(folder)


def enter(door: int) -> None:
    """Move this process into a group, and with it all that it will start. Raises OSError."""
    os.write(door, b"0")


def too_much(folder: int, limits: dict[str, Any]) -> str:
    """What the processes of a group have had too much of: "memory", "processes", or "".

    It still answers after they have ended. Raises Unreadable where the kernel does not say.
    """
    try:
        memory, tasks = _events(folder, "memory.events"), _events(folder, "pids.events")
        if memory["oom"] or memory["oom_kill"]:
            return "memory"
        many = _read(folder, "cgroup.procs").count(b"\n") > limits["processes"]
        return "processes" if tasks["max"] or many else ""
    except OSError as error:
        raise Unreadable(f"its control group cannot be read: {error.strerror}") from error
    except (ValueError, KeyError) as error:
        raise Unreadable(f"its control group cannot be read: {type(error).__name__} {error}") from error


def remove(group: Path) -> bool:
    """End what is left in a group, and remove it; whether it is gone."""
    for _ in range(TRIES):
        with contextlib.suppress(OSError):  # a kernel before 5.14; the guard has ended the submission all the same
            _write(group / "cgroup.kill", "1")
        try:
            group.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            time.sleep(PAUSE)
        else:
            return True
    return False


def _emptied(folder: Path) -> bool:
    """Move a group's processes aside where all of them are this one's own; whether it is empty."""
    for _ in range(TRIES):
        there = [int(line) for line in (folder / "cgroup.procs").read_text().split()]
        if not there:
            return True
        if not all(_is_ours(process) for process in there):
            return False
        (folder / GRADER).mkdir(exist_ok=True)
        for process in there:
            with contextlib.suppress(ProcessLookupError):  # ended since
                _write(folder / GRADER / "cgroup.procs", str(process))
    return False


def _is_ours(process: int) -> bool:
    """Whether it is this process, or descends from it, or has ended since."""
    try:
        while process not in (0, os.getpid()):
            # A program's name may hold anything, so what follows the last bracket counts.
            with open(f"/proc/{process}/stat", "rb") as file:
                process = int(file.read().rpartition(b")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return True
    return process != 0


def _events(folder: int, name: str) -> dict[str, int]:
    return {key: int(count) for key, count in (line.split() for line in _read(folder, name).decode().splitlines())}


def _read(folder: int, name: str) -> bytes:
    with open(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
        return file.read()


def _write(file: Path, value: str) -> None:
    """In one piece, and never into a new file: where there is none, there is no such limit."""
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
