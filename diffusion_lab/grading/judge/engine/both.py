"""Two mistakes, or one beside something that only one of them has, as they are told."""

from __future__ import annotations

import re
from dataclasses import replace

from diffusion_lab.grading.judge.engine.wording import Mistake

REPLACED = {
    "divisor": "It is divided by `{yours}`, and must be divided by `{right}`.",
    "factor": "It is multiplied by `{yours}`, and must be multiplied by `{right}`.",
    "term": "The term `{yours}` stands where `{right}` belongs.",
}

WITHOUT = {"factor": "the factor", "divisor": "the division by", "term": "the term", "line": "the step that sets"}


def without(one: Mistake, known: Mistake) -> Mistake:
    """A known mistake that is what remains when something is taken away: it may stand in the place of what is missing,
    so that it is not said to be wrong itself."""
    named = re.search(r"`([^`]+)`", one.hint)
    what = WITHOUT.get(one.kind.split()[0])
    said = f"{what} `{named.group(1)}`" if what and named else "one thing that you do"
    place = f" (line {one.line})" if one.line else ""
    hint = f"Suppose you leave out {said}{place}. What remains has a mistake that is known: {known.hint}"
    return replace(known, hint=hint, uncertain=True)


def together(one: Mistake, other: Mistake) -> tuple[Mistake, ...]:
    """Two mistakes as they are told: one, where one thing stands in the place of another; and where both have the same
    words, it is said that they are two."""
    for what, sentence in REPLACED.items():
        kinds = (f"{what} too many", f"{what} missing")
        if (one.kind, other.kind) == kinds:
            yours, right = (m.name.removeprefix(f"edit: {m.kind}").strip() for m in (one, other))
            if yours and right:
                start = f"Line {one.line}: " if one.line else ""
                hint = start + sentence.format(yours=yours, right=right)
                return (
                    Mistake(what, hint, f"edit: {what} {yours} for {right}"[:80], one.cost + other.cost, line=one.line),
                )
    if one.hint.endswith(other.hint):
        return (one,)
    if one.kind == other.kind == "function":
        other = replace(other, hint=f"In another place: {other.hint}")
    return (one, other)
