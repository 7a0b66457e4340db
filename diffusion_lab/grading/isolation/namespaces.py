"""One process tree for each submission, closed off from all others by the kernel. Linux only, through its C library.

bubblewrap has made the walls around the worker; these are the walls between submissions inside it: a process tree that
sees and signals nobody else, and a /tmp of its own that ends with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Sequence

NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_PROCESSES = 0x00020000, 0x08000000, 0x10000000, 0x20000000
PRIVATE, RECURSIVE, BIND, REMOUNT, READ_ONLY, NO_SUID, NO_DEVICES = 1 << 18, 1 << 14, 1 << 12, 1 << 5, 1, 2, 4
NO_PROGRAMS = 8
SET_DUMPABLE, DROP_BOUNDING_CAPABILITY, NO_NEW_PRIVILEGES = 4, 24, 38

USER = 1000
"""By which a submission knows itself, whoever it is outside."""

libc = ctypes.CDLL(None, use_errno=True)


def _done(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def hide_from_children() -> None:
    """Nobody without privileges over this process may trace it or read its memory, not even its children."""
    _done(libc.prctl(SET_DUMPABLE, 0, 0, 0, 0), "PR_SET_DUMPABLE")


def enter_new(tmp_bytes: int, tmp_files: int = 0, below_tmp: Sequence[str] = ()) -> None:
    """Move this process into namespaces of its own; its next child is the first process of a new tree.

    Args:
        tmp_bytes: of all files in /tmp.
        tmp_files: how many there may be; 0 for as many as the kernel allows.
        below_tmp: folders there that are to stay visible, such as an environment. What is behind them is read-only.

    Raises:
        OSError: where the kernel does not allow it.
    """
    user, group = os.getuid(), os.getgid()
    _done(libc.prctl(SET_DUMPABLE, 1, 0, 0, 0), "PR_SET_DUMPABLE")  # else its own /proc files are not writable
    _done(libc.unshare(NEW_USER | NEW_MOUNTS | NEW_IPC | NEW_PROCESSES), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{USER} {user} 1"), ("gid_map", f"{USER} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    _done(libc.mount(None, b"/", None, PRIVATE | RECURSIVE, None), "mount /")
    kept = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in below_tmp}
    options = f"size={tmp_bytes},mode=700" + (f",nr_inodes={tmp_files}" if tmp_files else "")
    # A program that may be run and not read would be hidden, as forks are: see `guarding`.
    flags = NO_SUID | NO_DEVICES | NO_PROGRAMS
    _done(libc.mount(b"tmpfs", b"/tmp", b"tmpfs", flags, options.encode()), "mount /tmp")
    for path, descriptor in kept.items():
        os.makedirs(path, exist_ok=True)
        behind = f"/proc/self/fd/{descriptor}".encode()
        _done(libc.mount(behind, path.encode(), None, BIND | RECURSIVE, None), f"mount {path}")
        os.close(descriptor)
    for device in ("null", "random", "urandom"):
        # Their rights and times are the machine's own, which the next submission could read. A kernel that refuses
        # this refuses to change them too: they belong to another user.
        libc.mount(None, f"/dev/{device}".encode(), None, REMOUNT | BIND | READ_ONLY | NO_SUID, None)
    hide_from_children()


def go_first() -> None:
    """Where the machine runs out of memory, the kernel ends this process and its children before any other."""
    _done(libc.prctl(SET_DUMPABLE, 1, 0, 0, 0), "PR_SET_DUMPABLE")
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    hide_from_children()


def give_up_privileges() -> None:
    """Drop every capability for good."""
    for capability in range(64):
        libc.prctl(DROP_BOUNDING_CAPABILITY, capability, 0, 0, 0)  # fails beyond the last one, which is fine
    _done(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
    version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _done(libc.capset(version_3, (ctypes.c_uint32 * 6)()), "capset")
