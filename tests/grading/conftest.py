"""Pieces of a student's, in a notebook or a file."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffusion_lab import __version__
from diffusion_lab.exercises import notebook

CHAPTER = "normal_1d"


def solution(name: str) -> str:
    """The reference's source."""
    item = next(item for item in notebook(CHAPTER).exercises if item.name == name)
    return inspect.getsource(item.reference)


def code(source: str, **marks: Any) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "source": textwrap.dedent(source).strip(),
        "metadata": {"nbgrader": marks} if marks else {},
        "outputs": [],
        "execution_count": None,
    }


@pytest.fixture
def make_notebook(tmp_path: Path) -> Callable[..., Path]:
    """Write a notebook of chapter 1: set-up, a solution and a test cell for each exercise, and a run."""

    def make(
        changed: dict[str, str | None] | None = None,
        *,
        own: tuple[str, ...] = (),
        metadata: dict[str, Any] | None = None,
        name: str = "01_normal_1d.ipynb",
    ) -> Path:
        """`changed`: exercise -> its cell, None to leave it out; `own`: cells of the student's, after the set-up."""
        cells = [
            {"cell_type": "markdown", "source": "# Chapter 1", "metadata": {}},
            code("import torch\nfrom torch import Tensor, nn\nfrom diffusion_lab.grading import start\n")
            | {"metadata": {"nbgrader": {"grade": False, "solution": False, "locked": True, "grade_id": "set-up"}}},
            *[code(source) for source in own],
        ]
        for item in notebook(CHAPTER).exercises:
            source = (changed or {}).get(item.name, solution(item.name))
            if source is not None:
                cells.append(code(source, grade=False, solution=True, locked=False, grade_id=item.name))
            cells.append(
                code(
                    f'points = lab.check("{item.name}")\npoints',
                    grade=True,
                    solution=False,
                    locked=True,
                    points=item.points,
                    grade_id=f"{item.name}-check",
                )
            )
        cells.append(code("lab.run()"))
        about = {"diffusion_lab": {"chapter": CHAPTER, "release": __version__}} if metadata is None else metadata
        content = {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 4}
        path = tmp_path / name
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return make


@pytest.fixture
def namespace() -> dict[str, Any]:
    """The references of chapter 1, written by a student: functions whose globals are this dictionary."""
    found: dict[str, Any] = {"__name__": "student"}
    exec("import math\nimport torch\nfrom torch import Tensor, nn\nfrom torch.nn import functional\n", found)
    for item in notebook(CHAPTER).exercises:
        exec(solution(item.name), found)
    return found
