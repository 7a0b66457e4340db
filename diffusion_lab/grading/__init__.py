"""Checking a student's pieces, naming the mistakes in them, and running chapters with them.

A notebook needs no more than this:

    from diffusion_lab.grading import start

    lab = start("normal_1d", globals())
    lab.check("alpha_bar")

The names below are loaded when they are first used.
"""

from __future__ import annotations

from diffusion_lab.grading.faces import lazily

_HOME = {
    "start": "notebook",
    "hunt": "notebook",
    "Session": "notebook",
    "check_piece": "notebook",
    "check_pieces": "notebook",
    "choose": "notebook",
    "load": "notebook",
    "reference_scores": "notebook",
    "told": "judge",
    "check": "judge",
    "Verdict": "judge",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
