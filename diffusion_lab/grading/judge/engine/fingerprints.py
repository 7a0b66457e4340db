"""What edited right answers compute, as two numbers each: made once for every exercise, looked up at each check.

A fingerprint only suggests an edit. Whoever looks one up makes that edit again and compares all answers.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import math
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffusion_lab.exercises import Exercise
from diffusion_lab.grading.judge.calling import Caller, LocalCaller, Returned, leaves
from diffusion_lab.grading.judge.comparing import as_tensor
from diffusion_lab.grading.judge.engine import arithmetic, calls, edits, nodes, operators
from diffusion_lab.grading.judge.engine.rebuilding import Source, Unreadable
from diffusion_lab.grading.judge.engine.searching import CALL, edited, size
from diffusion_lab.grading.judge.questions import Question, questions

FOLDER = Path(__file__).parent.parent / "recorded"
SEED = 0
"""Fingerprints are of the visible cases, whichever cases are being graded."""
CLOSE = 3e-5
"""How far two fingerprints of the same numbers may lie apart, relative to the sum of the sizes of their terms."""
LISTED = 255
"""In the place of a source's number: not an edit, but one of the exercise's wrong answers."""
LARGEST = 1e20
"""What is larger counts as this, infinity too."""
left_out: dict[str, int] = {}
"""exercise -> a source whose fingerprints are not looked at; see `without`."""
SIGNIFICANT = 5
"""Digits to which fingerprints are compared when equal ones are dropped."""


@dataclass(frozen=True)
class Print:
    """A function's fingerprint."""

    first: float
    """Of its answers to the smaller questions."""
    rest: float
    size_first: float
    """The sum of the sizes of the terms."""
    size_rest: float


@dataclass(frozen=True, eq=False)
class Table:
    """The fingerprints of one exercise, in the order of `first`."""

    first: np.ndarray
    rest: np.ndarray
    source: np.ndarray
    """Which right answer was edited, or `LISTED`."""
    edit: np.ndarray
    """Which of its edits, or which wrong answer."""
    code: str
    """The hash of all code from which this was made."""

    def at_first(self, value: float, size: float) -> np.ndarray:
        """The rows that agree on the smaller questions."""
        gap = CLOSE * size + 1e-7
        return np.arange(*np.searchsorted(self.first, [value - gap, value + gap]))

    def among(self, rows: np.ndarray, value: float, size: float) -> list[tuple[int, int]]:
        """(source, edit) of those rows that agree on the other questions too."""
        rows = rows[np.abs(self.rest[rows] - value) <= CLOSE * size + 1e-7]
        return [(int(self.source[row]), int(self.edit[row])) for row in rows]


def asked(exercise: Exercise) -> tuple[list[Question], list[Question]]:
    """The visible questions, small ones first, in two parts: each has a number of its own in a fingerprint."""
    ordered = sorted(questions(exercise, SEED), key=size)
    cut = max(1, math.ceil(len(ordered) / 3))
    return ordered[:cut], ordered[cut:]


def projection(answers: Sequence[Returned], trains: bool) -> tuple[float, float]:
    """One number for some answers, and the sum of the sizes of its terms. Errors count by their class."""
    total = scale = 0.0
    for place, returned in enumerate(answers):
        if returned.fault is not None:
            total += _mark(returned.fault.name, place)
            scale += 1.0
            continue
        values = [*leaves(returned.value), *(returned.gradients if trains else ())]
        for i, value in enumerate(values):
            tensor = as_tensor(value)
            if tensor is None:
                total += _mark(type(value).__name__, place)
                continue
            if tensor.is_complex():
                tensor = torch.view_as_real(tensor)
            numbers = tensor.double().flatten().numpy()
            numbers = np.where(np.isnan(numbers), 1.7, np.clip(numbers, -LARGEST, LARGEST))
            terms = numbers * _weights(len(numbers), place, i, tuple(tensor.shape))
            total += float(terms.sum())
            scale += float(np.abs(terms).sum())
    return total, scale


def _mark(word: str, place: int) -> float:
    return 1.0 + zlib.crc32(f"{word} {place}".encode()) / 2**32


@lru_cache(maxsize=4096)
def _weights(length: int, place: int, leaf: int, shape: tuple[int, ...]) -> np.ndarray:
    """Between 1/2 and 3/2 in size, of both signs, and the same on every machine."""
    start = zlib.crc32(f"{place} {leaf} {shape}".encode()) % 10_000
    steps = (start + np.arange(length)) * 0.6180339887498949 % 1
    signs = np.where((start + np.arange(length)) * 0.7548776662466927 % 1 < 0.5, -1.0, 1.0)
    return signs * (0.5 + steps)


def print_of(caller: Caller, exercise: Exercise) -> Print | None:
    """A function's fingerprint; None for one that raises an error, or takes too long, for all small questions."""
    small, others = asked(exercise)
    answers = []
    for i, question in enumerate((*small, *others)):
        answers.append(caller(question.arguments, gradients=exercise.trains))
        fault = answers[-1].fault
        if fault is not None and (fault.kind == "time" or (i >= 2 and all(a.fault is not None for a in answers))):
            return None
    return print_from(answers, len(small), exercise.trains)


