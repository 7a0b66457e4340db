"""The ten chapters and those beyond them, by name and number."""

from __future__ import annotations

from importlib import import_module

from diffusion_lab.chapters.chapter import Chapter
from diffusion_lab.errors import PieceError

NAMES = (
    "normal_1d",
    "normal_2d",
    "mixture",
    "normal_nd",
    "mnist",
    "spiral",
    "cifar10",
    "audio",
    "text",
    "games",
)
"""In the order of the book; the number of a chapter is its place here, from 1."""
BEYOND = ("heartbeats", "points", "satellite")
"""The chapters of the second part, "Beyond the ten", whose numbers follow."""


def get(name: str | int, variant: str = "") -> Chapter:
    """The chapter of that name or number, or one of its variants.

    Raises:
        PieceError: naming the chapters, or the chapter's variants, that there are.
    """
    key = str(name).lower()
    number, _, rest = key.partition("_")
    names = (*NAMES, *BEYOND)
    if number.isdigit() and 1 <= int(number) <= len(names) and rest in ("", names[int(number) - 1]):
        key = names[int(number) - 1]  # 5 and 05_mnist are both chapter mnist
    if key not in names:
        raise PieceError(f"there is no chapter {name!r}; the chapters are {', '.join(names)}, or 1 to {len(names)}")
    chapter: Chapter = import_module(f"diffusion_lab.chapters.{key}").CHAPTER
    if not variant:
        return chapter
    if variant not in chapter.variants:
        raise PieceError(
            f"chapter '{key}' has no variant {variant!r}; its variants are {', '.join(chapter.variants) or '(none)'}"
        )
    return chapter.variants[variant]
