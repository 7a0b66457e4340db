"""The notebooks of the exercises, made from their records: one for teachers, with solutions, and its release.

The first is nbgrader's source notebook. nbgrader's `generate_assignment` takes solutions and hidden tests out of it.
"""

from __future__ import annotations

import ast
import inspect
import logging
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import diffusion_lab
from diffusion_lab.addresses import web_page
from diffusion_lab.chapters.catalogue import get as chapter_record
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import Notebook, Task, notebook
from diffusion_lab.exercises.catalogue import NOTEBOOKS, folder_name, number_of
from diffusion_lab.exercises.minutes import told as time_told

SOLUTIONS, EXERCISES = "solutions", "exercises"
"""The folders below the root of the repository, as `nbgrader_config.py` names them."""
CONFIGURATION = "nbgrader_config.py"

SET_UP = """
import math

from diffusion_lab.grading import start  # before torch: it keeps torch's threads from slowing a busy machine down

import torch
from torch import Tensor, nn
from torch.nn import functional

lab = start("{chapter}", globals())
"""
STUDENT = """
student = ""  # your name, as your instructor writes it
"""
DRAWN = 'globals(), student=student, course=""'
"""Where something is drawn for each student, the set-up ends so; `release` writes the course's own text between the
last quotation marks."""

HOW = """
## How to work

- This notebook has {count} with {points} points. {time} Run its cells from the top, and write your code in the place
  of `raise NotImplementedError()`. Helpers of your own go into the same cell, above the function. `math`, `torch`,
  `Tensor`, `nn` and `functional` are there already.
- The cell below each function checks it, in less than a second. It shows what points you have and for what, a case in
  which your function is wrong, and, if the mistake is a known one, the idea behind it.
- The last point of each exercise, "any input", is for a function that you can rely on. It leaves its inputs as they
  are, and answers the same when called twice. It takes float32 and float64, and keeps their dtype and all their digits,
  so a tensor you make takes the dtype of an input: `torch.full((B,), t)` alone would be float32. It also works with a
  float64 table such as `alpha_bar` beside float32 data, and on a transposed tensor, where `view` fails and `reshape`
  does not. A network comes back in the mode it came in.
- When a case fails, `arguments, expected = lab.case("{first}", 1)` gives you its inputs, and you can try it yourself.
- `lab.see("{first}")` draws what your function does, right or wrong, beside what ours does, in a few seconds.
- The cases that count for marks ask for the same things with other numbers.
- The order is up to you. Where a function needs one that is not right yet, the course's own stands in, as it does in
  the run at the end.
- In a terminal the same checks are `diffusion-lab check {path}`.
"""

HOW_TO_NAME = """
- Some of this notebook is drawn for you: your classmates have other numbers and another bug. Write your name into the
  next cell, exactly as your instructor writes it. Without a name they are drawn by chance, others each time.
"""

HOW_IN_LABS = """
## How to work

- A lab is a chapter's second notebook: here you test, search and build. It has {count} with {points} points, and is
  handed in and graded by itself. {time}
- Run its cells from the top, and write your code in the place of `raise NotImplementedError()`. Helpers of your own go
  into the same cell, above the function. `math`, `torch`, `Tensor`, `nn` and `functional` are there already.
- The cell below each function checks it, in a few seconds, and shows what points you have and for what. What counts for
  marks is asked with other numbers.
- In a terminal the same checks are `diffusion-lab check {path}`.
"""

CHECK = """
points = lab.check("{name}")
### BEGIN HIDDEN TESTS
points = lab.grade("{name}")
### END HIDDEN TESTS
points
"""


def build(chapters: Iterable[str] = NOTEBOOKS, root: Path | None = None) -> dict[str, bytes]:
    """Every notebook of these chapters: path below the root of the repository -> content.

    Args:
        chapters: names of chapters.
        root: the root of the repository, whose nbgrader configuration is used; without it, this checkout's.
    """
    sources = {f"{SOLUTIONS}/{path_of(name)}": content(source(notebook(name))) for name in chapters}
    return sources | released(sources, root or Path(diffusion_lab.__file__).parents[1])


def path_of(chapter: str) -> str:
    """The notebook of a chapter below the folder of solutions or of exercises."""
    folder = folder_name(chapter)
    return f"{folder}/{folder}.ipynb"


def content(document: NotebookNode) -> bytes:
    """The notebook as a file, the same bytes on every system."""
    nbformat.validate(document)
    return (nbformat.writes(document) + "\n").encode()


