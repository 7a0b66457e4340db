"""Recorded sound: the Free Spoken Digit Dataset, or any folder or archive of WAV files."""

from __future__ import annotations

import io
import re
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.sound_lengths import announced_length
from diffusion_lab.data.storage import decoded, held_out, read_members
from diffusion_lab.errors import DataError

SAMPLE_RATE, LENGTH = 8_000, 4_096
# FSDD's own convention: recordings 0 to 4 of each digit and speaker are the test set.
TEST_TAKES = 5
FSDD_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<take>\d+)\.wav")
FSDD_RECORDINGS = 3_000
FSDD_SPEAKERS = {"george", "jackson", "lucas", "nicolas", "theo", "yweweler"}
KIN = (".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".wma", ".aif", ".aiff", ".amr", ".webm")
"""Sounds too, which are better refused than overlooked."""
FORMATS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"fLaC")
"""The first bytes of what may be called .wav; for others libsndfile guesses, and MPEG's decoder talks on stderr."""
COMPLETE = 0.99
"""The share of the announced samples that a whole file has at least; an MP3 may be a frame off."""
QUIET = 1e-4
"""A peak of less than this, 80 dB below full scale, is silence."""
CANCELLED = 0.1
"""Channels cancel where their mean has less than this share of the power that it has for unrelated channels."""


def load_spoken_digits(path: Path) -> Dataset:
    """Spoken digits (N, 1, 4096) at 8 kHz in [-1, 1] from `{digit}_{speaker}_{take}.wav`; takes 0 to 4 are held out.

    Raises:
        DataError: a file that cannot be used (see `load_wav_folder`) or is not named like this.
    """
    waves, names, notes = _read_all(path, LENGTH, SAMPLE_RATE)
    parts = [FSDD_NAME.fullmatch(PurePosixPath(name).name) for name in names]
    for name, part in zip(names, parts, strict=True):
        if part is None:
            raise DataError(f"{path}/{name} is not named {{digit}}_{{speaker}}_{{take}}.wav")
    labels = torch.tensor([int(part["digit"]) for part in parts])
    test = torch.tensor([int(part["take"]) < TEST_TAKES for part in parts])
    if test.all() or not test.any():
        raise DataError(f"{path} needs takes below {TEST_TAKES} (the test set) and others; it has only one of the two")
    count = len(names)
    name = "Free Spoken Digit Dataset" + (f" ({count:,} recordings)" if count != FSDD_RECORDINGS else "")
    others = sorted({part["speaker"] for part in parts} - FSDD_SPEAKERS)
    if others:
        folder = path.parent.name if path.name == "recordings" else path.name
        name = f"spoken digits of {folder} ({count:,} recordings)"
        why = f"{others[0]!r} is none of its speakers"
        notes = (
            f"{path} is not the Free Spoken Digit Dataset ({why}), so the data are called after the folder",
            *notes,
        )
    return Dataset(
        name=name,
        source="real",
        kind="audio",
        train=waves[~test],
        test=waves[test],
        train_labels=labels[~test],
        test_labels=labels[test],
        classes=tuple(str(digit) for digit in range(10)),
        info={"sample_rate": SAMPLE_RATE},
        notes=notes,
    )


def load_wav_folder(path: str | Path, length: int = LENGTH, sample_rate: int = SAMPLE_RATE) -> Dataset:
    """Every WAV of a folder, a tar or a zip archive as (N, 1, length) in [-1, 1]; a fixed tenth is held out, no labels.

    Channels are averaged (where they cancel, the first loud one is taken, and a note says so), a constant offset is
    taken off, silence at both ends is cut, and the rest is centred in `length` samples: padded with zeros, or cropped
    around its energy, with the peak at 0.9.

    Raises:
        DataError: no WAV files, or sounds in other formats among them; a file that is truncated, corrupt, silent,
            shorter than 10 ms, or of another sample rate.
    """
    waves, _, notes = _read_all(Path(path), length, sample_rate)
    train, test = held_out(len(waves), where=path)
    return Dataset(
        name=f"recordings of {Path(path).name}",
        source="real",
        kind="audio",
        train=waves[train],
        test=waves[test],
        info={"sample_rate": sample_rate},
        notes=notes,
    )


