"""Synthetic electrocardiograms against the paper's own equations, and records of patients: what is read and refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from diffusion_lab.data import electrocardiogram as ecg
from diffusion_lab.data import load
from diffusion_lab.data.heartbeats import HELD_OUT, PACED, load_heartbeats
from diffusion_lab.errors import DataError

wfdb = pytest.importorskip("wfdb")


def test_the_voltage_is_that_of_the_papers_three_equations():
    """With one beat a second and the waves of table I, the strip is what a solver makes of x, y and z (equation 1)."""
    peaks = np.arange(-5.0, 6.0)[None] + 2.0
    sizes = np.tile(ecg.SIZES, (1, 1, 11, 1))
    strip = ecg._integrate(peaks, sizes, np.tile(ecg.WIDTHS, (1, 11, 1)))[0, 0] / ecg.MILLIVOLTS

    def motion(_, state):
        x, y, z = state
        pull, omega = 1 - math.hypot(x, y), 2 * math.pi
        difference = math.atan2(y, x) - ecg.ANGLES
        difference = np.remainder(difference + math.pi, 2 * math.pi) - math.pi
        waves = ecg.SIZES * difference * np.exp(-(difference**2) / (2 * ecg.WIDTHS**2))
        return [pull * x - omega * y, pull * y + omega * x, -waves.sum() - z]

    times = np.arange(ecg.LENGTH) / ecg.SAMPLE_RATE
    wanted = solve_ivp(motion, (-2, 4), [1.0, 0.0, 0.0], t_eval=times, rtol=1e-8, atol=1e-10, max_step=0.005).y[2]
    assert np.abs(strip - wanted).max() < 2e-3 * np.abs(wanted).max()


def test_beats_of_each_class_are_what_their_names_say():
    labels = np.arange(300) % 3
    strips, peaks = ecg.electrocardiograms(labels, np.random.default_rng(0))
    assert strips.shape == (300, 2, ecg.LENGTH) and np.abs(peaks[:, ecg.BEFORE] - 2).max() < 1e-6
    assert (peaks[:, 0] < 0).all() and (peaks[:, -1] > 4).all()  # the strip is full of beats
    before, after = peaks[:, 5] - peaks[:, 4], peaks[:, 6] - peaks[:, 5]
    usual = peaks[:, 4] - peaks[:, 3]
    early = before / usual
    assert early[labels == 0].min() > 0.7 and early[labels == 0].mean() == pytest.approx(1, abs=0.02)
    assert early[labels != 0].mean() == pytest.approx(0.7, abs=0.03)
    pause = (before + after) / (2 * usual)  # after a ventricular beat the next comes when it was due
    assert pause[labels == 2].mean() == pytest.approx(1, abs=0.03) and pause[labels == 1].mean() < 0.9
    wide = [(np.abs(strips[labels == c, 0, 256:320]) > 0.5).mean() for c in range(3)]
    assert wide[2] > 3 * max(wide[:2])


def test_a_seed_gives_the_same_strips_and_another_one_others():
    first, again, other = (
        ecg.electrocardiograms(np.arange(6) % 3, np.random.default_rng(seed))[0] for seed in (1, 1, 2)
    )
    assert (first == again).all() and (first != other).any()


def record(folder: Path, name: str, rate: int = 360, leads=("MLII", "V1"), beats: str = "NNNAVNNN", **more) -> Path:
    """A record of 5 s before the first beat and one beat each second, with a triangle of 1 mV at each."""
    folder.mkdir(parents=True, exist_ok=True)
    seconds = len(beats) + 8
    signal = 0.01 * np.random.default_rng(0).standard_normal((seconds * rate, len(leads)))
    at = [(5 + number) * rate for number in range(len(beats))]
    for middle in at:
        width = rate // 25
        signal[middle - width : middle + width + 1, 0] += 1 - np.abs(np.arange(-width, width + 1)) / width
    units = more.pop("units", "mV")
    wfdb.wrsamp(
        name, rate, [units] * len(leads), [*leads], p_signal=signal * (1000 if units == "uV" else 1),
        fmt=["16"] * len(leads), write_dir=str(folder),
    )  # fmt: skip
    if more.pop("annotated", True):
        wfdb.wrann(name, "atr", np.array(at), [*beats], write_dir=str(folder))
    return folder


def brief(folder: Path, samples: int) -> None:
    """A record of so many samples at 360 Hz in place of p1."""
    signal = np.random.default_rng(0).standard_normal((samples, 2))
    wfdb.wrsamp("p1", 360, ["mV"] * 2, ["MLII", "V1"], p_signal=signal, fmt=["16"] * 2, write_dir=str(folder))


def two(folder: Path, **settings) -> Path:
    record(folder, "p1", **settings)
    return record(folder, "p2")


def test_records_of_any_rate_unit_and_order_of_leads_are_read_alike(tmp_path: Path):
    wanted = load_heartbeats(record(record(tmp_path / "a", "p1"), "p2"))
    for number, settings in enumerate(({"rate": 250}, {"units": "uV"}, {"leads": ("II", "V5")})):
        found = load_heartbeats(two(tmp_path / str(number), **settings))
        for strips, others in ((wanted.train, found.train), (wanted.test, found.test)):
            assert strips.shape == others.shape == (8, 2, 512)
            assert (strips[:, 0] - others[:, 0]).abs().max() < 0.1 < strips[:, 0].amax() / 5
    assert "p1 (V5)" in load_heartbeats(tmp_path / "2").notes[1]
    assert wanted.name == "heartbeats of a" and "p1" in wanted.info["records"]


def test_leads_go_by_name(tmp_path: Path):
    folder = two(tmp_path / "x", leads=("V1", "MLII"))
    data = load_heartbeats(folder)
    strips = torch.cat([data.train, data.test])[torch.cat([data.info["train_records"], data.info["test_records"]]) == 0]
    assert strips[:, 1].abs().max() > 0.5 > strips[:, 0].abs().max()  # the triangles are in V1 there


def test_the_middle_of_a_strip_is_the_annotated_beat(tmp_path: Path):
    folder = record(record(tmp_path / "a", "p1"), "p2")
    (folder / "p1-0.atr").write_bytes((folder / "p1.atr").read_bytes())  # a second reading, as MIT-BIH has one of 102
    data = load_heartbeats(folder)
    assert data.test[:, 0, 250:263].amax(-1).min() > 0.4 and data.classes[1] == "supraventricular"
    assert data.test_labels.bincount().tolist() == [6, 1, 1]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "p1.atr").unlink(), "p1 has no annotations: p1.atr is not there"),
        (lambda f: (f / "p1.dat").unlink(), "p1 has no samples: p1.dat is not there"),
        (lambda f: (f / "p1.dat").write_bytes((f / "p1.dat").read_bytes()[:1000]), "p1 cannot be read"),
        (lambda f: (f / "p1.hea").write_text("nonsense"), "p1 cannot be read"),
        (lambda f: [x.unlink() for x in f.glob("*.hea")], "has no header file"),
        (lambda f: (f / "p1.hea").unlink(), "p1 has no header: p1.hea is not there"),
        (lambda f: brief(f, 5), "p1 has 5 samples, 0.0139 s; a strip takes four seconds"),
        (lambda f: brief(f, 1439), "p1 has 1,439 samples"),
        (lambda f: [x.unlink() for x in f.glob("p1.*")], "has one record, p2"),
        (lambda f: record(f, "p1", leads=("MLII", "RESP")), "has the leads MLII, RESP; needed are"),
        (lambda f: record(f, "p1", rate=50), "has 50 samples a second; at least 80"),
        (lambda f: record(f, "p1", beats="NNNN"), "has no supraventricular beat among the patients"),
        (lambda f: record(f, "p1", units="mmHg"), "in 'mmHg'; accepted are"),
        (lambda f: (f / "x.edf").touch(), "is of a kind that is not read here"),
    ],
    ids="notes samples cut header headers headless short shorter one leads slow class unit kin".split(),
)
def test_what_cannot_be_read_is_refused_with_the_file_and_the_reason(tmp_path: Path, spoil, said: str):
    folder = record(record(tmp_path / "a", "p1"), "p2")
    spoil(folder)
    with pytest.raises(DataError, match=said):
        load_heartbeats(folder)


def test_without_wfdb_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = record(record(tmp_path / "a", "p1"), "p2")
    monkeypatch.setitem(__import__("sys").modules, "wfdb", None)
    with pytest.raises(DataError, match=r"pip install diffusion-lab\[beyond\]"):
        load_heartbeats(folder)


@pytest.mark.real_data
def test_mit_bih_is_split_by_patient():
    data = load("heartbeats", source="real")
    assert data.name.startswith("MIT-BIH Arrhythmia Database") and data.train.shape[1:] == (2, 512)
    records = data.info["records"]
    train, test = ({records[i] for i in data.info[f"{part}_records"].tolist()} for part in ("train", "test"))
    assert test <= HELD_OUT and not train & (HELD_OUT | PACED)
    assert {"201", "202"} & test == set()  # one patient
    assert min(data.train_labels.bincount().min(), data.test_labels.bincount().min()) > 100
