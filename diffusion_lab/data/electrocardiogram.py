"""Electrocardiograms drawn from the dynamical model of McSharry, Clifford, Tarassenko & Smith 2003.

A point goes round a circle, once for each heartbeat, and pulls the voltage up or down as it passes five angles, those
of the waves P, Q, R, S and T (equation 1 of the paper, "A dynamical model for generating synthetic electrocardiogram
signals", IEEE Trans. Biomed. Eng. 50). Here the point starts on the circle and so stays on it, and what is left to
integrate is the voltage. Beat times, classes and the clean signal are known exactly, because we chose them.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from diffusion_lab.data.dataset import Dataset

SAMPLE_RATE, LENGTH = 128, 512
"""In Hz and samples: four seconds, the beat that gives the label its name in the middle."""
CENTRE = LENGTH // 2
LEADS = ("MLII", "V1")
CLASSES = ("normal", "supraventricular", "ventricular")
TRAIN, TEST = 1_500, 600

# Table I of the paper: angle in radians, size and width of the waves P, Q, R, S and T, here of the first lead.
ANGLES = np.array([-math.pi / 3, -math.pi / 12, 0.0, math.pi / 12, math.pi / 2])
SIZES = np.array([1.2, -5.0, 30.0, -7.5, 0.75])
WIDTHS = np.array([0.25, 0.1, 0.1, 0.1, 0.4])
CHEST = np.array([0.6, -0.5, 8.0, -28.0, 0.6])
"""Sizes in the second lead, V1, which sees the heart from the right: a small R and a deep S (our choice)."""
WIDE = np.array([0.25, 0.28, 0.3, 0.3, 0.5])
"""Widths of a ventricular beat: it spreads from muscle to muscle, which takes two to three times as long."""
MILLIVOLTS = 25.0
"""From the model's units to mV: an R wave comes to 0.05 of them, and to a little more than a millivolt in a patient."""
BEFORE, AFTER = 5, 5
"""Beats that are made before and after the one in the middle: more than four seconds hold at any rate drawn here."""
FINE = 4
"""Steps of integration for each sample."""
TOGETHER = 32
"""Steps for which the push of the waves is computed at once: one by one, NumPy's calls take most of the time."""


def load_synthetic_heartbeats(seed: int = 0) -> Dataset:
    """1,500 + 600 strips (N, 2, 512) in mV, 4 s at 128 Hz, each around a beat of one of three classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(TRAIN + TEST) % len(CLASSES)
    strips, peaks = electrocardiograms(labels, rng)
    signals, labels, peaks = torch.from_numpy(strips), torch.from_numpy(labels), torch.from_numpy(peaks)
    return Dataset(
        name="synthetic electrocardiograms",
        source="bundled",
        kind="leads",
        train=signals[:TRAIN],
        test=signals[TRAIN:],
        train_labels=labels[:TRAIN],
        test_labels=labels[TRAIN:],
        classes=CLASSES,
        info={
            "sample_rate": SAMPLE_RATE,
            "leads": LEADS,
            "unit": "mV",
            "train_peaks": peaks[:TRAIN],
            "test_peaks": peaks[TRAIN:],
        },
    )


def electrocardiograms(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Strips (N, 2, 512) float32 in mV without noise, and the times (N, 11) of their R peaks in seconds.

    Every strip has a heart of its own: its rate, its waves, and the two slow waves in its rhythm. Times count from the
    strip's first sample; the sixth is that of the beat in the middle, 2 s, and those outside the strip are given too.

    Args:
        labels: (N,) the class of the beat in the middle: 0 normal, 1 supraventricular (too early, its P wave upside
            down), 2 ventricular (too early, wide, without a P wave, and with a pause after it).
    """
    count, beats = len(labels), BEFORE + 1 + AFTER
    peaks = _beat_times(labels, rng)
    sizes = np.stack([np.tile(SIZES, (count, beats, 1)), np.tile(CHEST, (count, beats, 1))])  # (leads, N, beats, 5)
    own = rng.uniform(0.8, 1.25, (2, count, 1, 5)) * rng.normal(1, 0.03, (2, count, beats, 5))
    sizes, widths = sizes * own, np.tile(WIDTHS * rng.uniform(0.9, 1.1, (count, 1, 5)), (1, beats, 1))
    early, wide = labels == 1, labels == 2
    sizes[:, early, BEFORE, 0] *= rng.uniform(-1.0, 0.0, (2, int(early.sum())))
    sizes[:, wide, BEFORE] = _ventricular(int(wide.sum()), rng)
    widths[wide, BEFORE] = WIDE * rng.uniform(0.85, 1.15, (int(wide.sum()), 5))
    return _integrate(peaks, sizes, widths).astype(np.float32), peaks.astype(np.float32)