def source(chapter: Notebook) -> NotebookNode:
    """The notebook with solutions and hidden tests, in nbgrader's format."""
    number, path = number_of(chapter.name), f"{EXERCISES}/{path_of(chapter.name)}"
    lab = ", the lab" if chapter.is_lab else ""
    title = f"# Chapter {number}{lab}: {chapter_record(chapter.chapter).title}"
    page = web_page(folder_name(chapter.chapter))
    story = f"Chapter {number} of the book has the whole story: in a terminal, `diffusion-lab book {number}` opens it."
    link = f"[Chapter {number} of the book]({page}) has the whole story." if page else story
    count = f"{len(chapter.exercises)} exercise{'' if len(chapter.exercises) == 1 else 's'}"
    how = (HOW_IN_LABS if chapter.is_lab else HOW).format(
        count=count, points=chapter.points, path=path, first=chapter.exercises[0].name, time=time_told(chapter)
    )
    set_up = SET_UP.format(chapter=chapter.name)
    cells = [
        _text("title", f"{title}\n\n{chapter.recall.strip()}\n\n{link}"),
        _text("how-to-work", how.rstrip() + (HOW_TO_NAME if chapter.is_drawn else "")),
        *([_plain("student", STUDENT)] if chapter.is_drawn else []),
        # Locked, so that nbgrader puts `lab` back where somebody has changed it.
        _code("set-up", set_up.replace("globals()", DRAWN) if chapter.is_drawn else set_up, locked=True),
    ]
    for place, exercise in enumerate(chapter.exercises, 1):
        cells += [
            _text(f"{exercise.name}-text", _statement(place, exercise)),
            *(_plain(name, code) for name, code in getattr(exercise, "opening", ())),
            _code(exercise.name, solution(exercise.reference, getattr(exercise, "blanks", ())), solution=True),
            _code(f"{exercise.name}-check", CHECK.format(name=exercise.name), locked=True, points=exercise.points),
        ]
    if chapter.closing:
        cells.append(_text("closing", f"## Your pieces at work\n\n{chapter.closing.strip()}"))
    if chapter.slots is not None:
        cells.append(_plain("run", "lab.run()"))
    elif chapter.finale:
        cells.append(_plain("finale", chapter.finale))
    cells.append(_plain("show", "lab.show()"))
    metadata = {
        "diffusion_lab": {"chapter": chapter.name, "release": diffusion_lab.__version__},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return new_notebook(cells=cells, metadata=metadata)


def solution(reference: Callable, blanks: Sequence[str] = ()) -> str:
    """The reference's source, with marks around what follows its docstring.

    Args:
        blanks: names that are None in the exercise until the student gives them values. Then the reference's last line,
            which returns them, stays in the exercise too.

    Raises LabError for a function without a docstring or with a decorator, which the release would show.
    """
    lines = textwrap.dedent(inspect.getsource(reference)).strip().splitlines()
    function = ast.parse("\n".join(lines)).body[0]
    if ast.get_docstring(function) is None or len(function.body) < 2:
        raise LabError(f"'{reference.__name__}' needs a docstring, which the exercise shows, and a body")
    if function.decorator_list:
        raise LabError(f"'{reference.__name__}' has a decorator, which the exercise would show; put it into the body")
    end = function.body[0].end_lineno
    body = "\n".join(lines[end:]).strip("\n").splitlines()
    before, after = [], []
    if blanks:
        before, after = [f"    {' = '.join(blanks)} = None"], [body.pop()]
    return "\n".join([*lines[:end], *before, "    ### BEGIN SOLUTION", *body, "    ### END SOLUTION", *after])


def released(sources: dict[str, bytes], root: Path) -> dict[str, bytes]:
    """What nbgrader makes of these notebooks for learners: path below the root -> content.

    It works in a folder of its own and without a gradebook, and so leaves no trace in the repository.
    """
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Application

    with tempfile.TemporaryDirectory(prefix="diffusion-lab-") as folder:
        course = Path(folder).resolve()
        for path, data in sources.items():
            place = course / path
            place.parent.mkdir(parents=True)
            place.write_bytes(data)
        settings = configuration(root / CONFIGURATION, course)
        settings.GenerateAssignment.no_database = True
        settings.SaveCells.enabled = False
        application = Application(config=settings)
        application.log.setLevel(logging.ERROR)
        api = NbGraderAPI(parent=application, log_level=logging.ERROR)
        found = {}
        for path in sources:
            result = api.generate_assignment(Path(path).parent.name)
            if not result["success"]:
                raise LabError(f"nbgrader could not release {path}:\n{result['log'] or result['error']}")
            name = path.replace(SOLUTIONS, EXERCISES, 1)
            # nbconvert writes the line ends of the system.
            found[name] = (course / name).read_text(encoding="utf-8").encode()
    return found


def configuration(file: Path, course: Path) -> Any:
    """nbgrader's settings in this file, for a course in another folder."""
    from traitlets.config.loader import PyFileConfigLoader

    settings = PyFileConfigLoader(file.name, path=str(file.parent)).load_config()
    settings.CourseDirectory.root = str(course)
    settings.CourseDirectory.db_url = f"sqlite:///{course / 'gradebook.db'}"
    settings.Exchange.root = str(course / "exchange")
    return settings


def _statement(place: int, exercise: Task) -> str:
    parts = ", ".join(f"{points} for {part}" for part, points in exercise.parts.items())
    lines = [
        f"## {place}. {exercise.title}",
        f"Write `{exercise.name}`. {exercise.points} points: {parts}.",
        exercise.statement.strip(),
    ]
    if exercise.source:
        lines.append(f"Source: {exercise.source}.")
    return "\n\n".join(lines)


def _text(name: str, text: str) -> NotebookNode:
    return new_markdown_cell(text.strip(), id=name)


def _plain(name: str, code: str) -> NotebookNode:
    return new_code_cell(code.strip(), id=name)


def _code(
    name: str, code: str, *, solution: bool = False, locked: bool = False, points: int | None = None
) -> NotebookNode:
    """A cell that nbgrader knows: of a solution, of a test where it has points, else one that is only locked."""
    marks = {
        "grade": points is not None,
        "grade_id": name,
        "locked": locked,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    if points is not None:
        marks["points"] = points
    cell = _plain(name, code)
    cell.metadata = {"nbgrader": marks}
    return cell
