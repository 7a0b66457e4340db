"""The grader's side of the sandbox: starts it, opens a session for each submission, and believes nothing it hears."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffusion_lab.grading.isolation import groups
from diffusion_lab.grading.isolation.namespaces import USER
from diffusion_lab.grading.isolation.session import SandboxError, Session
from diffusion_lab.grading.isolation.starting import advice, last_words

PACKAGE = Path(__file__).resolve().parents[2]
INSIDE = (
    "judge/calling.py",
    *(
        f"isolation/{name}.py"
        for name in ("attempts", "groups", "guarding", "namespaces", "syscalls", "wire", "worker")
    ),
)
"""All of `grading` that exists in the sandbox; of the exercises it has the probes, and the handles of black boxes."""
HIDDEN = (Path("/usr/local/share"), Path("/usr/local/src"), Path("/usr/src"))
"""Folders of the system that programs do without. nbgrader's exchange, with everybody's notebooks, is in the first."""
NOBODY = 65534
"""Whose rights a sandbox has where the grader was started as root: a user who owns no file and no device."""
DEVICES = ("null", "random", "urandom")
START_UP = 120.0
"""Seconds to import PyTorch, on a slow disk too."""


@dataclass(frozen=True)
class Limits:
    """What one submission may use."""

    cpu: int = 120
    """Seconds of processor time of each process."""
    memory: int = 2 << 30
    """Bytes of all processes together, beyond what PyTorch needs."""
    address: int = 16 << 30
    """Bytes of address space of each process; PyTorch alone takes several GiB of it."""
    processes: int = 64
    threads: int = 256
    """Of all processes together."""
    tmp: int = 64 << 20
    """Bytes in files."""
    files: int = 8192


class Sandbox:
    """A warm worker behind bubblewrap's walls. Use as a context manager, or call `close`."""

    def __init__(self, limits: Limits | None = None):
        self.limits = limits or Limits()
        self._process: subprocess.Popen | None = None
        self._folder: tempfile.TemporaryDirectory | None = None
        self._groups: Path | None = None

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def start(self) -> None:
        """Start the worker. Raises SandboxError where bubblewrap is missing or does not work here."""
        self.close()
        if shutil.which("bwrap") is None:
            raise SandboxError(
                "grading needs bubblewrap to keep student code apart, and there is no `bwrap` on this machine; on "
                "Debian and Ubuntu: sudo apt install bubblewrap. For submissions that you trust: --isolation none"
            )
        self._groups = groups.lent()
        self._folder = tempfile.TemporaryDirectory(prefix="diffusion-lab-")
        stage(Path(self._folder.name))
        ours, theirs = socket.socketpair()
        command = [*_bubblewrap(Path(self._folder.name)), *_python("diffusion_lab.grading.isolation.worker")]
        try:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            ours.close()
            self.close()
            raise SandboxError(f"the sandbox did not start: bwrap: {error.strerror}") from error
        finally:
            theirs.close()
        ours.settimeout(START_UP)
        self._control = ours
        try:
            ready, why = self._first_word() == b"ready", "no message"
        except OSError as error:
            ready, why = False, f"no answer after {START_UP:g} s" if isinstance(error, TimeoutError) else str(error)
        if not ready:
            said = last_words(self._process)
            self.close()
            raise SandboxError(f"the sandbox did not start: {said or why}{advice(said)}")

    def _first_word(self) -> bytes:
        """What the worker says first; nothing where it has ended, though what it started may hold its line open.

        Raises TimeoutError where it says nothing in time, and OSError where the line breaks.
        """
        late = time.monotonic() + START_UP
        while time.monotonic() < late:
            ended = self._process.poll() is not None
            if select.select([self._control], [], [], 0 if ended else 0.05)[0]:
                return self._control.recv(5)
            if ended:
                return b""
        raise TimeoutError

    def close(self) -> None:
        """End the worker and everything in it."""
        if self._process is not None:
            self._control.close()
            # bubblewrap dies with its children: --die-with-parent, and a process tree of its own.
            last_words(self._process)
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def open(self) -> Session:
        """A fresh process tree for one submission. Starts the worker again where it has died."""
        for attempt in (1, 2):
            if self._process is None or self._process.poll() is not None:
                self.start()
            life, guard = socket.socketpair()
            talk, first = socket.socketpair()
            group = None
            try:
                limits = asdict(self.limits)
                group = None if self._groups is None else groups.made(self._groups, limits)
                request = json.dumps(limits | {"below_tmp": below_tmp()}).encode()
                with contextlib.nullcontext(()) if group is None else groups.handles(group) as descriptors:
                    socket.send_fds(self._control, [request], [guard.fileno(), first.fileno(), *descriptors])
                return Session(life, talk, group)
            except OSError as error:
                if group is not None:
                    groups.remove(group)
                life.close()
                talk.close()
                self.close()
                if attempt == 2:
                    raise SandboxError(f"the sandbox broke: {error}") from error
            finally:
                guard.close()
                first.close()
        raise AssertionError("unreachable")


