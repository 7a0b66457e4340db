"""What can be imitated here of Windows and of folders that do not tell capitals from small letters."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_repository import ROOT, tracked_files

REFUSED = re.compile(r"[<>:\"|?*\\]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""In a name of a file or folder, by Windows."""


def test_every_system_can_have_the_files_of_the_repository():
    names = tracked_files()
    assert len({name.casefold() for name in names}) == len(names), "two names differ in capitals alone"
    assert not [name for name in names if any(map(REFUSED.search, name.split("/")))]
    assert max(map(len, names)) < 150  # Windows takes 260 with the folder that all of it is in


@pytest.mark.parametrize("name", ["a:b", "nul.txt", "AUX", "dot.", "what?"])
def test_a_name_that_windows_refuses_is_found(name: str):
    assert REFUSED.search(name) and not REFUSED.search("console.py")


WITHOUT = """
import builtins, os, signal, subprocess, sys, types

GONE = {"fcntl", "resource", "pwd", "grp", "termios", "pty"}
LACKS = {
    "os": {"fork", "killpg", "setsid", "getpgid", "geteuid", "getuid", "getgid", "uname", "sched_getaffinity", "pread",
           "chown", "fchmod", "statvfs", "sysconf", "mkfifo", "O_CLOEXEC", "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK"},
    "signal": {"SIGKILL", "SIGALRM", "SIGHUP", "SIGCHLD", "setitimer", "alarm", "ITIMER_REAL", "ITIMER_PROF",
               "ITIMER_VIRTUAL", "pthread_sigmask"},
}


class Less(types.ModuleType):
    def __init__(self, whole, lacks):
        self.__dict__.update(_whole=whole, _lacks=lacks)

    def __getattr__(self, name):
        if name in self._lacks:
            raise AttributeError(f"module {self._whole.__name__!r} has no attribute {name!r} on Windows")
        return getattr(self._whole, name)


less = {name: Less(sys.modules[name], lacks) for name, lacks in LACKS.items()}
whole_import, start = builtins.__import__, subprocess.Popen.__init__


def ours(names):
    return str((names or {}).get("__name__", "")).startswith("diffusion_lab")


def imported(name, globals=None, *others, **more):
    if ours(globals) and name in GONE:
        raise ImportError(f"there is no {name} on Windows")
    return less[name] if ours(globals) and name in less else whole_import(name, globals, *others, **more)


def started(self, *words, **options):
    frame = sys._getframe(1)
    while frame.f_globals["__name__"] == "subprocess":
        frame = frame.f_back
    if ours(frame.f_globals) and (options.get("pass_fds") or options.get("preexec_fn")):
        raise ValueError("pass_fds and preexec_fn are not for Windows")
    start(self, *words, **options)


builtins.__import__, subprocess.Popen.__init__ = imported, started
if __name__ == "__main__":
    from typer.testing import CliRunner

    from diffusion_lab.cli import app

    for line in sys.argv[1:]:
        done = CliRunner().invoke(app, line.split("|"))
        print("###", done.exit_code, done.output, done.exception or "")
"""


@pytest.mark.slow
def test_what_learners_and_teachers_do_on_a_laptop_needs_nothing_that_windows_lacks(tmp_path: Path):
    """The gaps are for this package's own code alone: libraries have ways of their own on Windows."""
    (tmp_path / "without.py").write_text(WITHOUT, encoding="utf-8")
    (tmp_path / "mine.py").write_text("def alpha_bar(betas):\n    return (1 - betas).cumprod(0)\n", encoding="utf-8")
    name = "01_normal_1d"
    for student in ("ada", "ben"):
        place = tmp_path / "submitted" / student / name / f"{name}.ipynb"
        place.parent.mkdir(parents=True)
        place.write_bytes((ROOT / "solutions" / name / f"{name}.ipynb").read_bytes())
    lines = [
        "start",
        "check|mine.py|--chapter|normal_1d",
        "similarity|submitted",
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "without.py", *lines],
        cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=600,
    )  # fmt: skip
    said = done.stdout.split("###")[1:]
    assert len(said) == len(lines), done.stdout + done.stderr
    statuses = [int(each.split()[0]) for each in said]
    assert statuses == [0, 1, 0], done.stdout + done.stderr
    assert "alpha_bar: 4 of 4 points" in said[1] and "2 submissions compared" in said[2]
