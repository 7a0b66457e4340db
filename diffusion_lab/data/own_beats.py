"""Heartbeats of the user's own: electrocardiograms in PhysioNet's format (`beyond` extra)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.electrocardiogram import CENTRE, CLASSES, LEADS, LENGTH, SAMPLE_RATE
from diffusion_lab.data.heartbeats import chosen, laid_out, read_annotations, read_leads
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.data.splits import splits_of
from diffusion_lab.data.storage import held_out
from diffusion_lab.errors import DataError

SUFFIXES = (".hea", ".dat", ".mat", ".atr")
KIN = (".edf", ".bdf", ".xml", ".scp", ".dcm")
"""Electrocardiograms too, of devices; wfdb's own tools convert EDF."""
ONE_IN = 5
"""Folders of which one is held out, or records that lie in one folder, where no folder is called `test`."""


def load_own_beats(own: OwnData) -> Dataset:
    """A folder or archive of records as strips (N, 2, 512) in mV, 4 s at 128 Hz, each around a heartbeat.

    With annotations, NAME.atr, beats are of the classes of `load_heartbeats` that occur; without any, wfdb's detector
    looks for the beats, and there are no classes. At most 60 of a class come from one record. Whole records are held
    out: those in folders such as `test`; else all those of one folder in five, since a folder is often a patient; else,
    where all lie in one folder, one record in five. `info` is that of `load_heartbeats`; its records go by their paths
    in the folder.

    Raises:
        DataError: `wfdb` is not installed; no records, or only one; one that is truncated, without the leads (MLII or
            II, and one of V1 to V6), shorter than a strip, or slower than 80 samples a second; annotations of some
            records and not of others; no beats among the records to train on or held out; held-out beats of other
            classes only.
    """
    names, strips, labels, records, rates, others, marked = [], [], [], [], Counter(), [], []
    for name, header in laid_out(own.path, SUFFIXES, KIN):
        names.append(str(PurePosixPath(name).with_suffix("")))
        where = f"{own.path}/{names[-1]}"
        signal, chest, rate = read_leads(header, where)
        annotated = header.with_suffix(".atr").is_file()
        symbols, samples = read_annotations(header, where, rate) if annotated else _detected(signal)
        rows, classes = chosen(symbols, samples, signal.shape[1])
        strips += [signal[:, row - CENTRE : row - CENTRE + LENGTH] for row in rows]
        labels += classes
        records += [len(names) - 1] * len(rows)
        rates[rate] += 1
        others += [chest] if chest != LEADS[1] else []
        marked.append(annotated)
    if any(marked) and not all(marked):
        raise DataError(
            f"{own.path}/{names[marked.index(False)]} has no annotations (.atr), and {sum(marked):,} of {len(names):,} "
            "records have some; give those of all, or of none"
        )
    splits, notes = _splits(own.path, names)
    rows, kinds = torch.tensor(records, dtype=torch.long), torch.tensor(labels, dtype=torch.long)
    train, test = (torch.tensor([split == side for split in splits])[rows] for side in ("train", "test"))
    for what, part in (("to train on", train), ("held out", test)):
        if not bool(part.any()):
            raise DataError(f"{own.path}: no record {what} has a beat with two seconds of signal on either side")
    present = [label for label in range(len(CLASSES)) if bool((train & (kinds == label)).any())]
    strange = test & ~torch.isin(kinds, torch.tensor(present))
    test &= ~strange
    _require_some(test, own.path)
    labelled = all(marked) and len(present) > 1
    signals = torch.from_numpy(np.stack(strips).astype(np.float32))
    numbers = torch.tensor([present.index(label) if label in present else -1 for label in labels])
    return Dataset(
        name=f"{own.name} ({int(train.sum()):,} to train on)",
        source="own",
        kind="leads",
        train=signals[train],
        test=signals[test],
        train_labels=numbers[train] if labelled else None,
        test_labels=numbers[test] if labelled else None,
        classes=tuple(CLASSES[label] for label in present) if labelled else (),
        info={
            "sample_rate": SAMPLE_RATE,
            "leads": LEADS,
            "unit": "mV",
            "train_records": rows[train],
            "test_records": rows[test],
            "records": tuple(names),
        },
        notes=(*_notes(rates, others, all(marked), strange), *notes),
    )


def _splits(path: Path, names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """For each record "train", "test" or "", which is left out; and notes, the first of which says what is held out."""
    splits, notes = splits_of(path, names)
    what = "whole records are held out, not single beats"
    if "test" not in splits:
        parents = [PurePosixPath(name).parts[:-1] for name in names]
        # The outermost folders that differ: below a patient's there may be one for each visit.
        depths = range(1, max(len(parts) for parts in parents) + 1)
        apart = next((depth for depth in depths if len({parts[:depth] for parts in parents}) > 1), 0)
        groups = [parts[:apart] for parts in parents]
        if apart:
            what = "whole folders are held out, as if each were a patient"
        else:
            groups = [(name,) for name in names]
            notes = (
                *notes,
                "all records lie in one folder: a patient with several of them may be on both sides; a folder for each "
                "patient prevents that",
            )
        different = sorted(set(groups))
        held = {different[row] for row in held_out(len(different), ONE_IN, where=path)[1].tolist()}
        splits = ["test" if group in held else "train" for group in groups]
    there = [name for name, split in zip(names, splits, strict=True) if split == "test"]
    more = f" and {len(there) - 8:,} more" if len(there) > 8 else ""
    return splits, (f"{what}: {', '.join(there[:8])}{more}", *notes)


def _detected(signal: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Beats in leads (2, L), found by wfdb in the first: symbols that say nothing more, and their samples."""
    from wfdb.processing import xqrs_detect

    samples = np.asarray(xqrs_detect(signal[0], SAMPLE_RATE, verbose=False), dtype=int)
    return ["N"] * len(samples), samples


def _require_some(test: Tensor, path: Path) -> None:
    if not bool(test.any()):
        raise DataError(f"{path}: the records held out have beats of other classes only than those to train on")


def _notes(rates: Counter, others: list[str], annotated: bool, strange: Tensor) -> list[str]:
    resampled = ", ".join(f"{count:,} from {rate:g} Hz" for rate, count in sorted(rates.items()) if rate != SAMPLE_RATE)
    notes = [
        f"{rates.total():,} records at {SAMPLE_RATE} Hz"
        + (f" (resampled: {resampled})" if resampled else "")
        + f", strips of {LENGTH / SAMPLE_RATE:g} s around their beats"
    ]
    if not annotated:
        notes.append("there are no annotations (.atr): the beats were looked for in the signal, and have no classes")
    if others:
        found = ", ".join(sorted(set(others)))
        notes.append(f"{len(others):,} of {rates.total():,} records have another chest lead than V1: {found}")
    if bool(strange.any()):
        notes.append(f"{int(strange.sum()):,} held-out beats of classes that nothing trains on are left out")
    return notes
