"""A doctor for diffusion code of your own: it runs your functions on data whose exact answer is known.

The code that it examines runs in this process, with all the rights that you have: examine your own, not a stranger's.
"""

from __future__ import annotations

from diffusion_lab.grading.faces import lazily

_HOME = {
    "Diffusion": "subject",
    "examine": "examining",
    "Checkup": "findings",
    "Finding": "findings",
    "read": "reading",
    "from_names": "reading",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
