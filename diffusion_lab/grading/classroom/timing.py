"""A limit for what the grader itself computes with what a submission says, in whatever thread it does so."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterator

LOOK_EVERY = 0.25
"""Seconds."""


class TooLong(BaseException):
    """Not an Exception, so that nothing on the way takes it for a fault of an answer's."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TooLong in this thread once it has computed for so many seconds of processor time.

    It comes between two steps of Python's: one call of a library is not interrupted, so what such calls are given must
    be bounded in size. What the thread waits for does not count.
    """
    computed, thread, done = _clock(), threading.get_ident(), threading.Event()
    ends = computed() + seconds

    def watch() -> None:
        while not done.wait(LOOK_EVERY):
            if computed() > ends and not done.is_set():
                _raise(thread, TooLong)
                done.wait(1)  # where something on the way took it for its own, once more

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        _raise(thread, None)


def _clock() -> Callable[[], float]:
    """This thread's processor time, to be read by any thread; the time of day where the system has no such clock."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return time.monotonic
    clock = time.pthread_getcpuclockid(threading.get_ident())
    return lambda: time.clock_gettime(clock)


def _raise(thread: int, error: type[BaseException] | None) -> None:
    """Have a thread raise it next; None takes back what it has not raised yet."""
    what = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)
