"""The grader's side of the sandbox: starts it, opens a session for each submission, and believes nothing it hears."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch

from diffusion_lab.errors import LabError
from diffusion_lab.grading.calling import LIMIT, Fault
from diffusion_lab.grading.isolation import wire
from diffusion_lab.grading.isolation.remote import LATE, Gone, RemoteCaller, fault_of, texts_of

PACKAGE = Path(__file__).resolve().parents[2]
INSIDE = ("calling.py", *(f"isolation/{name}.py" for name in ("namespaces", "syscalls", "wire", "worker")))
"""All of `grading` that exists in the sandbox; of the exercises it has the probes."""
TOO_MUCH = {"memory": "it used too much memory", "processes": "it started too many processes or threads"}
HIDDEN = (Path("/usr/local/share"), Path("/usr/local/src"), Path("/usr/src"))
"""Folders of the system that programs do without. nbgrader's exchange, with everybody's notebooks, is in the first."""
START_UP = 120.0
"""Seconds to import PyTorch, on a slow disk too."""
PATIENCE = 3.0
"""Seconds beyond its own limit that a call may keep the grader waiting."""


class SandboxError(LabError, RuntimeError):
    """The sandbox cannot be had on this machine, or broke. It is the grader's fault, never a student's."""


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


class Session:
    """One submission in the sandbox. Every method but `close` raises Gone where its processes no longer answer."""

    def __init__(self, life: socket.socket, talk: socket.socket):
        self._life, self._talk = life, talk
        self._why = ""
        self.tried: set[str] = set()
        """What of this package its code has tried to import or open. Only who hides it well can keep it from here."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def run_cell(self, name: str, source: str, limit: float = LIMIT) -> Fault | None:
        """Run one cell of the submission; None where nothing went wrong."""
        # As bytes: text in a message is cut at a length that code may well have.
        data = torch.tensor(list(source.encode()), dtype=torch.uint8)
        reply = self._ask({"op": "cell", "name": name, "source": data}, limit)
        return fault_of(reply.get("fault"))

    def names(self, wanted: list[str]) -> tuple[set[str], list[str]]:
        """Which of these are functions of the submission, and the names of all that it has."""
        reply = self._ask({"op": "names", "names": wanted}, PATIENCE)
        self.tried.update(texts_of(reply.get("tried")))
        return set(texts_of(reply.get("names"))) & set(wanted), texts_of(reply.get("all"))

    @contextlib.contextmanager
    def piece(
        self,
        name: str,
        limit: float = LIMIT,
        stand_ins: Mapping[str, Callable] | None = None,
        together: float = math.inf,
    ) -> Iterator[RemoteCaller]:
        """A `Caller` for one function of the submission.

        Args:
            stand_ins: functions of the grader's, which take the place of the submission's own of the same name. They
                are computed on this side: the sandbox sees what they return, and not how they are made.
            limit: seconds for one call.
            together: seconds for all calls.
        """
        stand_ins = dict(stand_ins or {})
        self._send({"op": "piece", "name": name, "stand_ins": tuple(stand_ins)})
        try:
            yield RemoteCaller(self, limit, stand_ins, together)
        finally:
            if not self._why:
                with contextlib.suppress(Gone):
                    reply = self._ask({"op": "end"}, PATIENCE)
                    self.tried.update(texts_of(reply.get("tried")))
                    if reply.get("ended") is not True:
                        self._lost("it broke the protocol")

    @property
    def lost(self) -> bool:
        """Whether its processes no longer answer."""
        return bool(self._why)

    def close(self) -> str:
        """End all of the submission's processes; why they ended, where it was not this call: "memory", "processes"."""
        if self._life.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._life.shutdown(socket.SHUT_WR)
                self._life.settimeout(10)
                while word := self._life.recv(200).decode(errors="replace"):
                    self._why = word if word.startswith("failed") else TOO_MUCH.get(word, self._why)
            self._life.close()
            self._talk.close()
        return self._why

    def _ask(self, message: dict[str, Any], limit: float) -> dict[str, Any]:
        self._send(message)
        return self._receive(limit)

    def _send(self, message: dict[str, Any]) -> None:
        if self._why:
            raise Gone(self._why)
        try:
            self._talk.settimeout(LIMIT + PATIENCE)
            wire.send(self._talk, message)
        except (OSError, wire.WireError) as error:
            self._lost(_words(error))

    def _receive(self, limit: float) -> dict[str, Any]:
        try:
            return wire.receive(self._talk, ends=time.monotonic() + max(limit, 0.0) + PATIENCE)
        except (OSError, EOFError, wire.WireError) as error:
            self._lost(_words(error))

    def _lost(self, why: str) -> NoReturn:
        self._why = why
        why = self.close() or why
        if why.startswith("failed"):
            raise SandboxError(f"the kernel does not allow the walls between submissions: {why}")
        raise Gone(why)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return LATE
    if isinstance(error, (EOFError, ConnectionError)):
        return "its process ended"
    return f"its answer cannot be read: {error}"
