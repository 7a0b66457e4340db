"""Kernels that start in the time of a fork: what every page imports is loaded once, by `book/warm.py`."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError

WARM = Path(__file__).resolve().parents[1] / "warm.py"
LAUNCHER = [sys.executable, "-m", "ipykernel_launcher"]
NAME = "diffusion-lab-forked"


class Forked:
    """A kernel that `book/warm.py` has forked, with the part of `subprocess.Popen` that Jupyter asks for.

    Its exit status is not known, only that it has ended: then 0.
    """

    stdin = stdout = stderr = None

    def __init__(self, address: str, order: dict[str, Any]):
        self.returncode: int | None = None
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(address)
        self.connection.sendall(f"{json.dumps(order)}\n".encode())
        number = self.connection.makefile(encoding="utf-8").readline()
        if not number:
            raise RuntimeError(f"{WARM.name} has not started a kernel; what it said is above")
        self.pid = int(number)

    def _ended(self, timeout: float | None) -> bool:
        if self.returncode is None and select.select([self.connection], [], [], timeout)[0]:
            self.connection.close()
            self.returncode = 0
        return self.returncode is not None

    def poll(self) -> int | None:
        return 0 if self._ended(timeout=0) else None

    def wait(self) -> int:
        self._ended(timeout=None)
        return 0

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class ForkedProvisioner(LocalProvisioner):
    """Forks kernels of this very Python, and starts others as Jupyter does."""

    address = ""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        if not self.address or cmd[: len(LAUNCHER)] != LAUNCHER:
            return await super().launch_kernel(cmd, **kwargs)
        folder = os.path.abspath(kwargs.get("cwd") or os.curdir)
        order = {"arguments": cmd[len(LAUNCHER) :], "cwd": folder, "env": dict(kwargs.get("env") or os.environ)}
        self.process = Forked(self.address, order)
        self.pid = self.pgid = self.process.pid  # it leads a group of its own
        self.cwd = folder
        return self.connection_info


def start(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    """Start the process that forks, before Sphinx forks those that read the pages. It loads when it is first asked."""
    # Elsewhere the libraries that PyTorch and matplotlib stand on may not survive a fork.
    if not names or sys.platform != "linux":
        return
    folder = tempfile.mkdtemp(prefix="diffusion-lab-")
    address = os.path.join(folder, "kernels")
    warm = subprocess.Popen(
        [sys.executable, str(WARM), address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    app.connect("build-finished", lambda *_: stop(warm, folder))
    if not warm.stdout.readline():
        raise ExtensionError(f"{WARM.name} does not start; what it said is above")
    factory = KernelProvisionerFactory.instance()
    factory.provisioners[NAME] = EntryPoint(NAME, f"{__name__}:{ForkedProvisioner.__name__}", factory.GROUP_NAME)
    factory.default_provisioner_name = NAME
    ForkedProvisioner.address = address


def stop(warm: subprocess.Popen, folder: str) -> None:
    """Tell it that the build has ended."""
    ForkedProvisioner.address = ""
    warm.communicate()
    shutil.rmtree(folder)


def setup(app: Sphinx) -> None:
    app.connect("env-before-read-docs", start)