def print_from(answers: Sequence[Returned], cut: int, trains: bool) -> Print:
    """The fingerprint of a function that gave these answers, in the order of `asked`."""
    (first, size_first), (rest, size_rest) = (projection(part, trains) for part in (answers[:cut], answers[cut:]))
    return Print(first, rest, size_first, size_rest)


@lru_cache(maxsize=128)
def right_sources(exercise: Exercise) -> tuple[Source, ...]:
    """The reference and the right answers, as far as they can be edited."""
    found = []
    if exercise.driver is not None:  # an edited function would have to be run by it
        return ()
    for function in (exercise.reference, *(a.function for a in exercise.right_answers)):
        try:
            found.append(Source(function))
        except Unreadable:
            continue
    return tuple(found)


def code_of(exercise: Exercise) -> str:
    """A hash of all code that fingerprints hang on: the exercise's module, what it draws from, and the edits.

    Of the edits' modules, definitions count in whatever file and order they are; comments, docstrings of files and
    imports do not. The record that exercises are kept in does not count: it holds them, and computes nothing.
    """
    modules = {m for m in (inspect.getmodule(exercise.reference),) if m is not None}
    for function in (exercise.cases, *(a.function for a in exercise.right_answers)):
        modules |= {sys.modules[v.__module__] for v in _used(function) if v.__module__.startswith("diffusion_lab.")}
    modules -= {inspect.getmodule(Exercise)}
    text = "".join(inspect.getsource(m) for m in sorted(modules, key=lambda m: m.__name__))
    text += " ".join(source.name for source in right_sources(exercise))  # a table names them by their place
    return hashlib.sha256((text + _code_of_edits()).encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _code_of_edits() -> str:
    trees = [ast.parse(inspect.getsource(m)) for m in (edits, operators, arithmetic, calls, nodes)]
    defined = [n for tree in trees for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.Assign))]
    return "\n".join(sorted(ast.unparse(n) for n in defined))


def _used(function: Any) -> list[Any]:
    space = getattr(function, "__globals__", {})
    names = getattr(getattr(function, "__code__", None), "co_names", ())
    return [v for v in (space.get(name) for name in names) if getattr(v, "__module__", None)]


def recorded(exercise: Exercise) -> Table:
    """Make the fingerprints of an exercise. Of edits that compute the same, the least far-fetched is kept."""
    right = print_of(LocalCaller(exercise.reference), exercise)
    found: dict[tuple[float, float], tuple[int, int, int, Print]] = {}
    candidates: list[tuple[int, int, int, Any]] = [
        (0, LISTED, j, LocalCaller(w.function, CALL)) for j, w in enumerate(exercise.wrong_answers) if w.symptom is None
    ]
    for i, source in enumerate(right_sources(exercise)):
        candidates += [(edit.cost, i, j, (source, edit)) for j, edit in enumerate(source.edits())]
    for cost, i, j, made in candidates:
        caller = made if isinstance(made, LocalCaller) else edited(*made)
        seen = None if caller is None else print_of(caller, exercise)
        if seen is None or _alike(seen, right):
            continue
        key = (_rounded(seen.first), _rounded(seen.rest))
        if key not in found or (cost, i, j) < found[key][:3]:
            found[key] = (cost, i, j, seen)
    rows = sorted(found.values(), key=lambda row: row[3].first)
    return Table(
        np.array([row[3].first for row in rows], np.float32),
        np.array([row[3].rest for row in rows], np.float32),
        np.array([row[1] for row in rows], np.uint8),
        np.array([row[2] for row in rows], np.uint16),
        code_of(exercise),
    )


def _alike(one: Print, other: Print) -> bool:
    gaps = (abs(one.first - other.first), abs(one.rest - other.rest))
    return gaps[0] <= CLOSE * other.size_first and gaps[1] <= CLOSE * other.size_rest


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT}g}")


def save(exercise: Exercise, table: Table, folder: Path = FOLDER) -> Path:
    """Write a table beside the code."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{exercise.name}.npz"
    with path.open("wb") as file:
        np.savez_compressed(
            file, first=table.first, rest=table.rest, source=table.source, edit=table.edit, code=np.array(table.code)
        )
    return path


def load(exercise: Exercise) -> Table | None:
    """The recorded table, made here for an exercise of a course's own; None where there is none, such as for one that
    is being written."""
    table = _load(exercise)
    if table is None or exercise.name not in left_out:
        return table
    rows = table.source != left_out[exercise.name]
    return Table(table.first[rows], table.rest[rows], table.source[rows], table.edit[rows], table.code)


@lru_cache(maxsize=128)
def _load(exercise: Exercise) -> Table | None:
    path = FOLDER / f"{exercise.name}.npz"
    if exercise.own:
        return recorded(exercise)
    if not path.exists():
        return None
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in ("first", "rest", "source", "edit")}
        return Table(**arrays, code=str(stored["code"]))


@contextlib.contextmanager
def without(exercise: Exercise, source: int) -> Iterator[None]:
    """While this is open, what was recorded from that right answer is not there: it stands for a stranger's."""
    left_out[exercise.name] = source
    try:
        yield
    finally:
        del left_out[exercise.name]
