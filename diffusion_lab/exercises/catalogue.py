"""The ten notebooks and all their exercises, by name."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.record import Exercise, Notebook

CHAPTERS = ("normal_1d", "normal_2d", "mixture", "normal_nd", "mnist", "spiral", "cifar10", "audio", "text", "games")


def folder_name(chapter: str) -> str:
    """The chapter's name in folders: "mnist" -> "05_mnist"."""
    return f"{CHAPTERS.index(chapter) + 1:02d}_{chapter}"


def find(name: str | int) -> str:
    """The chapter called `name`: its name, its number, or its folder. Raises LabError naming what there is."""
    wanted = str(name).strip().lower()
    for number, chapter in enumerate(CHAPTERS, 1):
        if wanted in (chapter, str(number), f"{number:02d}", folder_name(chapter)):
            return chapter
    raise LabError(f"there is no chapter {name!r}; the chapters are {', '.join(CHAPTERS)}, or 1 to {len(CHAPTERS)}")


@cache
def notebook(name: str | int) -> Notebook:
    """The exercises of one chapter."""
    return import_module(f"diffusion_lab.exercises.{find(name)}").NOTEBOOK


@cache
def library() -> dict[str, Exercise]:
    """All exercises of the course by name, in the course's order. No name is used twice."""
    found: dict[str, Exercise] = {}
    for chapter in CHAPTERS:
        for item in notebook(chapter).exercises:
            if item.name in found:
                raise LabError(f"'{item.name}' is an exercise of {found[item.name].chapter} and of {chapter}")
            found[item.name] = item
    return found


def exercise(name: str) -> Exercise:
    """The exercise whose function has this name. Raises LabError naming the nearest ones."""
    if name not in library():
        import difflib

        near = difflib.get_close_matches(name, library(), n=3) or list(library())
        raise LabError(f"there is no exercise {name!r}; did you mean {', '.join(near)}?")
    return library()[name]
