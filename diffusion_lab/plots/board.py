"""Figures of game boards, int64 tokens (N, cells) of info["columns"] cells a row; a square where that is not given.

Token i is drawn as info["symbols"][i], by default an empty cell, X and O; the token after the last is the mask, "?".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isqrt
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.patches import Rectangle
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.plots.figure import LabFigure, caption, new_figure
from diffusion_lab.plots.inputs import same_count, spread
from diffusion_lab.plots.style import COLUMNS, DATA, FAINT, FAULT, INK, NOISE, SAMPLES, bare, printable, row_label

SYMBOLS = (" ", "X", "O")
GAP = 0.45


def _strokes(symbol: str) -> list[Tensor]:
    """The lines (points, 2) of an X or an O in a cell of size 1."""
    if symbol == "X":
        return [torch.tensor([[0.22, 0.22], [0.78, 0.78]]), torch.tensor([[0.22, 0.78], [0.78, 0.22]])]
    angle = torch.linspace(0, 2 * torch.pi, 33)
    return [torch.stack([0.5 + 0.3 * angle.cos(), 0.5 + 0.3 * angle.sin()], dim=1)]


def _sides(cells: int, info: Mapping[str, Any]) -> tuple[int, int]:
    """Columns and rows of a board."""
    wide = info.get("columns", isqrt(cells))
    if cells % wide or ("columns" not in info and wide * wide != cells):
        told = f"has rows of {wide} cells" if "columns" in info else "is square unless info['columns'] says how wide"
        raise PieceError(f"a board {told}, and this one has {cells} cells")
    return wide, cells // wide


def draw(
    ax: Axes, boards: Tensor, columns: int, info: Mapping[str, Any], legal: Sequence[bool] | None, wrong: Tensor | None
) -> None:
    """Draw boards (N, cells), `columns` in a row, outlining illegal ones and shading `wrong` cells (N, cells) red."""
    wide, high = _sides(boards.shape[1], info)
    symbols = tuple(info.get("symbols", SYMBOLS))
    if boards.min() < 0 or boards.max() > len(symbols):
        raise PieceError(
            f"the tokens of a board are 0 to {len(symbols) - 1} for {symbols}, and {len(symbols)} for the mask; "
            f"these go from {boards.min()} to {boards.max()}"
        )
    gap = GAP * min(wide, high) / 3
    pitch, drop = wide + gap, high + gap
    rows = -(-len(boards) // columns)
    scale = ax.figure.get_figwidth() * ax.get_position().width * 72 / (columns * pitch)  # points a cell, about
    frames, strokes, shaded, outlined = [], {"X": [], "O": []}, [], []
    for index, board in enumerate(boards.tolist()):
        left, top = (index % columns) * pitch, (index // columns) * drop
        frames += [[(left + i, top), (left + i, top + high)] for i in range(wide + 1)]
        frames += [[(left, top + i), (left + wide, top + i)] for i in range(high + 1)]
        for cell, token in enumerate(board):
            corner = torch.tensor([left + cell % wide, top + cell // wide])
            symbol = symbols[token] if token < len(symbols) else "?"
            if symbol in strokes:
                strokes[symbol] += [stroke + corner for stroke in _strokes(symbol)]
            elif symbol.strip():
                masked = token == len(symbols)
                ax.text(
                    *(corner + 0.5), printable(symbol), ha="center", va="center", color=NOISE if masked else INK,
                    fontsize=max(5.0, min(0.8 * scale, 18)),
                )  # fmt: skip
            if wrong is not None and wrong[index, cell]:
                shaded.append(Rectangle(corner.tolist(), 1, 1))
        if legal is not None and not legal[index]:
            outlined.append(Rectangle((left - 0.12, top - 0.12), wide + 0.24, high + 0.24))
    pen = max(0.8, min(0.09 * scale, 2.2))
    ax.add_collection(PatchCollection(shaded, facecolor=FAULT, alpha=0.22, edgecolor="none"))
    ax.add_collection(LineCollection(frames, colors=FAINT, linewidths=0.8))
    ax.add_collection(LineCollection([s.tolist() for s in strokes["X"]], colors=INK, linewidths=pen))
    ax.add_collection(LineCollection([s.tolist() for s in strokes["O"]], colors="#6A6A6A", linewidths=pen))
    ax.add_collection(PatchCollection(outlined, facecolor="none", edgecolor=FAULT, linewidth=max(1.4, pen)))
    ax.set(xlim=(-0.3, columns * pitch), ylim=(rows * drop, -0.3), aspect="equal")
    bare(ax)


def data_against_samples(
    data: Tensor, samples: Tensor, density: Callable[[Tensor], Tensor] | None, info: Mapping[str, Any]
) -> tuple[LabFigure, str]:
    """Two grids of at most 6 by 6 boards; samples that info["legal"] calls illegal are outlined in red."""
    figure = new_figure(10, 5.8)
    legal = info.get("legal")
    text = ""
    if legal is not None:
        same_count("info['legal']", legal, len(samples), "boards in samples")
        legal = torch.as_tensor(legal).bool()
        text = f", {int((~legal).sum())} of them illegal"
    for ax, boards, name, colour in zip(
        figure.subplots(1, 2), (data, samples), ("data", "samples"), (DATA, SAMPLES), strict=True
    ):
        shown = spread(len(boards), 36)
        marks = legal[shown].tolist() if legal is not None and name == "samples" else None
        draw(ax, boards[shown], min(6, isqrt(len(shown) - 1) + 1), info, marks, None)
        title = f"{name}: {len(shown)} of {len(boards)}"
        if marks is not None:
            title += f", {marks.count(False)} illegal (red)"
        ax.set_title(title, color=colour)
    return figure, f"Boards of the data ({len(data)}) beside samples ({len(samples)}{text})"


def trajectory(states: Tensor, times: Tensor, info: Mapping[str, Any]) -> tuple[LabFigure, str]:
    """A row of boards for each of a few samples, time running to the right; masked cells are a grey "?"."""
    steps, few = spread(len(states), 9), spread(states.shape[1], 4)
    wide, high = _sides(states.shape[2], info)
    pitch = wide + GAP * min(wide, high) / 3
    figure = new_figure(max(4.5, 1.1 * len(steps)), max(2.3, 1.1 * len(few) + 1.1))
    ax = figure.subplots()
    strip = states[steps][:, few].transpose(0, 1)  # (samples, times, cells)
    draw(ax, strip.flatten(0, 1), len(steps), info, None, None)
    ax.set_xticks([i * pitch + wide / 2 for i in range(len(steps))], [f"{times[i]:.2g}" for i in steps])
    ax.tick_params(length=0)
    ax.set_xlabel("time t (from noise to data)")
    mask = len(tuple(info.get("symbols", SYMBOLS)))
    masked = [100 * (states[i] == mask).float().mean().item() for i in (0, -1)]
    return figure, (
        f"Boards of {len(few)} samples at {len(steps)} times from t = {times[0]:.3g} to t = {times[-1]:.3g}; "
        f"{masked[0]:.3g} % of the cells are masked at the start and {masked[1]:.3g} % at the end"
    )


def denoising(
    columns: Mapping[str, Tensor],
    rows: Sequence[str],
    info: Mapping[str, Any],
) -> tuple[LabFigure, str]:
    """A row for each level, and in each column the same few boards; cells that differ from the clean board are red."""
    few = spread(columns["clean"].shape[1], 3)
    figure = new_figure(0.82 * len(few) * len(columns) + 2.2, 0.95 * len(rows) + 1)
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    caption(figure, "shaded cells differ from the clean board")
    for row, label in enumerate(rows):
        clean = columns["clean"][row][few]
        for ax, (name, values) in zip(panels[row], columns.items(), strict=True):
            boards = values[row][few]
            draw(ax, boards, len(few), info, None, boards != clean)
            if row == 0:
                ax.set_title(name, color=COLUMNS[name])
        row_label(panels[row, 0], label)
    errors = {n: 100 * (v != columns["clean"]).float().mean().item() for n, v in columns.items() if n != "clean"}
    text = ", ".join(f"{value:.3g} % {name}" for name, value in errors.items())
    return (
        figure,
        f"{len(few)} boards a level, {', '.join(columns)} in columns; cells that differ: {text}",
    )
