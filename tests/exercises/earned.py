"""What a check gives to a function on some seeds: the hint is looked for where it is asked for, which takes long."""

from __future__ import annotations

from collections.abc import Callable

from diffusion_lab.exercises import library
from diffusion_lab.grading.judge import LocalCaller
from diffusion_lab.grading.judge.checking import check

SEEDS = (0, 3, 8)


def share(name: str, function: Callable, seed: int) -> float:
    """The share of its points that the check gives to `function` on the cases of this seed."""
    verdict = check(library()[name], LocalCaller(function), seed, explain=False)
    return verdict.points / verdict.out_of


def points(name: str, function: Callable, seed: int) -> tuple[float, str]:
    """That share, and the first hint."""
    verdict = check(library()[name], LocalCaller(function), seed)
    return verdict.points / verdict.out_of, verdict.ideas[0].hint if verdict.ideas else ""
