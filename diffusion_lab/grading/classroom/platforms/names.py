"""What the paths in a platform's download say: who handed a file in, whether late, and which attempt it is.

The layouts, and where they are written down:

- Canvas, `adamsada_LATE_1001_5551_homework.ipynb`: name, perhaps LATE, number of the person, number of the file
  (lib/content_zipper.rb of instructure/canvas-lms; "How do I download all student submissions for an assignment?").
  Anonymous ones have `anon_x7Kp2` in the place of name and number. A second upload of the same name is `homework-1`.
- Moodle, `Ada Adams_4711_assignsubmission_file/homework.ipynb`, with an underscore more at the folder's end up to
  Moodle 4.0, or all in one name without folders; the number is the one of the grading worksheet
  (mod/assign/classes/downloader.php; docs.moodle.org, "Using Assignment").
- Ilias, `Adams_Ada_ada_1001/homework.ipynb`; before the file's name stands "Late Submission - " in the server's
  language, and in older ones the time as fourteen digits (`ilExSubmission` in Modules/Exercise, ILIAS-eLearning/ILIAS).
- Blackboard, `Homework 1_ada_attempt_2027-03-01-09-00-00_homework.ipynb` (help.blackboard.com, "Download assignments";
  the same name is the example for nbgrader's own `zip_collect`).
- GitHub Classroom, as `gh classroom clone student-repos` makes it: `homework-1-submissions/homework-1-ada/`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from diffusion_lab.exercises.catalogue import NOTEBOOKS
from diffusion_lab.grading.classroom.platforms.archives import File
from diffusion_lab.grading.classroom.platforms.people import Clue

# What a student calls a file stands behind what the platform says, so each takes the first that fits, not the last.
CANVAS = re.compile(r"(?P<name>.+?)_(?:(?P<late>LATE)_)?(?P<person>\d+)_(?P<file>\d+)_(?P<own>.+)", re.DOTALL)
CANVAS_UNNAMED = re.compile(r"(?:(?P<late>LATE)_)?(?P<person>anon_[A-Za-z0-9]+)_(?P<file>\d+)_(?P<own>.+)", re.DOTALL)
MOODLE = re.compile(r"(?P<name>.+?)_(?P<person>\d+)_assignsubmission_[a-z]+_*(?P<own>.*)", re.DOTALL)
ILIAS = re.compile(r"(?P<last>[^_]+)_(?P<first>[^_]+)_(?P<login>.+)_(?P<person>\d+)", re.DOTALL)
ILIAS_TIME = re.compile(r"(?P<time>20\d{12})_(?P<own>.+)", re.DOTALL)
ILIAS_LATE = re.compile(r"(?i)[^\d]{0,20}(?:late|versp|retard|ritard|tard)[^\d]{0,30}? - (?P<own>.+)", re.DOTALL)
BLACKBOARD = re.compile(
    r"(?P<front>.+?)_attempt_(?P<time>\d{4}(?:-\d\d){5})(?:_(?P<own>.+)|\.(?P<ending>\w+))", re.DOTALL
)
AGAIN = re.compile(r"-(?P<attempt>\d{1,3})$|\((?P<copy>\d{1,3})\)$")
"""At the end of a file's name: Canvas counts uploads of one name so, and browsers copies."""
CHAPTER = re.compile(
    "|".join(f"(?:\\d\\d_)?{name}" for name in sorted(NOTEBOOKS, key=len, reverse=True)), re.IGNORECASE
)


@dataclass(frozen=True)
class Handed:
    """A file, and what its path says about it."""

    file: File
    platform: str
    clue: Clue
    own: str
    """What the student called it."""
    late: bool = False
    time: str = ""
    """When it was handed in by the platform's clock, such as "2027-03-01 09:00:00"; no zone is known."""

    @property
    def order(self) -> tuple[str, int]:
        """Later ones are larger: by time, else by the number that the platform gave to a second upload."""
        again = AGAIN.search(os.path.splitext(self.own)[0].strip())
        return self.time, int(again["attempt"] or 0) if again else 0


def sorted_out(files: Sequence[File], root: str = "", clones: bool = False) -> tuple[str, list[Handed]]:
    """The platform that names files like these, and each file with what its path says.

    Of a platform's download that is every file. Where no platform is recognized it is the notebooks and zips alone,
    since a folder of one's own may hold anything else beside them.

    Args:
        files: those of a download.
        root: the name of the folder or zip that they are in.
        clones: whether it holds clones of repositories.
    """
    readings = {name: [read(file) for file in files] for name, read in READERS.items()}
    counts = {name: sum(handed is not None for handed in found) for name, found in readings.items()}
    platform = max(counts, key=counts.__getitem__)
    if counts[platform] * 2 <= len(files):
        return _loose([file for file in files if may_be_a_submission(file)], root, clones)
    read = [
        handed or Handed(file, platform, Clue(""), file.parts[-1])
        for file, handed in zip(files, readings[platform], strict=True)
    ]
    return platform, [handed for handed in read if handed.clue.shown or may_be_a_submission(handed.file)]


