"""What a property has asked a piece, as questions with right answers: a mistake that no case shows is found there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from diffusion_lab.exercises import Case, Exercise
from diffusion_lab.grading.judge.calling import Returned, leaves
from diffusion_lab.grading.judge.comparing import as_tensor, difference
from diffusion_lab.grading.judge.expecting import Leaf, expect
from diffusion_lab.grading.judge.questions import Question, Trial

MOST_ENTRIES = 4096
"""Larger questions are left out: an edit is looked for with hundreds of calls."""
MOST_LOOKED_AT, ENOUGH = 12, 3
"""Calls whose right answers are computed, which takes several calls of the reference each; and failing ones kept."""
SHARP = 1e-3
"""The largest tolerance, relative to the largest number of the answer."""


def trials_heard(exercise: Exercise, calls: Sequence[tuple[tuple, Returned]], part: str, label: str) -> list[Trial]:
    """The calls in which the piece was wrong, as trials: small ones, and those without any number first."""
    plain = [(asked, returned) for asked, returned in calls if _size(asked) <= MOST_ENTRIES]
    ordered = sorted(plain, key=lambda call: (not _has_none(call[1]), _size(call[0])))
    step = max(1, len(ordered) // MOST_LOOKED_AT)
    found: list[Trial] = []
    for asked, returned in ordered[::step][:MOST_LOOKED_AT]:
        try:
            expected = expect(exercise.reference, asked, exercise.trains)
        except (RuntimeError, TypeError, ValueError):  # nothing that the reference answers either
            continue
        expected = replace(expected, leaves=tuple(map(sharper, expected.leaves)))
        fault = None if returned.fault is not None else difference(returned.value, expected.leaves)
        if returned.fault is None and fault is None:
            continue
        case = Case(f'the property "{label}"', asked, part)
        question = Question(case, asked, expected, asked, expected, names=exercise.parameters)
        found.append(Trial(question, returned, fault))
        if len(found) == ENOUGH:
            break
    return found


def sharper(leaf: Leaf) -> Leaf:
    """With a tolerance that is small beside the answer: where a property asks right at a threshold, rounding the inputs
    changes everything, and the property means these very inputs."""
    if not leaf.value.is_floating_point() or not leaf.value.numel():
        return leaf
    most = SHARP * leaf.value.abs().nan_to_num(0.0, 0.0).max()
    return replace(leaf, tolerance=leaf.tolerance.clamp(max=float(most)))


def _size(arguments: tuple) -> int:
    return sum(a.numel() for a in arguments if isinstance(a, Tensor))


def _has_none(returned: Returned) -> bool:
    """Whether it is an error or has nan in it."""
    if returned.fault is not None:
        return True
    return any(t is not None and not bool(torch.isfinite(t).all()) for t in map(as_tensor, leaves(returned.value)))
