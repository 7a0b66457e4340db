"""A challenge small enough for tests, in real sandboxes."""

from __future__ import annotations

import pytest
from small_challenge import RULES

from diffusion_lab.challenge.entries import Entry
from diffusion_lab.challenge.running import Runner
from diffusion_lab.data import load
from diffusion_lab.grading.isolation import sandbox_of


@pytest.fixture(scope="session")
def spiral():
    return load("spiral")


@pytest.fixture(scope="session")
def walls(sandbox):
    """Two sandboxes, for all tests of a process: that of all others, and one more."""
    with sandbox_of("bubblewrap") as home:
        yield sandbox, home


@pytest.fixture
def runner(walls, spiral):
    """code -> a runner of an entry of that code, on the spiral."""

    def of(*cells: str, rules=RULES) -> Runner:
        return Runner(*walls, rules, Entry("an entry", cells), spiral)

    return of
