"""Dask's processes for a class: started on this machine, or those of a scheduler that is there."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import diffusion_lab
from diffusion_lab.errors import LabError
from diffusion_lab.grading.classroom import workers
from diffusion_lab.grading.isolation import SandboxError, lent

if TYPE_CHECKING:
    from distributed import Client, Future

NO_WORKER = 60.0
"""Seconds for which there may be no worker at all before a run is given up."""


@contextlib.contextmanager
def connected(jobs: int, scheduler: str, isolation: str) -> Iterator[Client]:
    """A client of Dask's, as long as the context lasts, with a worker at least in which a sandbox works.

    Args:
        jobs: how many processes to start on this machine.
        scheduler: the address of one whose workers are taken instead; "" for none.
        isolation: as in `sandbox_of`.

    Raises:
        LabError: Dask is not installed, its processes do not start, or nothing answers at the address.
        SandboxError: no worker can make a sandbox.
    """
    try:
        from dask import config
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise LabError("grading a class needs Dask: pip install 'dask[distributed]' cryptography") from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        if scheduler:
            try:
                client = stack.enter_context(Client(scheduler, timeout=10))
            except (OSError, TimeoutError, ValueError) as error:
                raise LabError(f"no Dask scheduler answers at {scheduler}: {error}") from error
        else:
            # Students may have accounts on this machine: who can talk to a scheduler can run anything as its owner,
            # and its web pages show what it does.
            stack.enter_context(config.set({f"distributed.{part}.http.routes": [] for part in ("scheduler", "worker")}))
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="diffusion-lab-workers-"))
            if isolation == "bubblewrap":
                lent()  # where the system lends a control group, this process makes room in it for its workers'
            processes = _started(
                LocalCluster,
                n_workers=jobs,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                security=True,
                memory_limit=0,
                local_directory=folder,
                silence_logs=logging.CRITICAL,
                # What a killed worker leaves behind goes with the folder.
                env={"OMP_NUM_THREADS": "1", "TMPDIR": folder},
            )
            client = stack.enter_context(Client(stack.enter_context(processes)))
        try:
            _look_at_workers(client, isolation, named=bool(scheduler))
            yield client
        finally:
            with contextlib.suppress(Exception, CancelledError):
                for future in on_each(client, workers.done).values():
                    future.result(timeout=20)


def _look_at_workers(client: Client, isolation: str, named: bool) -> None:
    """Raise SandboxError unless there is a worker in which a sandbox works; `named`: with its address."""
    with contextlib.suppress(TimeoutError):
        client.wait_for_workers(1, timeout=NO_WORKER)
    asked = on_each(client, workers.ready, diffusion_lab.__version__, isolation)
    faults = []
    for address, future in asked.items():
        try:
            future.result(timeout=300)
        except (Exception, CancelledError) as error:
            faults.append(f"{address}: {in_words(error)}" if named else in_words(error))
    if len(faults) == len(asked):
        raise SandboxError(faults[0] if faults else "the scheduler has no workers")


def _started(cluster: Callable[..., Any], **options: Any) -> Any:
    """Processes of Dask's. Raises LabError with the reason, of which Dask's own error says only that there is one."""
    try:
        return cluster(**options)
    except Exception as error:
        reason = error
        while reason.__cause__ is not None:
            reason = reason.__cause__
        raise LabError(
            f"the processes that grade could not start: {in_words(reason)}. If Python has printed an error above, "
            "it is theirs and says more. Does Dask's configuration (~/.config/dask, variables DASK_…) ask for what is "
            f"not installed here? Is there room in {tempfile.gettempdir()}? If memory is short, try --jobs 1"
        ) from error


def on_each(client: Client, function: Callable, *arguments: Any) -> dict[str, Future]:
    """Call a function in every worker that is there: address -> future."""
    return {a: client.submit(function, *arguments, workers=[a], pure=False) for a in client.nthreads()}


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_words(error: BaseException) -> str:
    """What went wrong, in a line for the instructor."""
    name = type(error).__name__
    if name == "KilledWorker":
        return "the workers that graded it died"
    if "Cancelled" in name:
        return "the scheduler was lost"
    message = " ".join(str(error).split())[:300]
    return message if isinstance(error, LabError) else f"{name}: {message}"
