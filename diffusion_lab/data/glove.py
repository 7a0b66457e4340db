"""GloVe's text format: one word a line and then its numbers, separated by single spaces, perhaps gzipped."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusion_lab.data.storage import decoded, left_out
from diffusion_lab.errors import DataError


def read_glove(path: str | Path) -> tuple[list[str], Tensor, tuple[str, ...]]:
    """The words and their vectors (V, D) float32, in the order of the file, and what to know about them.

    A first line of two whole numbers (count and D, as word2vec writes it) is skipped, and so are empty lines. The last
    D columns are the vector: some of GloVe's words are written with spaces. Of a word that is there twice the first
    vector counts. Up to one line in a hundred may be bad: it is left out, and a note names it.

    Raises:
        DataError: a truncated or corrupt file, one that is not UTF-8, or more lines with too few columns or a text for
            a number.
    """
    path = Path(path)
    tensors, words = decoded(f"glove-{RECIPE}", [path], lambda: _parse(path))
    return words["words"], tensors["vectors"], tuple(words["notes"])


RECIPE = 2
"""Of reading vectors. Raise the number when it changes, and what was decoded before is read again."""


def _parse(path: Path) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    lines = _lines(path)
    header = lines[0].split(" ")
    first = 2 if len(header) == 2 and all(part.isdecimal() for part in header) else 1  # the number of the first word
    rows = [(number, line.rstrip(" ")) for number, line in enumerate(lines, start=1) if number >= first]
    rows = [(number, line) for number, line in rows if line]
    # The first line may be a word with spaces: what most of the first lines have is the width.
    counts = Counter(line.count(" ") for _, line in rows[:100])
    width = counts.most_common(1)[0][0] if counts else 0
    if not width:
        raise DataError(f"{path} has no line of the form `word number number ...`")
    split = [_split(line, width) for _, line in rows]
    vectors = _numbers([numbers for _, numbers, _ in split], width)
    faults, words, kept = [], {}, []
    for index, ((number, _), (word, _, fault)) in enumerate(zip(rows, split, strict=True)):
        if not fault and not np.isfinite(vectors[index]).all():
            fault = "a column is not a finite number"
        if fault:
            faults.append(f"{path}, line {number}: {fault}")
        elif word not in words:
            words[word] = number
            kept.append(index)
    repeated = len(rows) - len(faults) - len(kept)
    if faults and faults[-1].startswith(f"{path}, line {rows[-1][0]}:"):
        raise DataError(f"{faults[-1]}; it is the last line: the file seems cut off")
    notes = [*left_out(faults, len(rows), "lines")]
    if repeated:
        notes.append(f"{repeated:,} words of {path} are there more than once; the first vector of each is taken")
    return {"vectors": torch.from_numpy(vectors[kept])}, {"words": list(words), "notes": notes}


def _lines(path: Path) -> list[str]:
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
        raise DataError(f"{path} is truncated or corrupt: {fault}") from fault
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise DataError(f"{path} is truncated or corrupt, or not in UTF-8: {fault}") from fault
    # Not splitlines(): some of GloVe's words hold characters that Python takes for the end of a line.
    return text.rstrip("\n").replace("\r\n", "\n").split("\n")


def _split(line: str, width: int) -> tuple[str, str, str]:
    """A line's word, its `width` numbers as text, and what is wrong with their count."""
    columns = line.count(" ") + 1
    parts = line.rsplit(" ", width)
    if columns <= width or (columns > width + 1 and _is_number(parts[0].rpartition(" ")[2])):
        return "", "", f"{columns} columns, expected {width + 1} (word and vector)"
    return parts[0], line[len(parts[0]) + 1 :], ""


def _numbers(rows: list[str], width: int) -> np.ndarray:
    """The numbers (N, width) float32 of these texts; a row that holds anything else is NaN."""
    try:
        return np.loadtxt(rows, dtype=np.float32, comments=None, delimiter=" ", ndmin=2).reshape(len(rows), width)
    except ValueError:  # some row is bad: one by one, which takes longer
        return np.stack([_row(row, width) for row in rows])


def _row(text: str, width: int) -> np.ndarray:
    try:
        return np.array(text.split(" "), dtype=np.float32).reshape(width)
    except ValueError:
        return np.full(width, np.nan, np.float32)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
