"""The directive `playground`: shipped networks that run in the page, without a server and without a network connection.

    ```{playground} points
    :network: spiral
    ```

Without the option a reader picks the network. A network is a script of its own, written after the build and loaded on
a click: scripts can be loaded from the file system, data cannot. The code that runs it is in `book/assets/playground/`,
and a page loads what its own playgrounds need.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from diffusion_lab.chapters import catalogue
from diffusion_lab.chapters.opening import shipped

from .browser_networks import DIGITS, POINTS, script

HERE = Path(__file__).parent
FOLDER = "_static/networks"
BASE, POINTED, PAINTED = ("path", "networks", "samplers", "controls"), ("truth", "drawing"), ("unet", "digits")
NEEDS = {
    "points": (*BASE, *POINTED, "points"),
    "floor": (*BASE, *POINTED, "floor"),
    "denoise": (*BASE, *PAINTED, "denoise"),
    "guidance": (*BASE, *PAINTED, "guidance"),
}
"""What each playground needs of `book/assets/playground/`, in the order in which the files build on one another."""
SCRIPTS = tuple(dict.fromkeys(script for scripts in NEEDS.values() for script in scripts))
MARK = re.compile(r'class="lab-playground" data-lab="(\w+)"')


class Playground(SphinxDirective):
    """One playground by name, from `playground_NAME.html` beside this file; with `network`, for that chapter alone."""

    required_arguments = 1
    option_spec: ClassVar = {"network": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        template = HERE / f"playground_{self.arguments[0]}.html"
        if not template.is_file():
            known = ", ".join(sorted(file.stem.partition("_")[2] for file in HERE.glob("playground_*.html")))
            raise self.error(f"there is no playground '{self.arguments[0]}'; there is {known}")
        offered = (self.options["network"],) if "network" in self.options else POINTS
        if not set(offered) <= set(POINTS):
            raise self.error(f"no playground runs the network '{offered[0]}'; there is {', '.join(POINTS)}")
        self.env.note_dependency(str(template))
        up = "../" * self.env.docname.count("/")
        text = Template(template.read_text(encoding="utf-8")).substitute(
            folder=f"{up}{FOLDER}",
            networks=_options(offered),
            chosen=" hidden" if len(offered) == 1 else "",
            network=_sizes(offered),
            labels=_labels(),
            wanted=_labels(chosen=3),
            digits=f"{_size(DIGITS):.1f} MB",
        )
        return [nodes.raw("", text, format="html")]


def _sizes(names: Iterable[str]) -> str:
    """The networks as files, as a sentence begins: "The network is a file of 1.0 MB"."""
    sizes = [f"{_size(name):.1f}" for name in names]
    who = "The" if len(sizes) == 1 else "A"
    return f"{who} network is a file of {' to '.join(dict.fromkeys((min(sizes), max(sizes))))} MB"


def _options(names: Iterable[str]) -> str:
    chapters = [catalogue.get(name) for name in names]
    return "".join(f'<option value="{one.name}">{one.number}: {one.title}</option>' for one in chapters)


def _labels(chosen: int | None = None) -> str:
    chosen_mark = {chosen: " selected"}
    return "".join(f'<option value="{digit}"{chosen_mark.get(digit, "")}>{digit}</option>' for digit in range(10))


def _size(name: str) -> float:
    """The megabytes that are sent for a network: base64 takes four bytes for three."""
    return shipped(name).stat().st_size * 4 / 3 / 1e6


def add_code(app: Sphinx, name: str, template: str, context: dict[str, Any], document: nodes.document | None) -> None:
    """The style and the scripts that the page's playgrounds need; none for a page without one."""
    wanted = {part for lab in MARK.findall(context.get("body") or "") for part in NEEDS[lab]}
    if wanted:
        app.add_css_file("playground/playground.css")
    for part in filter(wanted.__contains__, SCRIPTS):
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
