"""How many threads compute: as many as other programs leave processors for.

Threads meet at the end of every operation, some thousand times in a training step. Where another program has taken the
processor from one of them, all the others wait until it runs again: beside a second training, two threads can take ten
times as long as one. `benchmarks/busy.py` measures it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import torch

LOOK_EVERY = 1.0
"""Seconds over which the processor time of other programs is measured."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""How much processor time a container has, in Linux: microseconds of it in each period of so many, or "max"."""


def others_seconds() -> float:
    """Processor seconds of all other programs since the machine was started.

    Raises:
        OSError: where the system does not tell.
    """
    of_all = psutil.cpu_times()
    return of_all.user + of_all.system + getattr(of_all, "nice", 0.0) - time.process_time()


def allowed() -> float:
    """How many processors this process may keep busy, as its container says; infinite where nobody says."""
    try:
        quota, period = QUOTA.read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):  # no such file, or "max"
        return float("inf")


def processors() -> int:
    """How many processors this process may keep busy, as the system and its container say."""
    own = psutil.Process()
    present = len(own.cpu_affinity()) if hasattr(own, "cpu_affinity") else psutil.cpu_count() or 1
    return max(1, int(min(present, allowed())))


class Threads:
    """Keeps PyTorch at as many threads as there are free processors, and at no more than it began with.

    Sums are split between threads and rounded there, so that two runs are equal to the last digit only with the same
    number of threads. Someone who needs that, or wants the processors for themselves, sets OMP_NUM_THREADS or calls
    `torch.set_num_threads`: a number that was chosen stays.
    """

    def __init__(self) -> None:
        self.most = self.now = 0
        self.since = self.others = 0.0

    def follow(self) -> None:
        """Look how busy the machine is, at most once a second, and change the number of threads if need be."""
        now = time.monotonic()
        if "OMP_NUM_THREADS" in os.environ or now < self.since + LOOK_EVERY:
            return
        if torch.get_num_threads() != self.now:  # the first look, or somebody has chosen
            self.most = self.now = torch.get_num_threads()
        try:
            others, passed = others_seconds(), now - self.since
        except OSError:  # some sandboxes hide it; then the number stays
            return
        busy, self.since, self.others = (others - self.others) / passed, now, others
        if passed > 10 * LOOK_EVERY:  # how it was long ago
            return
        free = min((psutil.cpu_count() or 1) - busy, allowed())
        wanted = max(1, min(self.most, round(free)))
        if wanted != self.now:
            torch.set_num_threads(wanted)
            self.now = wanted


follow = Threads().follow
"""Called between the steps of long work."""
