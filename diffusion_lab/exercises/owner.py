"""Whose task it is: what is drawn for one student of one course, and for nobody else."""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Any

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.drawing import Draw

LONGEST = 200
"""Characters of a student's name; the name of a folder has no more bytes."""
JOINERS = "\u200c\u200d"
"""Letters of some scripts are joined or parted by them, so that names hold them."""


@dataclass(frozen=True)
class Owner:
    """A student, and the course's own text, which keeps next year's draws apart from this year's."""

    student: str
    """As in the folder of the submission; capitals, accents written in two ways and outer spaces make no difference."""
    course: str = ""
    """What `course_text` makes of the instructor's secret; "" where there is no instructor."""

    def __post_init__(self) -> None:
        given = self.student
        if not isinstance(given, str) or not given.strip():
            raise LabError(f"a student's name is a text such as 'ada', and this is {given!r}")
        if len(given) > LONGEST:
            raise LabError(f"a student's name has at most {LONGEST} characters, and this one has {len(given)}")
        if not all(letter.isprintable() or letter in JOINERS for letter in given):
            raise LabError(f"a student's name is one line without control characters, and this is {given!r}")
        if not isinstance(self.course, str):
            raise LabError(f"a course is named by a text, and this is {self.course!r}")

    @property
    def name(self) -> str:
        """The student's name in its one form."""
        return " ".join(unicodedata.normalize("NFKC", self.student).casefold().split())

    def draw(self, purpose: str) -> Draw:
        """The source of what this student gets for this purpose."""
        text = "\n".join((self.course, self.name, purpose))
        return Draw(int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big"), purpose)


def by_chance(course: str = "") -> Owner:
    """Somebody who has typed no name, and is somebody else the next time."""
    return Owner(f"by chance {secrets.token_hex(6)}", course)


def drawn_for(task: Any, owner: Owner | None) -> Any:
    """The task with what is drawn for this student. A task of which nothing is drawn stays as it is.

    Args:
        task: of any kind. One in which something is drawn has a method `drawn_for(owner)`, and `owner`, which is None
            until then.
    """
    return task.drawn_for(owner) if owner is not None and hasattr(task, "drawn_for") else task


def lacks_owner(task: Any) -> bool:
    """Whether something is drawn of this task, and nobody has been named yet."""
    return hasattr(task, "drawn_for") and task.owner is None


def course_text(secret: str) -> str:
    """What goes into a course's notebooks: it comes from the secret, and does not lead back to it.

    Raises:
        LabError: where the secret is empty.
    """
    if not secret.strip():
        raise LabError("the course's secret is empty; any line of text will do, such as 32 random letters")
    return hashlib.sha256(f"diffusion-lab course\n{secret.strip()}".encode()).hexdigest()[:16]