def _read_all(path: Path, length: int, sample_rate: int) -> tuple[torch.Tensor, list[str], tuple[str, ...]]:
    """All recordings (N, 1, length), their names, and what to know about them."""

    def decode():
        waves, cancelled = {}, []
        for name, content in read_members(path, (".wav",), KIN):
            wave, alone = mixed(_channels(content, sample_rate, f"{path}/{name}"))
            waves[name] = fit(wave, length, sample_rate)
            cancelled += [name] if alone else []
        notes = []
        if cancelled:
            first = f"{path}/{cancelled[0]}"
            notes = [
                f"in {len(cancelled):,} recordings the channels cancel, so one is taken alone: {first} is the first"
            ]
        stacked = torch.from_numpy(np.stack([*waves.values()]))[:, None]
        return {"waves": stacked}, {"names": list(waves), "notes": notes}

    label = f"wav-{RECIPE}-{length}-{sample_rate}"
    tensors, words = decoded(label, [path], decode) if path.is_file() else decode()
    return tensors["waves"], words["names"], tuple(words["notes"])


RECIPE = 2
"""Of reading sounds. Raise the number when it changes, and what was decoded before is read again."""


def read_wav(content: bytes, sample_rate: int, name: str) -> np.ndarray:
    """The samples (L,) float32 of a WAV file, channels averaged, or the first loud one alone where they cancel.

    Raises:
        DataError: a file that is truncated, corrupt, empty, silent, shorter than 10 ms, or of another sample rate.
    """
    return mixed(_channels(content, sample_rate, name))[0]


def _channels(content: bytes, sample_rate: int, name: str) -> np.ndarray:
    """The samples (L, channels) float32."""
    if content[:4] not in FORMATS:
        raise DataError(f"{name} cannot be read as a WAV file: it begins with {content[:4]!r}, a WAV file with b'RIFF'")
    samples, rate = decode_sound(content, name, "a WAV file")
    if rate != sample_rate:
        raise DataError(f"{name} has a sample rate of {rate} Hz; accepted is {sample_rate} Hz")
    refuse_silence(samples, rate, name)
    return samples


def decode_sound(content: bytes, name: str, what: str = "a sound") -> tuple[np.ndarray, int]:
    """The samples (L, channels) float32 of a sound file, and its sample rate in Hz.

    Raises:
        DataError: it cannot be read or is truncated; the message calls it `name`, and what it should be `what`.
    """
    import soundfile

    announced = announced_length(content)
    if announced is not None and len(content) < announced:
        raise DataError(f"{name} is truncated: its header announces {announced:,} bytes, the file has {len(content):,}")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            wanted, rate = file.frames, file.samplerate
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as fault:
        reason = getattr(fault, "error_string", fault)
        raise DataError(f"{name} cannot be read as {what}: {reason}") from fault
    if len(samples) < COMPLETE * wanted:
        raise DataError(f"{name} is truncated: it announces {wanted:,} samples and has {len(samples):,}")
    return samples, rate


def refuse_silence(samples: np.ndarray, rate: int, name: str) -> None:
    """See that samples (L, channels) at `rate` Hz are a sound.

    Raises:
        DataError: they are empty, not finite, silent, constant, or shorter than 10 ms; the message begins with `name`.
    """
    if not samples.size:
        raise DataError(f"{name} is empty")
    if not np.isfinite(samples).all():
        raise DataError(f"{name} has samples that are not finite")
    if np.abs(samples - samples.mean(axis=0)).max() < QUIET:
        value = samples[:, np.abs(samples).mean(axis=0).argmax()].mean()
        raise DataError(f"{name} is {'silent' if abs(value) < QUIET else f'a constant {value:.2g} without any sound'}")
    if len(samples) < rate // 100:
        raise DataError(f"{name} has {len(samples)} samples, which is less than 10 ms")


def mixed(samples: np.ndarray) -> tuple[np.ndarray, bool]:
    """The mean (L,) of the channels (L, C), or the first loud one where they cancel, and whether they do.

    One wire of a balanced cable is the other upside down: recorded as stereo, their mean is rounding noise.
    """
    mean, power = samples.mean(axis=1), samples.var(axis=0, dtype=np.float64)  # (L,) and (C,)
    if mean.var(dtype=np.float64) < CANCELLED * power.sum() / len(power) ** 2:
        return samples[:, np.argmax(power > power.max() / 2)], True
    return mean, False


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
