"""Pictures get the words that they carry, and what notebooks hold as text in HTML becomes files beside the page."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from urllib.parse import unquote

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util import logging

from diffusion_lab.plots.slider import encoded, exact_may_have

logger = logging.getLogger(__name__)

FOLDER = "_media"
ENDINGS = {"image/webp": "webp", "image/png": "png", "audio/wav": "wav", "video/mp4": "mp4"}
INLINED = re.compile(f"data:({'|'.join(ENDINGS)});base64,([A-Za-z0-9+/=]+)")


def describe_pictures(app: Sphinx, document: nodes.document) -> None:
    """Alternative texts for what code has drawn: the `Description` in a PNG, which `diffusion_lab.plots` writes."""
    for place, node in enumerate(list(document.findall(nodes.image))):
        if place:
            node["loading"] = "lazy"
        _, name = app.env.relfn2path(node["uri"], app.env.docname)
        file = Path(name)
        if file.suffix == ".png" and file.is_file():
            with Image.open(file) as picture:
                words = picture.info.get("Description", "").strip()
                node["alt"] = node.get("alt", "").strip() or words
                if words:  # drawn by code, in this page or when it was recorded
                    node["uri"] = f"{node['uri'].removesuffix('.png')}.webp"
                    to_webp(picture, file.with_suffix(".webp"))
        if drawn(node):
            # A frame in which a narrow screen can move it.
            frame = nodes.container(classes=["lab-frame"])
            node.replace_self(frame)
            frame += node
        if not node.get("alt"):
            logger.warning("a picture has no alternative text: %s", node["uri"], location=node, type="lab")


def drawn(node: nodes.image) -> bool:
    """Whether a picture is the result of a cell. Between it and the cell's output are boxes for its formats."""
    box = node.parent
    while box is not None and not isinstance(box, nodes.section):
        if "cell_output" in box.get("classes", []):
            return True
        box = box.parent
    return False


def to_webp(picture: Image.Image, file: Path) -> None:
    """The same picture in half the bytes or less: to the last bit, unless soft shading makes that far heavier."""
    if file.is_file():
        return
    picture = picture.convert("RGB")
    close = encoded(picture, quality=90, method=4)
    most = 1.5 * len(close)
    exact = encoded(picture, lossless=True, method=4) if exact_may_have(picture, most) else b""
    file.write_bytes(exact if exact and len(exact) <= most else close)


def finish_pictures(app: Sphinx, name: str, template: str, context: dict, document: nodes.document | None) -> None:
    """Pictures have their place before they are there, and the first one is what a reader waits for."""
    if not context.get("body"):
        return
    files = {kept: app.srcdir / file for file, kept in app.builder.images.items()}

    def with_size(match: re.Match) -> str:
        tag = match[0]
        source = re.search(r'src="([^"]*)"', tag)
        file = files.get(unquote(source[1]).rpartition("/")[2]) if source else None
        if "width=" in tag or file is None or file.suffix == ".svg":
            return tag
        with Image.open(file) as picture:
            width, height = picture.size
        return f'<img width="{width}" height="{height}"{tag.removeprefix("<img")}'

    body = re.sub(r"<img [^>]*>", with_size, context["body"])
    context["body"] = re.sub(r"<img ", '<img fetchpriority="high" ', body, count=1)


def media_to_files(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Slider frames and sounds as files: the page is light, and the browser fetches what it shows."""
    if app.builder.format != "html":
        return
    up = "../" * docname.count("/")

    def kept(match: re.Match) -> str:
        content = base64.b64decode(match[2])
        name = f"{hashlib.sha256(content).hexdigest()[:20]}.{ENDINGS[match[1]]}"
        file = Path(app.outdir, FOLDER, name)
        if not file.is_file():
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
        return f"{up}{FOLDER}/{name}"

    for node in list(document.findall(nodes.raw)):
        text = node.astext()
        if "html" in node.get("format", "").split() and INLINED.search(text):
            node.replace_self(nodes.raw("", INLINED.sub(kept, text), format="html"))


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", describe_pictures, priority=400)  # before Sphinx collects the pictures
    app.connect("html-page-context", finish_pictures)
    app.connect("doctree-resolved", media_to_files)
