"""Submissions for tests: the released notebook of a chapter, filled in and put where nbgrader collects it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import diffusion_lab
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import folder_name
from diffusion_lab.grading.notebook.authoring import EXERCISES, path_of, solution

CHAPTER = "normal_1d"
ROOT = Path(diffusion_lab.__file__).parents[1]
NOTHING = "def {name}(*arguments):\n    return torch.zeros(())"


@cache
def _release(chapter: str) -> dict[str, Any]:
    return json.loads((ROOT / EXERCISES / path_of(chapter)).read_text(encoding="utf-8"))


def filled(sources: Mapping[str, str], chapter: str = CHAPTER) -> dict[str, Any]:
    """The release with these sources in the cells of that id."""
    document = copy.deepcopy(_release(chapter))
    for name, source in sources.items():
        cell(document, name)["source"] = source
    return document


def cell(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(cell for cell in document["cells"] if cell["id"] == name)


def right(chapter: str = CHAPTER) -> dict[str, str]:
    """exercise -> the reference's source."""
    return {exercise.name: solution(exercise.reference) for exercise in notebook(chapter).exercises}


def worthless(chapter: str = CHAPTER) -> dict[str, str]:
    """exercise -> a function that gets no points."""
    return {exercise.name: NOTHING.format(name=exercise.name) for exercise in notebook(chapter).exercises}


def put(submitted: Path, student: str, content: dict[str, Any] | bytes, chapter: str = CHAPTER) -> Path:
    """Hand it in: a notebook, or any bytes in its place."""
    folder = folder_name(chapter)
    path = submitted / student / folder / f"{folder}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path
