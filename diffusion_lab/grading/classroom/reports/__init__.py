"""What an instructor takes away: tables for learning platforms, and a report on the class."""

from __future__ import annotations

from diffusion_lab.grading.faces import lazily

_HOME = {
    "write_reports": "class_report",
    "harmless": "exports",
    "marks": "exports",
    "likeness_page": "side_by_side",
    "NO_VERDICT": "side_by_side",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
