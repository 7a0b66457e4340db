"""Workers that grade attacks."""

from __future__ import annotations

import pytest

from diffusion_lab.grading.classroom import workers as graded_here


@pytest.fixture(scope="module")
def warm(bubblewrap):
    """One sandbox in this process, for submissions that are graded without workers."""
    yield
    graded_here.done()
