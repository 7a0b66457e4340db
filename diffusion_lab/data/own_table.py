"""A table of numbers of the user's own: each row a point, each column a coordinate."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.data.own_lines import read_lines
from diffusion_lab.data.storage import held_out
from diffusion_lab.errors import DataError

SEPARATORS = ";\t,|"
SEPARATOR_LINE = re.compile("(?i)sep=(.)")
"""Excel's own first line."""
WIDEST = 256


def load_own_table(own: OwnData) -> Dataset:
    """A text file of numbers as points (N, D): each column centred, and divided by its standard deviation.

    Columns are separated by semicolons, tabs, commas, bars or spaces, or as Excel's line `sep=;` says. The first line
    may name them, and where the separator is no comma, numbers may have one as decimal sign. A fixed tenth of the rows
    is held out. `info` has `centre` and `scale` (D,), of the rows to train on, and `columns`, the names.

    Raises:
        DataError: no such text (see `read_lines`); a cell that is no finite number, or a row of another length, with
            their line; a column with one value only; fewer than two rows, or more than 256 columns.
    """
    if own.path.suffix.lower() in (".xlsx", ".xls", ".ods"):
        raise DataError(f"{own.path} is a sheet; save it as CSV")
    lines = [(number, line) for number, line in enumerate(read_lines(own.path), start=1) if line.strip()]
    if told := SEPARATOR_LINE.fullmatch(lines[0][1]):
        lines = lines[1:]
        if not lines:
            raise DataError(f"{own.path} has no row below its first line")
    separator = told[1] if told else next((sign for sign in SEPARATORS if sign in lines[0][1]), " ")
    rows = [(number, _cells(line, separator)) for number, line in lines]
    names = [f"column {place}" for place in range(1, len(rows[0][1]) + 1)]
    named = all(_number(cell, separator) is None for cell in rows[0][1])
    if named:
        names = rows.pop(0)[1]
    if not 1 <= len(names) <= WIDEST:
        raise DataError(f"{own.path} has {len(names)} columns; 1 to {WIDEST} are accepted")
    numbers = [_row(own.path, number, cells, names, separator) for number, cells in rows]
    train, test = held_out(len(numbers), where=own.path)
    points = torch.tensor(numbers, dtype=torch.float64)
    scale, centre = torch.std_mean(points[train], dim=0, correction=0)
    constant = [name for name, value in zip(names, scale.tolist(), strict=True) if not value > 0]
    if constant:
        raise DataError(f"{own.path}: {constant[0]!r} is the same in every row; leave out what does not vary")
    points = ((points - centre) / scale).float()
    return Dataset(
        name=f"{own.name} ({len(train):,} to train on)",
        source="own",
        kind="points",
        train=points[train],
        test=points[test],
        info={"centre": centre.float(), "scale": scale.float(), "columns": tuple(names)},
        notes=(
            f"{len(numbers):,} rows of {len(names)} columns ({', '.join(names[:8])}{', …' if len(names) > 8 else ''}), "
            "each centred and scaled for the network; samples are in the units of the file",
        ),
    )


def _cells(line: str, separator: str) -> list[str]:
    if separator == " ":
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]


def _row(path: Path, line: int, cells: Sequence[str], names: Sequence[str], separator: str) -> list[float]:
    if len(cells) != len(names):
        raise DataError(f"{path}, line {line}: {len(cells)} columns, expected {len(names)}")
    values = [_number(cell, separator) for cell in cells]
    for cell, value, name in zip(cells, values, names, strict=True):
        if value is None or not math.isfinite(value):
            what = f"{cell[:30]!r} is no finite number" if cell else "the cell is empty"
            raise DataError(f"{path}, line {line}, {name}: {what}")
    return values


def _number(cell: str, separator: str) -> float | None:
    if separator != "," and cell.count(",") == 1 and "." not in cell:
        cell = cell.replace(",", ".")
    try:
        return float(cell) if "_" not in cell else None
    except ValueError:
        return None
