"""Calls of the kernel that lead around the walls or the limits are refused, and what honest code needs is not."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from saying import said

from diffusion_lab.grading.isolation import syscalls

CALL = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nraise ValueError({call}, ctypes.get_errno())"
COLUMN = syscalls.MACHINES.get(os.uname().machine, (0, 0))[0]
pytestmark = pytest.mark.skipif(os.uname().machine not in syscalls.MACHINES, reason="no filter for this machine")


@pytest.fixture(scope="module")
def session(sandbox):
    with sandbox.open() as opened:
        yield opened


@pytest.mark.parametrize(
    "call",
    [
        "libc.unshare(0x10000000)",  # a user namespace, in which it would have every capability
        "libc.syscall({clone}, 0x10000000 | 17, 0, 0, 0, 0)",
        "libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, b'size=10g')",
        "libc.memfd_create(b'x', 0)",  # memory that belongs to no process
        "libc.shmget(0, 1 << 30, 0o1600)",
        "libc.msgget(0, 0o1600)",
        "libc.syscall({add_key}, b'user', b'left', b'for the next one', 16, -3)",  # the keyring of whoever grades
        "libc.syscall({keyctl}, 0, -3, 0)",
        "libc.ptrace(0, 0, 0, 0)",
        "libc.syscall({io_uring_setup}, 8, ctypes.create_string_buffer(200))",
        "libc.syscall({bpf}, 0, ctypes.create_string_buffer(200), 200)",
        "libc.personality(0x0040000)",
    ],
)
def test_it_is_refused(session, call: str):
    numbers = {name: numbers[COLUMN] for name, numbers in syscalls.REFUSED.items()} | {"clone": syscalls.CLONE[COLUMN]}
    assert said(session, CALL.format(call=call.format(**numbers))) == f"ValueError: (-1, {errno.EPERM})"


def test_the_numbers_are_those_of_this_machine(session):
    """Python's own functions make the same calls without a number."""
    assert "PermissionError" in said(session, "import os\nos.memfd_create('x')")
    assert said(session, "import os\nos.chroot('/tmp')").startswith("PermissionError")


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_VSOCK", "AF_NETLINK", "AF_ALG", "AF_PACKET"])
def test_sockets_are_for_processes_beside_each_other(session, family: str):
    number = getattr(socket, family)
    assert f"[Errno {errno.EAFNOSUPPORT}]" in said(
        session, f"import socket\nsocket.socket({number}, socket.SOCK_DGRAM)"
    )


def test_threads_processes_and_pairs_of_sockets_are_there(session):
    honest = (
        "import socket, subprocess, threading\n"
        "found = []\n"
        "thread = threading.Thread(target=found.append, args=(1,)); thread.start(); thread.join()\n"
        "found.append(subprocess.run(['/bin/sh', '-c', 'exit 7']).returncode)\n"
        "one, other = socket.socketpair(); one.sendall(b'x'); found.append(other.recv(1))\n"
        "raise ValueError(found)"
    )
    assert said(session, honest) == "ValueError: [1, 7, b'x']"


def test_a_crash_writes_no_image_of_its_memory(session):
    """Not through the system's own program either, which a limit of 0 does not keep from it: see core(5)."""
    limits = said(session, "import resource\nraise ValueError(resource.getrlimit(resource.RLIMIT_CORE))")
    assert limits == "ValueError: (1, 1)"
