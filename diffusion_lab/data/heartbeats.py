"""Electrocardiograms of patients: the MIT-BIH Arrhythmia Database, or any records that `wfdb` reads (`beyond` extra).

A record is three files of PhysioNet's format: `NAME.hea` says what is there, `NAME.dat` has the samples, and
`NAME.atr` what cardiologists said of each beat. Strips of four seconds are cut around beats. There is a limit for each
class in each record, so that no patient decides alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.electrocardiogram import CENTRE, CLASSES, LEADS, LENGTH, SAMPLE_RATE
from diffusion_lab.data.storage import decoded, held_out, read_members
from diffusion_lab.errors import DataError

CLASS_OF = {**dict.fromkeys("NLRje", 0), **dict.fromkeys("AaJS", 1), **dict.fromkeys("VE", 2)}
"""From the annotators' symbols to the first three classes of the standard AAMI EC57."""
PACED = {"102", "104", "107", "217"}
"""Records of MIT-BIH with a pacemaker, which the same standard leaves out."""
HELD_OUT = set("100 103 105 111 113 117 121 123 200 210 212 213 214 219 221 222 228 231 232 233 234".split())
"""The test patients of de Chazal, O'Dwyer & Reilly 2004, but for 202: it is the patient of record 201, who trains."""
MIT_BIH = {*map(str, [*range(100, 125), *range(200, 235)])}
RECORDS = 48
MOST = 60
"""Strips of one class from one record."""
BAND = (0.5, 40.0)
"""Hz. Below it lies the wandering baseline, above it the muscles and the mains; a monitor shows the same band."""
RECIPE = 1
"""Of reading records. Raise the number when it changes, and what was decoded before is read again."""
KIN = (".edf", ".bdf", ".mat", ".qrs")


