"""One sandbox for all tests of a process; each test opens its own sessions in it."""

from __future__ import annotations

import os
import shutil

import pytest

from diffusion_lab.grading.isolation.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox():
    if shutil.which("bwrap") is None and not os.environ.get("CI"):
        pytest.skip("bubblewrap is not installed on this machine")
    with Sandbox() as started:
        yield started
