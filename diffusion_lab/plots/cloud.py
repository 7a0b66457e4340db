"""Figures of clouds of points, (N, P, 3): seen from the side and a little from above, nearer points larger."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffusion_lab.plots.figure import LabFigure, finish, new_figure, styled
from diffusion_lab.plots.inputs import moments, span, spread
from diffusion_lab.plots.style import COLUMNS, DATA, INK, SAMPLES, bare, printable, row_label

TURN, RISE = 35.0, 20.0
"""Degrees: where the eye stands, about the upright axis and above the floor."""
ROW = 4
"""Clouds in a row."""


def project(cloud: Tensor, turn: float = TURN, rise: float = RISE) -> Tensor:
    """(..., 3) as an eye far away sees it, `rise` degrees above the floor, after a turn: right, up, towards the eye."""
    a, b = math.radians(turn), math.radians(rise)
    x, y, z = cloud.unbind(-1)
    right = x * math.cos(a) - y * math.sin(a)
    away = x * math.sin(a) + y * math.cos(a)
    return torch.stack([right, z * math.cos(b) + away * math.sin(b), z * math.sin(b) - away * math.cos(b)], dim=-1)


def reach_of(*clouds: Tensor) -> tuple[float, float, float]:
    """The middle (right, up) and half the side of a square that holds nearly all points, whatever the turn."""
    points = torch.cat([x.reshape(-1, 3) for x in clouds])
    low, high = span(points[:, 2], margin=0.05)
    wide = span(torch.linalg.vector_norm(points[:, :2], dim=1), margin=0.05)[1]
    rise = math.radians(RISE)
    return 0.0, (low + high) / 2 * math.cos(rise), max(wide, (high - low) / 2 * math.cos(rise) + wide * math.sin(rise))


def draw(
    ax: Axes,
    cloud: Tensor,
    reach: tuple[float, float, float],
    colour: str,
    turn: float = TURN,
    known: Tensor | None = None,
) -> None:
    """One cloud (P, 3); where `known` (P,) is True, in the colour of data."""
    seen = project(cloud, turn)
    right, up, half = reach
    depth = ((seen[:, 2] + half) / (2 * half)).nan_to_num(0.5).clamp(0, 1)
    parts = [(slice(None), colour)] if known is None else [(known, DATA), (~known, colour)]
    for rows, shade in parts:
        ax.scatter(seen[rows, 0], seen[rows, 1], s=(5 + 13 * depth[rows]).numpy(), color=shade, linewidths=0, alpha=0.8)
    ax.set(xlim=(right - half, right + half), ylim=(up - half, up + half), aspect="equal")
    bare(ax)


def data_against_samples(
    data: Tensor, samples: Tensor, density: Callable[[Tensor], Tensor] | None, info: Mapping[str, Any]
) -> tuple[LabFigure, str]:
    """A row of clouds of the data above a row of samples, one of each class where labels are known."""
    shown = [_by_class(x, info.get(f"{name}_labels")) for x, name in ((data, "data"), (samples, "samples"))]
    width, classes = max(map(len, shown)), info.get("classes", ())
    figure = new_figure(2.3 * width, 5.2)
    panels = figure.subplots(2, width, squeeze=False)
    reach = reach_of(data)
    for axes, rows, x, what, colour in zip(
        panels, shown, (data, samples), ("data", "samples"), (DATA, SAMPLES), strict=True
    ):
        labels = info.get(f"{what}_labels")
        for column, ax in enumerate(axes):
            if column >= len(rows):
                ax.set_axis_off()
                continue
            draw(ax, x[rows[column]], reach, colour)
            words = [what] if column == 0 else []
            if labels is not None and classes:
                words.append(str(classes[int(labels[rows[column]])]))
            ax.set_title(printable(": ".join(words)), color=colour)
    return figure, (
        f"{len(shown[0])} clouds of {data.shape[1]} points of the data ({moments(data)}) above {len(shown[1])} samples "
        f"({moments(samples)})"
    )


def _by_class(x: Tensor, labels: Tensor | None) -> list[int]:
    """The rows to draw: the first of each class, twice over where there are few, or four spread over all."""
    if labels is None:
        return spread(len(x), ROW)
    classes = labels.unique()
    each = 2 if len(classes) <= 3 else 1
    return [int(row) for label in classes[:6] for row in (labels == label).nonzero().flatten()[:each]]


def trajectory(states: Tensor, times: Tensor, info: Mapping[str, Any]) -> tuple[LabFigure, str]:
    """A few clouds in rows, time running to the right from noise to data."""
    steps, few = spread(len(states), 5), spread(states.shape[1], 3)
    figure = new_figure(2.1 * len(steps), 2.1 * len(few) + 0.6)
    panels = figure.subplots(len(few), len(steps), squeeze=False)
    reach = reach_of(states[0], states[-1])
    for row, axes in enumerate(panels):
        for column, ax in enumerate(axes):
            draw(ax, states[steps[column], few[row]], reach, SAMPLES)
            if row == 0:
                ax.set_title(f"t = {times[steps[column]]:.2g}")
    return figure, (
        f"{len(few)} clouds of {states.shape[2]} points at {len(steps)} times from t = {times[0]:.3g} to "
        f"t = {times[-1]:.3g}; they go from {moments(states[0])} to {moments(states[-1])}"
    )


def denoising(columns: Mapping[str, Tensor], rows: Sequence[str], info: Mapping[str, Any]) -> tuple[LabFigure, str]:
    """A row for each level: one cloud clean, noisy and denoised."""
    figure = new_figure(2.3 * len(columns) + 1.8, 2.2 * len(rows) + 0.7)
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    reach = reach_of(columns["clean"])
    for row, label in enumerate(rows):
        for column, (name, values) in enumerate(columns.items()):
            ax = panels[row, column]
            draw(ax, values[row, row % values.shape[1]], reach, COLUMNS[name])
            if row == 0:
                ax.set_title(name, color=COLUMNS[name])
        row_label(panels[row, 0], label)
    return figure, f"Clouds of {columns['clean'].shape[2]} points, {', '.join(columns)} in columns"


@styled
def gallery(
    clouds: Tensor,
    titles: Sequence[str],
    *,
    title: str,
    alt: str,
    turn: float = TURN,
    known: Tensor | None = None,
    colours: Sequence[str] | None = None,
) -> LabFigure:
    """Clouds (N, P, 3) beside each other in rows of four, all to one scale and seen from one side.

    Args:
        titles: one for each cloud.
        alt: what a reader who does not see the figure is told.
        turn: degrees about the upright axis.
        known: (N, P) bool; these points are drawn in the colour of data.
        colours: one for each cloud; that of samples without.
    """
    clouds = clouds.detach().cpu().float()
    lines = -(-len(clouds) // ROW)
    figure = new_figure(2.4 * min(ROW, len(clouds)), 2.5 * lines + 0.5)
    panels = figure.subplots(lines, min(ROW, len(clouds)), squeeze=False).flatten()
    reach = reach_of(clouds)
    for number, ax in enumerate(panels):
        if number >= len(clouds):
            ax.set_axis_off()
            continue
        colour = SAMPLES if colours is None else colours[number]
        draw(ax, clouds[number], reach, colour, turn, None if known is None else known[number])
        ax.set_title(printable(titles[number]), color=colour if known is None else INK)
    return finish(figure, title, alt)
