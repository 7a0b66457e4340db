"""Verdicts as HTML, for a notebook and for feedback: first what went wrong, the rest folded. Light and dark.

It says what `telling` says, in the same words.
"""

from __future__ import annotations

from html import escape

from diffusion_lab.grading.judge.checking import Outcome, Verdict
from diffusion_lab.grading.judge.telling import points

# Colours that can be read on white and on black; everything else is the page's own.
STYLE = """<style>
.lab-verdict { line-height: 1.5; max-width: 46rem; overflow-wrap: anywhere; }
.lab-verdict p { margin: 0.3em 0; }
.lab-verdict .lab-head { font-weight: 600; }
.lab-verdict .lab-idea { border-left: 4px solid #2f8fd0; padding: 0.2em 0 0.2em 0.8em; margin: 0.5em 0; }
.lab-verdict dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.15em 1em; margin: 0.4em 0; }
.lab-verdict dt { opacity: 0.75; margin: 0; font-weight: normal; }
.lab-verdict dd { margin: 0; font-family: ui-monospace, monospace; font-size: 0.92em; white-space: pre-wrap; }
.lab-verdict ul { margin: 0.3em 0; padding-left: 1.4em; }
.lab-verdict summary { cursor: pointer; opacity: 0.8; }
</style>"""


def as_html(verdict: Verdict) -> str:
    """One `<div>` with its own style, for a verdict of any state. It needs no script and no network."""
    head = f"{verdict.exercise}: {points(verdict.points)} of {verdict.out_of} points"
    if verdict.state == "not written":
        return _box(f"○ {head}", "<p>Not written yet: put your code in the place of "
                    "<code>raise NotImplementedError()</code>.</p>")  # fmt: skip
    note = f"<p>{escape(verdict.note)}</p>" if verdict.note else ""
    if verdict.state in ("missing", "not run"):
        return _box(f"✗ {head}", note)
    if verdict.passed:
        return _box(f"✓ {head}", note)
    ideas = "".join(f'<p class="lab-idea"><b>Idea:</b> {escape(_flat(idea.hint))}</p>' for idea in verdict.ideas)
    failed = [outcome for outcome in verdict.outcomes if not outcome.passed]
    first = _outcome(failed[0]) if failed else ""
    return _box(f"✗ {head}", ideas + first + note + _folded(verdict, failed[:1]))


def _box(head: str, body: str) -> str:
    return f'<div class="lab-verdict">{STYLE}<p class="lab-head">{escape(head)}</p>{body}</div>'


def _folded(verdict: Verdict, told: list[Outcome]) -> str:
    parts = []
    for part, (got, most) in verdict.parts.items():
        outcomes = [o for o in verdict.outcomes if o.part == part]
        failed = [o for o in outcomes if not o.passed]
        more = "".join(f"<li>{_outcome(o)}</li>" for o in failed if o not in told)
        parts.append(
            f"<li>{'✗' if failed else '✓'} {escape(part)}: {points(got)} of {most} "
            f"({len(outcomes) - len(failed)} of {len(outcomes)} checks){f'<ul>{more}</ul>' if more else ''}</li>"
        )
    return f"<details><summary>all parts and checks</summary><ul>{''.join(parts)}</ul></details>"


def _outcome(outcome: Outcome) -> str:
    fault, raised = outcome.fault, outcome.raised
    number = f"Case {outcome.number}: " if outcome.number else ""
    summary, rows = "", []
    if outcome.inputs:
        rows.append(("with", outcome.inputs))
    if fault is not None:
        summary = fault.summary
    elif raised is not None:
        summary = f"it raised {raised.name}: {raised.message}"
    if raised is not None and raised.line:
        rows.append(("at", raised.line))
    if fault is not None and fault.expected:
        rows += [("expected", fault.expected), ("yours", fault.yours)]
    table = "".join(f"<dt>{name}</dt><dd>{escape(_flat(value))}</dd>" for name, value in rows)
    said = f"<p>{escape(_flat(number + outcome.label))}<br>{escape(_flat(summary))}</p>"
    return said + (f"<dl>{table}</dl>" if table else "")


def _flat(text: str) -> str:
    return " ".join(text.split())
