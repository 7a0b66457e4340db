"""Checking a student's pieces, naming the mistakes in them, and running chapters with them.

A notebook needs no more than this:

    from diffusion_lab.grading import start

    lab = start("normal_1d", globals())
    lab.check("alpha_bar")

The names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "start": "session",
    "Session": "session",
    "check_piece": "stand_ins",
    "check_pieces": "stand_ins",
    "choose": "choosing",
    "load": "sources",
    "reference_scores": "references",
    "told": "telling",
    "check": "checking",
    "Verdict": "checking",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"diffusion_lab.grading.{_HOME[name]}"), name)
    raise AttributeError(f"module 'diffusion_lab.grading' has no attribute {name!r}")
