"""The other half of an audit: make mistakes that nobody has listed, and see how many of them are named."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from diffusion_lab.exercises import Exercise
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.checking import check
from diffusion_lab.grading.judge.engine import MIRROR, SHELL, right_sources, without

SINGLES, PAIRS = 8, 4
"""How many functions with one mistake and with two are made for an exercise."""
MADE = {
    "root missing",
    "square missing",
    "factor missing",
    "divisor missing",
    "term missing",
    "sign",
    "reversed",
    "upside down",
    "multiplied for divided",
    "divided for multiplied",
    "index",
    "axis",
    "function",
    "boundary",
    "case ignored",
    "condition ignored",
    "cases exchanged",
    "call missing",
    "bracket",
}
"""Kinds of mistakes that people make; the others are there to explain with."""


@dataclass(frozen=True)
class Rehearsal:
    """How mistakes of our own making fared."""

    exercise: Exercise
    singles: int
    named: int
    """Singles for which an idea was found, listed or by an edit."""
    alike: int
    """Of these, the ones where it was found by an edit of the very kind that was made, or of its mirror."""
    pairs: int
    one_named: int
    both_named: int
    made_of: Mapping[str, int]
    """kind of edit -> how many singles were made with it."""
    named_of: Mapping[str, int]
    """kind of edit -> how many of these were named."""


def rehearse(exercise: Exercise, singles: int = SINGLES, pairs: int = PAIRS, seed: int = 0) -> Rehearsal:
    """Put mistakes into right answers and count those that a check on the visible cases names.

    Fingerprints of the right answer itself are left out for it, so that an edit is not found because it is the one
    that was recorded. The mistakes differ from seed to seed.
    """
    chosen = random.Random(f"{seed} {exercise.name}")
    counts = {"singles": 0, "named": 0, "alike": 0, "pairs": 0, "one_named": 0, "both_named": 0}
    made_of: Counter[str] = Counter()
    named_of: Counter[str] = Counter()
    for size, wanted in ((1, singles), (2, pairs)):
        for made, verdict_ideas in _judged(exercise, chosen, size, wanted):
            found = [idea for idea in verdict_ideas if idea.known or idea.name.startswith("edit: ")]
            if size == 2:
                counts["pairs"] += 1
                counts["one_named"] += bool(found)
                counts["both_named"] += len(found) > 1
                continue
            counts["singles"] += 1
            counts["named"] += bool(found)
            made_of[made[0].kind] += 1
            named_of[made[0].kind] += bool(found)
            kinds = {made[0].kind, MIRROR.get(made[0].kind, made[0].kind)}
            counts["alike"] += any(idea.name.startswith(f"edit: {kind}") for idea in found for kind in kinds)
    return Rehearsal(exercise, **counts, made_of=made_of, named_of=named_of)


def _judged(exercise: Exercise, chosen: random.Random, size: int, wanted: int) -> Iterator[tuple]:
    """(edits, ideas) of functions with that many mistakes, which lose points and do not only raise an error."""
    sources = right_sources(exercise)
    got = 0
    for _ in range(12 * wanted):
        if got == wanted:
            return
        place = chosen.randrange(len(sources))
        candidates = [e for e in sources[place].edits() if e.kind in MADE and e.function != SHELL]
        if len(candidates) < size:
            continue
        made = chosen.sample(candidates, size)
        try:
            function = sources[place].written(made)
        except (SyntaxError, ValueError):
            continue
        with without(exercise, place):
            verdict = check(exercise, LocalCaller(function, 1.0))
        if verdict.passed or all(o.raised for o in verdict.outcomes if not o.passed):
            continue
        got += 1
        yield made, verdict.ideas
