"""Synthesised digits, and recordings: what is cut, scaled and refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import lfilter
from sklearn.linear_model import RidgeClassifier

from diffusion_lab.data import Dataset, load
from diffusion_lab.data.recordings import fit, load_wav_folder, read_wav
from diffusion_lab.data.speech import _pulses, _resonate, synthesise
from diffusion_lab.errors import DataError


def tone(seconds: float = 0.2, rate: int = 8000, frequency: float = 440) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def save(path: Path, wave: np.ndarray, rate: int = 8000, **settings: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, **settings)
    return path


@pytest.fixture
def fsdd(tmp_path: Path) -> Path:
    """fsdd/recordings with 10 digits, 2 speakers and takes 3 to 7; digit d is a tone of 300 + 100 d Hz."""
    for digit in range(10):
        for speaker in ("george", "theo"):
            for take in range(3, 8):
                wave = tone(0.1 + 0.01 * take, frequency=300 + 100 * digit)
                save(tmp_path / "fsdd" / "recordings" / f"{digit}_{speaker}_{take}.wav", wave)
    return tmp_path / "fsdd" / "recordings"


def spectrum_peak(wave: torch.Tensor) -> float:
    return float(torch.fft.rfft(wave).abs().argmax()) * 8000 / len(wave)


def test_spoken_digits_are_split_by_take(fsdd: Path):
    data = load("audio", source="real", root=fsdd.parents[1])
    assert data.name == "Free Spoken Digit Dataset (100 recordings)" and data.info["sample_rate"] == 8000
    assert data.train.shape == (60, 1, 4096) and data.test.shape == (40, 1, 4096)
    for waves, labels in ((data.train, data.train_labels), (data.test, data.test_labels)):
        for wave, label in zip(waves, labels, strict=True):
            assert spectrum_peak(wave[0]) == pytest.approx(300 + 100 * int(label), abs=5)
            assert wave.abs().max() == pytest.approx(0.9)


def test_a_name_that_says_no_digit_is_refused(fsdd: Path):
    (fsdd / "1_george_3.wav").rename(fsdd / "one_george_3.wav")
    with pytest.raises(DataError, match=rf"{fsdd}/one_george_3\.wav is not named"):
        load("audio", root=fsdd.parents[1])


def test_takes_of_one_split_alone_are_refused(fsdd: Path):
    for file in fsdd.glob("*_[34].wav"):
        file.unlink()
    with pytest.raises(DataError, match="takes below 5"):
        load("audio", root=fsdd.parents[1])


def test_any_folder_of_wav_files(tmp_path: Path):
    for number in range(11):
        save(tmp_path / f"{number}.wav", tone(rate=16_000), rate=16_000)
    data = load_wav_folder(tmp_path, length=1000, sample_rate=16_000)
    assert data.train.shape == (10, 1, 1000) and data.test.shape == (1, 1, 1000)
    assert data.train_labels is None and data.source == "real"


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8"])
def test_channels_and_sample_formats(subtype: str, tmp_path: Path):
    both = np.stack([tone(), 0 * tone()], axis=1)
    file = save(tmp_path / "a.wav", both, subtype=subtype)
    np.testing.assert_allclose(read_wav(file.read_bytes(), 8000, "a.wav"), tone() / 2, atol=0.01)


def test_another_rate_is_refused(fsdd: Path):
    bad = save(fsdd / "4_george_6.wav", tone(rate=44_100), rate=44_100)
    with pytest.raises(DataError, match=rf"{bad} has a sample rate of 44100 Hz; accepted is 8000 Hz"):
        load("audio", root=fsdd.parents[1])


@pytest.mark.parametrize("kept", [0, 10, 40, 44, 500, -1])
def test_a_truncated_wav_is_refused(kept: int, fsdd: Path):
    bad = fsdd / "4_george_6.wav"
    bad.write_bytes(bad.read_bytes()[:kept])
    with pytest.raises(DataError, match=rf"{bad} (is truncated|cannot be read)"):
        load("audio", root=fsdd.parents[1])


def test_other_content_is_refused(fsdd: Path):
    (fsdd / "4_george_6.wav").write_bytes(b"<html>not found</html>" * 50)
    with pytest.raises(DataError, match=r"4_george_6\.wav cannot be read as a WAV file"):
        load("audio", root=fsdd.parents[1])


@pytest.mark.parametrize(
    ("wave", "fault"), [(np.zeros(800), "silent"), (np.zeros(0), "empty"), (np.full(800, np.nan), "not finite")]
)
def test_files_without_sound_are_refused(wave: np.ndarray, fault: str, tmp_path: Path):
    file = save(tmp_path / "a.wav", wave, subtype="FLOAT")
    with pytest.raises(DataError, match=f"a.wav .*{fault}"):
        read_wav(file.read_bytes(), 8000, "a.wav")


def test_a_constant_is_named_and_a_constant_offset_taken_off(tmp_path: Path):
    for number in range(3):
        save(tmp_path / f"{number}.wav", tone())
    save(tmp_path / "offset.wav", 0.5 * tone() + 0.4)
    data = load_wav_folder(tmp_path)
    waves = torch.cat([data.train, data.test])[:, 0]
    assert torch.corrcoef(waves).min() > 0.999
    bad = save(tmp_path / "dead.wav", np.full(800, 0.4))
    with pytest.raises(DataError, match=rf"{bad} is a constant 0\.4 without any sound"):
        load_wav_folder(tmp_path)


@pytest.mark.parametrize("share", [1.0, 0.9])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_channels_that_cancel_are_not_mixed(subtype: str, share: float, tmp_path: Path):
    """A balanced cable recorded as stereo: the mean of its wires is rounding noise."""
    for number in range(3):
        save(tmp_path / f"{number}.wav", tone())
    bad = save(tmp_path / "stereo.wav", np.stack([tone(), -share * tone()], axis=1), subtype=subtype)
    np.testing.assert_allclose(read_wav(bad.read_bytes(), 8000, "a.wav"), tone(), atol=1e-4)
    (note,) = load_wav_folder(tmp_path).notes
    assert note.startswith("in 1 recordings the channels cancel") and str(bad) in note


def test_channels_that_differ_are_averaged(tmp_path: Path):
    rng = np.random.default_rng(0)
    for both in (np.stack([tone(), 0 * tone()], 1), 0.1 * rng.standard_normal((1600, 6)), np.stack([tone()] * 2, 1)):
        file = save(tmp_path / "a.wav", both, subtype="FLOAT")
        np.testing.assert_allclose(read_wav(file.read_bytes(), 8000, "a.wav"), both.mean(axis=1), atol=1e-6)


def test_a_click_and_another_kind_of_file_are_named(tmp_path: Path):
    click = save(tmp_path / "click.wav", tone()[:60])
    with pytest.raises(DataError, match=rf"{click} has 60 samples, which is less than 10 ms"):
        load_wav_folder(tmp_path)
    click.unlink()
    save(tmp_path / "0.wav", tone())
    (tmp_path / "song.mp3").touch()
    with pytest.raises(DataError, match=r"song\.mp3 is of a kind that is not read here"):
        load_wav_folder(tmp_path)


def test_recordings_of_others_are_not_called_by_the_name_of_a_data_set(fsdd: Path):
    (fsdd / "1_george_7.wav").rename(fsdd / "1_myself_7.wav")
    data = load("audio", root=fsdd.parents[1])
    assert data.name == "spoken digits of fsdd (100 recordings)"
    assert "'myself' is none of its speakers" in data.notes[0]


def test_a_wav_of_unknown_length_is_read():
    """A program that writes to a pipe leaves the largest number in place of the size."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(), 8000, format="WAV")
    content = bytearray(buffer.getvalue())
    content[4:8] = b"\xff" * 4
    assert len(read_wav(bytes(content), 8000, "pipe.wav")) == len(tone())


