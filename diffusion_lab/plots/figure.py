"""The figure that every plot returns: made without pyplot, so it needs no display and leaves nothing open."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import wraps
from io import BytesIO
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from diffusion_lab.errors import PieceError
from diffusion_lab.files import write_atomically
from diffusion_lab.plots.style import FAULT, RC, printable, wrap

DPI = 120
MIN_WIDTH = 5  # inches, room for a title


class LabFigure(Figure):
    """A matplotlib `Figure` with its alternative text in `alt`. A notebook shows it as the value of a cell."""

    alt: str = ""

    def _repr_png_(self) -> bytes:
        return to_png(self)


def styled(draw: Callable) -> Callable:
    """Run `draw` under the style of the course and leave matplotlib's own settings as they were."""

    @wraps(draw)
    def wrapper(*args, **kwargs):
        with matplotlib.rc_context(RC):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float) -> LabFigure:
    """An empty figure of `width` by `height` inches whose panels keep clear of one another."""
    # "compressed" is the constrained layout that leaves no gaps beside panels of a fixed shape.
    figure = LabFigure(figsize=(max(width, MIN_WIDTH), height), layout="compressed")
    figure.get_layout_engine().set(h_pad=0.09)  # inches between the titles of panels and what is above them
    return figure


def caption(figure: LabFigure, text: str) -> None:
    """Write below the panels how to read them."""
    figure.supxlabel(text, fontsize=10)


def finish(figure: LabFigure, title: str, alt: str, notes: Sequence[str] = ()) -> LabFigure:
    """Add the title, the alternative text and, in red at the foot, whatever the reader must be warned about."""
    width = figure.get_figwidth()
    figure.suptitle(wrap(printable(title), int(width * 9), 3), fontweight="bold")
    if notes:
        warning = wrap("; ".join(notes), int(width * 11), 3)
        figure.supxlabel("\n".join(filter(None, (figure.get_supxlabel(), warning))), color=FAULT, fontsize=10)
    figure.alt = " ".join(" ".join([alt, *(f"{note[0].upper()}{note[1:]}." for note in notes)]).split())
    return figure


@styled
def to_png(figure: Figure) -> bytes:
    """The figure as a PNG, its alternative text kept in the file's `Description`."""
    png = BytesIO()
    # Without the matplotlib version in it, the same figure gives the same bytes everywhere it looks the same.
    metadata = {"Software": None, "Description": getattr(figure, "alt", "")}
    figure.savefig(png, format="png", dpi=DPI, bbox_inches="tight", metadata=metadata)
    return png.getvalue()


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write `figure` to `path` as a PNG, whole or not at all, and return the path.

    The picture is drawn in memory and written to a new file beside `path`, which then takes its place: a reader never
    sees half a file, and an old picture survives a failure. Folders are made as needed. A figure made here belongs to
    no global list, so nothing has to be closed after it.

    Raises:
        PieceError: if `path` does not end in ".png".
        OSError: if the folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise PieceError(f"a figure is saved as a PNG, so its name must end in .png, not {path.name!r}")
    return write_atomically(path, to_png(figure))
