"""GloVe's text format: one word a line and then its numbers, separated by single spaces, perhaps gzipped."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusion_lab.data.storage import decoded
from diffusion_lab.errors import DataError


def read_glove(path: str | Path) -> tuple[list[str], Tensor]:
    """The words and their vectors (V, D) float32, in the order of the file.

    A first line of two whole numbers (count and D, as word2vec writes it) is skipped.

    Raises:
        DataError: a truncated or corrupt file, or a line with the wrong number of columns or a text for a number.
    """
    path = Path(path)
    tensors, words = decoded("glove", [path], lambda: _parse(path))
    return words["words"], tensors["vectors"]


def _parse(path: Path) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        # Not splitlines(): some of GloVe's words hold characters that Python takes for the end of a line.
        lines = content.decode("utf-8").rstrip("\n").replace("\r\n", "\n").split("\n")
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as fault:
        raise DataError(f"{path} is truncated or corrupt: {fault}") from fault
    header = lines[0].split(" ")
    first = 2 if len(header) == 2 and all(part.isdecimal() for part in header) else 1  # the number of the first word
    lines = lines[first - 1 :]
    columns = lines[0].rstrip(" ").count(" ") + 1 if lines else 0
    if columns < 2:
        raise DataError(f"{path} has no line of the form `word number number ...`")
    words, numbers = [], []
    for number, line in enumerate(lines, start=first):
        line = line.rstrip(" ")
        if line.count(" ") + 1 != columns:
            raise DataError(
                f"{path}, line {number}: {line.count(' ') + 1} columns, expected {columns} (word and vector)"
            )
        word, _, rest = line.partition(" ")
        words.append(word)
        numbers.append(rest)
    try:
        vectors = np.loadtxt(numbers, dtype=np.float32, comments=None, delimiter=" ", ndmin=2)
    except ValueError:
        vectors = None
    if vectors is None or not np.isfinite(vectors).all():
        raise DataError(f"{path}, line {_first_bad(numbers) + first}: a column is not a finite number")
    return {"vectors": torch.from_numpy(vectors)}, {"words": words}


def _first_bad(numbers: list[str]) -> int:
    for index, row in enumerate(numbers):
        try:
            if not np.isfinite([float(number) for number in row.split(" ")]).all():
                return index
        except ValueError:
            return index
    return len(numbers) - 1
