"""The notebooks made anew, and what is set while a class is graded."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from sample_course import ROOT, SEED

from diffusion_lab.exercises.catalogue import NOTEBOOKS


@pytest.fixture(scope="session")
def built() -> dict[str, bytes]:
    """Every notebook of the course, made anew: path below the root -> content."""
    from diffusion_lab.grading.notebook.authoring import build

    return build(NOTEBOOKS, ROOT)


@pytest.fixture(scope="module")
def graders_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is set while a class is graded: the seed of the cases, and folders for Jupyter's own files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFUSION_LAB_GRADING_SEED", SEED)
        patch.setenv("DIFFUSION_LAB_RUN_BUDGET", "smoke")
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        # nbgrader runs the command `alembic`, which lies beside Python.
        patch.setenv("PATH", os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"])
        yield
