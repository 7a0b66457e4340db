"""The notebooks of the ten chapters, their labs and the chapters beyond, and all that they ask for, by name."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.offers import Offer, offers
from diffusion_lab.exercises.record import Exercise, Notebook
from diffusion_lab.exercises.tasks import Task

CHAPTERS = ("normal_1d", "normal_2d", "mixture", "normal_nd", "mnist", "spiral", "cifar10", "audio", "text", "games")
"""The ten: whatever counts chapters, points or labs of the course counts these."""
BEYOND = {"heartbeats": 11, "points": 12, "satellite": 13}
"""The chapters beyond the ten that have exercises, with their numbers. They have a notebook each, and no lab."""
LAB = "_lab"
"""Behind a chapter's name: its second notebook, in which learners test, search and build instead of filling in."""
LABS = tuple(f"{chapter}{LAB}" for chapter in CHAPTERS if (Path(__file__).parent / chapter / "lab.py").is_file())
NOTEBOOKS = (
    *(name for chapter in CHAPTERS for name in (chapter, f"{chapter}{LAB}") if name in (*CHAPTERS, *LABS)),
    *BEYOND,
)
"""Every notebook there is: those of the ten, each chapter's lab behind it, and those beyond."""
_NUMBERS = {chapter: number for number, chapter in enumerate(CHAPTERS, 1)} | BEYOND


def chapter_of(name: str) -> str:
    """The chapter that a notebook belongs to: "normal_1d_lab" -> "normal_1d"."""
    return name.removesuffix(LAB)


def number_of(name: str) -> int:
    """The number of a notebook's chapter: 1 to 10, and from 11 on beyond them."""
    return _NUMBERS[chapter_of(name)]


def folder_name(name: str) -> str:
    """A notebook's name in folders: "mnist" -> "05_mnist", "mnist_lab" -> "05_mnist_lab"."""
    return f"{number_of(name):02d}_{name}"


def find(name: str | int) -> str:
    """The notebook called `name`: its name or folder, or a chapter's number. Raises LabError naming what there is."""
    wanted = str(name).strip().lower()
    for chapter, number in _NUMBERS.items():
        if wanted in (chapter, str(number), f"{number:02d}", folder_name(chapter)):
            return chapter
    for lab in LABS:
        if wanted in (lab, folder_name(lab)):
            return lab
    labs = f"; those with a lab: {', '.join(LABS)}" if LABS else ""
    beyond = ", ".join(f"{chapter} ({number})" for chapter, number in BEYOND.items())
    raise LabError(
        f"there is no chapter {name!r} with exercises; the chapters are {', '.join(CHAPTERS)}, "
        f"or 1 to {len(CHAPTERS)}, and beyond them {beyond}{labs}"
    )


def notebook(name: str | int) -> Notebook:
    """The tasks of one notebook, as the course that is in force asks for them (see `offers.py`)."""
    return _offered(find(name), offers())


@lru_cache(maxsize=256)
def _offered(name: str, changes: tuple[Offer, ...]) -> Notebook:
    given = next((offer for offer in changes if offer.notebook == name), None)
    return as_written(name) if given is None else given.applied(as_written(name))


@cache
def as_written(name: str) -> Notebook:
    """The tasks of one notebook by its name, whatever a course makes of it."""
    home = f"diffusion_lab.exercises.{chapter_of(name)}"
    if name in LABS:
        return import_module(f"{home}.lab").LAB
    return import_module(home).NOTEBOOK


def tasks() -> dict[str, Task]:
    """All that the course asks for by name, in the course's order. No name is used twice.

    What the course in force leaves out is there too: chapters run with it.
    """
    return _tasks(offers())


@lru_cache(maxsize=32)
def _tasks(changes: tuple[Offer, ...]) -> dict[str, Task]:
    found: dict[str, Task] = {}
    for place in NOTEBOOKS:
        given = {item.name: item for item in _offered(place, changes).exercises}
        for name, item in ({item.name: item for item in as_written(place).exercises} | given).items():
            if name in found:
                raise LabError(f"'{name}' is asked for in {home_of(name)} and in {place}")
            found[name] = item
    return found


def library() -> dict[str, Exercise]:
    """All exercises of the course by name: the tasks that are one piece to write."""
    return _library(offers())


@lru_cache(maxsize=32)
def _library(changes: tuple[Offer, ...]) -> dict[str, Exercise]:
    return {name: item for name, item in _tasks(changes).items() if isinstance(item, Exercise)}


def home_of(name: str) -> str:
    """The notebook that asks for the task of this name. Raises LabError where none does."""
    for place in NOTEBOOKS:
        if any(item.name == name for item in notebook(place).exercises):
            return place
    raise LabError(f"no notebook asks for {name!r}")


def exercise(name: str) -> Exercise:
    """The exercise whose function has this name. Raises LabError naming the nearest ones."""
    return _named(name, library())


def task(name: str) -> Task:
    """The task whose function has this name. Raises LabError naming the nearest ones."""
    return _named(name, tasks())


def _named(name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        import difflib

        near = difflib.get_close_matches(name, known, n=3) or list(known)
        raise LabError(f"there is no exercise {name!r}; did you mean {', '.join(near)}?")
    return known[name]
