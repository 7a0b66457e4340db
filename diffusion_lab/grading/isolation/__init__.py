"""Keeping students' code apart: another process in the place of a function, behind walls.

Some of its files run inside those walls too, where nothing else of the package exists but what `sandbox.INSIDE` names.
"""

from __future__ import annotations

from diffusion_lab.grading.faces import lazily

_HOME = {
    "sandbox_of": "kinds",
    "NONE_GIVES_UP": "kinds",
    "Sandbox": "sandbox",
    "SandboxError": "session",
    "Session": "session",
    "Gone": "replies",
    "memory_bounded": "remote",
    "lent": "groups",
    "printable": "wire",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