def may_be_a_submission(file: File) -> bool:
    """Whether it is a notebook, or a zip that may hold one, by its name."""
    return file.path.casefold().endswith((".ipynb", ".zip"))


def _canvas(file: File) -> Handed | None:
    if match := CANVAS_UNNAMED.fullmatch(file.parts[-1]):
        clue = Clue(match["person"])
    elif match := CANVAS.fullmatch(file.parts[-1]):
        clue = Clue(f"{match['name']}_{match['person']}", {"number": [match["person"]]}, match["name"])
    else:
        return None
    return Handed(file, "Canvas", clue, match["own"], late=bool(match["late"]))


def _moodle(file: File) -> Handed | None:
    for part in file.parts:
        if match := MOODLE.fullmatch(part):
            own = match["own"] if part is file.parts[-1] else file.parts[-1]
            clue = Clue(match["name"], {"participant": [match["person"]]}, match["name"])
            return Handed(file, "Moodle", clue, own)
    return None


def _ilias(file: File) -> Handed | None:
    match = ILIAS.fullmatch(file.parts[-2]) if len(file.parts) > 1 else None
    if match is None:
        return None
    name = f"{match['first']} {match['last']}"
    own, late, time = file.parts[-1], False, ""
    if timed := ILIAS_TIME.fullmatch(own):
        own, digits = timed["own"], timed["time"]
        time = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]} {digits[8:10]}:{digits[10:12]}:{digits[12:]}"
    if marked := ILIAS_LATE.fullmatch(own):
        own, late = marked["own"], True
    return Handed(file, "Ilias", Clue(name, {"login": [match["login"]]}, name), own, late, time)


def _blackboard(file: File) -> Handed | None:
    match = BLACKBOARD.fullmatch(file.parts[-1])
    if match is None or "_" not in match["front"]:
        return None
    logins = _endings(match["front"], "_")
    date, time = match["time"][:10], match["time"][11:].replace("-", ":")
    own = match["own"] or f"attempt.{match['ending']}"
    return Handed(file, "Blackboard", Clue(logins[0], {"login": logins}), own, time=f"{date} {time}")


READERS = {"Canvas": _canvas, "Moodle": _moodle, "Ilias": _ilias, "Blackboard": _blackboard}


def _loose(files: Sequence[File], root: str, clones: bool) -> tuple[str, list[Handed]]:
    """Notebooks in folders called after students, in clones, or with students' names in their own."""
    above = _shared([file.parts[:-1] for file in files]) if len(files) > 1 else 0
    tops = sorted({file.parts[above] for file in files if len(file.parts) > above + 1})
    slug = _slug(tops, files[0].parts[above - 1] if above else root, clones) if tops else ""
    found = []
    for file in files:
        top, *inside = file.parts[above:]
        if not inside:
            text = AGAIN.sub("", CHAPTER.sub("", os.path.splitext(top)[0], count=1)).strip(" _-")
            found.append(Handed(file, "loose", Clue(text, loose=text), top))
        elif slug and top.startswith(slug):
            logins = [top[len(slug) :], *_endings(top, "-")]
            found.append(Handed(file, "GitHub", Clue(logins[0], {"github": logins, "login": logins}), inside[-1]))
        else:
            found.append(Handed(file, "loose", Clue(top, {"id": [top]}, loose=top), inside[-1]))
    return "GitHub" if slug else "loose", found


def _shared(names: Sequence[Sequence[str]]) -> int:
    """How many parts all of them begin with."""
    return next(
        (place for place, parts in enumerate(zip(*names, strict=False)) if len(set(parts)) > 1), min(map(len, names))
    )


def _slug(folders: Sequence[str], parent: str, clones: bool) -> str:
    """What the names of clones begin with, such as "homework-1-"; "" where they are none."""
    slug = parent.removesuffix("submissions") if parent.endswith("-submissions") else ""
    if slug and all(folder.startswith(slug) for folder in folders):
        return slug
    if not clones or len(folders) < 2:
        return ""
    shared = folders[0][: _shared(folders)]
    return shared[: shared.rfind("-") + 1]


def _endings(text: str, mark: str) -> list[str]:
    """What may be the login at the end of a name, the shortest first: "Homework_1_ada" -> ["ada", "1_ada", …]."""
    words = text.split(mark)
    return [mark.join(words[place:]) for place in range(len(words) - 1, 0, -1)]
