"""Learning platforms: submissions and class lists come in as they give them, and marks go back into their own files.

`export` makes what graders on their side run: Gradescope's autograder, PrairieLearn's, GitHub's workflows.
"""

from __future__ import annotations

from diffusion_lab.grading.faces import lazily

_HOME = {
    "gather": "gathering",
    "Gathered": "gathering",
    "LEFT_OUT": "gathering",
    "fill_in": "returning",
    "Settings": "alone",
    "settings_for": "deadlines",
    "for_its_students": "identity",
    "is_drawn": "identity",
    "guessed_at": "identity",
    "in_gradebook": "people",
    "gradescope_zip": "exporting",
    "prairielearn_question": "exporting",
    "github_workflow": "exporting",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
