"""After the build: MathJax beside the pages, and the theme without what only weighs."""

from __future__ import annotations

import logging
import re
import shutil
from importlib.metadata import distribution
from pathlib import Path

from fontTools import subset
from sphinx.application import Sphinx

MATHJAX = "django-static-mathjax"
"""The package that brings MathJax's own files; nothing else of it is used."""
ICONS = "vendor/fontawesome/webfonts"
FACE = """
/* The few icons that are seen; the theme's whole font is asked for one that is missing here. */
@font-face {
  font-family: "Font Awesome 6 Free";
  font-weight: 900;
  font-display: block;
  src: url("icons.woff") format("woff");
}
"""
NEEDED = ("tex-chtml.js", "output/chtml/fonts", "input/tex/extensions")


def copy_mathjax(static: Path) -> None:
    """What a page with TeX can ask for; the rest of the package is other input, other output, and menus."""
    files = distribution(MATHJAX)
    origin = Path(files.locate_file("mathjax/static/mathjax/es5"))
    target = static / "mathjax"
    mark = target / "version.txt"
    if mark.is_file() and mark.read_text(encoding="utf-8") == files.version:
        return
    shutil.rmtree(target, ignore_errors=True)
    for name in NEEDED:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (origin / name).is_dir():
            shutil.copytree(origin / name, target / name)
        else:
            shutil.copyfile(origin / name, target / name)
    shutil.copyfile(origin.parent / "LICENSE", target / "LICENSE")
    mark.write_text(files.version, encoding="utf-8")


def lighten(static: Path) -> None:
    """All icons of Font Awesome weigh as much as everything else on a page, as a script and as a font."""
    script = static / "scripts" / "fontawesome.js"
    if script.is_file():
        script.write_text("// The icons come from a font, see book.css.\n", encoding="utf-8")
    for leftover in static.rglob("*.map"):
        leftover.unlink()
    font = static / ICONS / "fa-solid-900.ttf"
    if font.is_file():
        subset_icons(font, used_icons(static), static / "icons.woff")
        with (static / "book.css").open("a", encoding="utf-8") as style:
            style.write(FACE)


def used_icons(static: Path) -> set[int]:
    """The characters of the icons that are named in the pages, and of those that the theme's styles name themselves."""
    styles = "".join(file.read_text(encoding="utf-8") for file in sorted((static / "styles").glob("*.css")))
    pages = "".join(file.read_text(encoding="utf-8") for file in sorted(static.parent.glob("*.html")))
    names = set(re.findall(r"\bfa-[a-z0-9-]+", pages))
    found = set()
    for selector, character in re.findall(r'([^{}]*)\{[^{}]*?"\\([ef][0-9a-f]{3})"', styles):
        icons = set(re.findall(r"\.(fa-[a-z0-9-]+)", selector))
        if not icons or icons & names:
            found.add(int(character, 16))
    for character in re.findall(r'--pst-icon[\w-]*:\s*"\\([ef][0-9a-f]{3})"', styles):
        found.add(int(character, 16))
    return found


def subset_icons(font: Path, characters: set[int], out: Path) -> None:
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells each of its steps
    options = subset.Options()
    options.flavor = "woff"
    with subset.load_font(str(font), options) as glyphs:
        chooser = subset.Subsetter(options)
        chooser.populate(unicodes=characters)
        chooser.subset(glyphs)
        subset.save_font(glyphs, str(out), options)


def finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        static = Path(app.outdir, "_static")
        copy_mathjax(static)
        lighten(static)


def setup(app: Sphinx) -> None:
    app.connect("build-finished", finish, priority=900)
