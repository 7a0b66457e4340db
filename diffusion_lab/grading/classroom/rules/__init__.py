"""A course of one's own: what its `course.toml` decides, read and looked through before anything is done."""

from __future__ import annotations

from diffusion_lab.grading.faces import lazily

_HOME = {
    "COURSE_FILE": "decisions",
    "Rules": "decisions",
    "NotebookRules": "decisions",
    "Question": "decisions",
    "rules_of": "course_file",
    "ruled": "course_file",
    "Late": "lateness",
    "Dates": "lateness",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
