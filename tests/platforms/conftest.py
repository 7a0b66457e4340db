"""A course with an empty gradebook, which nbgrader takes seconds to make: once for all tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from downloads import CHAPTER

from diffusion_lab.grading.classroom.gradebook import Book


@pytest.fixture(scope="session")
def gradebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    Book(folder, CHAPTER).enter_students({})
    return folder / "gradebook.db"


@pytest.fixture
def course(gradebook: Path, tmp_path: Path) -> Path:
    (tmp_path / "course").mkdir()
    shutil.copy(gradebook, tmp_path / "course")
    return tmp_path / "course"
