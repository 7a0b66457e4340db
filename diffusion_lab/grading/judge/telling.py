"""Verdicts in words, for a notebook, a terminal and nbgrader's feedback alike."""

from __future__ import annotations

import textwrap

from diffusion_lab.grading.judge.checking import Outcome, Verdict

WIDTH = 100
SHOWN = 2
"""How many failed cases of a part are told; more of the same would hide the idea."""


def told(verdict: Verdict) -> str:
    """The whole message below a check."""
    head = f"{verdict.exercise}: {points(verdict.points)} of {verdict.out_of} points"
    if verdict.state == "not written":
        return f"○ {head}. Not written yet: put your code in the place of `raise NotImplementedError()`."
    if verdict.state in ("missing", "not run"):
        return f"✗ {head}. {verdict.note}"
    if verdict.passed:
        return "\n".join([f"✓ {head}", *([f"  {verdict.note}"] if verdict.note else [])])
    lines = [f"✗ {head}"]
    for idea in verdict.ideas:
        lines += _wrapped(f"  Idea: {_flat(idea.hint)}", "        ")
    for part, (got, most) in verdict.parts.items():
        outcomes = [o for o in verdict.outcomes if o.part == part]
        failed = [o for o in outcomes if not o.passed]
        mark = "✗" if failed else "✓"
        lines.append(
            f"  {mark} {part}: {points(got)} of {most} ({len(outcomes) - len(failed)} of {len(outcomes)} checks)"
        )
        for outcome in failed[:SHOWN]:
            lines += _outcome(outcome)
        if len(failed) > SHOWN:
            lines.append(f"      and {len(failed) - SHOWN} more")
    if verdict.note:
        lines.append(f"  {verdict.note}")
    return "\n".join(lines)


def points(value: float) -> str:
    """3.0 -> "3", 2.5 -> "2.5"."""
    return f"{value:g}"


def _outcome(outcome: Outcome) -> list[str]:
    lines = _wrapped(f"      {outcome.label}", "      ")
    if outcome.raised is not None:
        fault = outcome.raised
        lines += _wrapped(f"        it raised {fault.name}: {fault.message}", "          ")
        if fault.line:
            lines.append(f"        at {_flat(fault.line)}")
    if outcome.fault is not None:
        lines += _wrapped(f"        {outcome.fault.summary}", "          ")
        if outcome.fault.expected:
            lines.append(f"        expected  {outcome.fault.expected}")
            lines.append(f"        yours     {outcome.fault.yours}")
    return lines


def _flat(text: str) -> str:
    return " ".join(text.split())


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, drop_whitespace=True)