def load_heartbeats(path: Path) -> Dataset:
    """Strips (N, 2, 512) in mV, 4 s at 128 Hz, leads MLII and V1 (or another chest lead), split by patient.

    Raises:
        DataError: `wfdb` is not installed; no records; one without header, annotations or signal, truncated, without
            the leads, shorter than a strip, slower than 80 samples a second; no beat of some class; fewer than two
            patients.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    tensors, words = decoded(f"beats-{RECIPE}", files, lambda: _decode(path))
    records, rows = words["records"], tensors["record"]
    test = _patients_held_out(records, path)
    held = torch.tensor([record in test for record in records])[rows]
    labels, strips = tensors["labels"], tensors["strips"]
    for name, part in (("to train on", ~held), ("held out", held)):
        missing = sorted({*range(len(CLASSES))} - {*labels[part].tolist()})
        if missing:
            raise DataError(f"{path} has no {CLASSES[missing[0]]} beat among the patients {name}")
    own = not set(records) <= MIT_BIH
    all_of_them = len(set(records)) == RECORDS - len(PACED)
    name = "MIT-BIH Arrhythmia Database" + ("" if all_of_them else f" ({len(records)} records)")
    return Dataset(
        name=f"heartbeats of {path.name}" if own else name,
        source="real",
        kind="leads",
        train=strips[~held],
        test=strips[held],
        train_labels=labels[~held],
        test_labels=labels[held],
        classes=CLASSES,
        info={
            "sample_rate": SAMPLE_RATE,
            "leads": LEADS,
            "unit": "mV",
            "train_records": rows[~held],
            "test_records": rows[held],
            "records": tuple(records),
        },
        notes=(
            f"patients are held out, not beats: records {', '.join(sorted(test))}",
            *words["notes"],
        ),
    )


def _patients_held_out(records: list[str], path: Path) -> set[str]:
    """The records to test on: de Chazal's where they are MIT-BIH's, and otherwise every fifth."""
    if set(records) <= MIT_BIH and set(records) & HELD_OUT and set(records) - HELD_OUT:
        return set(records) & HELD_OUT
    if len(records) < 2:
        raise DataError(f"{path} has one record, {records[0]}; at least 2 are needed, so that a patient is held out")
    return {records[int(row)] for row in held_out(len(records), one_in=5)[1]}


def _decode(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, list[str]]]:
    strips, labels, record_of, records, others = [], [], [], [], []
    for name, header in _headers(path):
        if name in PACED:
            continue
        signal, symbols, samples, chest = read_record(header, f"{path}/{name}")
        others += [f"{name} ({chest})"] if chest != LEADS[1] else []
        rows, classes = chosen(symbols, samples, signal.shape[1])
        strips += [signal[:, row - CENTRE : row - CENTRE + LENGTH] for row in rows]
        labels += classes
        record_of += [len(records)] * len(rows)
        records.append(name)
    if not strips:
        raise DataError(f"{path} has no beat with two seconds of signal on either side")
    tensors = {
        "strips": torch.from_numpy(np.stack(strips).astype(np.float32)),
        "labels": torch.tensor(labels),
        "record": torch.tensor(record_of),
    }
    notes = [f"{len(others)} of {len(records)} records have another chest lead than V1: {', '.join(others)}"]
    return tensors, {"records": records, "notes": notes if others else []}


def _headers(path: Path) -> Iterator[tuple[str, Path]]:
    """(name, header) of each record."""
    for _, header in laid_out(path, (".hea", ".dat", ".atr"), KIN):
        yield header.stem, header


def laid_out(path: Path, suffixes: tuple[str, ...], kin: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """(relative name, header) of each record of a folder or an archive, its files laid into a folder for the while."""
    with tempfile.TemporaryDirectory() as folder:
        found, names = [], []
        for name, content in read_members(path, suffixes, kin):
            names.append(PurePosixPath(name))
            file = Path(folder) / PurePosixPath(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            found += [(name, file)] if file.suffix == ".hea" else []
        if not found:
            raise DataError(f"{path} has no header file NAME.hea, which says what the others are")
        _require_headers(path, names)
        yield from found


def _require_headers(path: Path, names: Sequence[PurePosixPath]) -> None:
    """See that no record lacks its header. Annotations alone are no record, such as MIT-BIH's 102-0.atr."""
    there = set(names)
    signals = {name.with_suffix("") for name in names if name.suffix.lower() in (".dat", ".mat")}
    for name in names:
        if name.suffix.lower() == ".atr" and name.with_suffix("") in signals and name.with_suffix(".hea") not in there:
            raise DataError(f"{path}/{name.with_suffix('')} has no header: {name.stem}.hea is not there")


def read_record(header: Path, name: str) -> tuple[np.ndarray, list[str], np.ndarray, str]:
    """One record: leads (2, L) in mV at 128 Hz between 0.5 and 40 Hz, symbols, their samples, the chest lead's name.

    Raises:
        DataError: see `load_heartbeats`; the message begins with `name`.
    """
    if not header.with_suffix(".atr").is_file():
        raise DataError(f"{name} has no annotations: {header.stem}.atr is not there")
    signal, chest, rate = read_leads(header, name)
    symbols, samples = read_annotations(header, name, rate)
    return signal, symbols, samples, chest


def read_annotations(header: Path, name: str, rate: float) -> tuple[list[str], np.ndarray]:
    """What cardiologists said of a record of `rate` samples a second: symbols, and their samples at 128 Hz.

    Raises:
        DataError: the file NAME.atr cannot be read; the message begins with `name`.
    """
    import wfdb

    try:
        notes = wfdb.rdann(str(header.with_suffix("")), "atr")
    except Exception as fault:  # wfdb raises whatever its parsing stumbles over
        raise DataError(_unreadable(name, fault)) from fault
    return list(notes.symbol), np.round(np.asarray(notes.sample) * SAMPLE_RATE / rate).astype(int)


def _unreadable(name: str, fault: Exception) -> str:
    return f"{name} cannot be read: {str(fault).strip().partition(chr(10))[0] or type(fault).__name__}"


