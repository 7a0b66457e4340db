"""Recorded sound: the Free Spoken Digit Dataset, or any folder or archive of WAV files."""

from __future__ import annotations

import io
import re
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.storage import decoded, held_out, read_members
from diffusion_lab.errors import DataError

SAMPLE_RATE, LENGTH = 8_000, 4_096
# FSDD's own convention: recordings 0 to 4 of each digit and speaker are the test set.
TEST_TAKES = 5
FSDD_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<take>\d+)\.wav")
FSDD_RECORDINGS = 3_000


def load_spoken_digits(path: Path) -> Dataset:
    """Spoken digits (N, 1, 4096) at 8 kHz in [-1, 1] from `{digit}_{speaker}_{take}.wav`; takes 0 to 4 are held out.

    Raises:
        DataError: a file that cannot be used (see `load_wav_folder`) or is not named like this.
    """
    waves, names = _read_all(path, LENGTH, SAMPLE_RATE)
    parts = [FSDD_NAME.fullmatch(PurePosixPath(name).name) for name in names]
    for name, part in zip(names, parts, strict=True):
        if part is None:
            raise DataError(f"{path}/{name} is not named {{digit}}_{{speaker}}_{{take}}.wav")
    labels = torch.tensor([int(part["digit"]) for part in parts])
    test = torch.tensor([int(part["take"]) < TEST_TAKES for part in parts])
    if test.all() or not test.any():
        raise DataError(f"{path} needs takes below {TEST_TAKES} (the test set) and others; it has only one of the two")
    count = len(names)
    return Dataset(
        name="Free Spoken Digit Dataset" + (f" ({count:,} recordings)" if count != FSDD_RECORDINGS else ""),
        source="real",
        kind="audio",
        train=waves[~test],
        test=waves[test],
        train_labels=labels[~test],
        test_labels=labels[test],
        classes=tuple(str(digit) for digit in range(10)),
        info={"sample_rate": SAMPLE_RATE},
    )


def load_wav_folder(path: str | Path, length: int = LENGTH, sample_rate: int = SAMPLE_RATE) -> Dataset:
    """Every WAV of a folder or a tar archive as (N, 1, length) in [-1, 1]; a fixed tenth is held out, no labels.

    Channels are averaged, silence at both ends is cut, and the rest is centred in `length` samples: padded with
    zeros, or cropped around its energy, with the peak at 0.9.

    Raises:
        DataError: no WAV files; a file that is truncated, corrupt, silent, or of another sample rate.
    """
    waves, _ = _read_all(Path(path), length, sample_rate)
    train, test = held_out(len(waves))
    return Dataset(
        name=f"recordings of {Path(path).name}",
        source="real",
        kind="audio",
        train=waves[train],
        test=waves[test],
        info={"sample_rate": sample_rate},
    )


def _read_all(path: Path, length: int, sample_rate: int) -> tuple[torch.Tensor, list[str]]:
    """All recordings (N, 1, length), and their names."""

    def decode():
        members = list(read_members(path, (".wav",)))
        clips = [
            fit(read_wav(content, sample_rate, f"{path}/{name}"), length, sample_rate) for name, content in members
        ]
        return {"waves": torch.from_numpy(np.stack(clips))[:, None]}, {"names": [name for name, _ in members]}

    tensors, words = decoded(f"wav-{length}-{sample_rate}", [path], decode) if path.is_file() else decode()
    return tensors["waves"], words["names"]


def read_wav(content: bytes, sample_rate: int, name: str) -> np.ndarray:
    """The samples (L,) float32 of a WAV file, channels averaged.

    Raises:
        DataError: a file that is truncated, corrupt, empty, silent, or of another sample rate.
    """
    import soundfile

    # libsndfile reads a truncated file without a word; the size in the RIFF header tells.
    announced = int.from_bytes(content[4:8], "little") + 8
    if content[:4] == b"RIFF" and len(content) < announced < 2**32 - 1:
        raise DataError(f"{name} is truncated: its header announces {announced:,} bytes, the file has {len(content):,}")
    try:
        samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as fault:
        raise DataError(f"{name} cannot be read as a WAV file: {fault}") from fault
    if rate != sample_rate:
        raise DataError(f"{name} has a sample rate of {rate} Hz; accepted is {sample_rate} Hz")
    if not samples.size or np.abs(samples).max() < 1e-4:
        raise DataError(f"{name} is {'silent' if samples.size else 'empty'}")
    if not np.isfinite(samples).all():
        raise DataError(f"{name} has samples that are not finite")
    return samples.mean(axis=1)


def fit(wave: np.ndarray, length: int, sample_rate: int) -> np.ndarray:
    """A wave (L,) without the silence at its ends, centred in `length` samples and scaled to a peak of 0.9."""
    wave = wave - wave.mean()
    frame = sample_rate // 100  # 10 ms
    frames = np.pad(wave, (0, -len(wave) % frame)).reshape(-1, frame)
    energy = (frames**2).mean(axis=1)
    loud = np.flatnonzero(energy > 10**-3.5 * energy.max())  # 35 dB below the loudest frame
    start, stop = loud[0] * frame, min((loud[-1] + 1) * frame, len(wave))
    wave = wave[start:stop]
    if len(wave) > length:
        # The window of the most energy, found by one cumulative sum.
        total = np.concatenate([[0], np.cumsum(wave.astype(np.float64) ** 2)])
        start = int(np.argmax(total[length:] - total[:-length]))
        wave = wave[start : start + length]
    # Fades of 5 ms keep the cut ends from clicking.
    fade = min(sample_rate // 200, len(wave) // 2)
    ramp = np.linspace(0, 1, fade, endpoint=False, dtype=np.float32)
    wave = wave.copy()
    wave[:fade] *= ramp
    wave[len(wave) - fade :] *= ramp[::-1]
    before = (length - len(wave)) // 2
    wave = np.pad(wave, (before, length - len(wave) - before))
    return (0.9 * wave / np.abs(wave).max()).astype(np.float32)
