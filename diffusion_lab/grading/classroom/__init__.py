"""Many learners: submissions found, graded side by side, and their results kept.

Inside are `gradebook`, where marks go, and `reports`, which tell of them.
"""

from __future__ import annotations

from diffusion_lab.grading.faces import lazily

_HOME = {
    "Classroom": "parallel",
    "cores": "cluster",
    "find": "records",
    "with_earlier": "attempts",
    "best_of": "attempts",
    "keep_results": "attempts",
    "keep": "attempts",
    "place_of": "attempts",
    "answers_in": "written_answers",
    "alike": "likeness",
    "Submission": "records",
    "Result": "result",
    "GRADED": "result",
    "REFUSED": "result",
    "NOT_GRADED": "result",
    "RecordingError": "result",
    "parsed": "submission",
    "questions_on": "asking",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
