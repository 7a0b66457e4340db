"""The grader's side of the sandbox: starts it, opens a session for each submission, and believes nothing it hears."""

from __future__ import annotations

import json
import shutil
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffusion_lab.grading.isolation.session import SandboxError, Session

PACKAGE = Path(__file__).resolve().parents[2]
INSIDE = ("judge/calling.py", *(f"isolation/{name}.py" for name in ("namespaces", "syscalls", "wire", "worker")))
"""All of `grading` that exists in the sandbox; of the exercises it has the probes."""
HIDDEN = (Path("/usr/local/share"), Path("/usr/local/src"), Path("/usr/src"))
"""Folders of the system that programs do without. nbgrader's exchange, with everybody's notebooks, is in the first."""
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


class Sandbox:
    """A warm worker behind bubblewrap's walls. Use as a context manager, or call `close`."""

    def __init__(self, limits: Limits | None = None):
        self.limits = limits or Limits()
        self._process: subprocess.Popen | None = None
        self._folder: tempfile.TemporaryDirectory | None = None

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
        self._folder = tempfile.TemporaryDirectory(prefix="diffusion-lab-")
        stage(Path(self._folder.name))
        ours, theirs = socket.socketpair()
        command = [
            *_bubblewrap(Path(self._folder.name)),
            sys.executable,
            "-m",
            "diffusion_lab.grading.isolation.worker",
        ]
        self._process = subprocess.Popen(
            [*command, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        ours.settimeout(START_UP)
        self._control = ours
        try:
            ready = ours.recv(5) == b"ready"
        except OSError:
            ready = False
        if not ready:
            self._process.kill()
            said = self._process.communicate()[1].decode(errors="replace").strip()[-500:]
            self.close()
            raise SandboxError(f"the sandbox did not start: {said or 'no message'}")

    def close(self) -> None:
        """End the worker and everything in it."""
        if self._process is not None:
            self._control.close()
            self._process.kill()  # bubblewrap dies with its children: --die-with-parent, and a process tree of its own
            self._process.communicate()
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
            try:
                request = json.dumps(asdict(self.limits)).encode()
                socket.send_fds(self._control, [request], [guard.fileno(), first.fileno()])
                return Session(life, talk)
            except OSError as error:
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
    for name in (*(f"grading/{name}" for name in INSIDE), *probes):
        target = folder / "diffusion_lab" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / name, target)
        for parent in target.relative_to(folder).parents[:-1]:
            (folder / parent / "__init__.py").touch()
    folder.chmod(0o755)


def _bubblewrap(stage: Path) -> list[str]:
    """The command in front of the worker's: no network, a read-only system, no home, no view of other processes."""
    seen = dict.fromkeys([sys.base_prefix, sys.base_exec_prefix, sys.prefix, *site.getsitepackages()])
    outside_usr = [path for path in seen if not Path(path).is_relative_to("/usr")]
    arguments = [
        "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL",
        "--uid", "1000", "--gid", "1000", "--hostname", "sandbox", "--ro-bind", "/usr", "/usr",
    ]  # fmt: skip
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/") / name
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    arguments += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--proc", "/proc", "--dev", "/dev"]
    arguments += ["--size", str(64 << 20), "--tmpfs", "/tmp"]
    for path in outside_usr:
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
        "MPLBACKEND": "agg", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8",
    }  # fmt: skip
