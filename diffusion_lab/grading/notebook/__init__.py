"""A learner's work: reading it, checking it as a notebook does, running chapters with it; and making the notebooks."""

from __future__ import annotations

from diffusion_lab.grading.faces import lazily

_HOME = {
    "start": "session",
    "hunt": "hunting",
    "Hunt": "hunting",
    "bug_notebook": "bug_document",
    "bug_folder": "bug_document",
    "Session": "session",
    "load": "sources",
    "content_of": "documents",
    "of_notebook": "documents",
    "LARGEST": "documents",
    "take_in_apart": "apart",
    "Cell": "intake",
    "Intake": "intake",
    "MOST_NOTES": "intake",
    "CELL_LIMIT": "intake",
    "check_piece": "stand_ins",
    "check_pieces": "stand_ins",
    "see": "seeing",
    "Choice": "choosing",
    "choose": "choosing",
    "State": "progress",
    "survey": "progress",
    "reference_scores": "references",
    "comparison": "references",
    "record": "references",
    "RECORDED": "references",
    "lay_out": "handing_out",
    "Placed": "handing_out",
    "build": "authoring",
    "source": "authoring",
    "solution": "authoring",
    "CONFIGURATION": "authoring",
    "SOLUTIONS": "authoring",
    "EXERCISES": "authoring",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
