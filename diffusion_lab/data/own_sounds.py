"""Sounds of the user's own: any format that libsndfile reads, any rate, any length, one channel or many."""

from __future__ import annotations

from collections import Counter
from math import gcd

import numpy as np
import torch

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.data.recordings import LENGTH, SAMPLE_RATE, decode_sound, fit, mixed, refuse_silence
from diffusion_lab.data.splits import layout_of
from diffusion_lab.data.storage import read_members
from diffusion_lab.errors import DataError

SUFFIXES = (
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64",
    ".rf64",
)  # fmt: skip
KIN = (".m4a", ".aac", ".wma", ".amr", ".webm", ".mp4", ".mka", ".ape", ".wv")
"""Sounds too, which libsndfile does not read."""
SPEECH = 1 / 6
"""The root mean square of speech that peaks at 1: what chapter 8's numbers are made for."""
STEP = 128
"""A length is a multiple of this, so that the network of the chapter can halve it."""
LOST = 0.01
"""Where less than this share of a sound's deviation is left at another rate, 40 dB less, what is left is its clicks."""
SHORTEST = 1_024
"""The longest window of the chapter's loss on spectra, in samples."""


def load_own_sounds(own: OwnData) -> Dataset:
    """A folder or archive of sounds as (N, 1, L), at `own.rate` (8,000 Hz) and `own.seconds` long (4,096 at 8,000 Hz).

    Each is resampled, its channels averaged, silence at its ends cut, and what is left put in the middle or, where it
    is too long, cut to the stretch of most energy. One factor for all then gives the training set the loudness of
    speech that peaks at 1; `info["sample_rate"]` is the rate. Folders are classes and splits: see `layout_of`.

    Raises:
        DataError: no sounds, or some in other formats; a file that cannot be read, is truncated or silent, lasts less
            than 10 ms, or has nothing below half the sample rate.
    """
    rate = own.rate or SAMPLE_RATE
    seconds = own.seconds or LENGTH / SAMPLE_RATE
    length = max(STEP, round(seconds * rate / STEP) * STEP)
    if length < SHORTEST:
        raise DataError(
            f"{seconds:g} s at {rate:,} Hz are {length:,} samples, and the loss on spectra needs {SHORTEST:,}: ask for "
            f"{SHORTEST / rate:.2g} s or more, or for a higher rate"
        )
    waves, rates, alone, cut = {}, Counter(), [], 0
    for name, content in read_members(own.path, SUFFIXES, KIN):
        where = f"{own.path}/{name}"
        samples, rate_of_file = decode_sound(content, where)
        refuse_silence(samples, rate_of_file, where)
        wave, one_channel = mixed(samples)
        wave = _resampled(wave, rate_of_file, rate, where)
        waves[name] = fit(wave, length, rate)
        rates[rate_of_file] += 1
        alone += [where] if one_channel else []
        cut += len(wave) > length
    layout = layout_of(own.path, list(waves))
    stacked = torch.from_numpy(np.stack([*waves.values()]))[:, None]  # (N, 1, L)
    labels = torch.tensor(layout.labels)
    train, test = layout.rows(own.path)
    factor = SPEECH / stacked[train].square().mean().sqrt()
    return Dataset(
        name=f"{own.name} ({len(train):,} to train on)",
        source="own",
        kind="audio",
        train=factor * stacked[train],
        test=factor * stacked[test],
        train_labels=labels[train] if layout.classes else None,
        test_labels=labels[test] if layout.classes else None,
        classes=layout.classes,
        info={"sample_rate": rate},
        notes=(*_notes(rates, rate, length, cut, alone), *layout.notes),
    )


def _notes(rates: Counter, rate: int, length: int, cut: int, alone: list[str]) -> list[str]:
    others = ", ".join(f"{count:,} from {other:,} Hz" for other, count in sorted(rates.items()) if other != rate)
    made = f"{rates.total():,} sounds at {rate:,} Hz" + (f" (resampled: {others})" if others else "")
    notes = [f"{made}, {length / rate:.3g} s each, all made louder or softer by one factor"]
    if cut:
        notes.append(f"{cut:,} of them are longer, with the silence at their ends: the loudest stretch is taken")
    if alone:
        notes.append(f"in {len(alone):,} sounds the channels cancel, so one is taken alone: {alone[0]} is the first")
    return notes


def _resampled(wave: np.ndarray, rate: int, wanted: int, name: str) -> np.ndarray:
    """A wave (L,) at another rate, through the polyphase filter of SciPy."""
    if rate == wanted:
        return wave
    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    kept = resample_poly(wave - wave.mean(), wanted // common, rate // common).astype(np.float32)
    if kept.std() < LOST * wave.std():
        raise DataError(f"{name} has no sound below {wanted // 2:,} Hz, which is all that {wanted:,} Hz can hold")
    return kept
