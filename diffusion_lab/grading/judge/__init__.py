"""Judging one piece: call it, compare, award points, name the idea behind a mistake, say so in words.

Knows functions and exercises; no file, no notebook and no class.
"""

from __future__ import annotations

from diffusion_lab.grading.faces import lazily

_HOME = {
    "check": "kinds",
    "without_points": "checking",
    "Verdict": "checking",
    "VISIBLE_SEED": "checking",
    "Fault": "calling",
    "ProcessGone": "calling",
    "Caller": "calling",
    "LocalCaller": "calling",
    "runnable": "calling",
    "usual_settings": "calling",
    "settings_kept": "calling",
    "kept_waiting": "calling",
    "told": "telling",
    "as_html": "showing",
    "to_try": "telling",
    "points": "telling",
    "shown": "questions",
    "WIDTH": "telling",
    "preview": "comparing",
    "seed_of": "questions",
    "prepare": "kinds",
    "audit": "kinds",
    "with_prediction": "kinds",
    "rehearse": "rehearsing",
    "suppose": "engine",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
