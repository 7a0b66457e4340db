"""Calls of the kernel that no submission needs, refused for good by a seccomp filter. Linux only.

The walls rest on the kernel, and these calls are the ways around a limit or into code of the kernel that is seldom
used: namespaces of one's own (with a file system in memory that nobody measures), memory that belongs to no process
(shared memory without a file, and pages given to a pipe, are in nobody's count), keyrings that outlive a submission,
sockets that no network namespace holds back, and debugging.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket

# name -> number on x86_64 and on aarch64
REFUSED = {
    "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "memfd_create": (319, 279), "vmsplice": (278, 75), "memfd_secret": (447, 447), "shmget": (29, 194),
    "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "userfaultfd": (323, 282), "perf_event_open": (298, 241), "bpf": (321, 280),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    "personality": (135, 92), "quotactl": (179, 60), "syslog": (103, 116), "acct": (163, 89),
}  # fmt: skip
CLONE, CLONE_3, SOCKET, MMAP, PRCTL, FCNTL = (56, 220), (435, 435), (41, 198), (9, 222), (157, 167), (72, 25)
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""The column of the numbers, and the kernel's own name of the machine."""
NEW_NAMESPACE = 0x7E020000
"""Flags of clone that make one."""
FAMILIES = (socket.AF_UNIX,)
"""Sockets that there are. A namespace without a network holds back most others, but not AF_VSOCK, which reaches the
host of a virtual machine; and what is sent within the namespace takes memory from the whole system."""
SHARED, WITHOUT_FILE = 0x01, 0x20
"""Flags of mmap. Together they ask for memory that outlives its count; files in /tmp, which have a limit, can be
shared in their place."""
SET_DUMPABLE = 4
"""Of prctl: a program that hid itself would look like a fork to the guard, which takes it to share its memory."""
HOLDS = (1024, 1026)
"""Commands of fcntl, F_SETLEASE and F_NOTIFY. A lease on a library's file lets nobody else open it for up to a minute,
and may be had on all files of whoever has started the grader; a notice tells what others open."""
X32 = 0x40000000
"""Numbers from here on are x86_64's calls under other numbers."""

NUMBER, MACHINE = 0, 4
FIRST_ARGUMENT, SECOND_ARGUMENT, FOURTH_ARGUMENT = 16, 24, 40
"""Where they lie in what a filter is given."""
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000
SET_SECCOMP, FILTER = 22, 2


class _Step(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("steps", ctypes.POINTER(_Step)))


def refuse() -> bool:
    """Refuse these calls from now on, to this process and all that it starts; False on a machine of another kind.

    The process must have given up new privileges before.

    Raises:
        OSError: where the kernel does not allow it.
    """
    if os.uname().machine not in MACHINES:
        return False
    steps = _filter(*MACHINES[os.uname().machine])
    program = _Program(len(steps), (_Step * len(steps))(*steps))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"PR_SET_SECCOMP: {os.strerror(ctypes.get_errno())}")
    return True


def _filter(column: int, machine: int) -> list[_Step]:
    def fail(code: int, k: int, number: int) -> list[_Step]:
        """Refuse where the loaded word passes."""
        return [_Step(code, 0, 1, k), _Step(RETURN, 0, 0, FAIL | number)]

    steps = [_Step(LOAD, 0, 0, MACHINE), _Step(EQUAL, 1, 0, machine), _Step(RETURN, 0, 0, FAIL | errno.ENOSYS)]
    steps += [_Step(LOAD, 0, 0, NUMBER), *fail(AT_LEAST, X32, errno.ENOSYS)]
    for numbers in REFUSED.values():
        steps += fail(EQUAL, numbers[column], errno.EPERM)
    # Its flags lie in memory, where a filter cannot see them; the C library then goes back to clone.
    steps += fail(EQUAL, CLONE_3[column], errno.ENOSYS)
    clone = [_Step(LOAD, 0, 0, FIRST_ARGUMENT), *fail(ANY_BIT, NEW_NAMESPACE, errno.EPERM), _Step(RETURN, 0, 0, ALLOW)]
    steps += [_Step(EQUAL, 0, len(clone), CLONE[column]), *clone]
    hidden = [_Step(LOAD, 0, 0, FIRST_ARGUMENT), *fail(EQUAL, SET_DUMPABLE, errno.EPERM), _Step(RETURN, 0, 0, ALLOW)]
    steps += [_Step(EQUAL, 0, len(hidden), PRCTL[column]), *hidden]
    held = [_Step(LOAD, 0, 0, SECOND_ARGUMENT), *(step for k in HOLDS for step in fail(EQUAL, k, errno.EPERM))]
    held.append(_Step(RETURN, 0, 0, ALLOW))
    steps += [_Step(EQUAL, 0, len(held), FCNTL[column]), *held]
    shared = [
        _Step(LOAD, 0, 0, FOURTH_ARGUMENT),
        _Step(ANY_BIT, 0, 2, WITHOUT_FILE),
        *fail(ANY_BIT, SHARED, errno.ENOMEM),
        _Step(RETURN, 0, 0, ALLOW),
    ]
    steps += [_Step(EQUAL, 0, len(shared), MMAP[column]), *shared]
    families = [_Step(RETURN, 0, 0, FAIL | errno.EAFNOSUPPORT)]
    for family in FAMILIES:
        families = [_Step(EQUAL, 0, 1, family), _Step(RETURN, 0, 0, ALLOW), *families]
    families.insert(0, _Step(LOAD, 0, 0, FIRST_ARGUMENT))
    return [*steps, _Step(EQUAL, 0, len(families), SOCKET[column]), *families, _Step(RETURN, 0, 0, ALLOW)]
