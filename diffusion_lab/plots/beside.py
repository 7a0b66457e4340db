"""Two answers beside each other, one of them perhaps wrong: samples in panels, curves on the same axes, tables in grey.

Both are drawn to the scale of the second, so that a wrong one cannot hide by changing it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.plots import board, cloud, leads
from diffusion_lab.plots.audio import FLOOR_DB, log_spectrogram
from diffusion_lab.plots.figure import LabFigure, finish, new_figure, styled
from diffusion_lab.plots.image import tile
from diffusion_lab.plots.inputs import check_kind, finite_rows, moments, span
from diffusion_lab.plots.line import density_of
from diffusion_lab.plots.plane import dots
from diffusion_lab.plots.style import DATA, EXACT, FAULT, FONT, INK, SAMPLES, SPECTRUM, bare, printable, shorten, wrap
from diffusion_lab.plots.text import words_of

COLOURS = (SAMPLES, DATA, EXACT)
"""Of the columns: the answer in question, the one it is held against, the truth."""
MOST = {"cloud": 4, "image": 16, "board": 16, "audio": 3, "leads": 3, "phrases": 8}
"""How many items of each kind a panel has room for."""
STYLES = ("-", "--", ":", "-.", (0, (1, 3)))


@dataclass(frozen=True)
class Items:
    """Samples, of one of the kinds of `data_against_samples`."""

    kind: str
    values: Tensor
    """(N, *S). Points of more than two dimensions show their first two."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """As in `data_against_samples`."""
    axes: tuple[str, str] = ()  # type: ignore[assignment]
    """For points in the plane whose two numbers are of different kinds: what each is. They then have scales of their
    own."""

    def numbers(self) -> Tensor:
        """All that is drawn, (N, anything), in float64."""
        return self.values.detach().double().reshape(len(self.values), -1)

    def told(self) -> str:
        """What it holds, in a few words and numbers."""
        if self.kind == "phrases":
            first = [" ".join(words_of(item, self.info)) for item in self.values[:2]]
            return f"{len(self.values)} sentences, such as {' / '.join(f'“{words}”' for words in first)}"
        if self.kind == "board":
            share = float((self.values == 0).double().mean())
            return f"{len(self.values)} boards, {share:.0%} of their cells empty"
        what = {"image": "images", "audio": "sounds", "leads": "strips"}.get(self.kind, self.kind)
        if self.kind == "cloud":
            what = f"clouds of {self.values.shape[1]} points"
        return f"{len(self.values)} {what}, {moments(self.values)}"


@dataclass(frozen=True)
class Curves:
    """Some functions of one number, on the same axes."""

    x: Tensor
    """(N,)."""
    lines: Mapping[str, Tensor]
    """Name -> (N,); the name may be "" where there is one alone."""
    xlabel: str
    ylabel: str
    log: bool = False
    """Whether the vertical axis is logarithmic."""

    def numbers(self) -> Tensor:
        """(lines, N), in float64."""
        return torch.stack([line.detach().double() for line in self.lines.values()])

    def told(self) -> str:
        """Its first, middle and last values."""
        places = (0, len(self.x) // 2, len(self.x) - 1)
        rows = [
            f"{name + ': ' if name else ''}{', '.join(f'{float(line[i]):.4g}' for i in places)}"
            for name, line in list(self.lines.items())[:3]
        ]
        return f"{self.ylabel} at the start, the middle and the end: {'; '.join(rows)}"


@dataclass(frozen=True)
class Table:
    """A matrix as shades."""

    values: Tensor
    """(rows, columns)."""
    xlabel: str
    ylabel: str

    def numbers(self) -> Tensor:
        """(rows, columns), in float64."""
        return self.values.detach().double()

    def told(self) -> str:
        """Its first and last rows."""
        ends = [", ".join(f"{value:.3g}" for value in row[:4].tolist()) for row in self.numbers()[[0, -1]]]
        more = ", …" if self.values.shape[1] > 4 else ""
        return f"{tuple(self.values.shape)}, first row {ends[0]}{more}, last row {ends[1]}{more}"


View = Items | Curves | Table


@styled
def beside(
    rows: Sequence[tuple[View | None, View, View | None]],
    *,
    title: str,
    names: tuple[str, str, str] = ("yours", "the reference", "the truth"),
    fault: str = "",
) -> LabFigure:
    """Views in columns: the one in question, the one that it is held against, and the truth where it is known.

    Args:
        rows: for each view (in question or None, held against, truth or None). A `Curves` takes one panel for all.
        title: what is drawn.
        names: of the columns.
        fault: why there is nothing in question; it is written where that would stand.

    Raises:
        PieceError: without rows, or for an unknown kind of items.
    """
    if not rows:
        raise PieceError("there is nothing to draw: `rows` is empty")
    for _, view, _ in rows:
        if isinstance(view, Items):
            check_kind(view.kind)
    columns = 3 if any(truth is not None and not isinstance(view, Curves) for _, view, truth in rows) else 2
    figure = new_figure(3.6 * columns + 0.6, 3.3 * len(rows) + 0.8)
    grid = figure.add_gridspec(len(rows), columns)
    parts, notes = [], []
    for place, (mine, theirs, truth) in enumerate(rows):
        if isinstance(theirs, Curves):
            _curves(figure.add_subplot(grid[place, :]), mine, theirs, names)
        else:
            for column, (view, name) in enumerate(zip((mine, theirs, truth)[:columns], names, strict=False)):
                ax = figure.add_subplot(grid[place, column])
                if view is not None:
                    _panel(ax, view, theirs, COLOURS[column])
                    ax.set_title(name, color=COLOURS[column])
                elif column == 0:
                    _words(ax, fault or "nothing to draw")
                    ax.set_title(name, color=COLOURS[column])
                else:
                    ax.set_axis_off()
        for view, name in zip((mine, theirs, truth), names, strict=True):
            if view is not None:
                parts.append(f"{name[0].upper()}{name[1:]}: {view.told()}.")
        if mine is not None:
            bad = int((~torch.isfinite(mine.numbers())).sum())
            if bad:
                notes.append(
                    f"{bad} of {mine.numbers().numel()} numbers of {names[0]} are not finite (nan or infinite)"
                )
    if fault:
        notes.insert(0, wrap(fault, 200, 2))
    return finish(figure, title, f"{title}. {' '.join(parts)}", notes)


def _panel(ax: Axes, view: View, scale: View, colour: str) -> None:
    if isinstance(view, Table):
        numbers = scale.numbers()
        ax.imshow(
            view.numbers().numpy(), aspect="auto", cmap=SPECTRUM, vmin=float(numbers.nan_to_num(0).min()),
            vmax=float(numbers.nan_to_num(0).max()),
        )  # fmt: skip
        ax.grid(False)
        ax.set(xlabel=view.xlabel, ylabel=view.ylabel)
        return
    drawn = {"points": _points, "cloud": _clouds, "image": _images, "audio": _sounds, "leads": _strips}
    drawn |= {"phrases": _sentences, "words": _sentences, "board": _boards}
    drawn[view.kind](ax, view, scale, colour)


def _points(ax: Axes, view: Items, scale: Items, colour: str) -> None:
    x, held = (v.values.detach().float() for v in (view, scale))
    if x.shape[1] == 1:
        low, high = span(held, margin=0.25)
        density_of(ax, x, low, high, color=colour, linewidth=2)
        ax.set(xlim=(low, high), xlabel="value x", ylabel="density")
        _outside(ax, int(((x < low) | (x > high)).sum()), len(x))
        return
    limits = [span(held[:, axis], margin=0.2) for axis in (0, 1)]
    if not view.axes:
        half = max(high - low for low, high in limits) / 2
        limits = [((low + high) / 2 - half, (low + high) / 2 + half) for low, high in limits]
        ax.set_aspect("equal")
    dots(ax, x[:, :2], colour)
    names = view.axes or ("x₁", "x₂")
    ax.set(xlim=limits[0], ylim=limits[1], xlabel=names[0], ylabel=names[1])
    out = torch.stack([(x[:, i] < limits[i][0]) | (x[:, i] > limits[i][1]) for i in (0, 1)]).any(dim=0)
    _outside(ax, int(out.sum()), len(finite_rows(x)))


def _outside(ax: Axes, count: int, total: int) -> None:
    """How many there are beyond the panel, where they are more than those it leaves out on purpose."""
    if count > 0.05 * max(total, 1):
        ax.text(0.02, 0.97, f"{count} of {total} outside", transform=ax.transAxes, va="top", color=FAULT, fontsize=9)


def _clouds(ax: Axes, view: Items, scale: Items, colour: str) -> None:
    """A few clouds in rows, as an eye sees them, each in a square of its own."""
    clouds, held = (v.values.detach().float()[: MOST["cloud"]] for v in (view, scale))
    right, up, half = cloud.reach_of(held)
    columns = isqrt(len(held) - 1) + 1
    rows = -(-len(held) // columns)
    place = torch.arange(len(clouds))
    seen = cloud.project(clouds)[..., :2] - torch.tensor([right, up])
    out = (seen.abs() > half).any(dim=2)
    corner = torch.stack([place % columns, -(place // columns)], dim=1)
    dots(ax, (seen + 2 * half * corner.unsqueeze(1))[~out], colour)  # none in the square of another one
    ax.set(xlim=(-half, (2 * columns - 1) * half), ylim=((1 - 2 * rows) * half, half), aspect="equal")
    bare(ax)
    _outside(ax, int(out.sum()), out.numel())


def _images(ax: Axes, view: Items, scale: Items, colour: str) -> None:
    images = view.values.detach().float()[: MOST["image"]]
    ax.imshow(tile(images, isqrt(len(images) - 1) + 1).numpy(), vmin=0, vmax=1)
    bare(ax)


def _sounds(ax: Axes, view: Items, scale: Items, colour: str) -> None:
    """Spectrograms in one row, each beside the next."""
    count = MOST["audio"]
    top = max(float(log_spectrogram(wave[0]).max()) for wave in scale.values.detach().float()[:count])
    pictures = [log_spectrogram(wave[0]) for wave in view.values.detach().float()[:count]]
    gap = torch.full((len(pictures[0]), 3), top + 1)
    row = torch.cat([part for picture in pictures for part in (picture, gap)][:-1], dim=1)
    ax.imshow(row.numpy(), origin="lower", aspect="auto", cmap=SPECTRUM, vmin=top + FLOOR_DB, vmax=top)
    ax.grid(False)
    ax.set(xticks=[], yticks=[], xlabel=f"time: {len(pictures)} sounds", ylabel="frequency")


def _strips(ax: Axes, view: Items, scale: Items, colour: str) -> None:
    """All leads of a few strips, each below the one before."""
    strips, held = (v.values.detach().float()[: MOST["leads"]] for v in (view, scale))
    drop = leads.height(held)
    for place, line in enumerate(strips.flatten(0, 1)):
        ax.plot(line - drop * place, color=colour, linewidth=0.8)
    ax.set(ylim=(-drop * (held.shape[0] * held.shape[1] - 0.25), 0.75 * drop), xticks=[], yticks=[])
    ax.set_xlabel(f"time: {len(strips)} strips of {strips.shape[1]} leads")


def _sentences(ax: Axes, view: Items, scale: Items, colour: str) -> None:
    bare(ax)
    shown = view.values.detach()[: MOST["phrases"]]
    for place, item in enumerate(shown):
        words = wrap(shorten(" ".join(words_of(item, view.info)), 80), 34, 2)
        ax.text(0, 1 - (place + 0.5) / len(shown), words, va="center", color=INK, fontsize=9, transform=ax.transAxes)


def _boards(ax: Axes, view: Items, scale: Items, colour: str) -> None:
    boards = view.values.detach().long()[: MOST["board"]]
    legal = view.info.get("legal")
    board.draw(ax, boards, 4, view.info, None if legal is None else legal[: len(boards)].tolist(), None)


def _curves(ax: Axes, mine: Curves | None, theirs: Curves, names: tuple[str, str, str]) -> None:
    """Both on the same axes: the one in question as broad lines, the other as thin black ones upon them."""
    several = len(theirs.lines) > 1
    for style, name in zip(_endless(STYLES), theirs.lines, strict=False):
        label = f": {name}" if several else ""
        if mine is not None and name in mine.lines:
            ax.plot(mine.x, mine.lines[name].detach().double(), color=SAMPLES, linewidth=4, alpha=0.55,
                    linestyle=style, label=f"{names[0]}{label}")  # fmt: skip
        ax.plot(theirs.x, theirs.lines[name].detach().double(), color=EXACT, linewidth=1.4, linestyle=style,
                label=f"{names[1]}{label}")  # fmt: skip
    numbers = theirs.numbers()
    if theirs.log:
        ax.set_yscale("log")
        positive = numbers[(numbers > 0) & numbers.isfinite()]
        if len(positive):
            ax.set_ylim(float(positive.min()) / 3, float(positive.max()) * 3)
    else:
        low, high = float(numbers.nan_to_num(0).min()), float(numbers.nan_to_num(0).max())
        room = 0.25 * (high - low or 1.0)
        ax.set_ylim(low - room, high + room)
    ax.set(xlabel=printable(theirs.xlabel), ylabel=printable(theirs.ylabel))
    ax.legend(fontsize=8, ncols=2 if several else 1)


def _endless(values: Sequence[Any]) -> Any:
    while True:
        yield from values


def _words(ax: Axes, text: str) -> None:
    bare(ax)
    ax.text(0.5, 0.5, wrap(printable(text), 34, 9), ha="center", va="center", color=FAULT, family=FONT, fontsize=10,
            transform=ax.transAxes)  # fmt: skip
