"""Verdicts in words, for a notebook, a terminal and nbgrader's feedback alike."""

from __future__ import annotations

import textwrap

from diffusion_lab.exercises import CARE
from diffusion_lab.grading.judge.checking import Outcome, Verdict

WIDTH = 100
SHOWN = 2
"""How many failed cases of a part are told; more of the same would hide the idea."""


def told(verdict: Verdict) -> str:
    """The whole message below a check."""
    head = f"{verdict.exercise}: {points(verdict.points)} of {verdict.out_of} points"
    if verdict.state == "not written":
        return f"○ {head}. Not written yet: put your code in the place of `raise NotImplementedError()`."
    if verdict.state == "open":
        return f"• {verdict.exercise}: {verdict.note}"
    if verdict.state in ("missing", "not run"):
        return f"✗ {head}. {verdict.note}"
    if verdict.passed:
        return "\n".join([f"✓ {head}", *([f"  {verdict.note}"] if verdict.note else [])])
    lines = [f"✗ {head}"]
    for idea in verdict.ideas:
        lines += _wrapped(f"  Idea: {_flat(idea.hint)}", "        ")
    said = {_flat(idea.hint) for idea in verdict.ideas}
    for part, (got, most) in verdict.parts.items():
        outcomes = [o for o in verdict.outcomes if o.part == part]
        failed = [o for o in outcomes if not o.passed]
        mark = "✗" if failed else "✓"
        lines.append(
            f"  {mark} {part}: {points(got)} of {most} ({len(outcomes) - len(failed)} of {len(outcomes)} checks)"
        )
        for outcome in failed[:SHOWN]:
            lines += _outcome(outcome, said)
        if len(failed) > SHOWN:
            lines.append(f"      and {len(failed) - SHOWN} more")
    if verdict.note:
        lines.append(f"  {verdict.note}")
    return "\n".join(lines)


def to_try(verdict: Verdict) -> str:
    """How to get the first visible case that failed, in a notebook; empty where none did."""
    failed = [o.number for o in verdict.outcomes if not o.passed and o.number]
    if not failed or not verdict.visible:
        return ""
    return f'  To try it yourself: arguments, expected = lab.case("{verdict.exercise}", {failed[0]})'


def points(value: float) -> str:
    """3.0 -> "3", 2.5 -> "2.5"."""
    return f"{value:g}"


def _outcome(outcome: Outcome, said: set[str]) -> list[str]:
    """What went wrong. `said` is what was told before, and is not told again."""
    fault, raised = outcome.fault, outcome.raised
    number = f"case {outcome.number}: " if outcome.number else ""
    lines = _wrapped(f"      {number}{outcome.label}", "      ")
    if outcome.inputs:
        lines += _wrapped(f"        with {_flat(outcome.inputs)}", "          ")
    summary = _flat(
        fault.summary if fault is not None else f"it raised {raised.name}: {raised.message}" if raised else ""
    )
    if summary in said:
        return [*lines, "        the same as above"] if outcome.part != CARE else lines
    said.add(summary)
    lines += _wrapped(f"        {summary}", "          ")
    if raised is not None and raised.line:
        lines.append(f"        at {_flat(raised.line)}")
    if fault is not None and fault.expected:
        lines.append(f"        expected  {fault.expected}")
        lines.append(f"        yours     {fault.yours}")
    return lines


def _flat(text: str) -> str:
    return " ".join(text.split())


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, drop_whitespace=True)
