"""Figures behind a slider: one piece of HTML that needs no server, no network and no library."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from itertools import count
from string import Template

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from diffusion_lab.errors import PieceError
from diffusion_lab.plots.figure import DPI, LabFigure, styled

MOST_FRAMES = 64
HASTE = 4
"""How many times too large an exact WebP may get that is made in haste: 3.9 times, at most, in the book."""
_numbers = count(1)

STYLE = """
.lab-slider { margin: 1rem 0; max-width: 60rem; }
.lab-slider img { display: block; width: 100%; height: auto; background: white; border-radius: 4px; }
.lab-slider .lab-control { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem 1rem; margin-top: .5rem; }
.lab-slider label { font-weight: 600; }
.lab-slider input { flex: 1 1 12rem; min-width: 8rem; min-height: 1.75rem; accent-color: #0072B2; }
.lab-slider input:focus-visible { outline: 3px solid #0072B2; outline-offset: 3px; border-radius: 4px; }
.lab-slider output { min-width: 6em; font-variant-numeric: tabular-nums; }
html[data-theme="dark"] .lab-slider input { accent-color: #56B4E9; }
html[data-theme="dark"] .lab-slider input:focus-visible { outline-color: #56B4E9; }
"""

# The frames after the first are fetched when the figure comes near the screen, so that they do not delay the page.
SCRIPT = """
(function () {
  var root = document.getElementById("$id");
  if (!root) { return; }
  var frames = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  var image = root.querySelector("img"), input = root.querySelector("input"), output = root.querySelector("output");
  var kept = [];
  function show() {
    var frame = frames[Number(input.value)];
    image.src = frame.src;
    image.alt = frame.alt;
    output.textContent = frame.value;
    input.setAttribute("aria-valuetext", frame.value);
  }
  function fetchAll() {
    if (kept.length) { return; }
    kept = frames.map(function (frame) { var one = new Image(); one.src = frame.src; return one; });
  }
  input.addEventListener("input", show);
  input.addEventListener("focus", fetchAll);
  input.addEventListener("pointerenter", fetchAll);
  if (window.IntersectionObserver) {
    var watch = new IntersectionObserver(function (entries) {
      if (entries.some(function (entry) { return entry.isIntersecting; })) { fetchAll(); watch.disconnect(); }
    }, { rootMargin: "50%" });
    watch.observe(root);
  }
  if (Number(input.value) !== $start) { show(); }  // the browser put an old position back
})();
"""

PAGE = Template("""<figure class="lab-slider" id="$id">
<style>$style</style>
<div class="lab-frame"><img src="$src" alt="$alt" width="$width" height="$height"></div>
<div class="lab-control"><label for="$id-input">$label</label>
<input type="range" id="$id-input" min="0" max="$last" step="1" value="$start" aria-valuetext="$value">
<output for="$id-input">$value</output></div>
<script type="application/json">$frames</script>
<script>$script</script>
</figure>""")


class Slider:
    """Figures of one size behind a slider. A notebook shows it as the value of a cell.

    Args:
        figures: at least two, each with its alternative text, which the picture has while it is shown.
        values: what the slider says at each of them, such as "t = 0.5".
        label: what the slider moves, such as "noise level".
        start: the figure that is seen first.

    Raises:
        PieceError: if there are too few or too many figures, if they differ in size, if a value or an alternative
            text is missing, or if there is no figure `start`.
    """

    def __init__(self, figures: Sequence[LabFigure], values: Sequence[str], label: str, start: int = 0):
        if not 2 <= len(figures) <= MOST_FRAMES:
            raise PieceError(f"a slider has 2 to {MOST_FRAMES} figures, not {len(figures)}")
        if len(values) != len(figures):
            raise PieceError(f"{len(figures)} figures need as many values, not {len(values)}")
        sizes = {tuple(figure.get_size_inches()) for figure in figures}
        if len(sizes) > 1:
            raise PieceError(f"the figures of a slider have one size; these have {sorted(sizes)} inches")
        silent = [value for figure, value in zip(figures, values, strict=True) if not getattr(figure, "alt", "")]
        if silent:
            raise PieceError(f"every figure needs an alternative text; it is missing at {silent[0]!r}")
        if not 0 <= start < len(figures):
            raise PieceError(f"start is the place of a figure, 0 to {len(figures) - 1}, not {start}")
        self.label, self.start = label, start
        self.values = [str(value) for value in values]
        self.alts = [figure.alt for figure in figures]
        frames = [to_webp(figure) for figure in figures]
        self.frames = [data for data, _ in frames]
        self.size = frames[0][1]

    def _repr_html_(self) -> str:
        sources = [f"data:image/webp;base64,{base64.b64encode(frame).decode()}" for frame in self.frames]
        frames = [
            {"src": source, "alt": alt, "value": value}
            for source, alt, value in zip(sources, self.alts, self.values, strict=True)
        ]
        name = f"slider-{sha256(b''.join(self.frames)).hexdigest()[:8]}-{next(_numbers)}"
        escaped = {
            "label": self.label,
            "value": self.values[self.start],
            "alt": self.alts[self.start],
            "src": sources[self.start],
        }
        return PAGE.substitute(
            {key: html.escape(text) for key, text in escaped.items()},
            id=name,
            style=STYLE,
            width=self.size[0],
            height=self.size[1],
            last=len(frames) - 1,
            start=self.start,
            # "</" would end the script.
            frames=json.dumps(frames, ensure_ascii=False).replace("</", "<\\/"),
            script=Template(SCRIPT).substitute(id=name, start=self.start),
        )

    def __repr__(self) -> str:
        return f"Slider over {self.label}: {', '.join(self.values)}"


@styled
def to_webp(figure: LabFigure) -> tuple[bytes, tuple[int, int]]:
    """The figure as WebP, in the smaller of the two ways to store it, and its size in pixels.

    The picture is not cut to what is drawn, as a PNG is: so figures of one size give pictures of one size.
    """
    # Drawn once: `savefig` would draw it a second time, to nowhere, before it places the panels.
    canvas, dpi = FigureCanvasAgg(figure), figure.dpi
    figure.set_dpi(DPI)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    figure.set_dpi(dpi)
    # At 85, more thorough methods take three times as long and save a hundredth.
    soft = encoded(picture, quality=85, method=4)
    files = [encoded(picture, lossless=True, method=6), soft] if exact_may_have(picture, len(soft)) else [soft]
    return min(files, key=len), picture.size


def encoded(picture: Image.Image, **options) -> bytes:
    """The picture as a WebP file; `options` are Pillow's."""
    file = BytesIO()
    picture.save(file, format="WEBP", **options)
    return file.getvalue()


def exact_may_have(picture: Image.Image, size: float) -> bool:
    """Whether an exact WebP of the picture may have `size` bytes or less. The smallest one takes long to find."""
    return len(encoded(picture, lossless=True, quality=0, method=0)) <= HASTE * size