def _beat_times(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The times (N, 11) of the R peaks in seconds, the sixth in the middle of the strip.

    The rhythm has two slow waves, of 0.1 Hz and of breathing at 0.25 Hz: over four seconds, the two narrow bands of the
    paper's equation 2 are two sines of random size and phase.
    """
    count, beats = len(labels), BEFORE + 1 + AFTER
    mean = 60 / rng.uniform(55, 100, (count, 1))
    number = np.arange(beats - 1)[None]
    intervals = np.ones((count, beats - 1))
    for frequency, deviation in ((0.1, 0.02), (0.25, 0.03)):
        size, phase = deviation * rng.rayleigh(1, (count, 1)), rng.uniform(0, 2 * math.pi, (count, 1))
        intervals = intervals + size * np.cos(2 * math.pi * frequency * mean * number + phase)
    intervals = mean * np.clip(intervals, 0.75, 1.25)
    early, wide = labels == 1, labels == 2
    share = rng.uniform(0.6, 0.8, count)
    usual = intervals[:, BEFORE - 1].copy()
    intervals[early | wide, BEFORE - 1] *= share[early | wide]
    # The beat after a ventricular one comes when it would have come anyway: the pause makes up for what was early.
    intervals[wide, BEFORE] += ((1 - share) * usual)[wide]
    times = np.concatenate([np.zeros((count, 1)), np.cumsum(intervals, axis=1)], axis=1)
    return times - times[:, [BEFORE]] + CENTRE / SAMPLE_RATE


def _ventricular(count: int, rng: np.random.Generator) -> np.ndarray:
    """The sizes (2, count, 5) of ventricular beats: no P, one broad wave up or down, and a T against it."""
    up = rng.choice([-1.0, 1.0], (count, 1))
    first = up * np.array([0.0, 0.1, 4.2, 1.0, -0.4]) * rng.uniform(0.8, 1.3, (count, 1))
    second = -up * np.array([0.0, 0.1, 3.2, 0.7, -0.3]) * rng.uniform(0.8, 1.3, (count, 1))
    return np.stack([first, second])


def _integrate(peaks: np.ndarray, sizes: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The voltages (N, leads, 512) in mV, by the classical Runge-Kutta method from two seconds before the strip.

    dz/dt = -sum_i a_i (theta - theta_i) exp(-(theta - theta_i)^2 / (2 b_i^2)) - z (equation 1), the angle going once
    round from one R peak to the next. What came before the first two seconds has faded to a tenth of itself.
    """
    lead_in = 2 * SAMPLE_RATE
    step = 1 / (SAMPLE_RATE * FINE)
    halves = np.arange(2 * FINE * (lead_in + LENGTH) + 1) * step / 2 - lead_in / SAMPLE_RATE  # every half step
    waves = np.moveaxis(sizes, -1, 0).reshape(len(ANGLES), len(sizes), -1)
    spreads = 2 * np.moveaxis(widths, -1, 0).reshape(len(ANGLES), -1) ** 2
    voltage = np.zeros((sizes.shape[0], len(peaks)))
    strips = np.empty((sizes.shape[0], len(peaks), LENGTH))
    steps = (len(halves) - 1) // 2
    for first in range(0, steps, TOGETHER):
        push = _push(halves[2 * first : 2 * (first + TOGETHER) + 1], peaks, waves, spreads)
        for number in range(first, min(first + TOGETHER, steps)):
            if number % FINE == 0 and number // FINE >= lead_in:
                strips[..., number // FINE - lead_in] = voltage
            start, middle, end = push[:, 2 * (number - first) : 2 * (number - first) + 3].swapaxes(0, 1)
            k1 = start - voltage
            k2 = middle - (voltage + step / 2 * k1)
            k3 = middle - (voltage + step / 2 * k2)
            k4 = end - (voltage + step * k3)
            voltage = voltage + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return np.ascontiguousarray(MILLIVOLTS * strips.transpose(1, 0, 2))


def _push(now: np.ndarray, peaks: np.ndarray, sizes: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """What the waves add to dz/dt (leads, K, N) at these times (K,): those of the beat whose R is nearest in angle.

    Of each wave there are `sizes` (5, leads, N beats) and, in the place of widths b, 2 b^2 (5, N beats).
    """
    rows = np.arange(len(peaks))
    passed = (peaks.T[:, None] <= now[:, None]).sum(axis=0)  # (K, N)
    after = np.clip(passed, 1, peaks.shape[1] - 1)  # the next beat; the ends go on as they were
    last, following = peaks[rows, after - 1], peaks[rows, after]
    turn = 2 * math.pi * (now[:, None] - last) / (following - last)  # since the last R
    angle = np.remainder(turn + math.pi, 2 * math.pi) - math.pi
    beat = np.where(angle >= 0, after - 1, after)  # after R come S and T of that beat, then P and Q of the next
    beat += rows * peaks.shape[1]
    total = 0.0
    for centre, size, width in zip(ANGLES, sizes, widths, strict=True):
        difference = angle - centre
        total = total + size.take(beat, axis=1) * (difference * np.exp(-(difference**2) / width.take(beat)))
    return -total
