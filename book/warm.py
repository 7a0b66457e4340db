"""A process that has loaded what every page loads. For each page it forks, and its child becomes the page's kernel.

    python book/warm.py SOCKET

Loading PyTorch and matplotlib takes about three seconds of a processor, and two dozen pages run code. The build starts
this process, and its kernel provisioner, in `extension/kernels.py`, sends a line of JSON for each kernel: the command's
arguments, the folder, the environment. It reads the kernel's number, and then nothing until the kernel ends, which
closes the connection. The process itself ends when its standard input does, which the build holds open.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import traceback
from importlib import import_module
from typing import Any

LOADED = (
    "pages",
    "diffusion_lab.chapters.opening",
    "diffusion_lab.metrics",
    "diffusion_lab.plots",
    "IPython.core.completer",
    "ipykernel.kernelapp",
    "accelerate",
    "matplotlib.backends.backend_agg",
    "matplotlib_inline.backend_inline",
    "myst_nb",
    "sklearn.model_selection",
    "torch._dynamo",  # the first optimizer of a process loads it
)
"""What nearly every page imports, and what takes half a second or more and several pages import, with all it imports.

None draws a random number or starts a thread.
"""


def become_kernel(order: dict[str, Any]) -> None:
    """Run the kernel that was asked for, as `python -m ipykernel_launcher` would in a process of its own."""
    from ipykernel.kernelapp import IPKernelApp

    parent = os.getppid()
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    # The kernel ends with its parent, which is this process and not the build.
    sys.argv = ["ipykernel_launcher", *order["arguments"], f"--IPKernelApp.parent_handle={parent}"]
    IPKernelApp.launch_instance()


def serve(door: socket.socket) -> None:
    """Fork for every order until the build has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    while True:
        ready, _, _ = select.select([door, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = door.accept()
        order = json.loads(connection.makefile(encoding="utf-8").readline())
        for name in LOADED:
            import_module(name)
        child = os.fork()
        if not child:
            door.close()
            status = 1
            try:
                become_kernel(order)
                status = 0
            except Exception:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        connection.sendall(f"{child}\n".encode())
        connection.close()


if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(sys.argv[1])
        door.listen()
        print("ready", flush=True)
        os.dup2(2, 1)  # the build reads this one line; kernels must not fill the pipe, nor hold it open
        serve(door)
