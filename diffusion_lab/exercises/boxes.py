"""Functions that a student's code may call and never sees.

Nothing but PyTorch is imported here, because this runs beside the student's code.
"""

from __future__ import annotations

import builtins
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

MOST_CALLS = 2000
"""How often one call of the student's function may ask its boxes."""
MOST_ENTRIES = 1 << 13
"""Of all tensors that the student's code hands over. Distances between all pairs of so many points fit into memory."""
MOST_ANSWERED = 1 << 17
"""Entries of all tensors in an answer."""
PLAIN = (Tensor, nn.Parameter, bool, int, float, str, type(None))
"""What travels between the two sides."""
LARGEST_NUMBER = 2e4
"""That it hands over, as a number of steps perhaps."""
PASSED_ON = (
    "TypeError",
    "ValueError",
    "IndexError",
    "KeyError",
    "ZeroDivisionError",
    "AssertionError",
    "OverflowError",
)
"""Errors of a box that the student's code gets as such; of every other kind it gets a RuntimeError."""
SIZES = f"it takes tensors of at most {MOST_ENTRIES} entries in all, numbers up to {LARGEST_NUMBER:g}, and text"


@dataclass(frozen=True)
class Answer:
    """What a box gave: a value, or the type and message of the error that it raised."""

    value: Any = None
    error: str = ""
    message: str = ""

    def opened(self) -> Any:
        """The value. Raises an error of the same type and message, without a trace of where it comes from."""
        if not self.error:
            return self.value
        # Others may need more than a message, or mean something to whoever catches them.
        raise (getattr(builtins, self.error) if self.error in PASSED_ON else RuntimeError)(self.message)


@dataclass(eq=False)
class BlackBox:
    """An argument of a call: a function that lives on the trusted side, of which the student's code gets a handle."""

    function: Callable
    asked: int = field(default=0, init=False)
    """How often it was called since the student's function was."""

    def answer(self, arguments: tuple, named: dict[str, Any] | None = None) -> Answer:
        """What the function gives for arguments that the student's code has chosen: detached copies, or an error."""
        self.asked += 1
        if self.asked > MOST_CALLS:
            return Answer(error="RuntimeError", message=f"it was called more than {MOST_CALLS} times")
        named = named or {}
        given = leaves((arguments, named))
        if not all(type(leaf) in PLAIN for leaf in given) or not moderate(given):
            return Answer(error="ValueError", message=SIZES)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.asked)  # a piece may draw numbers, though it should not
                value = self.function(*map(_copied, arguments), **{key: _copied(v) for key, v in named.items()})
            if sum(leaf.numel() for leaf in leaves(value) if isinstance(leaf, Tensor)) > MOST_ANSWERED:
                return Answer(error="ValueError", message=f"its answer has more than {MOST_ANSWERED} entries")
            return Answer(_copied(value))
        except Exception as error:  # whatever the student's arguments make of it
            return Answer(error=type(error).__name__, message=" ".join(str(error).split())[:200])

    def handle(self) -> Box:
        """What the student's code gets in this process."""
        self.asked = 0
        return Box.around(lambda arguments, named: self.answer(arguments, named))


class Box:
    """The handle: it can be called, and nothing leads from it to what answers."""

    __slots__ = ("__weakref__",)

    @staticmethod
    def around(ask: Callable[[tuple, dict[str, Any]], Answer]) -> Box:
        """A new handle whose calls are answered by `ask`."""
        box = Box()
        _asked[box] = ask
        return box

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return _asked[self](arguments, named).opened()

    def __repr__(self) -> str:
        return "<a piece>"

    def __deepcopy__(self, memo: dict) -> Box:
        return self


_asked: weakref.WeakKeyDictionary[Box, Callable[[tuple, dict[str, Any]], Answer]] = weakref.WeakKeyDictionary()


def leaves(value: Any) -> list[Any]:
    """The parts of an answer: a tuple or list in order, a dictionary in the order of its keys, anything else alone."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=str)]
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, (tuple, list)) else [value]


def moderate(arguments: Sequence[Any], entries: int = MOST_ENTRIES) -> bool:
    """Whether the trusted side can compute with them, with at most so many entries: the student's code chooses them."""
    found = leaves(list(arguments))
    tensors = [a for a in found if isinstance(a, Tensor)]
    # A tensor of one entry is taken for a number, and may be a number of steps as well.
    numbers = [a.item() for a in tensors if a.numel() == 1 and not a.is_complex()]
    numbers += [a for a in found if isinstance(a, (int, float))]
    return sum(a.numel() for a in tensors) <= entries and all(
        abs(a) <= LARGEST_NUMBER for a in numbers if math.isfinite(a)
    )


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, (tuple, list)):  # what `topk` and others give are tuples with names, and no message has these
        return (list if type(value) is list else tuple)(map(_copied, value))
    return value
