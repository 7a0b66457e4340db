"""As many threads as other programs leave processors for."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest
import torch

from diffusion_lab import threads
from diffusion_lab.threads import Threads


class Machine:
    """A machine of four processors whose clock and whose other programs a test decides about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now, self.others, self.ours, self.torch = 1000.0, 500.0, 0.0, 4
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(threads.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(threads.time, "process_time", lambda: self.ours)
        monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
        monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(user=self.others + self.ours, system=0.0))
        monkeypatch.setattr(torch, "get_num_threads", lambda: self.torch)
        monkeypatch.setattr(torch, "set_num_threads", lambda count: setattr(self, "torch", count))
        monkeypatch.setattr(threads, "QUOTA", SimpleNamespace(read_text=lambda: self.quota))
        self.quota = "max 100000"
        self.threads = Threads()
        self.threads.follow()

    def passes(self, seconds: float, busy: float) -> int:
        """The number of threads after so many seconds beside programs that kept so many processors busy."""
        self.now += seconds
        self.others += busy * seconds
        self.ours += self.torch * seconds
        self.threads.follow()
        return self.torch


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_threads_follow_the_processors_that_others_leave(machine: Machine):
    assert machine.passes(1, busy=0.1) == 4
    assert machine.passes(1, busy=1) == 3
    assert machine.passes(1, busy=2.7) == 1
    assert machine.passes(1, busy=4) == 1, "one thread is the least"
    assert machine.passes(1, busy=0) == 4


def test_a_look_takes_a_second_and_what_was_long_ago_does_not_count(machine: Machine):
    assert machine.passes(0.4, busy=3) == 4
    assert machine.passes(0.7, busy=3) == 1
    assert machine.passes(600, busy=0) == 1
    assert machine.passes(1, busy=0) == 4


def test_a_number_that_was_chosen_stays(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    machine.torch = 2
    assert machine.passes(1, busy=0) == 2
    assert machine.passes(1, busy=3) == 1
    assert machine.passes(1, busy=0) == 2, "and no more than that"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert machine.passes(1, busy=3) == 2


@pytest.mark.parametrize(("quota", "expected"), [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 4), ("", 4)])
def test_a_container_with_part_of_a_machine_has_threads_for_that_part(machine: Machine, quota: str, expected: int):
    machine.quota = quota
    assert machine.passes(1, busy=0) == expected


@pytest.fixture
def busy_machine() -> Iterator[None]:
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(psutil.cpu_count() or 1)]
    yield
    for program in programs:
        program.kill()
        program.wait()


def test_real_programs_are_seen(busy_machine: None, monkeypatch: pytest.MonkeyPatch):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        torch.set_num_threads(2)
        real = Threads()
        for _ in range(4):
            real.follow()
            time.sleep(threads.LOOK_EVERY / 3 + 0.05)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("given", "quota", "count"), [(4, "max 100000", 4), (4, "250000 100000", 2), (1, "50000 100000", 1)]
)
def test_processors_are_those_of_the_process_and_its_container(monkeypatch, given, quota, count):
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(cpu_affinity=lambda: list(range(given))))
    monkeypatch.setattr(threads, "QUOTA", SimpleNamespace(read_text=lambda: quota))
    assert threads.processors() == count
