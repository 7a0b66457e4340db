"""A function that does not end is ended, on systems with timers and without, in the main thread and in others."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from diffusion_lab.grading.judge.calling import LocalCaller, Returned


def endless() -> None:
    while True:
        pass


def stubborn() -> int:
    """Swallows every ordinary exception."""
    while True:
        try:
            time.sleep(0.001)
        except Exception:
            return 1


def quick() -> int:
    return sum(range(1000))


@pytest.fixture(params=["timers", "no timers", "another thread"])
def called(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Calls a function with a limit of a fifth of a second, as such a system does."""
    if request.param == "timers" and not hasattr(signal, "setitimer"):
        pytest.skip("this system has no timers")
    if request.param == "no timers":
        monkeypatch.delattr(signal, "setitimer", raising=False)

    def call(function) -> Returned:
        if request.param != "another thread":
            return LocalCaller(function, 0.2)(())
        found: list[Returned] = []
        thread = threading.Thread(target=lambda: found.append(LocalCaller(function, 0.2)(())))
        thread.start()
        thread.join(20)
        return found[0]

    return call


@pytest.mark.parametrize("function", [endless, stubborn])
def test_it_is_ended(called, function):
    fault = called(function).fault
    assert fault is not None and (fault.kind, fault.name) == ("time", "TimeoutError")


def test_what_comes_after_is_left_alone(called):
    for _ in range(50):
        assert called(quick).value == 499500
    assert called(endless).fault.kind == "time"
    time.sleep(0.3)
    assert called(quick).value == 499500
