"""Figures of points on a line, (N, 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffusion_lab.plots.figure import LabFigure, new_figure
from diffusion_lab.plots.inputs import finite_rows, moments, span, spread
from diffusion_lab.plots.style import DATA, EXACT, NOISE, SAMPLES, SHADING

BINS = 48


def _bins(count: int) -> int:
    return max(5, min(BINS, 2 * int(count**0.5)))


def density_of(ax: Axes, x: Tensor, low: float, high: float, **style: Any) -> None:
    """The histogram of the finite rows of x (N, 1), as a density."""
    x = finite_rows(x)[:, 0]
    counts, edges = torch.histogram(x.double(), bins=_bins(len(x)), range=(low, high))
    # Divided by all of x, not by what falls inside the panel, so that the height is a density.
    ax.stairs(counts / max(len(x), 1) / (edges[1] - edges[0]), edges, **style)


def data_against_samples(
    data: Tensor, samples: Tensor, density: Callable[[Tensor], Tensor] | None, info: Mapping[str, Any]
) -> tuple[LabFigure, str]:
    """Two histograms on one axis and the exact density over them."""
    figure = new_figure(8, 4.6)
    ax = figure.subplots()
    low, high = span(data, samples)
    density_of(ax, data, low, high, fill=True, color=DATA, alpha=0.35, label=f"data ({len(data)})")
    density_of(ax, samples, low, high, color=SAMPLES, linewidth=2, label=f"samples ({len(samples)})")
    alt = f"Histograms of {len(data)} data points ({moments(data)}) and {len(samples)} samples ({moments(samples)})"
    if density is not None:
        grid = torch.linspace(low, high, 400)
        ax.plot(grid, density(grid[:, None]).detach().cpu(), color=EXACT, linestyle="--", label="exact density")
        alt += ", with the exact density as a dashed line"
    ax.set(xlabel="value x", ylabel="probability density", xlim=(low, high), ylim=(0, None))
    ax.legend()
    return figure, alt


def trajectory(states: Tensor, times: Tensor, info: Mapping[str, Any]) -> tuple[LabFigure, str]:
    """Paths over time, on a shading that shows where all the samples are."""
    figure = new_figure(9, 4.6)
    ax, side = figure.subplots(1, 2, sharey=True, width_ratios=[5, 1])
    x = states[..., 0]  # (steps, B)
    low, high = span(x)
    bins = _bins(x.shape[1])
    falls = bool((times.diff() < 0).all())
    clock = times if falls else torch.arange(len(times)).float()
    if len(clock) > 1:
        middle = (clock[1:] + clock[:-1]) / 2
        edges = torch.cat([clock[:1], middle, clock[-1:]])
        shade = torch.stack([torch.histogram(row[row.isfinite()], bins=bins, range=(low, high)).hist for row in x])
        shade = shade / shade.amax(dim=1, keepdim=True).clamp(min=1)  # the noise is as visible as the narrow data
        values = torch.linspace(low, high, bins + 1)
        ax.pcolormesh(edges.numpy(), values.numpy(), shade.T.numpy(), cmap=SHADING, vmin=0, vmax=1.6)
        ax.set_xlim(clock[0].item(), clock[-1].item())
    shown = spread(x.shape[1], 16)
    ax.plot(clock, x[:, shown], color=EXACT, linewidth=0.8, alpha=0.75)
    ax.set(xlabel="time t (1 is noise, 0 is data)" if falls else "sampler step", ylabel="value x", ylim=(low, high))
    ax.set_title(f"paths of {len(shown)} of {x.shape[1]} samples; shading: all of them", loc="left")
    ax.grid(False)
    for row, colour, name in ((x[0], NOISE, "first"), (x[-1], SAMPLES, "last")):
        row = row[row.isfinite()]
        counts, edges = torch.histogram(row, bins=bins, range=(low, high))
        height = counts / max(len(row), 1) / (edges[1] - edges[0])
        side.stairs(height, edges, orientation="horizontal", color=colour, linewidth=1.8, label=name)
    side.legend(loc="upper right")
    side.set(xlabel="density", xlim=(0, None))
    steps = f"{len(x)} states from t = {times[0]:.3g} to t = {times[-1]:.3g}"
    return (
        figure,
        f"Paths of {x.shape[1]} samples through {steps}; they start at {moments(x[0])} and end at {moments(x[-1])}",
    )


def denoising(
    columns: Mapping[str, Tensor],
    rows: Sequence[str],
    info: Mapping[str, Any],
) -> tuple[LabFigure, str]:
    """The denoiser as a function, from noisy x to E[x0 | x], one panel for each noise level."""
    clean, noisy = columns["clean"][..., 0], columns["noisy"][..., 0]  # (levels, B)
    count = len(rows)
    wide = min(count, 3)
    tall = -(-count // wide)
    figure = new_figure(3.5 * wide + 0.8, 3.2 * tall + 0.7)
    panels = figure.subplots(tall, wide, squeeze=False)
    for ax in panels.flat[count:]:
        ax.set_axis_off()
    for row, label in enumerate(rows):
        ax = panels.flat[row]
        x, order = noisy[row].sort()
        dots = spread(len(x), 400)
        ax.scatter(
            x[dots],
            clean[row][order][dots],
            s=5 if len(dots) > 100 else 16,
            color=NOISE,
            alpha=0.5,
            linewidth=0,
            label="clean x₀",
        )
        ax.plot(x, columns["learned"][row, :, 0][order], "o-", ms=2, color=SAMPLES, linewidth=2, label="learned")
        if "exact" in columns:
            ax.plot(x, columns["exact"][row, :, 0][order], color=EXACT, linestyle="--", label="exact E[x₀ | x]")
        ax.set(xlim=span(noisy[row]), ylim=span(clean, margin=0.3))
        ax.set(xlabel="noisy x" if row >= count - wide else "", ylabel="denoised" if row % wide == 0 else "")
        ax.set_title(label)
    handles, names = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    text = " and the exact posterior mean" if "exact" in columns else ""
    return figure, f"The learned denoiser{text} as a function of the noisy value, over {clean.shape[1]} points a level"
