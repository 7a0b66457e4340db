"""Beats, rhythm and classes of electrocardiograms, against strips whose beats are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffusion_lab.data.electrocardiogram import SAMPLE_RATE, electrocardiograms
from diffusion_lab.errors import DataError
from diffusion_lab.metrics import agreement, beat_features, r_peaks, rhythm_distance, rr_intervals, train_beat_judge


@pytest.fixture(scope="module")
def strips() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """300 strips, their labels and the true times of their beats."""
    labels = np.arange(300) % 3
    signals, peaks = electrocardiograms(labels, np.random.default_rng(3))
    return torch.from_numpy(signals), torch.from_numpy(labels), torch.from_numpy(peaks).double()


def pulses(interval: float, count: int = 20, rate: int = 200, seconds: int = 6) -> torch.Tensor:
    """(count, 1, L): a spike of 1 mV and 40 ms each `interval` seconds, from another place in each strip."""
    time = torch.arange(seconds * rate) / rate
    start = torch.linspace(0, interval, count)[:, None]
    phase = torch.remainder(time - start + interval / 2, interval) - interval / 2
    return torch.exp(-((phase / 0.02) ** 2))[:, None]


def test_beats_are_found_where_they_are(strips: tuple):
    """More than 97 in 100, on 300 strips of all classes, and hardly one where there is none."""
    signals, _, truth = strips
    missed, extra, late = 0, 0, []
    for found, times in zip(r_peaks(signals, SAMPLE_RATE), truth, strict=True):
        times, found = (x[(x > 0.2) & (x < 3.8)] for x in (times, found))
        apart = (found[:, None] - times).abs()  # (found, true)
        nearest = apart.min(0).values
        missed += int((nearest > 0.12).sum())
        extra += int((apart.min(1).values > 0.12).sum())
        late += nearest[nearest <= 0.12].tolist()
    beats = int(((truth > 0.2) & (truth < 3.8)).sum())
    assert missed < 0.03 * beats and extra < 0.03 * beats and np.median(late) < 0.01


def test_the_rhythms_distance_is_the_difference_of_two_rates():
    """Spikes 800 ms apart and spikes 950 ms apart are 150 ms from each other, whatever their phase."""
    assert rhythm_distance(pulses(0.8), pulses(0.95), 200) == pytest.approx(150, abs=2)
    assert rhythm_distance(pulses(0.8), pulses(0.8)[:7], 200) == pytest.approx(0, abs=2)
    assert rr_intervals(r_peaks(pulses(0.8), 200)).std() < 0.005
    assert rhythm_distance(torch.zeros(4, 1, 800), pulses(0.8), 200) == float("inf")


def test_features_hold_the_beat_in_the_middle_and_both_intervals(strips: tuple):
    signals, _, truth = strips
    features = beat_features(signals, SAMPLE_RATE)
    assert features.shape == (300, 42)
    before, after = truth[:, 5] - truth[:, 4], truth[:, 6] - truth[:, 5]
    assert (features[:, 40] / 10 - before).abs().median() < 0.02
    assert (features[:, 41] / 10 - after).abs().median() < 0.02


def test_a_judge_knows_classes_and_mixed_up_labels_agree_by_chance(strips: tuple):
    signals, labels, _ = strips
    judge = train_beat_judge(signals[:200], labels[:200], SAMPLE_RATE)
    assert agreement(judge, signals[200:], labels[200:], SAMPLE_RATE) > 0.95
    assert agreement(judge, signals[200:], (labels[200:] + 1) % 3, SAMPLE_RATE) < 0.05
    # Every class counts the same, however rare.
    rare = torch.cat([signals[200:][labels[200:] == 0], signals[200:][labels[200:] == 2][:1]])
    asked = torch.tensor([0] * (len(rare) - 1) + [1])
    assert agreement(judge, rare, asked, SAMPLE_RATE) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: r_peaks(torch.zeros(3, 512), 128), r"\(3, 512\); expected \(N, leads, L\)"),
        (lambda: r_peaks(torch.full((3, 1, 512), torch.nan), 128), "3 of 3 strips are not finite"),
        (lambda: r_peaks(torch.zeros(3, 1, 512), 30), "the sample rate is 30 Hz"),
        (lambda: train_beat_judge(torch.zeros(3, 1, 512), torch.zeros(3).long(), 128), "1 classes"),
    ],
)
def test_what_cannot_be_judged_is_refused(call, said: str):
    with pytest.raises(DataError, match=said):
        call()
