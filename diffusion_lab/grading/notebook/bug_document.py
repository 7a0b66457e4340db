"""The notebook in which a learner looks for a bug."""

from __future__ import annotations

import ast
import inspect
import textwrap

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import diffusion_lab
from diffusion_lab.chapters.catalogue import get as chapter_record
from diffusion_lab.exercises.bugs import BugTask
from diffusion_lab.exercises.catalogue import CHAPTERS, folder_name

TEXT = """
# Chapter {number}: {chapter}. Find the bug

{statement}

One of these pieces is wrong, in a way that published code has been wrong. Which one it is was drawn for you, from your
name. You cannot read the pieces, but you can call them and plot what they give.

1. Look at what the pipeline makes, and say what you would expect of it.
2. Test the pieces one by one, with inputs for which you know the answer: zeros, ones, a single step.
3. Write `{name}`. It returns four things: the name of the piece that is wrong; the idea behind it, from the list that
   `bug.show()` prints; a number that you computed by calling this piece; and the number that a right piece would give.

{points} points: {parts}. Your function is also run on the same pipeline without its bug. There the two numbers must
agree: evidence that accuses a right piece is none.

The list also has ideas that sound likely and are nowhere in this pipeline.
"""
STUDENT = """
student = ""  # your name, as your instructor writes it; without one, the bug is drawn by chance
"""
SET_UP = """
import math

import torch

from diffusion_lab.grading import hunt

bug = hunt("{chapter}", globals(), student=student, course="{course}")
bug.show()
"""
LOOK = """
bug.samples
"""


def bug_folder(chapter: str) -> str:
    """The assignment's name in folders: "01_normal_1d_bug"."""
    return f"{folder_name(chapter)}_bug"


def bug_notebook(task: BugTask, course: str = "") -> bytes:
    """The notebook as a file, without the solution.

    Args:
        course: `course_text` of the instructor's secret; "" for a learner without an instructor.
    """
    parts = ", ".join(f"{points} for the {part}" if part == "evidence" else f"{points} for {part}"
                      for part, points in task.parts.items())  # fmt: skip
    text = TEXT.format(
        number=CHAPTERS.index(task.chapter) + 1,
        chapter=chapter_record(task.chapter).title,
        statement=task.statement.strip(),
        name=task.name,
        points=task.points,
        parts=parts,
    )
    cells = [
        new_markdown_cell(text.strip(), id="text"),
        new_code_cell(STUDENT.strip(), id="student"),
        new_code_cell(SET_UP.format(chapter=task.chapter, course=course).strip(), id="set-up"),
        new_code_cell(LOOK.strip(), id="look"),
        new_code_cell(_blank(task), id=task.name),
        new_code_cell("bug.check()", id="check"),
    ]
    metadata = {
        "diffusion_lab": {"chapter": f"{task.chapter}_bug", "release": diffusion_lab.__version__},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    document = new_notebook(cells=cells, metadata=metadata)
    nbformat.validate(document)
    return (nbformat.writes(document) + "\n").encode()


def _blank(task: BugTask) -> str:
    """The reference's first lines and docstring, with nothing below."""
    lines = textwrap.dedent(inspect.getsource(task.reference)).strip().splitlines()
    docstring = ast.parse("\n".join(lines)).body[0].body[0]
    return "\n".join([*lines[: docstring.end_lineno], "    raise NotImplementedError()"])