def stage(folder: Path) -> None:
    """Lay out a package of the same name with nothing in it but what the worker needs."""
    probes = [path.relative_to(PACKAGE).as_posix() for path in sorted((PACKAGE / "exercises").rglob("probes.py"))]
    for name in (*(f"grading/{name}" for name in INSIDE), "exercises/boxes.py", *probes):
        target = folder / "diffusion_lab" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / name, target)
        for parent in target.relative_to(folder).parents[:-1]:
            (folder / parent / "__init__.py").touch()
    # Whoever runs it can read it, whatever this process gives to new files.
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def is_root() -> bool:
    """Whether this process is the machine's own root, to whom its devices belong, and not only a container's."""
    try:
        first = Path("/proc/self/uid_map").read_text().split()
    except OSError:
        return os.geteuid() == 0
    return os.geteuid() == 0 and first[:2] == ["0", "0"]


def _python(module: str) -> list[str]:
    """The command that runs a module of the course in the sandbox."""
    command = [sys.executable, "-m", module]
    if not is_root():
        return command
    # The worker's own /tmp, which no submission sees, was made by root.
    give_up = f"os.chmod('/tmp', 0o1777); os.setgroups([]); u = [{NOBODY}] * 3; os.setresgid(*u); os.setresuid(*u)"
    return [sys.executable, "-ISc", f"import os, sys; {give_up}; os.execv(sys.argv[1], sys.argv[1:])", *command]


def environment() -> list[str]:
    """The folders outside of /usr that Python and its libraries are in."""
    seen = dict.fromkeys([sys.base_prefix, sys.base_exec_prefix, sys.prefix, *site.getsitepackages()])
    return [path for path in seen if not Path(path).is_relative_to("/usr")]


def below_tmp() -> list[str]:
    """Those of them that a /tmp of a submission's own would hide."""
    found = [path for path in environment() if Path(path).is_relative_to("/tmp") and Path(path).is_dir()]
    return [path for path in found if not any(path != other and Path(path).is_relative_to(other) for other in found)]


def _bubblewrap(stage: Path) -> list[str]:
    """The command in front of the worker's: no network, a read-only system, no home, no view of other processes."""
    outside_usr = environment()
    arguments = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    # In a namespace of root's own the rights over the machine's devices and processes would stay: root goes in with
    # just enough rights to become somebody else, and does that first.
    arguments += ["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    if is_root():
        arguments += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        arguments += ["--unshare-user", "--uid", str(USER), "--gid", str(USER)]
    arguments += ["--hostname", "sandbox", "--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/") / name
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    arguments += ["--dir", "/etc", "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--proc", "/proc"]
    # Few devices: whoever maps /dev/zero has memory that is in no process's count.
    arguments += ["--tmpfs", "/dev"]
    for name in DEVICES:
        arguments += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        arguments += ["--symlink", f"/proc/self/fd{target}", f"/dev/{name}"]
    arguments += ["--size", str(64 << 20), "--tmpfs", "/tmp"]
    for path in outside_usr:
        # The folders above, which bubblewrap would make for the one alone who starts it.
        for above in reversed(Path(path).parents[:-1]):
            arguments += ["--dir", str(above)]
        arguments += ["--ro-bind-try", path, path]
    hidden = [folder for folder in HIDDEN if folder.is_dir()]
    # An installed package lies among the libraries: nothing of it may be seen.
    for packages in {*site.getsitepackages(), sysconfig.get_paths()["purelib"], str(PACKAGE.parent)}:
        installed = Path(packages) / "diffusion_lab"
        if installed.is_dir() and any(Path(packages).is_relative_to(path) for path in (*outside_usr, "/usr")):
            hidden.append(installed)
    for folder in hidden:
        arguments += ["--tmpfs", str(folder), "--remount-ro", str(folder)]
    arguments += ["--ro-bind", str(stage), "/course", "--chdir", "/tmp"]
    for name, value in variables().items():
        arguments += ["--setenv", name, value]
    # The root and /dev are in memory and would keep what one submission writes there for the next one.
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/"]
    return [*arguments, "--"]


def variables() -> dict[str, str]:
    """All of the environment in the sandbox."""
    return {
        "HOME": "/tmp", "TMPDIR": "/tmp", "PATH": "/usr/bin:/bin", "PYTHONPATH": "/course", "OMP_NUM_THREADS": "1",
        # Threads that wait in a loop would use up the processor time that a submission has.
        "OMP_WAIT_POLICY": "passive",
        # Nobody has a name there, and Python looks for one: torch.compile's files are in a folder called after it.
        "USER": "student", "LOGNAME": "student", "MPLBACKEND": "agg",
        # There is no room for a compiler's files, and what is not compiled gives the same answers.
        "TORCH_COMPILE_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8",
    }  # fmt: skip
