"""Feedback as a person reads it: exercises by name, formulas set without a network, light and dark.

nbgrader writes the page; here are its template, and the filters that the template uses.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from diffusion_lab.chapters.catalogue import get as chapter_record
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import notebook, tasks
from diffusion_lab.exercises.catalogue import find
from diffusion_lab.grading.classroom.gradebook.colouring import Coloured
from diffusion_lab.grading.classroom.gradebook.verdict_notebook import CHECK
from diffusion_lab.grading.classroom.page import STYLE
from diffusion_lab.grading.judge import points

TEMPLATES = Path(__file__).parent / "template"
NAME = "diffusion_lab_feedback"
TAG = re.compile(r"<([^\s/>!]+)")
MATHML = set(
    "math mrow mi mo mn mtext ms mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mmultiscripts "
    "mprescripts mtable mtr mtd mlabeledtr mstyle mpadded mphantom menclose mfenced merror none".split()
)
OWN_STYLE = """
section { margin: 1rem 0; }
section.text { margin-top: 2rem; }
section.text > h2:first-child { margin-top: 0; padding-top: 1.2rem; border-top: 1px solid var(--line); }
pre, .highlight pre {
  margin: 0.4rem 0; padding: 0.6rem 0.8rem; overflow-x: auto; background: var(--track); border-radius: 4px;
  font: 0.85rem/1.45 ui-monospace, monospace; white-space: pre;
}
.verdict { border-left: 4px solid var(--right); padding-left: 0.9rem; }
.verdict pre { white-space: pre-wrap; background: none; padding: 0; }
.comment { margin-top: 0.6rem; padding: 0.2rem 0.9rem 0.5rem; background: var(--warning); }
.comment h4 { margin: 0.4rem 0 0; font-size: 0.95rem; }
.up { font-size: 0.85rem; }
.anchor-link { display: none; }
a { color: var(--right); }
math[display=block] { margin: 0.6rem 0; overflow-x: auto; overflow-y: hidden; }
"""


def settings(given: Any) -> Any:
    """nbgrader's settings with this page's template, unless the course has one of its own; its code is `Coloured`."""
    chosen = given.HTMLExporter
    filters = {"highlight_code": Coloured()} | dict(chosen.get("filters", {}))
    if "template_name" not in chosen:
        chosen.template_name = NAME
        chosen.extra_template_basedirs = [str(TEMPLATES)]
        filters |= {
            "with_formulas": with_formulas,
            "number": lambda value: points(round(float(value), 2)),
            "exercise_title": exercise_title,
            "chapter_title": chapter_title,
            "feedback_style": lambda _: style(),
        }
    chosen.filters = filters
    return given


class _Formulas(IPythonRenderer):
    """Markdown whose formulas are MathML, which browsers set by themselves."""

    def block_math(self, body: str) -> str:
        return _mathml(body, "block")

    def inline_math(self, body: str) -> str:
        return _mathml(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return _mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")


def _mathml(formula: str, display: str) -> str:
    from latex2mathml.converter import convert

    try:
        made = convert(formula.strip(), display=display)
    except Exception:  # the library raises whatever it comes across
        made = ""
    if not made or not set(TAG.findall(made)) <= MATHML:  # such as HTML inside of \text
        return f"<code>{_Formulas().escape_html(formula)}</code>"  # what its author meant is still there to read
    return made


def with_formulas(source: str) -> str:
    """Markdown as HTML, with formulas as MathML. HTML in it is shown and does nothing."""
    return str(MarkdownWithMath(renderer=_Formulas(escape=True, exclude_anchor_links=True)).render(source))


def exercise_title(name: str) -> str:
    """What an exercise is called, by the name of one of its cells; for a cell of the teacher's own, its name."""
    known = tasks().get(name.removesuffix(CHECK))
    return name if known is None else known.title


def chapter_title(name: str) -> str:
    """What a chapter is called, by the name of its notebook."""
    try:
        found = notebook(find(name))
    except LabError:
        return name
    record = chapter_record(found.chapter)
    return f"Chapter {record.number}{', the lab' if found.is_lab else ''}: {record.title}"


@cache
def style() -> str:
    """The style sheet of the page."""
    from pygments.formatters import HtmlFormatter

    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    plain = ".highlight, .highlight pre { background: var(--track); }"
    return f"{STYLE}{OWN_STYLE}{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{plain}"
