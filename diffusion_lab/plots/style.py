"""One look for every figure of the course, and colours that always mean the same thing.

The colours are those of Okabe and Ito, which people with the common forms of colour blindness can tell apart.
Blue is data and truth, vermilion is what a network learned or sampled, grey is noise, a black dashed line is exact.
"""

from __future__ import annotations

import textwrap
from functools import lru_cache

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

DATA = "#0072B2"
SAMPLES = "#D55E00"
NOISE = "#767676"
EXACT = "#111111"
FAULT = "#B0003A"
INK = "#222222"
FAINT = "#C9C9C9"
COLUMNS = {"clean": DATA, "noisy": NOISE, "learned": SAMPLES, "exact": EXACT}

SHADING = LinearSegmentedColormap.from_list("shading", ["#FFFFFF", "#F6CBA8", SAMPLES])
SPECTRUM = "cividis"
SIGNED = "PuOr"

FONT = "DejaVu Sans"
RC = {
    "figure.facecolor": "white",
    "figure.titlesize": 13,
    "font.family": FONT,
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,  # a dataset or a word may contain "$"
    "text.usetex": False,
    "axes.titlesize": 11,
    "axes.labelsize": 10.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8A8A8A",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fontsize": 9.5,
    "image.interpolation": "nearest",
}


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=FONT))).get_charmap())


def printable(text: str) -> str:
    """`text` with every character that the font lacks replaced by a box, since matplotlib warns about each of them."""
    return "".join(c if ord(c) in _glyphs() or c == "\n" else "\N{WHITE SQUARE}" for c in text)


def shorten(text: str, width: int) -> str:
    """At most `width` characters of `text`, the last one an ellipsis where something was cut."""
    return text if len(text) <= width else text[: width - 1] + "…"


def wrap(text: str, width: int, lines: int) -> str:
    """`text` broken into at most `lines` lines of `width` characters."""
    return textwrap.fill(text, width, max_lines=lines, placeholder=" …")


def bare(ax: Axes) -> None:
    """Leave the title and the labels of `ax`, and take away ticks, grid and frame: for pictures, boards and tables."""
    ax.grid(False)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def log_scale(ax: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers at its ticks."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def row_label(ax: Axes, text: str) -> None:
    """Write `text` upright at the left of a row of panels."""
    ax.set_ylabel(text, rotation=0, ha="right", va="center", labelpad=10)
