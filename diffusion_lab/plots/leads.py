"""Figures of electrocardiograms, (N, C, L): the leads of a strip one under the other, as on paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffusion_lab.plots.figure import LabFigure, new_figure
from diffusion_lab.plots.inputs import moments, needed, spread
from diffusion_lab.plots.style import COLUMNS, DATA, SAMPLES, row_label

FINEST = 0.5
"""The least height of a strip in units of its own, so that noise of nothing is not drawn as mountains."""


def _rate(info: Mapping[str, Any]) -> float:
    return float(needed(info, "sample_rate", "the sampling rate of the leads in Hz"))


def _names(info: Mapping[str, Any], count: int) -> list[str]:
    names = [str(name) for name in info.get("leads", ())]
    return names if len(names) == count else [f"lead {number + 1}" for number in range(count)]


def height(strips: Tensor) -> float:
    """From one lead's line to the next: what 99.5 % of the values stay within, from top to bottom."""
    values = strips[torch.isfinite(strips)].double().abs()
    return max(FINEST, 2 * float(values.quantile(0.995))) if 0 < len(values) <= 2**24 else FINEST


def _strip(ax: Axes, strip: Tensor, rate: float, drop: float, colour: str, names: Sequence[str] | None) -> None:
    """One strip (C, L), the first lead on top."""
    time = torch.arange(strip.shape[-1]) / rate
    lines = [-drop * number for number in range(len(strip))]
    for lead, line in zip(strip, lines, strict=True):
        ax.plot(time, lead + line, color=colour, linewidth=0.9)
    ax.set(xlim=(0, strip.shape[-1] / rate), ylim=(lines[-1] - 0.75 * drop, 0.75 * drop))
    ax.set_yticks(lines, names if names is not None else [])


def data_against_samples(
    data: Tensor, samples: Tensor, density: Callable[[Tensor], Tensor] | None, info: Mapping[str, Any]
) -> tuple[LabFigure, str]:
    """A row of strips of the data for each row of samples, one class in a column where labels are known."""
    rate, drop = _rate(info), height(data)
    shown = [_by_class(x, info.get(f"{name}_labels")) for x, name in ((data, "data"), (samples, "samples"))]
    width = max(map(len, shown))
    classes = info.get("classes", ())
    figure = new_figure(3.4 * width + 1, 6.4)
    panels = figure.subplots(2, width, squeeze=False, sharex=True, sharey=True)
    names = _names(info, data.shape[1])
    for row, (rows, x, colour, what) in enumerate(
        zip(shown, (data, samples), (DATA, SAMPLES), ("data", "samples"), strict=True)
    ):
        labels = info.get(f"{what}_labels")
        for column, ax in enumerate(panels[row]):
            if column >= len(rows):
                ax.set_axis_off()
                continue
            _strip(ax, x[rows[column]], rate, drop, colour, names)
            title = [f"{what}: {len(rows)} of {len(x)}"] if column == 0 else []
            if labels is not None and classes:
                title.append(str(classes[int(labels[rows[column]])]))
            ax.set_title(", ".join(title), color=colour, loc="left")
    for ax in panels[1]:
        ax.set_xlabel("time (s)")
    return figure, (
        f"{len(shown[0])} strips of the data ({moments(data)}) above {len(shown[1])} samples ({moments(samples)}), "
        f"{data.shape[-1] / rate:.3g} s each at {rate:g} Hz, with the leads {', '.join(names)} one under the other"
    )


def _by_class(x: Tensor, labels: Tensor | None) -> list[int]:
    """The rows to draw: the first of each class, or four spread over all."""
    if labels is None:
        return spread(len(x), 4)
    return [int((labels == label).nonzero()[0]) for label in labels.unique()[:6]]


def trajectory(states: Tensor, times: Tensor, info: Mapping[str, Any]) -> tuple[LabFigure, str]:
    """A few strips in rows, time running to the right from noise to data."""
    rate, drop = _rate(info), height(states[-1])
    steps, few = spread(len(states), 5), spread(states.shape[1], 3)
    figure = new_figure(2.4 * len(steps) + 0.8, 1.9 * len(few) + 0.9)
    panels = figure.subplots(len(few), len(steps), squeeze=False, sharex=True, sharey=True)
    names = _names(info, states.shape[2])
    for row, axes in enumerate(panels):
        for column, ax in enumerate(axes):
            _strip(ax, states[steps[column], few[row]], rate, drop, SAMPLES, names)
            if row == 0:
                ax.set_title(f"t = {times[steps[column]]:.2g}")
    for ax in panels[-1]:
        ax.set_xlabel("time (s)")
    return figure, (
        f"{len(few)} strips at {len(steps)} times from t = {times[0]:.3g} to t = {times[-1]:.3g}; they go from "
        f"{moments(states[0])} to {moments(states[-1])}"
    )


def denoising(columns: Mapping[str, Tensor], rows: Sequence[str], info: Mapping[str, Any]) -> tuple[LabFigure, str]:
    """A row for each level: one strip clean, noisy and denoised."""
    rate = _rate(info)
    figure = new_figure(3.2 * len(columns) + 1.6, 2.2 * len(rows) + 0.9)
    panels = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey="row")
    drop = height(columns["clean"])
    names = _names(info, columns["clean"].shape[2])
    for row, label in enumerate(rows):
        for column, (name, values) in enumerate(columns.items()):
            ax = panels[row, column]
            _strip(ax, values[row, 0], rate, drop, COLUMNS[name], names)
            if row == 0:
                ax.set_title(name, color=COLUMNS[name])
        row_label(panels[row, 0], label)
    for ax in panels[-1]:
        ax.set_xlabel("time (s)")
    seconds = columns["clean"].shape[-1] / rate
    return figure, f"One strip of {seconds:.3g} s with the leads {', '.join(names)}, {', '.join(columns)} in columns"
