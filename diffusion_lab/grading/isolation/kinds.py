"""The ways to keep student code apart: bubblewrap's walls, a container for each submission, or nothing at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from diffusion_lab.grading.isolation import wire
from diffusion_lab.grading.isolation.sandbox import START_UP, Limits, Sandbox, stage, variables
from diffusion_lab.grading.isolation.session import SandboxError, Session
from diffusion_lab.grading.isolation.starting import last_words

ENGINES = ("docker", "podman")
IMAGE = "diffusion-lab-sandbox"
"""The container's image, unless the variable of the environment says otherwise."""
IMAGE_VARIABLE = "DIFFUSION_LAB_IMAGE"
LONGEST_LIFE = 600
"""Seconds after which a container ends by itself; a submission has half of that."""
FIRST_ACCOUNT, ACCOUNTS = 20_000, 40_000
"""The numbers of accounts for submissions; a container whose root is not the machine's often has 65,536 in all."""
NONE_GIVES_UP = (
    "--isolation none: submissions run as you. They can read your files, other submissions, the gradebook and the "
    "solutions, change what you can change, and use the network. For submissions that you trust only."
)


def sandbox_of(kind: str, limits: Limits | None = None) -> Sandbox | _Single:
    """What opens a session for each submission.

    Args:
        kind: "bubblewrap", "container", "account" or "none".

    Raises:
        SandboxError: on Windows, which has no groups of processes that end together.
    """
    if not hasattr(os, "killpg"):
        raise SandboxError(
            "this system cannot end all that a submission starts, so nothing is graded here: grade on Linux, real or "
            "virtual, such as the one in Windows (WSL)"
        )
    kinds = {"bubblewrap": Sandbox, "container": Containers, "account": Accounts, "none": Subprocesses}
    return kinds[kind](limits)


class _Single:
    """A new process for each submission, which imports PyTorch anew. Use as a context manager, or call `close`."""

    def __init__(self, limits: Limits | None = None):
        self.limits = limits or Limits()
        self._folder: tempfile.TemporaryDirectory | None = None

    def __enter__(self) -> _Single:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def start(self) -> None:
        """Lay out what the processes need. Raises SandboxError where they cannot be had."""
        self.close()
        self._folder = tempfile.TemporaryDirectory(prefix="diffusion-lab-")
        (Path(self._folder.name) / "course").mkdir()
        stage(Path(self._folder.name) / "course")

    def close(self) -> None:
        """Remove what `start` has laid out; each session ends its own process."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def open(self) -> Session:
        """A fresh process for one submission."""
        if self._folder is None:
            self.start()
        return self._session(Path(self._folder.name))

    def _session(self, folder: Path) -> Session:
        raise NotImplementedError


class Subprocesses(_Single):
    """No walls: for trusted submissions only. What a process has started may go on after it."""

    def _session(self, folder: Path, **account: Any) -> Session:
        home = Path(tempfile.mkdtemp(dir=folder))
        if account:
            os.chown(home, account["user"], account["group"])
        environment = variables() | {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(folder / "course")}
        command = [sys.executable, "-m", "diffusion_lab.grading.isolation.worker", json.dumps(asdict(self.limits))]

        def end(process: subprocess.Popen) -> None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            if account:
                self._end_all_of(account)
            shutil.rmtree(home, ignore_errors=True)

        return _OneProcess(command, end, cwd=home, env=environment, **account)

    def _end_all_of(self, account: dict[str, Any]) -> None:
        raise NotImplementedError


class Accounts(Subprocesses):
    """An account of its own for each submission, where a platform's container is thrown away after it.

    Files that are root's alone and root's processes are out of its reach, and what it starts ends with it. The network
    and whatever all users may read are not: there must be nothing secret among the latter. Needs root.
    """

    def start(self) -> None:
        """Raises SandboxError where this process may not become somebody else."""
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            raise SandboxError(
                "--isolation account runs submissions under accounts of their own, for which it must be root"
            )
        super().start()
        Path(self._folder.name).chmod(0o711)

    def _session(self, folder: Path) -> Session:
        number = _unused_account()
        return super()._session(folder, user=number, group=number, extra_groups=[])

    def _end_all_of(self, account: dict[str, Any]) -> None:
        """Have the account itself kill all that it may: its own processes, those that have left their group too."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired, subprocess.SubprocessError):
            kill = "import os, signal; os.kill(-1, signal.SIGKILL)"
            subprocess.run([sys.executable, "-ISc", kill], timeout=30, stderr=subprocess.DEVNULL, **account)


