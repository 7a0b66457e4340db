"""What a process that is not trusted says, made into what the grader's side works with."""

from __future__ import annotations

from typing import Any

from diffusion_lab.grading.isolation import wire
from diffusion_lab.grading.judge.calling import Fault, Returned

LATE = "it did not answer in time"


class Gone(Exception):
    """The student's process is gone, or does not keep to the rules. `why` says it in words."""

    def __init__(self, why: str):
        super().__init__(why)
        self.why = why


def returned_of(reply: dict[str, Any]) -> Returned:
    gradients, modified = reply.get("gradients"), reply.get("modified")
    return Returned(
        value=reply.get("value"),
        fault=fault_of(reply.get("fault")),
        gradients=gradients if isinstance(gradients, tuple) else (),
        modified=tuple(i for i in modified if type(i) is int and i >= 0) if isinstance(modified, tuple) else (),
        graph=reply.get("graph") is True,
        mode_kept=reply.get("mode_kept") is True,
        printed=wire.printable(str(reply.get("printed") or "")),
    )


def fault_of(reply: Any) -> Fault | None:
    if not isinstance(reply, dict):
        return None
    # Each in one line: more of them could look like lines of the grader's own.
    kind, name, message, line = (
        " ".join(wire.printable(str(reply.get(key, "")), 400).split()) for key in ("kind", "name", "message", "line")
    )
    return Fault(kind if kind in ("not written", "raised", "time") else "raised", name, message, line)


def texts_of(reply: Any) -> list[str]:
    return (
        [wire.printable(part, 80) for part in reply if isinstance(part, str)]
        if isinstance(reply, (list, tuple))
        else []
    )
