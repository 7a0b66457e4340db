"""What a process that is not trusted says, made into what the grader's side works with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusion_lab.grading.isolation import wire
from diffusion_lab.grading.judge.calling import Fault, Returned

LATE = "it did not answer in time"
MOST_TEXTS = 1000
"""Of a list of names."""


class Gone(Exception):
    """The student's process is gone, or does not keep to the rules. `why` says it in words."""

    def __init__(self, why: str):
        super().__init__(why)
        self.why = why


def returned_of(reply: Mapping[str, Any]) -> Returned:
    """What a call gave, from a reply that may hold anything: what is not of its kind is left out."""
    gradients, modified = reply.get("gradients"), reply.get("modified")
    return Returned(
        value=reply.get("value"),
        fault=fault_of(reply.get("fault")),
        gradients=gradients if isinstance(gradients, tuple) else (),
        modified=tuple(i for i in modified if type(i) is int and i >= 0) if isinstance(modified, tuple) else (),
        graph=reply.get("graph") is True,
        mode_kept=reply.get("mode_kept") is True,
        printed=text_of(reply.get("printed")),
    )


def fault_of(reply: Any) -> Fault | None:
    """The fault that a reply tells of; None where it tells of none."""
    if not isinstance(reply, dict):
        return None
    # Each in one line: more of them could look like lines of the grader's own.
    kind, name, message, line = (
        " ".join(text_of(reply.get(key), 400).split()) for key in ("kind", "name", "message", "line")
    )
    return Fault(kind if kind in ("not written", "raised", "time") else "raised", name, message, line)


def text_of(value: Any, longest: int = wire.LONGEST_TEXT) -> str:
    """Text as it can be printed, and "" for anything else: what a tensor looks like in words can take minutes."""
    return wire.printable(value, longest) if isinstance(value, str) else ""


def texts_of(value: Any) -> list[str]:
    """The texts of a list."""
    parts = value[:MOST_TEXTS] if isinstance(value, (list, tuple)) else ()
    return [text_of(part, 80) for part in parts if isinstance(part, str)]
