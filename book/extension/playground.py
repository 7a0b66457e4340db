"""The directive `playground`: shipped networks that run in the page, without a server and without a network connection.

    ```{playground} points
    ```

A network is a script of its own, written after the build and loaded on a click: scripts can be loaded from the file
system, data cannot. The code that runs it is in `book/assets/playground/`, and only pages that use it load it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from diffusion_lab.chapters import catalogue
from diffusion_lab.chapters.opening import shipped

from .browser_networks import DIGITS, POINTS, script

HERE = Path(__file__).parent
FOLDER = "_static/networks"
SCRIPTS = ("path", "networks", "unet", "samplers", "truth", "controls", "drawing", "points", "digits")
SCRIPTS += ("floor", "denoise", "guidance")
"""The files of `book/assets/playground/`, in the order in which they build on one another."""
MARK = 'class="lab-playground"'


class Playground(SphinxDirective):
    """One playground by name, from `playground_NAME.html` beside this file."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        template = HERE / f"playground_{self.arguments[0]}.html"
        if not template.is_file():
            known = ", ".join(sorted(file.stem.partition("_")[2] for file in HERE.glob("playground_*.html")))
            raise self.error(f"there is no playground '{self.arguments[0]}'; there is {known}")
        self.env.note_dependency(str(template))
        up = "../" * self.env.docname.count("/")
        text = Template(template.read_text(encoding="utf-8")).substitute(
            folder=f"{up}{FOLDER}",
            networks=_options(),
            sizes=" to ".join(f"{size:.1f}" for size in _ends(_size(name) for name in POINTS)) + " MB",
            labels=_labels(),
            wanted=_labels(chosen=3),
            digits=f"{_size(DIGITS):.1f} MB",
        )
        return [nodes.raw("", text, format="html")]


def _ends(values: Iterable[float]) -> tuple[float, float]:
    values = list(values)
    return min(values), max(values)


def _options() -> str:
    chapters = [catalogue.get(name) for name in POINTS]
    return "".join(f'<option value="{one.name}">{one.number}: {one.title}</option>' for one in chapters)


def _labels(chosen: int | None = None) -> str:
    chosen_mark = {chosen: " selected"}
    return "".join(f'<option value="{digit}"{chosen_mark.get(digit, "")}>{digit}</option>' for digit in range(10))


def _size(name: str) -> float:
    """The megabytes that are sent for a network: base64 takes four bytes for three."""
    return shipped(name).stat().st_size * 4 / 3 / 1e6


def add_code(app: Sphinx, name: str, template: str, context: dict[str, Any], document: nodes.document | None) -> None:
    """The scripts and the style, for pages with a playground alone."""
    if MARK in (context.get("body") or ""):
        app.add_css_file("playground/playground.css")
        for part in SCRIPTS:
            app.add_js_file(f"playground/{part}.js", loading_method="defer")


def write_networks(app: Sphinx, exception: Exception | None) -> None:
    """The networks' files, written anew where the package has changed."""
    if exception is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir, FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*POINTS, DIGITS):
        (folder / f"{name}.js").write_text(script(name), encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.add_directive("playground", Playground)
    app.connect("html-page-context", add_code)
    app.connect("build-finished", write_networks)