def test_an_empty_folder_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=rf"{tmp_path} holds no file .*\.wav"):
        load_wav_folder(tmp_path)


def test_silence_is_cut_and_the_rest_centred():
    wave = np.concatenate([np.zeros(3000), tone(0.1), np.zeros(500)]).astype(np.float32)
    fitted = fit(wave, 4096, 8000)
    sound = np.flatnonzero(fitted)
    assert 700 < sound[-1] - sound[0] < 960
    assert abs((sound[0] + sound[-1]) / 2 - 2048) < 90


def test_a_long_wave_is_cropped_around_its_energy():
    wave = np.concatenate([0.1 * tone(0.5), tone(0.1), 0.1 * tone(0.5)]).astype(np.float32)
    fitted = fit(wave, 1000, 8000)
    loud = np.flatnonzero(np.abs(fitted) > 0.3)
    assert len(fitted) == 1000 and loud[-1] - loud[0] > 700


def test_the_resonator_is_scipys_filter():
    signal = np.random.default_rng(0).standard_normal((3, 200))
    for centre, width in ((500.0, 80.0), (2500.0, 300.0)):
        radius = np.exp(-np.pi * width / 8000)
        poles = [1, -2 * radius * np.cos(2 * np.pi * centre / 8000), radius**2]
        expected = lfilter([sum(poles)], poles, signal)
        np.testing.assert_allclose(_resonate(signal, np.full((1, 1), centre), width), expected, atol=1e-10)


def test_the_voice_has_the_harmonics_of_its_pitch():
    power = np.abs(np.fft.rfft(_pulses(np.full((1, 8000), 125.0))[0, -4096 + 96 :] * np.hanning(4000))) ** 2
    at = np.arange(len(power)) * 2.0  # Hz
    near = np.abs((at + 62.5) % 125 - 62.5) <= 6
    assert power[near].sum() > 0.999 * power.sum()


def test_digits_come_from_the_seed():
    digits = np.arange(10)
    one, again, other = (synthesise(digits, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert np.abs(one).max(axis=1) == pytest.approx(0.9)


def features(waves: torch.Tensor) -> torch.Tensor:
    """Log spectrogram, pooled to 24 bands and 12 times: (N, 288)."""
    window = torch.hann_window(256)
    power = torch.stft(waves[:, 0], 256, 128, window=window, return_complex=True).abs()
    return torch.nn.functional.adaptive_avg_pool2d((power + 1e-3).log()[:, None], (24, 12)).flatten(1)


def accuracy(train: Dataset, test: Dataset) -> float:
    judge = RidgeClassifier(alpha=100).fit(features(train.train), train.train_labels)
    return judge.score(features(test.test), test.test_labels)


@pytest.mark.slow
@pytest.mark.real_data
def test_who_knows_real_digits_recognises_the_synthesised_ones(real_data_folder: Path):
    """Chance is 10%. What was learned on people is of use on the synthesiser: its digits do sound like digits."""
    real, made = load("audio", source="real", root=real_data_folder), load("audio", source="bundled")
    assert accuracy(real, real) > 0.9
    assert accuracy(made, made) > 0.9
    assert accuracy(real, made) > 0.35
