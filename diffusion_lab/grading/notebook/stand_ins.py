"""Check pieces that call other pieces: one that is not right yet is replaced by ours, so that a fault counts once."""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import sysconfig
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffusion_lab.exercises import library, task, tasks
from diffusion_lab.exercises.driving import driver_of, piece_of
from diffusion_lab.exercises.owner import Owner, drawn_for, lacks_owner
from diffusion_lab.grading.judge import (
    VISIBLE_SEED,
    LocalCaller,
    Verdict,
    check,
    usual_settings,
    with_prediction,
    without_points,
)
from diffusion_lab.grading.notebook.statements import imported, looked_up

Namespace = dict[str, Any]
Site = tuple[int, str]
"""Which dictionary of globals, and which name in it."""

PACKAGE = Path(__file__).resolve().parents[2]
NAMELESS = (
    "Part of this exercise is drawn for you, from your name, and the file does not say it: write it into the "
    "notebook's first cell, as in student = 'ada'."
)
LIBRARIES = (Path(sysconfig.get_paths()["stdlib"]), PACKAGE)


def check_pieces(
    namespace: Namespace,
    names: Iterable[str],
    seed: int = VISIBLE_SEED,
    faults: Mapping[str, str] | None = None,
    pieces: Collection[str] | None = None,
    owner: Owner | None = None,
) -> list[Verdict]:
    """Check each of these exercises' functions, as far as `namespace` has them.

    Args:
        namespace: the student's globals. It is left as it was.
        names: exercises.
        seed: of the cases.
        faults: exercise -> why it is not there, from `sources.load`.
        pieces, owner: as in `check_piece`.
    """
    return [check_piece(name, namespace, seed, (faults or {}).get(name, ""), pieces, owner) for name in names]


def check_piece(
    name: str,
    namespace: Namespace,
    seed: int = VISIBLE_SEED,
    fault: str = "",
    pieces: Collection[str] | None = None,
    owner: Owner | None = None,
) -> Verdict:
    """Check one exercise's function.

    Other exercises that it calls by their global names are checked too, and those that do not pass are replaced by the
    reference for the time of the check; the verdict's note names them.

    Args:
        pieces: the exercises that this is done with, such as a notebook's own: a helper in it may well have the name of
            another chapter's exercise. By default all.
        owner: whose function it is, where something of the exercise is drawn for each student.
    """
    with usual_settings():
        return _Checking(namespace, seed, library() if pieces is None else pieces, owner).verdict(name, fault)


def usable_others(
    name: str, namespace: Namespace, pieces: Collection[str], seed: int = VISIBLE_SEED
) -> tuple[dict[Site, Namespace], list[str], str]:
    """What the function of this name looks up, those of the exercises among it that are not right, and a note on them.

    The first two are what `standing_in` takes.
    """
    checking = _Checking(namespace, seed, pieces, open=[name])
    used = reached(namespace[name], namespace)
    wrong = [other for other in _exercises(used, name) if other in pieces and not checking.passes(other, used)]
    return used, wrong, stand_in_note(wrong).replace("Checked with", "Drawn with")


def stand_in_note(names: Iterable[str]) -> str:
    """What a verdict says about pieces that were replaced."""
    names = list(names)
    if not names:
        return ""
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"Checked with our {listed}, because yours {'is' if len(names) == 1 else 'are'} not right yet."


def missing_note(name: str, there: Iterable[str]) -> str:
    """Why there is nothing to check, and which of the functions that are there may be meant."""
    wanted = _plain(name)
    candidates = [other for other in there if other not in tasks()]
    near = [other for other in candidates if _plain(other) == wanted]
    near += difflib.get_close_matches(name, candidates, n=1, cutoff=0.75)
    if near:
        return f"You have {near[0]}; the course asks for {name}."
    return f"There is no function {name} yet: {task(name).signature}"


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


@dataclass(frozen=True)
class _Known:
    """What a check gave, and the globals that it hung on: while these are the same objects, it gives the same."""

    function: Any
    globals: dict[Site, Any]
    passed: bool


_known: dict[tuple[str, int], _Known] = {}
"""The latest check of each exercise and seed, so that pieces used by many are not checked for each of them."""


