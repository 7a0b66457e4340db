"""The rules of each challenge: which data, how many parameters, how long a training, how many evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from diffusion_lab.errors import LabError

LONGEST_SOURCE = 20_000
"""Characters of an entry's code. Numbers hidden in code are not counted as parameters, so there is no room for many."""
MOST_WEIGHTS = 1000
"""Tensors in a network."""


class ChallengeError(LabError, ValueError):
    """An entry that does not keep to the rules. The message names the rule and what came; nothing is recorded."""


@dataclass(frozen=True)
class Rules:
    """What an entry may use, and how it is scored."""

    name: str
    """The chapter whose data and metric these are."""
    pieces: tuple[str, ...]
    """The files of this folder that hold the course's own pieces, in the order in which they run."""
    parameters: int
    """Numbers in the network's state, buffers too."""
    seconds: float
    """Of processor time for the training, all threads together: on two cores it takes half of that or more."""
    samples: int
    evaluation_seconds: float
    """Of processor time for one evaluation of all samples."""
    evaluations: tuple[int, ...] = (1, 4, 20)
    """Of the network, for each sample."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the noise that samples begin with, and of the truth that makes the floor."""
    scored: bool = True


_ALL: Mapping[str, Rules] = {
    "spiral": Rules("spiral", ("pieces",), 100_000, 60.0, samples=2000, evaluation_seconds=1.0),
    "mnist": Rules("mnist", ("pieces", "pieces_mnist"), 500_000, 240.0, samples=500, evaluation_seconds=20.0),
}
NAMES = tuple(_ALL)


def rules_of(name: str, budget: str = "full") -> Rules:
    """The rules of a challenge. "smoke" is a budget of seconds that shows whether an entry runs; it is not scored.

    Raises:
        ChallengeError: there is no challenge, or no budget, of that name.
    """
    if name not in _ALL:
        raise ChallengeError(f"there is no challenge {name!r}; the challenges are {' and '.join(NAMES)}")
    if budget not in ("full", "smoke"):
        raise ChallengeError(f"a challenge has no budget {budget!r}; the budgets are full, which is scored, and smoke")
    rules = _ALL[name]
    return rules if budget == "full" else replace(rules, seconds=2.0, samples=100, seeds=(0,), scored=False)
