"""What the class report tells of predictions: each beside the truth of the same student's question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.grading.classroom import Result
from diffusion_lab.grading.classroom.reports.class_report_frame import WIDTH, figure, number, svg, text

CLOSE = 0.1
"""A prediction is close if it is off by no more than this share of the truth."""
LEFT, RIGHT, TOP, BOTTOM = 46, WIDTH - 10, 10, 190
"""The frame of the picture."""
MOST_ROWS = 200


@dataclass(frozen=True)
class _Guess:
    """One student's."""

    student: str
    numbers: dict[str, float]
    predicted: float | None
    computed: float | None
    truth: float

    @property
    def off(self) -> float:
        """By which share of the truth."""
        return (self.predicted - self.truth) / abs(self.truth)


def predictions(tasks: Sequence[OwnNumber], graded: Sequence[Result]) -> list[str]:
    """For each question: a picture of all predictions, how they turned out, and a table."""
    lines = []
    for task in tasks:
        items = [(result, item) for result in graded for item in result.exercises if item["name"] == task.name]
        asked = [guess for guess in (_guess(result, item) for result, item in items) if guess is not None]
        guesses = [guess for guess in asked if guess.predicted is not None]
        if not guesses:
            lines.append(f"<p>Nobody has guessed <code>{text(task.name)}</code>.</p>")
            continue
        close = sum(abs(guess.off) <= CLOSE for guess in guesses)
        large, small = (sum(sign * guess.off > CLOSE for guess in guesses) for sign in (1, -1))
        lines.append(
            f"<p><code>{text(task.name)}</code>: {len(guesses)} of {len(items)} have guessed it first. {close} came "
            f"within {CLOSE:.0%} of the truth, {large} guessed too much and {small} too little. No guess is marked."
            "</p>"
        )
        lines.append(_picture(task, guesses))
        if other := len(items) - len(asked):
            lines.append(
                f"<p>Left out: {number(other, 'submission')} with no guess that can be compared, such as one for "
                "somebody else's numbers.</p>"
            )
        lines += _table(asked)
    return lines


def _guess(result: Result, item: dict[str, Any]) -> _Guess | None:
    facts = item.get("facts") or {}
    if not isinstance(facts.get("truth"), float) or facts.get("another draw"):
        return None
    return _Guess(result.student, facts["numbers"], facts.get("predicted"), facts.get("computed"), facts["truth"])


def _picture(task: OwnNumber, guesses: Sequence[_Guess]) -> str:
    """Predictions over truths. What is far beyond all truths stands at the edge."""
    truths = [guess.truth for guess in guesses]
    low, high = min(truths), max(truths)
    reach = (high - low) or abs(high)
    near = [guess.predicted for guess in guesses if low - reach <= guess.predicted <= high + reach]
    low, high = min([*truths, *near]), max([*truths, *near])
    space = 0.06 * ((high - low) or abs(high))
    low, high = low - space, high + space

    def across(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * (value - low) / (high - low)

    def up(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (min(max(value, low), high) - low) / (high - low)

    shapes = [
        f'<line class="base" x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}"/>',
        f'<line class="base" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{BOTTOM}"/>',
        f'<line class="median" x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" y2="{TOP}"/>',
    ]
    shapes += [f'<circle class="some" cx="{across(g.truth):.1f}" cy="{up(g.predicted):.1f}" r="3.5"/>' for g in guesses]
    for value in (low + space, high - space):
        shapes.append(f'<text x="{across(value):.1f}" y="{BOTTOM + 15}" class="middle faint small">{value:.3g}</text>')
        shapes.append(f'<text x="{LEFT - 5}" y="{up(value) + 3:.1f}" class="end faint small">{value:.3g}</text>')
    shapes.append(f'<text x="{(LEFT + RIGHT) / 2:g}" y="{BOTTOM + 33}" class="middle faint">truth</text>')
    beyond = len(guesses) - len(near)
    at_edge = f" At its edge: {number(beyond, 'prediction')} beyond the picture." if beyond else ""
    words = "; ".join(f"{guess.predicted:.3g} for {guess.truth:.3g}" for guess in guesses[:MOST_ROWS])
    alt = f"Predictions of {task.name}, each over the truth of its own question. Predicted for true: {words}."
    caption = f"Predicted over true, a dot for each student. On the dashed line a prediction is right.{at_edge}"
    return figure(svg("Predictions", alt, BOTTOM + 40, shapes), caption)


def _table(guesses: Sequence[_Guess]) -> list[str]:
    def cell(value: float | None) -> str:
        return "–" if value is None else f"{value:.4g}"

    ranked = sorted(guesses, key=lambda guess: (guess.predicted is None, -abs(guess.off) if guess.predicted else 0.0))
    rows = [
        f"<tr><td>{text(g.student)} ({text(', '.join(f'{n} {v:g}' for n, v in g.numbers.items()))})</td>"
        f"<td>{cell(g.predicted)}</td><td>{cell(g.computed)}</td><td>{cell(g.truth)}</td></tr>"
        for g in ranked[:MOST_ROWS]
    ]
    return [
        '<details><summary>Who</summary><table><thead><tr><th scope="col">student (numbers)</th>'
        '<th scope="col">predicted</th><th scope="col">computed</th><th scope="col">true</th></tr></thead><tbody>',
        *rows,
        "</tbody></table></details>",
    ]
