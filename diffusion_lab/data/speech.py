"""Spoken digits made by a small source-filter synthesiser: a glottal buzz and noise, shaped by moving resonances.

The voice is a band-limited pulse train, the vocal tract four second-order resonators in cascade whose frequencies
(formants) move from sound to sound, and hisses and bursts are noise through one resonator of their own (Klatt 1980,
"Software for a cascade/parallel formant synthesizer"). All utterances are made at once, one time step after another.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from diffusion_lab.data.dataset import Dataset

SAMPLE_RATE, LENGTH = 8_000, 4_096
TRAIN, TEST = 1_200, 300
TOGETHER = 64
"""Steps for which a resonator's coefficients are computed at once."""


class Sound(NamedTuple):
    """One phoneme: where its formants lie and how it is excited."""

    f1: float
    """First three formants in Hz, for an adult speaker."""
    f2: float
    f3: float
    voice: float
    """Amplitude of the glottal buzz, relative to a vowel."""
    noise: float = 0.0
    """Root mean square of the hiss, relative to the utterance's voiced sound."""
    noise_hz: float = 3000.0
    """Centre of the hiss."""
    duration: float = 1.0
    """Relative to the other sounds of a word."""


# Vowel formants: Peterson and Barney 1952, table II (men). Consonants: values of the same order as in Klatt 1980.
SOUNDS = {
    "iy": Sound(270, 2290, 3010, 1.0, duration=1.5),
    "ih": Sound(390, 1990, 2550, 1.0),
    "eh": Sound(530, 1840, 2480, 1.0, duration=1.1),
    "ah": Sound(640, 1190, 2390, 1.0, duration=1.2),
    "aa": Sound(730, 1090, 2440, 1.0, duration=1.3),
    "ao": Sound(570, 840, 2410, 1.0, duration=1.5),
    "uh": Sound(440, 1020, 2240, 1.0),
    "uw": Sound(300, 870, 2240, 1.0, duration=1.7),
    "w": Sound(290, 610, 2150, 0.7, duration=0.6),
    "r": Sound(330, 1060, 1400, 0.7, duration=0.7),
    "n": Sound(250, 1450, 2400, 0.35, duration=0.8),
    "v": Sound(250, 1100, 2080, 0.3, 0.06, 3000, 0.7),
    "z": Sound(250, 1500, 2500, 0.25, 0.2, 3600, 0.8),
    "s": Sound(320, 1500, 2500, 0.0, 0.35, 3600, 1.3),
    "f": Sound(340, 1100, 2080, 0.0, 0.15, 2700, 1.0),
    "th": Sound(320, 1290, 2540, 0.0, 0.10, 3200, 0.8),
    "-": Sound(350, 1700, 2500, 0.0, duration=0.5),  # the closure before a burst
    "k!": Sound(350, 1800, 2300, 0.0, 0.6, 1800, 0.25),  # bursts
    "t!": Sound(350, 1700, 2600, 0.0, 0.7, 3400, 0.3),
}
WORDS = (
    ("z", "ih", "r", "ao", "uh"),
    ("w", "ah", "n"),
    ("t!", "uw"),
    ("th", "r", "iy"),
    ("f", "ao", "r"),
    ("f", "aa", "ih", "v"),
    ("s", "ih", "-", "k!", "s"),
    ("s", "eh", "v", "eh", "n"),
    ("eh", "ih", "-", "t!"),
    ("n", "aa", "ih", "n"),
)


def load_synthesised_digits(seed: int = 0) -> Dataset:
    """1,200 + 300 spoken digits (N, 1, 4096) at 8 kHz in [-1, 1], each with its own speaker, pitch and speed."""
    rng = np.random.default_rng(seed)
    labels = np.arange(TRAIN + TEST) % len(WORDS)
    waves = torch.from_numpy(synthesise(labels, rng))[:, None]  # (N, 1, L)
    labels = torch.from_numpy(labels)
    return Dataset(
        name="synthesised spoken digits",
        source="bundled",
        kind="audio",
        train=waves[:TRAIN],
        test=waves[TRAIN:],
        train_labels=labels[:TRAIN],
        test_labels=labels[TRAIN:],
        classes=tuple(str(digit) for digit in range(10)),
        info={"sample_rate": SAMPLE_RATE},
    )


