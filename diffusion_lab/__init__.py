"""A course on diffusion models, and the reference implementation that it is graded against.

The names below are loaded when they are first used: `import diffusion_lab` alone imports no PyTorch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# PyTorch's threads wait for each other at the end of every operation. If they sleep at once, waking them takes longer
# than most operations; if they spin for long, they keep the processors from other programs. So they spin for a moment,
# which GNU's OpenMP counts in looks and LLVM's in milliseconds. Both read this once, when PyTorch is loaded, so
# `diffusion_lab` is imported before it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("KMP_BLOCKTIME", "1")

_HOME = {
    "run_chapter": "diffusion_lab.chapters",
    "open_checkpoint": "diffusion_lab.chapters",
    "Report": "diffusion_lab.report",
    "load": "diffusion_lab.data",
    "sample": "diffusion_lab.samplers",
    "build_network": "diffusion_lab.networks",
    "examine": "diffusion_lab.doctor",
}
_MODULES = (
    "betas",
    "chapters",
    "checkpoints",
    "data",
    "denoisers",
    "devices",
    "discrete",
    "doctor",
    "errors",
    "exact",
    "files",
    "levels",
    "losses",
    "metrics",
    "networks",
    "plots",
    "report",
    "samplers",
    "schedules",
    "targets",
    "threads",
    "times",
    "train",
)

__all__ = ["__version__", *_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _MODULES:
        return import_module(f"diffusion_lab.{name}")
    raise AttributeError(f"module 'diffusion_lab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
