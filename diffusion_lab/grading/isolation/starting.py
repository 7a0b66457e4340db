"""Why a process for submissions did not start: its own words, and what can be done about them."""

from __future__ import annotations

import contextlib
import subprocess

from diffusion_lab.grading.isolation.wire import printable

LONGEST = 500
"""Characters of a program's last words."""
PATIENCE = 10.0
"""Seconds in which a process that was killed ends and its words are read. What it has started may hold them open."""
FORBIDDEN = ("namespace", "uid map", "gid map", "Operation not permitted", "Permission denied", "No permissions")
"""What bubblewrap says where the system does not let it make walls."""


def last_words(process: subprocess.Popen) -> str:
    """End a process; what it has said on its standard error, at most once. "" where that was read before."""
    process.kill()
    said = b""
    with contextlib.suppress(ValueError):  # read and closed already
        try:
            said = process.communicate(timeout=PATIENCE)[1] or b""
        except subprocess.TimeoutExpired as late:
            said = late.stderr or b""
            process.stderr.close()
    return printable(said.decode(errors="replace").strip()[-LONGEST:])


def advice(said: str) -> str:
    """What to do about these words of bubblewrap's, to follow them; "" where they say it themselves."""
    if not any(word in said for word in FORBIDDEN):
        return ""
    return (
        ". This system does not let bubblewrap make its walls, as some containers and releases of Ubuntu do not: your "
        "administrator can allow it for `bwrap` alone (on Ubuntu with a profile of AppArmor's). What is read in the "
        "sandbox, Python and its libraries, must also be readable to all users where you grade as root. Else grade "
        "with --isolation container, or submissions that you trust with --isolation none"
    )
