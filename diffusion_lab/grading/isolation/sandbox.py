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
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.errors import LabError
from diffusion_lab.grading.calling import LIMIT, Fault, Returned, leaves
from diffusion_lab.grading.isolation import wire

PACKAGE = Path(__file__).resolve().parents[2]
INSIDE = ("calling.py", "isolation/namespaces.py", "isolation/wire.py", "isolation/worker.py")
"""All of `grading` that exists in the sandbox; of the exercises it has the probes."""
TOO_MUCH = {"memory": "it used too much memory", "processes": "it started too many processes"}
MOST_STAND_INS = 1000
"""How often one call may ask for a stand-in."""
MOST_ENTRIES = 1 << 14
"""Of all tensors that a stand-in is given. Distances between all pairs of so many points fit into memory."""
LARGEST_NUMBER = 1e5
"""That a stand-in is given, as a number of steps perhaps."""
START_UP = 120.0
"""Seconds to import PyTorch, on a slow disk too."""
PATIENCE = 3.0
"""Seconds beyond its own limit that a call may keep the grader waiting."""


class SandboxError(LabError, RuntimeError):
    """The sandbox cannot be had on this machine, or broke. It is the grader's fault, never a student's."""


class Gone(Exception):
    """The student's process is gone, or does not keep to the rules. `why` says it in words."""

    def __init__(self, why: str):
        super().__init__(why)
        self.why = why


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
    # An installed package lies among the libraries: nothing of it may be seen.
    for folder in {*site.getsitepackages(), sysconfig.get_paths()["purelib"], str(PACKAGE.parent)}:
        installed = Path(folder) / "diffusion_lab"
        if installed.is_dir() and any(Path(folder).is_relative_to(path) for path in (*outside_usr, "/usr")):
            arguments += ["--tmpfs", str(installed)]
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

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def run_cell(self, name: str, source: str, limit: float = LIMIT) -> Fault | None:
        """Run one cell of the submission; None where nothing went wrong."""
        # As bytes: text in a message is cut at a length that code may well have.
        data = torch.tensor(list(source.encode()), dtype=torch.uint8)
        reply = self._ask({"op": "cell", "name": name, "source": data}, limit)
        return _fault(reply["fault"])

    def names(self, wanted: list[str]) -> tuple[set[str], list[str]]:
        """Which of these are functions of the submission, and the names of all that it has."""
        reply = self._ask({"op": "names", "names": wanted}, PATIENCE)
        return set(_texts(reply["names"])) & set(wanted), _texts(reply["all"])

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
                    if self._ask({"op": "end"}, PATIENCE).get("ended") is not True:
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
            raise AssertionError("unreachable") from error

    def _lost(self, why: str) -> None:
        self._why = why
        why = self.close() or why
        if why.startswith("failed"):
            raise SandboxError(f"the kernel does not allow the walls between submissions: {why}")
        raise Gone(why)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, (EOFError, ConnectionError)):
        return "its process ended"
    return f"its answer cannot be read: {error}"


class RemoteCaller:
    """Calls a function in the sandbox. Everything in what it returns was checked to be plain data of a bounded size."""

    def __init__(self, session: Session, limit: float, stand_ins: Mapping[str, Callable], together: float = math.inf):
        self.session, self.limit, self.stand_ins = session, limit, stand_ins
        self.together, self.ends = together, time.monotonic() + together
        self.used: set[str] = set()
        """The stand-ins that the function has called."""

    def __call__(self, arguments: tuple, *, seed: int = 0, gradients: bool = False) -> Returned:
        now = time.monotonic()
        limit = min(self.limit, self.ends - now)
        too_long = Returned(fault=Fault("time", "TimeoutError", f"all calls together took {self.together:.0f} s"))
        if limit <= 0:
            return too_long
        question = {"op": "call", "arguments": arguments, "seed": seed, "gradients": gradients, "limit": limit}
        try:
            reply = self.session._ask(question, limit)
            for _ in range(MOST_STAND_INS):
                if "stand_in" not in reply:
                    break
                reply = self.session._ask(self._stand_in(reply), now + limit - time.monotonic())
            returned = _returned(reply)
            is_late = returned.fault is not None and returned.fault.kind == "time" and limit < self.limit
            return too_long if is_late else returned
        except Gone as error:
            kind = "time" if "time" in error.why else "raised"
            return Returned(fault=Fault(kind, "ProcessGone", error.why))

    def _stand_in(self, request: dict[str, Any]) -> dict[str, Any]:
        """What the grader's function gives, or its vector-Jacobian products, for arguments from the sandbox."""
        name, arguments, vector = (request.get(key) for key in ("stand_in", "arguments", "vector"))
        if name not in self.stand_ins or not isinstance(arguments, tuple):
            return {"value": None, "refused": "there is no such piece"}
        if any(isinstance(a, wire.Foreign) for a in arguments) or not _moderate(arguments):
            return {"value": None, "refused": "it takes tensors of moderate size, numbers and text here"}
        self.used.add(name)
        tracked = [isinstance(a, Tensor) and a.is_floating_point() for a in arguments]
        arguments = tuple(
            a.detach().requires_grad_(vector is not None) if t else a for a, t in zip(arguments, tracked, strict=True)
        )
        try:
            value = self.stand_ins[name](*arguments)
            if vector is not None:
                leaves = [a for a, t in zip(arguments, tracked, strict=True) if t]
                found = torch.autograd.grad(value, leaves, vector, allow_unused=True)
                value = tuple(torch.zeros_like(a) if g is None else g for a, g in zip(leaves, found, strict=True))
        except Exception as error:  # whatever the submission's arguments make of it
            return {"value": None, "refused": f"it raised {type(error).__name__}: {str(error)[:200]}"}
        return {"value": value, "refused": ""}


def _moderate(arguments: tuple) -> bool:
    """Whether the grader can compute with them: it has no limits of memory, and the sandbox chooses them."""
    found = leaves(arguments)
    numbers = [a for a in found if isinstance(a, (int, float))]
    return sum(a.numel() for a in found if isinstance(a, Tensor)) <= MOST_ENTRIES and all(
        abs(a) <= LARGEST_NUMBER for a in numbers if math.isfinite(a)
    )


def _returned(reply: dict[str, Any]) -> Returned:
    gradients, modified = reply.get("gradients"), reply.get("modified")
    return Returned(
        value=reply.get("value"),
        fault=_fault(reply.get("fault")),
        gradients=gradients if isinstance(gradients, tuple) else (),
        modified=tuple(i for i in modified if type(i) is int) if isinstance(modified, tuple) else (),
        graph=reply.get("graph") is True,
        mode_kept=reply.get("mode_kept") is True,
        printed=wire.printable(str(reply.get("printed") or "")),
    )


def _fault(reply: Any) -> Fault | None:
    if not isinstance(reply, dict):
        return None
    kind, name, message, line = (
        wire.printable(str(reply.get(key, "")), 400) for key in ("kind", "name", "message", "line")
    )
    return Fault(kind if kind in ("not written", "raised", "time") else "raised", name, message, line)


def _texts(reply: Any) -> list[str]:
    return (
        [wire.printable(part, 80) for part in reply if isinstance(part, str)]
        if isinstance(reply, (list, tuple))
        else []
    )