def read_leads(header: Path, name: str) -> tuple[np.ndarray, str, float]:
    """A record's leads (2, L) in mV at 128 Hz between 0.5 and 40 Hz, the chest lead's name, and the rate it came in.

    The filter runs forwards and backwards, so that it moves no peak. Leads go by their names, not by their places.

    Raises:
        DataError: see `load_heartbeats`; the message begins with `name`.
    """
    try:
        import wfdb
    except ImportError as fault:
        raise DataError("wfdb is needed for heart records; `pip install diffusion-lab[beyond]` adds it") from fault
    from scipy.signal import butter, resample_poly, sosfiltfilt

    try:
        files = getattr(wfdb.rdheader(str(header.with_suffix(""))), "file_name", None) or ()
        absent = [file for file in files if not (header.parent / file).is_file()]
        record = None if absent else wfdb.rdrecord(str(header.with_suffix("")))
    except Exception as fault:  # wfdb raises whatever its parsing stumbles over
        raise DataError(_unreadable(name, fault)) from fault
    if absent:
        raise DataError(f"{name} has no samples: {absent[0]} is not there")
    rate = float(record.fs)
    if rate < 2 * BAND[1]:
        raise DataError(f"{name} has {rate:g} samples a second; at least {2 * BAND[1]:g} are needed")
    first, second, chest = _leads(record, name)
    signal = np.stack([first, second])
    if signal.shape[1] < LENGTH / SAMPLE_RATE * rate:
        raise DataError(
            f"{name} has {signal.shape[1]:,} samples, {signal.shape[1] / rate:.3g} s; a strip takes four seconds"
        )
    if not np.isfinite(signal).all():
        raise DataError(f"{name} has gaps: {int((~np.isfinite(signal)).any(0).sum()):,} samples are not finite")
    if signal.std(axis=1).min() < 1e-4:
        raise DataError(f"{name} has a lead that is flat")
    band = butter(2, BAND, "bandpass", fs=rate, output="sos")
    signal = sosfiltfilt(band, signal, axis=1)
    ratio = Fraction(SAMPLE_RATE / rate).limit_denominator(1000)
    if ratio != 1:
        signal = resample_poly(signal, ratio.numerator, ratio.denominator, axis=1)
    return signal, chest, rate


def _leads(record: Any, name: str) -> tuple[np.ndarray, np.ndarray, str]:
    """The limb lead and a chest lead (L,) each in mV, and the name of the second."""
    names = [lead.strip().upper() for lead in record.sig_name]
    limb = next((lead for lead in ("MLII", "II") if lead in names), None)
    chest = next((lead for lead in ("V1", "V2", "V3", "V4", "V5", "V6") if lead in names), None)
    if limb is None or chest is None:
        raise DataError(
            f"{name} has the leads {', '.join(record.sig_name)}; needed are MLII (or II) and one of V1 to V6"
        )
    scale = {"mV": 1.0, "uV": 1e-3, "µV": 1e-3, "V": 1e3}
    picked = []
    for lead in (limb, chest):
        column = names.index(lead)
        unit = record.units[column]
        if unit not in scale:
            raise DataError(f"{name} gives lead {lead} in {unit!r}; accepted are {', '.join(scale)}")
        picked.append(record.p_signal[:, column] * scale[unit])
    return picked[0], picked[1], chest


def chosen(symbols: list[str], samples: np.ndarray, length: int) -> tuple[list[int], list[int]]:
    """The middles of the strips to cut and their classes: evenly over the record, at most MOST of a class."""
    rows, classes = [], []
    fits = [CENTRE <= sample <= length - (LENGTH - CENTRE) for sample in samples]
    for label in range(len(CLASSES)):
        of_class = [
            int(sample)
            for symbol, sample, inside in zip(symbols, samples, fits, strict=True)
            if inside and CLASS_OF.get(symbol) == label
        ]
        picked = np.unique(np.linspace(0, len(of_class) - 1, min(MOST, len(of_class))).round().astype(int))
        rows += [of_class[index] for index in picked]
        classes += [label] * len(picked)
    return rows, classes