class Containers(_Single):
    """A container of docker's or podman's for each submission."""

    def start(self) -> None:
        """Also looks which of docker and podman has the image. Raises SandboxError where none has."""
        self.image = os.environ.get(IMAGE_VARIABLE, IMAGE)
        refusals = {}
        for engine in ENGINES:
            refusal = self._refusal(engine)
            if not refusal:
                self.engine = engine
                return super().start()
            if shutil.which(engine):
                refusals[engine] = refusal
        if not refusals:
            raise SandboxError("--isolation container needs docker or podman, and neither is on this machine")
        said = "; ".join(f"{engine} has no image '{self.image}' ({why})" for engine, why in refusals.items())
        # PyTorch of another version could calculate otherwise than the grader's.
        raise SandboxError(
            f"{said}. To make it:\n"
            f"printf 'FROM python:{sys.version_info.major}.{sys.version_info.minor}-slim\\n"
            f"RUN pip install numpy torch=={_release(torch.__version__)}\\n' "
            f"| {next(iter(refusals))} build -t {self.image} -"
        )

    def _refusal(self, engine: str) -> str:
        """Why this engine cannot be used; "" where it can."""
        try:
            asked = subprocess.run(
                [engine, "image", "inspect", self.image], capture_output=True, text=True, errors="replace", timeout=60
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"it does not answer: {error}"
        return "" if asked.returncode == 0 else asked.stderr.strip()[-200:] or "no message"

    def _session(self, folder: Path) -> Session:
        name = f"diffusion-lab-{uuid.uuid4().hex}"
        # In a folder that is removed: where memory runs out, podman leaves a file behind in the one where it runs.
        return _OneProcess(self.command(name, folder / "course"), lambda _: self._kill(name), cwd=folder)

    def command(self, name: str, course: Path) -> list[str]:
        """No network, a read-only system, no privileges, and the limits; see the engine's manual for each word."""
        limits, memory = self.limits, str(self.limits.memory + (1 << 30))
        command = [
            self.engine, "run", "--rm", "--pull", "never", "--interactive", "--name", name, "--network", "none",
            "--read-only", "--tmpfs", f"/tmp:rw,size={limits.tmp}", "--ipc", "none", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges", "--user", "1000:1000", "--pids-limit", str(limits.processes + 8),
            "--memory", memory, "--memory-swap", memory, "--volume", f"{course}:/course:ro,z", "--workdir", "/tmp",
            # The engine would keep all that the process says, on the disk of the machine.
            "--log-driver", "none",
        ]  # fmt: skip
        if self.engine == "podman":  # which else makes more of the system writable
            command.append("--read-only-tmpfs=false")
        for variable, value in (variables() | {"PYTHONPATH": "/course"}).items():
            if variable != "PATH":  # the image knows where its Python is
                command += ["--env", f"{variable}={value}"]
        return [
            *command,
            self.image,
            # Where the grader is killed, nobody is left to end the container.
            "timeout",
            "--signal=KILL",
            str(LONGEST_LIFE),
            "python",
            "-m",
            "diffusion_lab.grading.isolation.worker",
            json.dumps(asdict(limits) | {"walls": True}),
        ]

    def _kill(self, name: str) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([self.engine, "kill", name], capture_output=True, timeout=30)


def _unused_account() -> int:
    """The number of an account that nobody has."""
    import pwd

    known = {entry.pw_uid for entry in pwd.getpwall()}
    return next(
        number for number in iter(lambda: FIRST_ACCOUNT + secrets.randbelow(ACCOUNTS), 0) if number not in known
    )


def _release(version: str) -> str:
    """Without what it was built for: "2.11.0+cpu" -> "2.11.0"."""
    return version.partition("+")[0]


class _OneProcess(Session):
    """A session whose process is this side's own child and talks through its standard input and output."""

    def __init__(self, command: list[str], end: Callable[[subprocess.Popen], None], **options: Any):
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, start_new_session=True, **options
            )
        except OSError as error:
            ours.close()
            raise SandboxError(f"{command[0]} does not start: {error}") from error
        finally:
            theirs.close()
        super().__init__(ours, ours)
        self._end, self._open = end, True
        try:
            ready = wire.receive(ours, ends=time.monotonic() + START_UP).get("ready")
            if _release(str(ready)) != _release(torch.__version__):
                raise wire.WireError(f"it has PyTorch {ready}, and the grader has {torch.__version__}")
        except (OSError, EOFError, wire.WireError) as error:
            self._end(self._process)
            said = last_words(self._process)
            self.close()
            raise SandboxError(f"the process for a submission did not start: {said or error}") from error

    def waited(self) -> float:
        return 0.0  # there is no guard to count it

    def close(self) -> str:
        if self._open:
            self._open = False
            self._end(self._process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.kill()
            self._process.wait()
            self._process.stderr.close()
            self._talk.close()
        return self._why
