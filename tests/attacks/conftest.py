"""Workers that grade attacks."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest

from diffusion_lab.grading.classroom import workers as graded_here
from diffusion_lab.grading.classroom.parallel import Classroom


@pytest.fixture(scope="module")
def warm():
    """One sandbox in this process, for submissions that are graded without workers."""
    if shutil.which("bwrap") is None and not os.environ.get("CI"):
        pytest.skip("bubblewrap is not installed on this machine")
    yield
    graded_here.done()


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory):
    if shutil.which("bwrap") is None and not os.environ.get("CI"):
        pytest.skip("bubblewrap is not installed on this machine")
    with Classroom(tmp_path_factory.mktemp("course"), jobs=2) as opened:
        yield opened


# Classes are graded through Dask, which is no dependency yet.
collect_ignore_glob = [] if importlib.util.find_spec("distributed") else ["test_*.py"]
