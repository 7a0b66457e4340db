"""Workers that grade attacks."""

from __future__ import annotations

import pytest

from diffusion_lab.grading.classroom import workers as graded_here


@pytest.fixture(scope="module")
def warm(sandbox):
    """This process grades as a worker does, in the sandbox of all tests, which stays where a worker ends its own."""
    close = graded_here._close
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(graded_here._warm, "bubblewrap", sandbox)
        patch.setattr(graded_here, "_close", lambda isolation: isolation == "bubblewrap" or close(isolation))
        yield
