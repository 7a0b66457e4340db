"""Heartbeats of one's own: any rate and folder; what is said of them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion_lab.data import electrocardiogram as ecg
from diffusion_lab.data.own_beats import _splits, load_own_beats
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.data.splits import splits_of
from diffusion_lab.errors import DataError

wfdb = pytest.importorskip("wfdb")


def record(folder: Path, name: str, rate: int = 128, beats: str = "NANVN", annotated: bool = True) -> Path:
    """A synthetic heart at any rate, with a beat of the given class every four seconds."""
    from scipy.signal import resample_poly

    labels = np.array(["NAV".index(beat) for beat in beats])
    strips, _ = ecg.electrocardiograms(labels, np.random.default_rng(sum(map(ord, name))))
    signal = resample_poly(np.concatenate([*strips], axis=1).T, rate, 128, axis=0)
    folder.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(name, rate, ["mV"] * 2, ["II", "V1"], p_signal=signal, fmt=["16"] * 2, write_dir=str(folder))
    if annotated:
        middles = (4 * np.arange(len(beats)) + 2) * rate
        wfdb.wrann(name, "atr", middles.astype(int), [*beats], write_dir=str(folder))
    return folder


def test_records_of_any_rate_are_strips_around_their_beats(tmp_path: Path):
    for number, rate in enumerate((128, 257, 1000)):
        record(tmp_path / "clinic", f"p{number}", rate)
    data = load_own_beats(OwnData("beats", tmp_path / "clinic"))
    assert data.classes == ecg.CLASSES and data.train.shape[1:] == (2, 512) and len(data.test) == 5
    assert "3 records at 128 Hz (resampled: 1 from 257 Hz, 1 from 1000 Hz)" in data.notes[0]
    # The label's own beat is in the middle: the limb lead is highest there within 0.4 s on either side.
    normal = data.train[data.train_labels == 0][:, 0]
    assert ((normal[:, 206:306].argmax(1) + 206 - 256).abs() <= 2).all()


def test_beats_without_annotations_are_found_and_have_no_classes(tmp_path: Path):
    for name in ("a", "b", "c"):
        record(tmp_path / name, "r", 250, "NNNNNN", annotated=False)
    data = load_own_beats(OwnData("beats", tmp_path))
    assert data.classes == () and data.test_labels is None and len(data.train) > 20
    strips = torch.cat([data.train, data.test])[:, 0]
    assert ((strips[:, 231:281].argmax(1) + 231 - 256).abs() <= 6).float().mean() > 0.9
    assert "the beats were looked for in the signal" in data.notes[1]


def test_folders_called_test_say_which_records_are_held_out(tmp_path: Path):
    for folder in ("train/ada", "train/ben", "Test/eve"):
        record(tmp_path / folder, "r", beats="NNN" if "train" in folder else "NNNVV")
    data = load_own_beats(OwnData("beats", tmp_path))
    assert len(data.train) == 6 and len(data.test) == 3 and data.classes == ()
    assert "2 held-out beats of classes that nothing" in data.notes[1]
    assert data.notes[2:] == ("whole records are held out, not single beats: Test/eve/r",)
    with pytest.raises(DataError, match="under `test` and none to train on"):
        splits_of(tmp_path, ["Test/eve/r"])


def test_a_patient_with_a_folder_is_on_one_side_only(tmp_path: Path):
    folders = [f"clinic/p{patient}/{visit}" for patient in range(2) for visit in ("may", "june")]
    for number, folder in enumerate(folders):
        record(tmp_path / folder, f"r{number}", beats="NN")
    data = load_own_beats(OwnData("beats", tmp_path))
    records = data.info["records"]
    train, test = (
        {records[row].split("/")[1] for row in data.info[f"{side}_records"].tolist()} for side in ("train", "test")
    )
    assert len(train) == 1 and len(test) == 1 and not train & test and len(data.test) == len(data.info["test_records"])
    held = ", ".join(name for name in records if name.split("/")[1] in test)
    assert data.notes[1:] == (f"whole folders are held out, as if each were a patient: {held}",)
    splits, notes = _splits(tmp_path, [f"clinic/r{number}" for number in range(10)])
    assert splits.count("test") == 2 and "may be on both sides" in notes[1]


def test_annotations_of_some_records_are_not_enough(tmp_path: Path):
    record(tmp_path, "a")
    record(tmp_path, "b", annotated=False)
    with pytest.raises(DataError, match=r"b has no annotations \(.atr\), and 1 of 2 records have some"):
        load_own_beats(OwnData("beats", tmp_path))
    (tmp_path / "b.dat").unlink()
    with pytest.raises(DataError, match=r"b has no samples: b\.dat is not there"):
        load_own_beats(OwnData("beats", tmp_path))
