"""Marks in nbgrader's gradebook and feedback in its folders, by nbgrader's own converters."""

from __future__ import annotations

from diffusion_lab.grading.faces import lazily

_HOME = {
    "Book": "recording",
    "record": "recording",
    "write_feedback": "recording",
    "plain": "verdict_notebook",
    "release": "exchanging",
    "collect": "exchanging",
    "settings_of": "assignment",
    "moment": "moments",
    "MomentError": "moments",
    "drawn_from": "inscription",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
