"""Figures of words and phrases, drawn as tables.

Wherever a plot takes words (N, D) or phrases (N, L, D) it also takes strings in their place. Vectors are read as their
nearest words among info["vectors"] (V, D), whose names are info["words"]; a vector of zeros is padding and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.plots.figure import LabFigure, caption, new_figure
from diffusion_lab.plots.inputs import needed, spread
from diffusion_lab.plots.style import (
    COLUMNS,
    DATA,
    FAULT,
    INK,
    NOISE,
    SAMPLES,
    bare,
    printable,
    row_label,
    shorten,
    wrap,
)


def is_text(values: Any) -> bool:
    """Whether `values` are strings, or lists of strings, in place of vectors."""
    while isinstance(values, (list, tuple)) and values:
        values = values[0]
    return isinstance(values, str)


def words_of(item: Tensor | str, info: Mapping[str, Any]) -> list[str]:
    """The words of one item: of a string, of one vector (D,), or of a phrase (L, D)."""
    if isinstance(item, str):
        return printable(item).split()
    vectors = torch.as_tensor(needed(info, "vectors", "the vectors of the vocabulary, (V, D)")).detach().cpu().float()
    words = needed(info, "words", "the names of the vocabulary, one for each of the vectors")
    rows = item.reshape(-1, item.shape[-1])
    if vectors.ndim != 2 or vectors.shape[1] != rows.shape[1] or len(words) != len(vectors):
        raise PieceError(
            f"info['vectors'] {tuple(vectors.shape)} must be (V, {rows.shape[1]}), with V words, not {len(words)}"
        )
    rows = rows[(rows != 0).any(dim=1)]
    good = torch.isfinite(rows).all(dim=1).tolist()
    nearest = torch.cdist(rows.nan_to_num(0.0, 0.0, 0.0), vectors).argmin(dim=1).tolist()
    return [printable(words[index]) if fine else "(not finite)" for index, fine in zip(nearest, good, strict=True)]


def _table(ax: Axes, title: str, colour: str) -> None:
    bare(ax)
    ax.set(xlim=(0, 1), ylim=(1, 0))
    ax.set_title(title, color=colour, loc="left")


def data_against_samples(
    data: Any, samples: Any, density: Callable[[Tensor], Tensor] | None, info: Mapping[str, Any]
) -> tuple[LabFigure, str]:
    """Two tables beside each other: single words in columns, or one phrase a line."""
    rows = 12
    texts = []
    for values in (data, samples):
        texts.append([" ".join(words_of(values[i], info)) for i in spread(len(values), rows * 3)])
    single = all(" " not in text for text in texts[0])
    across = 3 if single else 1
    texts = [text[: rows * across] if single else [text[i] for i in spread(len(text), rows)] for text in texts]
    rows = max(-(-len(text) // across) for text in texts)
    # Two lines a row where one of the texts needs them.
    texts = [[shorten(t, 17) if single else wrap(t, 60, 2) for t in text] for text in texts]
    tall = any("\n" in t for text in texts for t in text)
    figure = new_figure(10.5, (0.46 if tall else 0.3) * rows + 1.1)
    for ax, text, name, values, colour in zip(
        figure.subplots(1, 2), texts, ("data", "samples"), (data, samples), (DATA, SAMPLES), strict=True
    ):
        _table(ax, f"{name}: {len(text)} of {len(values)}", colour)
        for place, words in enumerate(text):
            row, column = place // across, place % across
            ax.text(column / across + 0.02, (row + 0.5) / rows, words, va="center", color=INK)
            if column == 0:
                ax.axhspan(row / rows, (row + 1) / rows, color="#F4F4F4" if row % 2 else "white", linewidth=0)
    first = [f"the first is “{' '.join(text[0].split())}”" for text in texts]
    return figure, (
        f"A table of {len(texts[0])} texts of the data ({first[0]}) beside {len(texts[1])} samples ({first[1]})"
    )


def _cells(ax: Axes, row: int, rows: int, words: list[str], final: list[str], columns: int, left: float) -> None:
    """One line of a table of words, those that are already what they end as in the colour of samples."""
    for column in range(columns):
        word = words[column] if column < len(words) else ""
        settled = column < len(final) and word == final[column]
        colour = SAMPLES if settled else NOISE
        x = left + (1 - left) * column / columns
        width = int(96 / columns)
        ax.text(x, (row + 0.5) / rows, shorten(word, max(width, 4)), va="center", color=colour)


def trajectory(states: Any, times: Tensor, info: Mapping[str, Any]) -> tuple[LabFigure, str]:
    """The nearest words over time, a line for each time; for phrases a table for each of a few samples."""
    steps = spread(len(states), 9)
    batch = spread(len(states[0]), 6)
    texts = [[words_of(states[step][item], info) for item in batch] for step in steps]  # times x samples x words
    single = all(len(words) < 2 for moment in texts for words in moment)
    if single:
        texts = [[[words[0] if words else "" for words in moment]] for moment in texts]
        heads = [f"{len(batch)} of {len(states[0])} samples, one a column"]
    else:
        texts = [moment[:2] for moment in texts]
        heads = [f"sample {index + 1}" for index in range(len(texts[0]))]
    columns = max(len(words) for moment in texts for words in moment)
    columns = min(max(columns, 4), 10)
    figure = new_figure(10.5, (0.3 * len(steps) + 0.5) * len(heads) + 0.9)
    caption(figure, "words are coloured while they are what they end as")
    for number, (ax, head) in enumerate(zip(figure.subplots(len(heads), 1, squeeze=False)[:, 0], heads, strict=True)):
        _table(ax, head, INK)
        for row, step in enumerate(steps):
            ax.text(0, (row + 0.5) / len(steps), f"t = {times[step]:.2g}", va="center", color=INK)
            _cells(ax, row, len(steps), texts[row][number], texts[-1][number], columns, 0.09)
            if row % 2:
                ax.axhspan(row / len(steps), (row + 1) / len(steps), color="#F4F4F4", linewidth=0)
    return figure, (
        f"The nearest words at {len(steps)} times from t = {times[0]:.3g} to t = {times[-1]:.3g}, coloured once they "
        f"are what they end as; the first sample ends as “{' '.join(texts[-1][0])}”"
    )


def denoising(
    columns: Mapping[str, Any],
    rows: Sequence[str],
    info: Mapping[str, Any],
) -> tuple[LabFigure, str]:
    """A row for each level: the nearest words of the clean, noisy and denoised vectors; words that are wrong in red."""
    few = spread(len(columns["clean"][0]), 3)
    first = words_of(columns["clean"][0][few[0]], info)
    few = few if len(first) < 2 else few[:1]
    texts = {
        name: [[word for i in few for word in words_of(values[row][i], info)] for row in range(len(rows))]
        for name, values in columns.items()
    }  # name -> levels x words
    longest = max(len(words) for rows in texts.values() for words in rows)
    figure = new_figure(2.1 * len(columns) + 2.4, (0.23 * longest + 0.35) * len(rows) + 0.9)
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    caption(figure, "words other than the clean ones are red")
    wrong = {name: 0 for name in columns}
    for row, label in enumerate(rows):
        for ax, name in zip(panels[row], columns, strict=True):
            _table(ax, name if row == 0 else "", COLUMNS[name])
            ax.patch.set_facecolor("#F4F4F4" if row % 2 else "white")
            for line, word in enumerate(texts[name][row]):
                right = line < len(texts["clean"][row]) and word == texts["clean"][row][line]
                wrong[name] += not right
                colour = (DATA if name == "clean" else INK) if right else FAULT
                ax.text(0.04, (line + 0.5) / longest, shorten(word, 20), va="center", color=colour)
        row_label(panels[row, 0], label)
    total = sum(map(len, texts["clean"]))
    misses = ", ".join(f"{count} of {total} {name}" for name, count in wrong.items() if name != "clean")
    return figure, f"Nearest words in columns {', '.join(columns)}; words other than the clean ones are red: {misses}"
