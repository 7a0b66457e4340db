"""Pieces whose answer cannot be compared as it is: a driver runs them and gives back numbers.

A training step changes networks in place, and a function that builds a network returns what no message can carry. The
driver of such an exercise calls the student's function where that runs, and returns plain tensors. Drivers stand in
`probes.py` files, which exist wherever students' code runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def driven(driver: Callable) -> Callable[[Callable], Callable]:
    """A decorator for references and known answers: called with a case's arguments, they run under the driver.

    Args:
        driver: (piece, *arguments of a case) -> tensors, numbers, or tuples and dictionaries of them.
    """

    def decorate(piece: Callable) -> Callable:
        @functools.wraps(piece)
        def run(*arguments: Any) -> Any:
            return driver(piece, *arguments)

        run.driver = driver
        return run

    return decorate


def piece_of(task: Any) -> Callable:
    """The reference as others call it, without its driver."""
    return task.reference if driver_of(task) is None else task.reference.__wrapped__


def driver_of(task: Any) -> Callable | None:
    """What runs the student's function in a check; None where it is called with the arguments of the case."""
    return getattr(task, "driver", None)
