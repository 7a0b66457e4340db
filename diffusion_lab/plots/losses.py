"""Training losses beside the loss that no network can go below."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.plots.figure import LabFigure, finish, new_figure, styled
from diffusion_lab.plots.inputs import same_count
from diffusion_lab.plots.style import EXACT, FAULT, SAMPLES, log_scale


def _series(name: str, values: Tensor | Sequence[float], notes: list[str]) -> Tensor:
    values = torch.as_tensor(values, dtype=torch.float64).detach().cpu().flatten()
    if not len(values):
        raise PieceError(f"{name} is empty; at least one number is needed")
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        notes.append(f"{bad} of {len(values)} values of {name} are not finite (NaN or infinite)")
    return values


def running_mean(values: Tensor, width: int) -> Tensor:
    """The mean of the last `width` finite values at each place, of fewer at the start; NaN at what is not finite."""
    good = torch.isfinite(values)
    totals = torch.where(good, values, 0.0).cumsum(0)
    counts = good.double().cumsum(0)
    before = torch.arange(len(values)) - width
    early = before < 0
    totals = totals - torch.where(early, 0.0, totals[before.clamp(min=0)])
    counts = counts - torch.where(early, 0.0, counts[before.clamp(min=0)])
    return torch.where(good, totals / counts, torch.nan)


def _wide(values: Tensor, smooth: Tensor, floor: float | None) -> bool:
    """Whether a logarithmic axis serves: all is positive, and what matters ranges over more than a factor of ten."""
    drawn = torch.cat([smooth, torch.tensor([] if floor is None else [floor], dtype=smooth.dtype)])
    drawn, values = drawn[torch.isfinite(drawn)], values[torch.isfinite(values)]
    return bool(len(values) and min(values.min(), drawn.min()) > 0 and drawn.max() > 10 * drawn.min())


@styled
def loss_curve(
    losses: Tensor | Sequence[float],
    *,
    floor: float | None = None,
    floor_label: str = "exact floor",
    dataset: str,
    smoothing: int | None = None,
) -> LabFigure:
    """The loss of each training step, its running mean, and the exact floor.

    Args:
        losses: (steps,), one number for each step.
        floor: the loss of the exact denoiser, if it is known.
        floor_label: what the floor is.
        dataset: what the data really is.
        smoothing: how many steps the running mean covers; a fiftieth of them all unless told.

    Raises:
        PieceError: if there is no loss or `smoothing` is below 1.
    """
    notes: list[str] = []
    losses = _series("the losses", losses, notes)
    width = max(1, len(losses) // 50) if smoothing is None else smoothing
    if width < 1:
        raise PieceError(f"smoothing is a number of steps, at least 1, not {smoothing}")
    smooth = running_mean(losses, width)
    steps = torch.arange(1, len(losses) + 1)
    figure = new_figure(8.5, 4.6)
    ax = figure.subplots()
    marker = {"marker": "o", "markersize": 5} if len(losses) == 1 else {}
    if width > 1:
        ax.plot(steps, losses, color=SAMPLES, alpha=0.25, linewidth=0.8, label="each step")
    ax.plot(
        steps, smooth, color=SAMPLES, linewidth=2, label=f"mean of {width} steps" if width > 1 else "loss", **marker
    )
    bad = ~torch.isfinite(losses)
    if bad.any():
        ax.axvline(steps[bad][0].item(), color=FAULT, linestyle=":", label=f"first not finite: step {steps[bad][0]}")
    alt = f"The training loss over {len(losses)} steps"
    known = smooth[torch.isfinite(smooth)]
    if len(known):
        alt += f", from {known[0]:.3g} to {known[-1]:.3g} (running mean of {width})"
    if floor is not None:
        ax.axhline(floor, color=EXACT, linestyle="--", label=f"{floor_label}: {floor:.4g}")
        alt += f"; {floor_label} {floor:.4g}"
    finite = losses[~bad]
    if _wide(losses, smooth, floor):
        log_scale(ax)
    elif len(finite):
        # The first few steps may be far above the rest; they may leave the panel, the rest may not.
        high = torch.quantile(finite, 0.995).item() if len(finite) > 200 else finite.max().item()
        low = min(finite.min().item(), floor if floor is not None else finite.min().item(), 0.0)
        ax.set_ylim(low * 1.05, max(high, floor or 0.0, 1e-12) * 1.1)
    ax.set(xlabel="training step", ylabel="loss", xlim=(1, max(len(losses), 2)))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="upper right")
    return finish(figure, f"Training loss: {dataset}", f"{dataset}. {alt}.", notes)


@styled
def loss_by_time(
    times: Tensor | Sequence[float],
    learned: Tensor | Sequence[float],
    exact: Tensor | Sequence[float] | None,
    *,
    dataset: str,
) -> LabFigure:
    """The loss at each noise level, of the network and of the exact denoiser.

    Args:
        times: (levels,), t in [0, 1].
        learned: (levels,), the loss of the network.
        exact: (levels,), the least possible loss, or None where it is not known.
        dataset: what the data really is.

    Raises:
        PieceError: if the counts disagree or are 0.
    """
    notes: list[str] = []
    times, learned = _series("the times", times, notes), _series("the learned loss", learned, notes)
    same_count("learned", learned, len(times), "times")
    figure = new_figure(8, 4.6)
    ax = figure.subplots()
    ax.plot(times, learned, "o-", color=SAMPLES, linewidth=2, markersize=4, label="learned")
    alt = f"The loss at {len(times)} noise levels, on average {learned.nanmean():.4g} for the network"
    both = [learned]
    if exact is not None:
        exact = _series("the exact loss", exact, notes)
        same_count("exact", exact, len(times), "times")
        ax.plot(times, exact, "--", color=EXACT, label="exact floor")
        ax.fill_between(times, exact, learned, color=SAMPLES, alpha=0.15, linewidth=0, label="what could be learned")
        alt += f" and {exact.nanmean():.4g} for the exact floor"
        both.append(exact)
    if _wide(torch.cat(both), torch.cat(both), None):
        log_scale(ax)
    else:
        ax.set_ylim(bottom=0)
    ax.set(xlabel="time t (0 is data, 1 is noise)", ylabel="loss")
    ax.legend()
    return finish(figure, f"Loss by noise level: {dataset}", f"{dataset}. {alt}.", notes)
