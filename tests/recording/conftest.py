"""A released course, copied for each test, and results of three kinds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from recorded_course import CHAPTER, Course, item

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.gradebook.recording import Book

Items = tuple[Mapping[str, Any], ...]


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """A course whose gradebook and release nbgrader has made. Only for copying."""
    course = Course.made(tmp_path_factory.mktemp("released") / "course")
    Book(course.root, CHAPTER).prepare()
    return course


@pytest.fixture
def course(released: Course, tmp_path: Path) -> Course:
    shutil.copytree(released.root, tmp_path / "course")
    return Course(tmp_path / "course")


@pytest.fixture(scope="session")
def right() -> Items:
    return tuple(item(exercise.name) for exercise in notebook(CHAPTER).exercises)


@pytest.fixture(scope="session")
def mixed(right: Items) -> Items:
    """Two wrong answers that the course knows; one of them has some of its points."""
    wrong = {name: item(name, "first") for name in ("alpha_bar", "ddpm_step")}
    found = [wrong.get(each["name"], each) for each in right]
    return tuple(found)
