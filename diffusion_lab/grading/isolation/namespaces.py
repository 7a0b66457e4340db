"""One process tree for each submission, closed off from all others by the kernel. Linux only, through its C library.

bubblewrap has made the walls around the worker; these are the walls between submissions inside it: a process tree that
sees and signals nobody else, and a /tmp of its own that ends with it.
"""

from __future__ import annotations

import ctypes
import os

NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_PROCESSES = 0x00020000, 0x08000000, 0x10000000, 0x20000000
PRIVATE, RECURSIVE, NO_SUID, NO_DEVICES = 1 << 18, 1 << 14, 2, 4
SET_DUMPABLE, DROP_BOUNDING_CAPABILITY, NO_NEW_PRIVILEGES = 4, 24, 38

libc = ctypes.CDLL(None, use_errno=True)


def _done(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def hide_from_children() -> None:
    """Nobody without privileges over this process may trace it or read its memory, not even its children."""
    _done(libc.prctl(SET_DUMPABLE, 0, 0, 0, 0), "PR_SET_DUMPABLE")


def enter_new(tmp_bytes: int) -> None:
    """Move this process into namespaces of its own; its next child is the first process of a new tree.

    Raises:
        OSError: where the kernel does not allow it.
    """
    user, group = os.getuid(), os.getgid()
    _done(libc.prctl(SET_DUMPABLE, 1, 0, 0, 0), "PR_SET_DUMPABLE")  # else its own /proc files are not writable
    _done(libc.unshare(NEW_USER | NEW_MOUNTS | NEW_IPC | NEW_PROCESSES), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    _done(libc.mount(None, b"/", None, PRIVATE | RECURSIVE, None), "mount /")
    options = f"size={tmp_bytes},mode=700".encode()
    _done(libc.mount(b"tmpfs", b"/tmp", b"tmpfs", NO_SUID | NO_DEVICES, options), "mount /tmp")
    _done(libc.prctl(SET_DUMPABLE, 0, 0, 0, 0), "PR_SET_DUMPABLE")


def give_up_privileges() -> None:
    """Drop every capability for good."""
    for capability in range(64):
        libc.prctl(DROP_BOUNDING_CAPABILITY, capability, 0, 0, 0)  # fails beyond the last one, which is fine
    _done(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
    version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _done(libc.capset(version_3, (ctypes.c_uint32 * 6)()), "capset")