def synthesise(digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Utterances (N, 4096) float32 of these digits (N,), at peak 0.9."""
    count = len(digits)
    tract = rng.uniform(0.9, 1.2, count)  # a shorter vocal tract has higher formants
    pitch = np.where(tract > 1.05, rng.uniform(150, 240, count), rng.uniform(85, 150, count))
    speech = rng.uniform(0.32, 0.46, count)  # seconds
    tracks = np.empty((6, count, LENGTH))
    for number, (digit, seconds) in enumerate(zip(digits, speech, strict=True)):
        _follow(WORDS[digit], seconds, rng, tracks[:, number])
    formants, voice, noise, noise_hz = tracks[:3], tracks[3], tracks[4], tracks[5]
    formants *= tract[:, None]

    time = np.linspace(0, 1, LENGTH)
    fall, wave = rng.uniform(0.1, 0.3, (count, 1)), rng.uniform(0, 0.03, (count, 1))
    pitch = pitch[:, None] * (1.1 - fall * time + wave * np.sin(2 * np.pi * rng.uniform(2, 4, (count, 1)) * time))
    excitation = voice * _pulses(pitch)
    hiss = rng.standard_normal((count, LENGTH))
    excitation += 0.02 * voice * hiss  # breath
    filtered = excitation
    widths = (70, 100, 140, 250)
    fourth = np.broadcast_to(np.minimum(3400 * tract, 3700)[:, None], (count, LENGTH))
    for centre, width in zip([*formants, fourth], widths, strict=True):
        filtered = _resonate(filtered, np.minimum(centre, 3800), width)
    waves = _radiated(filtered) + noise * _radiated(_resonate(hiss, noise_hz, 900.0))
    waves += 0.002 * np.abs(waves).max(axis=1, keepdims=True) * rng.standard_normal(waves.shape)  # the room
    return (0.9 * waves / np.abs(waves).max(axis=1, keepdims=True)).astype(np.float32, order="C")


def _radiated(flow: np.ndarray) -> np.ndarray:
    """The sound of a flow (N, L) at the lips, close to its derivative, scaled to a root mean square of 1."""
    sound = np.diff(flow, prepend=0.0, axis=1) + 0.1 * flow
    return sound / np.sqrt((sound**2).mean(axis=1, keepdims=True))


def _follow(word: tuple[str, ...], seconds: float, rng: np.random.Generator, tracks: np.ndarray) -> None:
    """Fill tracks (6, L): three formants, voice, noise and noise centre; the word lies in the middle of the clip."""
    sounds = [SOUNDS[name] for name in word]
    lengths = np.array([sound.duration for sound in sounds]) * rng.uniform(0.8, 1.25, len(sounds))
    edges = np.concatenate([[0], np.cumsum(lengths)]) / lengths.sum() * seconds * SAMPLE_RATE
    edges += (LENGTH - edges[-1]) / 2
    values = np.array([sound[:6] for sound in sounds]).T  # (6, sounds)
    values[:3] *= rng.uniform(0.95, 1.05, (3, len(sounds)))
    glide = 0.35 * np.diff(edges)
    now = np.arange(LENGTH)
    # Formants hold in the middle of a sound and glide between; amplitudes switch in 6 ms, so that bursts stay sharp.
    soft = np.stack([edges[:-1] + glide, edges[1:] - glide], axis=1).ravel()
    hard = np.stack([edges[:-1] + 24, edges[1:] - 24], axis=1).ravel()
    held = np.repeat(values, 2, axis=1)
    for track, corners in zip(tracks[:3], held[:3], strict=True):
        track[:] = np.interp(now, soft, corners)
    for track, corners in zip(tracks[3:5], held[3:5], strict=True):
        track[:] = np.interp(now, [hard[0] - 200, *hard, hard[-1] + 400], [0, *corners, 0])
    tracks[5] = np.interp(now, hard, held[5])


def _pulses(pitch: np.ndarray) -> np.ndarray:
    """Glottal flow (N, L) of this pitch in Hz: pulses of all harmonics below 4 kHz, softened by 12 dB per octave.

    The sum of the harmonics cos(k * phase) for k = 1..K is the Dirichlet kernel, which costs two sines.
    """
    phase = 2 * np.pi * np.cumsum(pitch, axis=1) / SAMPLE_RATE
    harmonics = np.floor(SAMPLE_RATE / 2 / pitch.max(axis=1, keepdims=True))
    half = np.sin(phase / 2)
    half = np.where(np.abs(half) < 1e-6, 1e-6, half)
    pulses = (np.sin((harmonics + 0.5) * phase) / half - 1) / 2
    return _resonate(pulses, np.full((1, 1), 0.0), 200.0)


def _resonate(signal: np.ndarray, centre: np.ndarray, width: float) -> np.ndarray:
    """Second-order resonator of gain 1 at 0 Hz; centre (N, L) or (1, 1) and width in Hz (Klatt 1980, equation 1)."""
    c = -math.exp(-2 * math.pi * width / SAMPLE_RATE)
    out = np.empty(signal.shape[::-1])  # (L, N): one time step is one contiguous row
    before = last = np.zeros(len(signal))
    for first in range(0, len(out), TOGETHER):  # what is small stays in the processor's cache
        now = slice(first, first + TOGETHER)
        there = np.ascontiguousarray(centre[:, now].T) if centre.size > 1 else centre
        b = 2 * math.exp(-math.pi * width / SAMPLE_RATE) * np.cos(2 * np.pi * there / SAMPLE_RATE)
        driving = (1 - b - c) * signal.T[now]
        for step, (row, driven) in enumerate(zip(np.broadcast_to(b, driving.shape), driving, strict=True), first):
            before, last = last, driven + row * last + c * before
            out[step] = last
    return out.T
