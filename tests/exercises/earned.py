"""What a check gives to a function on some seeds: the hint is looked for where it is asked for, which takes long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from diffusion_lab.exercises import library
from diffusion_lab.grading.judge import LocalCaller
from diffusion_lab.grading.judge.checking import check

SEEDS = (0, 3, 8)
DRAWS = pytest.mark.parametrize("draws", [range(6), pytest.param(range(20), marks=pytest.mark.nightly)], ids=repr)
"""Seeds on which an answer costs the same: a few at every commit, more at night."""


def share(name: str, function: Callable, seed: int) -> float:
    """The share of its points that the check gives to `function` on the cases of this seed."""
    verdict = check(library()[name], LocalCaller(function), seed, explain=False)
    return verdict.points / verdict.out_of


def points(name: str, function: Callable, seed: int) -> tuple[float, str]:
    """That share, and the first hint."""
    verdict = check(library()[name], LocalCaller(function), seed)
    return verdict.points / verdict.out_of, verdict.ideas[0].hint if verdict.ideas else ""


def assert_loses(name: str, function: Callable, seed: int, words: str) -> None:
    """It loses points, and the first hint has these words. Without words nothing needs to be named, or looked for."""
    if not words:
        assert share(name, function, seed) < 1
        return
    got, hint = points(name, function, seed)
    assert got < 1
    assert words in hint
