"""Naming mistakes that nobody has listed, by small edits of code: of the student's, or of right code.

`edits` says which edits there are (`operators` of one piece of code, `repairs` of wrong code alone) and `rebuilding`
makes them. `fingerprints` knows what edited right code computes, `explaining` searches, `wording` says what was found.
Knows how a function is called and compared; nothing of points and verdicts.
"""

from __future__ import annotations

from diffusion_lab.grading.faces import lazily

_HOME = {
    "explain": "explaining",
    "Mistake": "wording",
    "Source": "rebuilding",
    "SHELL": "rebuilding",
    "Edit": "edits",
    "MIRROR": "edits",
    "suppose": "supposing",
    "right_sources": "fingerprints",
    "without": "fingerprints",
    "load": "fingerprints",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