@dataclass
class _Checking:
    """One check, with those that it needs."""

    namespace: Namespace
    seed: int
    pieces: Collection[str]
    owner: Owner | None = None
    open: list[str] = field(default_factory=list)
    """Exercises whose check has begun: where two call each other, ours stands in for the first."""

    def verdict(self, name: str, fault: str = "") -> Verdict:
        item = drawn_for(task(name), self.owner)
        function = self.namespace.get(name)
        if not callable(function):
            there = [key for key, value in self.namespace.items() if inspect.isroutine(value)]
            what = f"`{name}` is {_article(type(function).__name__)} here, and must be a function."
            return without_points(
                item, "missing", fault or (what if function is not None else self._missing(name, there))
            )
        if lacks_owner(item):
            return without_points(item, "open", NAMELESS)
        self.open.append(name)
        used = reached(function, self.namespace)
        others = [other for other in _exercises(used, name) if other in self.pieces]
        wrong = [other for other in others if not self.passes(other, used)]
        with standing_in(used, wrong):
            result = check(item, LocalCaller(function, driver=driver_of(item)), self.seed)
        self.open.remove(name)
        _known[name, self.seed] = _Known(function, _values(used), result.passed)
        note = " ".join(part for part in (result.note, stand_in_note(wrong)) if part)
        return with_prediction(item, replace(result, note=note), self.namespace)

    def _missing(self, name: str, there: list[str]) -> str:
        note = missing_note(name, there)
        return f"{note}. Have you run its cell?" if "get_ipython" in self.namespace and "yet:" in note else note

    def passes(self, name: str, used: Mapping[Site, Namespace]) -> bool:
        """Whether the function of that name, in the globals where it is used, passes its own check."""
        home = next(home for (_, key), home in used.items() if key == name)
        function = home.get(name)
        if not callable(function) or name in self.open:
            return False
        known = _known.get((name, self.seed))
        if known is not None and known.function is function:
            now = _values(reached(function, home))
            if now.keys() == known.globals.keys() and all(now[site] is known.globals[site] for site in now):
                return known.passed
        return replace(self, namespace=home).verdict(name).passed


def _article(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _values(used: Mapping[Site, Namespace]) -> dict[Site, Any]:
    return {(where, key): home.get(key) for (where, key), home in used.items()}


def _exercises(used: Mapping[Site, Namespace], itself: str) -> list[str]:
    found = {key for _, key in used if key != itself}
    return [name for name in library() if name in found]


@contextlib.contextmanager
def standing_in(used: Mapping[Site, Namespace], names: Iterable[str]) -> Iterator[None]:
    """Put our references in the place of these functions, wherever they are looked up; afterwards all is as before."""
    absent = object()
    names = set(names)
    before = [(home, key, home.get(key, absent)) for (_, key), home in used.items() if key in names]
    try:
        for home, key, _ in before:
            home[key] = piece_of(library()[key])
        yield
    finally:
        for home, key, value in before:
            if value is absent:
                home.pop(key, None)
            else:
                home[key] = value


def reached(function: Callable, namespace: Namespace) -> dict[Site, Namespace]:
    """The global names that this function looks up, itself or through functions that it calls, and where."""
    sites: dict[Site, Namespace] = {}
    seen: set[int] = set()
    waiting: list[Any] = [function]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        for home, code in _codes(value, namespace):
            for key in looked_up(code):
                sites[id(home), key] = home
                waiting.append(home.get(key))
        waiting.extend(_parts(value))
    return sites


def uses_package(function: Callable, namespace: Namespace) -> bool:
    """Whether this function, itself or through others, needs the course's package, which is not there for marks."""
    values = [function, *(home.get(key) for (_, key), home in reached(function, namespace).items())]
    modules = {getattr(value, "__module__", "") or "" for value in values}
    modules |= {value.__name__ for value in values if isinstance(value, types.ModuleType)}
    for value in values:
        for _, code in _codes(value, namespace):
            modules |= imported(code)
    return any(str(module).partition(".")[0] == PACKAGE.name for module in modules)


def _codes(value: Any, namespace: Namespace) -> list[tuple[Namespace, types.CodeType]]:
    if not isinstance(value, types.FunctionType):
        return []
    path = Path(value.__code__.co_filename)
    own = value.__globals__ is namespace
    if not own and ("site-packages" in path.parts or any(path.is_relative_to(folder) for folder in LIBRARIES)):
        return []
    return [(value.__globals__, value.__code__)]


def _parts(value: Any) -> list[Any]:
    """Functions inside a callable: a method's, a class's, a partial's, and what a decorator has wrapped."""
    if isinstance(value, types.MethodType):
        return [value.__func__]
    if isinstance(value, functools.partial):
        return [value.func]
    if isinstance(value, (staticmethod, classmethod)):
        return [value.__func__]
    if isinstance(value, types.FunctionType):
        inside = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        return [*filter(_is_code, inside), *filter(None, [getattr(value, "__wrapped__", None)])]
    if isinstance(value, type):
        return [member for member in vars(value).values() if _is_code(member)]
    if isinstance(value, types.ModuleType) or not callable(value):
        return []
    return [type(value)]


def _is_code(value: Any) -> bool:
    return isinstance(value, (types.FunctionType, types.MethodType, functools.partial, staticmethod, classmethod))


def _filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # a name that is not assigned yet
        return False
    return True
