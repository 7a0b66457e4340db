"""Figures of images, (N, C, H, W) with values in [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from torch import Tensor

from diffusion_lab.plots.figure import LabFigure, new_figure
from diffusion_lab.plots.inputs import moments, same_count, spread
from diffusion_lab.plots.style import COLUMNS, DATA, FAULT, SAMPLES, bare, row_label


def tile(images: Tensor, columns: int) -> Tensor:
    """Images (N, C, H, W) as one RGB picture (height, width, 3) in [0, 1], `columns` of them in a row.

    Values outside [-1, 1] are clipped; pixels that are not finite have the colour of a fault.
    """
    count, _, high, wide = images.shape
    gap = max(1, round(0.06 * wide))
    rows = -(-count // columns)
    page = torch.ones(rows * (high + gap) - gap, columns * (wide + gap) - gap, 3)
    good = torch.isfinite(images).all(dim=1)[..., None]  # (N, H, W, 1)
    pixels = ((images.nan_to_num(0.0) + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
    pixels = torch.where(good, pixels, torch.tensor(to_rgb(FAULT)))
    for index, pixel in enumerate(pixels):
        top, left = (index // columns) * (high + gap), (index % columns) * (wide + gap)
        page[top : top + high, left : left + wide] = pixel
    return page


def _show(ax: Axes, images: Tensor, columns: int) -> None:
    ax.imshow(tile(images, columns).numpy(), vmin=0, vmax=1)
    bare(ax)


def _grid(name: str, images: Tensor, labels: Any) -> Tensor:
    """At most 64 images, in the order of their classes where the labels are known."""
    order = torch.arange(len(images))
    if labels is not None:
        same_count(f"info['{name}_labels']", labels, len(images), f"images in {name}")
        order = torch.as_tensor(labels).cpu().argsort(stable=True)
    return images[order[spread(len(images), 64)]]


def data_against_samples(
    data: Tensor, samples: Tensor, density: Callable[[Tensor], Tensor] | None, info: Mapping[str, Any]
) -> tuple[LabFigure, str]:
    """Two grids of at most 8 by 8 images."""
    figure = new_figure(10, 5.6)
    alt = []
    for ax, name, images, colour in zip(
        figure.subplots(1, 2), ("data", "samples"), (data, samples), (DATA, SAMPLES), strict=True
    ):
        labels = info.get(f"{name}_labels")
        grid = _grid(name, images, labels)
        _show(ax, grid, min(8, -(-len(grid) // max(1, round(len(grid) ** 0.5)))))
        order = ", ordered by class" if labels is not None else ""
        ax.set_title(f"{name}: {len(grid)} of {len(images)}{order}", color=colour)
        alt.append(f"{len(grid)} images of the {name}{order} (pixel {moments(images)})")
    channels, high, wide = data.shape[1:]
    return figure, f"Grids of {alt[0]} and {alt[1]}, {high} by {wide} pixels, {'RGB' if channels == 3 else 'grey'}"


def trajectory(states: Tensor, times: Tensor, info: Mapping[str, Any]) -> tuple[LabFigure, str]:
    """A film strip: a row for each of a few samples, time running to the right from noise to data."""
    steps, count = spread(len(states), 10), spread(states.shape[1], 6)
    strip = states[steps][:, count].transpose(0, 1)  # (samples, times, C, H, W)
    high, wide = strip.shape[-2:]
    pitch = wide + max(1, round(0.06 * wide))
    figure = new_figure(max(4.5, 1.05 * len(steps)), max(2.2, 1.08 * len(count) * high / wide + 1))
    ax = figure.subplots()
    _show(ax, strip.flatten(0, 1), len(steps))
    ax.set_xticks([i * pitch + wide / 2 for i in range(len(steps))], [f"{times[i]:.2g}" for i in steps])
    ax.tick_params(length=0)
    ax.set_xlabel("time t (from noise to data)")
    return figure, (
        f"A film strip of {len(count)} samples of {high} by {wide} pixels at {len(steps)} times, from t = "
        f"{times[0]:.3g} to t = {times[-1]:.3g}; the pixels go from {moments(states[0])} to {moments(states[-1])}"
    )


def denoising(
    columns: Mapping[str, Tensor],
    rows: Sequence[str],
    info: Mapping[str, Any],
) -> tuple[LabFigure, str]:
    """A row for each level, and in each column the same few images."""
    few = spread(columns["clean"].shape[1], 3)
    high, wide = columns["clean"].shape[-2:]
    side = 0.8  # inches an image
    figure = new_figure(
        side * len(few) * len(columns) + 0.4 * len(columns) + 2, (side * high / wide + 0.15) * len(rows) + 1
    )
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    figure.get_layout_engine().set(wspace=0.04)
    for row, label in enumerate(rows):
        for ax, (name, values) in zip(panels[row], columns.items(), strict=True):
            _show(ax, values[row][few], len(few))
            if row == 0:
                ax.set_title(name, color=COLUMNS[name])
        row_label(panels[row, 0], label)
    return figure, f"{len(few)} images of {high} by {wide} pixels, {', '.join(columns)} in columns"
