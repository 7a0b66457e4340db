"""Figures of points in the plane, (N, 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffusion_lab.plots.figure import LabFigure, new_figure
from diffusion_lab.plots.inputs import finite_rows, moments, span, spread
from diffusion_lab.plots.style import COLUMNS, DATA, EXACT, NOISE, SAMPLES

AXES = ("x₁", "x₂")
DOTS = 2000


def square(*points: Tensor) -> tuple[tuple[float, float], tuple[float, float]]:
    """The limits of a square panel that holds nearly all of the points, each (..., 2)."""
    spans = [span(*(p[..., axis] for p in points)) for axis in (0, 1)]
    half = max(high - low for low, high in spans) / 2
    return tuple(((low + high) / 2 - half, (low + high) / 2 + half) for low, high in spans)


def frame(ax: Axes, limits: tuple, names: tuple[str, str], *, left: bool = True, below: bool = True) -> None:
    """Give `ax` equal units, these limits, and names for the axes at the left and below."""
    ax.set(xlim=limits[0], ylim=limits[1], aspect="equal")
    ax.set(xlabel=names[0] if below else "", ylabel=names[1] if left else "")
    ax.tick_params(labelleft=left, labelbottom=below)


def dots(ax: Axes, x: Tensor, colour: str, **style: Any) -> None:
    """Scatter at most DOTS rows of x (N, 2), fainter the more there are."""
    x = finite_rows(x)
    x = x[spread(len(x), DOTS)]
    alpha = 0.9 if len(x) < 200 else 0.45
    ax.scatter(
        x[:, 0], x[:, 1], **{"s": 14 if len(x) < 200 else 6, "alpha": alpha, "linewidth": 0, "color": colour} | style
    )


def _outside(x: Tensor, limits: tuple) -> int:
    x = finite_rows(x)
    low, high = torch.tensor(limits).T
    return int(((x < low) | (x > high)).any(dim=1).sum())


def data_against_samples(
    data: Tensor, samples: Tensor, density: Callable[[Tensor], Tensor] | None, info: Mapping[str, Any]
) -> tuple[LabFigure, str]:
    """Two scatter panels with the same axes, and contours of the exact density in both."""
    figure = new_figure(9, 5.4)
    panels = figure.subplots(1, 2)
    limits = square(data)
    alt = []
    for ax, x, colour, name in zip(panels, (data, samples), (DATA, SAMPLES), ("data", "samples"), strict=True):
        dots(ax, x, colour)
        if density is not None:
            across, up = (torch.linspace(*side, 160) for side in limits)
            grid = torch.cartesian_prod(across, up)
            height = density(grid).detach().cpu().reshape(160, 160).T  # (up, across)
            if height.isfinite().all() and height.max() > 0:
                steps = height.max() * torch.tensor([0.03, 0.2, 0.6])
                ax.contour(
                    across.numpy(),
                    up.numpy(),
                    height.numpy(),
                    levels=steps.tolist(),
                    colors=EXACT,
                    linewidths=0.8,
                    zorder=0.9,
                )
        lost = _outside(x, limits)
        shown = min(len(x), DOTS)
        ax.set_title(f"{name}: {shown} of {len(x)}" + (f", {lost} outside" if lost else ""), color=colour)
        frame(ax, limits, AXES, left=ax is panels[0])
        alt.append(f"{len(x)} {name} (x1: {moments(x[:, 0])}; x2: {moments(x[:, 1])})")
    contours = ", with contours of the exact density" if density is not None else ""
    return figure, f"Scatter plots with the same axes of {alt[0]} and {alt[1]}{contours}"


def trajectory(
    states: Tensor,
    times: Tensor,
    info: Mapping[str, Any],
    names: tuple[str, str] = AXES,
) -> tuple[LabFigure, str]:
    """Five moments from noise to data, and the paths of some particles."""
    figure = new_figure(9.5, 6.8)
    panels = figure.subplots(2, 3)
    picked = spread(len(states), 5)
    first, last = square(states[0]), square(states[-1])
    # Noise far wider than the data would shrink the data to a dot; then every panel has its own scale.
    shared = first[0][1] - first[0][0] < 4 * (last[0][1] - last[0][0])
    common = square(states[picked])
    for place, step in enumerate(picked):
        ax = panels.flat[place]
        fade = place / max(len(picked) - 1, 1)
        dots(ax, states[step], SAMPLES if fade > 0.5 else NOISE)
        ax.set_title(f"t = {times[step]:.2g}")
        edge = {"left": place % 3 == 0, "below": place // 3 == 1} if shared else {}
        frame(ax, common if shared else square(states[step]), names, **edge)
    for ax in panels.flat[len(picked) : 5]:
        ax.set_axis_off()
    ax = panels.flat[5]
    particles = spread(states.shape[1], 24)
    paths = states[:, particles]  # (steps, particles, 2)
    ax.plot(paths[..., 0], paths[..., 1], color=EXACT, linewidth=0.7, alpha=0.6)
    ax.scatter(*paths[0].T, s=12, color=NOISE, zorder=3, label="start")
    ax.scatter(*paths[-1].T, s=14, color=SAMPLES, zorder=3, label="end")
    ax.set_title(f"paths of {len(particles)} of {states.shape[1]}")
    frame(ax, common if shared else first, names, left=not shared)
    ax.legend(loc="best", handletextpad=0.1)
    return figure, (
        f"{states.shape[1]} points at {len(picked)} times from t = {times[0]:.3g} to t = {times[-1]:.3g} and the paths "
        f"of {len(particles)} of them; the coordinates go from {moments(states[0])} to {moments(states[-1])}"
    )


def denoising(
    columns: Mapping[str, Tensor],
    rows: Sequence[str],
    info: Mapping[str, Any],
    names: tuple[str, str] = AXES,
) -> tuple[LabFigure, str]:
    """A row for each level: clean points, noisy points, and arrows from noisy to denoised, learned and exact."""
    figure = new_figure(2.6 * len(columns) + 1.2, 2.55 * len(rows) + 0.9)
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    wide = [square(columns["clean"][row], columns["noisy"][row]) for row in range(len(rows))]
    sizes = [limits[0][1] - limits[0][0] for limits in wide]
    shared = max(sizes) < 4 * min(sizes)
    for row, label in enumerate(rows):
        limits = wide[sizes.index(max(sizes))] if shared else wide[row]
        start = columns["noisy"][row]
        some = spread(len(start), 40)
        for ax, (name, values) in zip(panels[row], columns.items(), strict=True):
            if name in ("learned", "exact"):
                move = (values[row] - start)[some]
                dots(ax, columns["clean"][row], DATA, alpha=0.15, s=5)
                ax.quiver(
                    *start[some].T, *move.T, color=COLUMNS[name], angles="xy", scale_units="xy", scale=1, width=0.007
                )
            else:
                dots(ax, values[row], COLUMNS[name])
            frame(ax, limits, names, left=False, below=not shared or row == len(rows) - 1)
            if row == 0:
                ax.set_title(f"{name}: x → x₀" if name in ("learned", "exact") else name, color=COLUMNS[name])
        panels[row, 0].tick_params(labelleft=True)
        panels[row, 0].set_ylabel(f"{label}\n\n{names[1]}")
    text = "learned and exact denoiser" if "exact" in columns else "learned denoiser"
    return figure, f"Clean and noisy points, and arrows from noisy to denoised points of the {text}, 40 at most a panel"
