"""How much answers tell: what can be read from them, and what too few numbers, nans and zeros do not prove."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffusion_lab.grading.judge.calling import Returned, leaves
from diffusion_lab.grading.judge.comparing import agrees, as_tensor
from diffusion_lab.grading.judge.questions import Question, Trial

RICH = 20
"""Different numbers that answers must hold before two edits at once are read from them."""
ENOUGH, DIGITS = 64.0, 10.0
"""Bits that answers must hold before an edit beside a listed mistake is read from them, and what one number with
digits of its own counts for. All edits with all listed mistakes are some thousands of guesses, 14 bits; but four
shares, 40 bits, were seen to fit pairs that nobody had made.
"""


def wrong_numbers(trials: Sequence[Trial]) -> tuple[int, int, int]:
    """How many entries of the right answers the student's do not have, how many different ones, and how many of these
    have digits of their own, which no edit puts right by chance: 0.25 has none, and 0.2518 has."""
    found: list[Tensor] = []
    surplus = 0
    for trial in trials:
        if trial.passed:
            continue
        given = leaves(trial.returned.value) if trial.returned.fault is None else ()
        for place, leaf in enumerate(trial.expected.leaves):
            value = as_tensor(given[place]) if place < len(given) else None
            alike = value is not None and not value.is_complex() and value.shape == leaf.value.shape
            found.append((leaf.value[~agrees(value, leaf)] if alike else leaf.value).double().flatten())
            if value is not None and not alike:
                surplus += max(0, value.numel() - leaf.value.numel())  # all of these must come together
    numbers = torch.cat(found) if found else torch.zeros(0)
    if trials and not len(numbers):  # values are right, and gradients are not
        return RICH, RICH, RICH
    several = numbers.unique()
    own = (several * 64).frac() != 0
    return len(numbers) + surplus, len(several), int(own.sum())


def says_something(trial: Trial) -> bool:
    """Whether an answer holds numbers, and not the same one everywhere: nothing can be read from nan and zeros."""
    if trial.returned.fault is not None:
        return False
    tensors = [t for t in map(as_tensor, leaves(trial.returned.value)) if t is not None and not t.is_complex()]
    numbers = [t.double().flatten() for t in tensors]
    return any(len(n) and bool(n.isfinite().any()) and (len(n) == 1 or bool((n != n[0]).any())) for n in numbers)


def different(answers: Sequence[Returned]) -> int:
    """How many different numbers these answers hold."""
    tensors = [as_tensor(leaf) for r in answers for leaf in leaves(r.value)]
    return len(torch.cat([t.double().flatten() for t in tensors if t is not None]).unique())


def bits(answers: Sequence[Returned]) -> float:
    """How much these answers tell, so that agreement is no chance: many bits, or few numbers with many digits.

    A number that comes again tells nothing new: half of all mistakes may lead to the same 0.
    """
    total = 0.0
    known: set[float] = set()
    for tensor in (as_tensor(leaf) for r in answers for leaf in leaves(r.value)):
        if tensor is None or not tensor.numel():
            continue
        _, counts = tensor.flatten().unique(return_counts=True)
        shares = counts / tensor.numel()
        entropy = float(-(shares * shares.log2()).sum()) * tensor.numel()
        new = set(tensor.flatten().tolist()) - known if tensor.is_floating_point() else set()
        known |= new
        total += max(entropy, DIGITS * len(new))
    return total


def keeps_its_shape(returned: Returned, question: Question) -> bool:
    """Whether an answer has the shapes of the right one, and different numbers where that has different numbers, and is
    not one of the arguments where that is not."""
    if returned.fault is not None:
        return False
    given = leaves(returned.value)
    if len(given) != len(question.expected.leaves):
        return False
    for value, leaf in zip(given, question.expected.leaves, strict=True):
        tensor = as_tensor(value)
        if tensor is None or tensor.is_complex() or tensor.shape != leaf.value.shape:
            return False
        for a in question.arguments:  # handed back, where that is not the right answer
            if isinstance(a, Tensor) and a.shape == tensor.shape and bool((a == tensor).all()):
                if a.is_complex() or not bool(agrees(a, leaf).all()):
                    return False
        flat = leaf.value.double().flatten()
        if flat.numel() > 1 and bool((flat != flat[0]).any()) and not bool((tensor != tensor.flatten()[0]).any()):
            return False
        if not bool((tensor.double().isfinite() | ~leaf.value.double().isfinite()).all()):
            return False
    return True
