"""The notebook in which a learner looks for a bug alone, as often as they like."""

from __future__ import annotations

import ast
import inspect
import textwrap

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import diffusion_lab
from diffusion_lab.chapters.catalogue import get as chapter_record
from diffusion_lab.exercises.bugs import BugTask
from diffusion_lab.exercises.catalogue import folder_name, number_of

TEXT = """
# Chapter {number}: {chapter}. Find the bug

{statement}

{points} points: {parts}. This notebook is for yourself: its check says at once whether you are right. The lab of the
chapter has the same task with a bug of its own, for marks.
"""
STUDENT = """
student = ""  # any name, which gives the same bug each time; without one, it is drawn by chance
"""
SET_UP = """
import math

import torch

from diffusion_lab.grading import hunt

bug = hunt("{chapter}", globals(), student=student)
bug.show()
"""
LOOK = """
bug.samples
"""


def bug_folder(chapter: str) -> str:
    """The assignment's name in folders: "01_normal_1d_bug"."""
    return f"{folder_name(chapter)}_bug"


def bug_notebook(task: BugTask) -> bytes:
    """The notebook as a file, without the solution."""
    parts = ", ".join(f"{points} for the {part}" if part == "evidence" else f"{points} for {part}"
                      for part, points in task.parts.items())  # fmt: skip
    text = TEXT.format(
        number=number_of(task.chapter),
        chapter=chapter_record(task.chapter).title,
        statement=task.statement.strip(),
        points=task.points,
        parts=parts,
    )
    cells = [
        new_markdown_cell(text.strip(), id="text"),
        new_code_cell(STUDENT.strip(), id="student"),
        new_code_cell(SET_UP.format(chapter=task.chapter).strip(), id="set-up"),
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
