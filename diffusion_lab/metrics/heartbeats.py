"""What a cardiologist reads off an electrocardiogram: when the heart beats, how regularly, and what a beat looks like.

Strips are (N, leads, L) in mV. The beat that a strip is about lies in its middle. None of these numbers is a diagnosis:
they compare one set of strips with another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion_lab.errors import DataError
from diffusion_lab.metrics.checks import as_double

BAND = (5.0, 15.0)
"""Hz: where most of the energy of a QRS complex lies (Pan & Tompkins 1985)."""
WINDOW = 0.12
"""Seconds over which the energy is gathered, the length of a wide QRS complex."""
REFRACTORY = 0.25
"""Seconds in which no second beat can come."""
SHARE = 0.1
"""A peak of energy counts as a beat from this share of the strip's own typical peak on."""
ROUND = (0.35, 0.45)
"""Seconds before and after the middle that belong to its beat."""
BINS = 20
"""Means that the beat in the middle is reduced to, in each lead."""


def r_peaks(strips: Tensor, sample_rate: float) -> list[Tensor]:
    """The times in seconds of the beats in each strip (N, leads, L), by the energy between 5 and 15 Hz of all leads.

    The idea of Pan & Tompkins 1985 in its simplest form: band-pass, square, mean over a window, peaks above a share of
    the strip's own. A beat's time is that of the first lead's largest deflection from its median within the window. A
    beat less than half a window from an end of the strip may be missed.

    Raises:
        DataError: for another shape, values that are not finite, or fewer than 40 samples a second.
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import butter, find_peaks, sosfiltfilt

    signals = _strips(strips, sample_rate)
    band = butter(2, BAND, "bandpass", fs=sample_rate, output="sos")
    width = max(1, round(WINDOW * sample_rate))
    energy = uniform_filter1d((sosfiltfilt(band, signals, axis=-1) ** 2).sum(axis=1), width, axis=-1)  # (N, L)
    deflection = np.abs(signals[:, 0] - np.median(signals[:, 0], axis=-1, keepdims=True))
    found = []
    for strip, height in zip(energy, deflection, strict=True):
        peaks, _ = find_peaks(strip, distance=max(1, round(REFRACTORY * sample_rate)))
        if len(peaks):
            peaks = peaks[strip[peaks] > SHARE * np.median(np.sort(strip[peaks])[-3:])]
        places = []
        for peak in peaks:
            start = max(0, peak - width // 2)
            places.append(start + int(height[start : peak + width // 2 + 1].argmax()))
        found.append(torch.tensor(sorted(set(places)), dtype=torch.float64) / sample_rate)
    return found


def rr_intervals(peaks: Sequence[Tensor]) -> Tensor:
    """All times in seconds between one beat and the next, over all strips (K,), from the times of `r_peaks`."""
    return torch.cat([times.diff() for times in peaks]) if len(peaks) else torch.empty(0, dtype=torch.float64)


def rhythm_distance(a: Tensor, b: Tensor, sample_rate: float) -> float:
    """The Wasserstein distance W1 in ms between the intervals from beat to beat in two sets of strips.

    It is the mean distance between the sorted intervals (the area between the two distribution functions). A set in
    which no strip has two beats is infinitely far.
    """
    from scipy.stats import wasserstein_distance

    first, second = (rr_intervals(r_peaks(strips, sample_rate)) for strips in (a, b))
    if not len(first) or not len(second):
        return float("inf")
    return 1000 * float(wasserstein_distance(first.numpy(), second.numpy()))


def beat_features(strips: Tensor, sample_rate: float) -> Tensor:
    """(N, 20 leads + 2): the beat in the middle as 20 means in each lead, and the intervals before and after it.

    Means are in mV, intervals in units of 0.1 s, which brings both to one order. Where a strip shows no beat before or
    after the middle, the interval reaches to the strip's end.
    """
    signals = torch.from_numpy(_strips(strips, sample_rate))
    middle, length = signals.shape[-1] // 2, signals.shape[-1]
    before, after = (round(seconds * sample_rate) for seconds in ROUND)
    beat = signals[..., max(0, middle - before) : middle + after]
    shape = torch.nn.functional.adaptive_avg_pool1d(beat, BINS).flatten(1)  # (N, leads * BINS)
    now, near = middle / sample_rate, REFRACTORY / 2
    intervals = []
    for times in r_peaks(strips, sample_rate):
        earlier, later = times[times < now - near], times[times > now + near]
        first = float(earlier[-1]) if len(earlier) else 0.0
        following = float(later[0]) if len(later) else length / sample_rate
        intervals.append([10 * (now - first), 10 * (following - now)])
    return torch.cat([shape, torch.tensor(intervals, dtype=torch.float64)], dim=1)


def train_beat_judge(strips: Tensor, labels: Tensor, sample_rate: float) -> Any:
    """A classifier of `beat_features`: a support vector machine with scikit-learn's defaults on standardised features.

    Raises DataError when strips and labels (N,) do not fit, or there is one class only.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if labels.shape != (len(strips),) or len(labels.unique()) < 2:
        raise DataError(f"labels have shape {tuple(labels.shape)} and {len(labels.unique())} classes; expected "
                        f"({len(strips)},) and at least 2")  # fmt: skip
    judge = make_pipeline(StandardScaler(), SVC(class_weight="balanced"))
    return judge.fit(beat_features(strips, sample_rate).numpy(), labels.numpy())


def agreement(judge: Any, strips: Tensor, labels: Tensor, sample_rate: float) -> float:
    """The share of strips that the judge puts into the class of their label (N,), every class counting the same."""
    said = torch.from_numpy(judge.predict(beat_features(strips, sample_rate).numpy()))
    right = (said == labels.cpu()).double()
    return float(torch.stack([right[labels == label].mean() for label in labels.unique()]).mean())


def _strips(strips: Tensor, sample_rate: float) -> np.ndarray:
    if strips.ndim != 3 or not strips.shape[0]:
        raise DataError(f"strips have shape {tuple(strips.shape)}; expected (N, leads, L)")
    if sample_rate < 2 * BAND[1] + 10:
        raise DataError(f"the sample rate is {sample_rate} Hz; beats are found from {2 * BAND[1] + 10:g} Hz on")
    values = as_double(strips).numpy()
    if not np.isfinite(values).all():
        raise DataError(f"{int((~np.isfinite(values)).any((1, 2)).sum())} of {len(values)} strips are not finite")
    return values
