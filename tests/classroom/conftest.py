"""The workers, in a course of a test's own."""

from __future__ import annotations

import pytest

from diffusion_lab.grading.classroom.parallel import Classroom


@pytest.fixture
def room(workers: Classroom, tmp_path, monkeypatch: pytest.MonkeyPatch) -> Classroom:
    """The workers, for a course in a folder of its own."""
    monkeypatch.setattr(workers, "course", tmp_path)
    return workers
