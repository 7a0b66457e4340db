"""Figures of sounds, (N, 1, L), with the sampling rate in info["sample_rate"]."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.plots.figure import LabFigure, new_figure
from diffusion_lab.plots.inputs import moments, needed, spread
from diffusion_lab.plots.style import COLUMNS, DATA, SAMPLES, SPECTRUM, bare, row_label

FLOOR_DB = -70


def _rate(info: Mapping[str, Any]) -> float:
    rate = float(needed(info, "sample_rate", "the sampling rate of the audio in Hz"))
    if not rate > 0:
        raise PieceError(f"info['sample_rate'] must be above 0 Hz, not {rate}")
    return rate


def log_spectrogram(wave: Tensor) -> Tensor:
    """The short-time spectrum of a wave (L,) in decibels over full scale, (frequencies, frames)."""
    size = min(256, 2 ** (len(wave).bit_length() - 1))
    window = torch.hann_window(size)
    wave = wave.nan_to_num(0.0, 0.0, 0.0)
    # A mirror image beyond the ends, for silence there would look like a click.
    spectrum = torch.stft(wave, size, hop_length=size // 4, window=window, pad_mode="reflect", return_complex=True)
    # A sine of amplitude 1 has magnitude sum(window) / 2, which is put at 0 dB.
    return 20 * torch.log10((spectrum.abs() / (window.sum() / 2)).clamp(min=10 ** (FLOOR_DB / 20 - 1)))


def _spectrum(ax: Axes, wave: Tensor, rate: float, top: float) -> AxesImage:
    extent = (0, len(wave) / rate, 0, rate / 2000)
    decibels = log_spectrogram(wave).numpy()
    ax.grid(False)
    return ax.imshow(
        decibels, origin="lower", aspect="auto", extent=extent, cmap=SPECTRUM, vmin=top + FLOOR_DB, vmax=top
    )


def _wave(ax: Axes, wave: Tensor, rate: float, colour: str, peak: float) -> None:
    ax.plot(torch.arange(len(wave)) / rate, wave, color=colour, linewidth=0.7)
    ax.set(xlim=(0, len(wave) / rate), ylim=(-peak, peak))


def _peak(*waves: Tensor) -> float:
    values = torch.cat([w[torch.isfinite(w)] for w in waves])
    return (1.05 * values.abs().max().item() if len(values) else 0.0) or 1.0


def _loudest(*waves: Tensor) -> float:
    """The loudest point, in dB, among the waves, each (..., L): the top of the colour scale."""
    return max(log_spectrogram(wave).max().item() for group in waves for wave in group.flatten(0, -2))


def data_against_samples(
    data: Tensor, samples: Tensor, density: Callable[[Tensor], Tensor] | None, info: Mapping[str, Any]
) -> tuple[LabFigure, str]:
    """Two rows for data, two for samples: waveforms, and their spectrograms below."""
    rate = _rate(info)
    shown = [x[spread(len(x), 4), 0] for x in (data, samples)]
    width = max(map(len, shown))
    figure = new_figure(2.7 * width + 1.6, 7.6)
    panels = figure.subplots(4, width, squeeze=False, height_ratios=[1, 1.5, 1, 1.5], sharex="col")
    peak, top = _peak(*shown), _loudest(*shown)
    for half, (waves, colour, name) in enumerate(zip(shown, (DATA, SAMPLES), ("data", "samples"), strict=True)):
        for column in range(width):
            upper, lower = panels[2 * half : 2 * half + 2, column]
            if column >= len(waves):
                upper.set_axis_off()
                lower.set_axis_off()
                continue
            _wave(upper, waves[column], rate, colour, peak)
            picture = _spectrum(lower, waves[column], rate, top)
            upper.tick_params(labelbottom=False, labelleft=column == 0)
            lower.tick_params(labelbottom=half == 1 or column >= len(shown[1]), labelleft=column == 0)
        panels[2 * half, 0].set_title(
            f"{name}: {len(waves)} of {(len(data), len(samples))[half]}", color=colour, loc="left"
        )
        panels[2 * half, 0].set_ylabel("amplitude")
        panels[2 * half + 1, 0].set_ylabel("frequency (kHz)")
    for ax in panels[3]:
        ax.set_xlabel("time (s)")
    figure.colorbar(picture, ax=panels[:, -1], label="level (dB)", shrink=0.6, aspect=30)
    seconds = data.shape[-1] / rate
    return figure, (
        f"Waveforms and log spectrograms of {len(shown[0])} sounds of the data ({moments(data)}) and {len(shown[1])} "
        f"samples ({moments(samples)}), {seconds:.3g} s each at {rate:g} Hz"
    )


def trajectory(states: Tensor, times: Tensor, info: Mapping[str, Any]) -> tuple[LabFigure, str]:
    """Spectrograms of a few samples, time running to the right from noise to data."""
    rate = _rate(info)
    steps, few = spread(len(states), 6), spread(states.shape[1], 3)
    figure = new_figure(1.75 * len(steps) + 1.7, 1.75 * len(few) + 1.2)
    panels = figure.subplots(len(few), len(steps), squeeze=False, sharex=True, sharey=True)
    waves = states[steps][:, few, 0]  # (times, samples, L)
    top = _loudest(waves[-1])  # the sound sets the scale, however loud the noise
    for row, axes in enumerate(panels):
        for column, ax in enumerate(axes):
            picture = _spectrum(ax, waves[column, row], rate, top)
            if row == 0:
                ax.set_title(f"t = {times[steps[column]]:.2g}")
        axes[0].set_ylabel("frequency (kHz)")
    for ax in panels[-1]:
        ax.set_xlabel("time (s)")
    figure.colorbar(picture, ax=panels, label="level (dB)", aspect=30)
    return figure, (
        f"Spectrograms of {len(few)} samples at {len(steps)} times from t = {times[0]:.3g} to t = {times[-1]:.3g}; the "
        f"waves go from {moments(states[0])} to {moments(states[-1])}"
    )


def denoising(
    columns: Mapping[str, Tensor],
    rows: Sequence[str],
    info: Mapping[str, Any],
) -> tuple[LabFigure, str]:
    """A row for each level: one sound as a waveform over its spectrogram, clean, noisy and denoised."""
    rate = _rate(info)
    figure = new_figure(2.5 * len(columns) + 2.4, 2.2 * len(rows) + 1)
    # A row of spectrograms follows each row of waves, a little higher.
    panels = figure.subplots(2 * len(rows), len(columns), squeeze=False, height_ratios=[1, 1.7] * len(rows))
    top = _loudest(columns["clean"][:, :1, 0])
    for row, label in enumerate(rows):
        peak = _peak(columns["clean"][row, 0, 0], columns["noisy"][row, 0, 0])
        for column, (name, values) in enumerate(columns.items()):
            upper, lower = panels[2 * row : 2 * row + 2, column]
            _wave(upper, values[row, 0, 0], rate, COLUMNS[name], peak)
            bare(upper)
            picture = _spectrum(lower, values[row, 0, 0], rate, top)
            last = row == len(rows) - 1
            lower.tick_params(labelbottom=last, labelleft=column == 0)
            lower.set(xlabel="time (s)" if last else "", ylabel="kHz" if column == 0 else "")
            if row == 0:
                upper.set_title(name, color=COLUMNS[name])
        row_label(panels[2 * row, 0], label)
    figure.colorbar(picture, ax=panels, label="level (dB)", aspect=40, shrink=0.6)
    seconds = columns["clean"].shape[-1] / rate
    return figure, f"One sound of {seconds:.3g} s, {', '.join(columns)} in columns, wave over spectrogram"
