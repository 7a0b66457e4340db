"""How far a student is in every chapter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diffusion_lab.errors import SourceError
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import CHAPTERS, folder_name
from diffusion_lab.grading.judge import Verdict
from diffusion_lab.grading.notebook.sources import Sources, load
from diffusion_lab.grading.notebook.stand_ins import check_pieces


@dataclass(frozen=True)
class State:
    """What is done of one chapter."""

    chapter: str
    verdicts: tuple[Verdict, ...] = ()
    """In the order of the exercises; none where there is no notebook."""
    fault: str = ""
    """Why nothing was checked."""
    unreadable: bool = False
    """Whether there is a file, and the fault is in it."""

    @property
    def points(self) -> float:
        return sum(verdict.points for verdict in self.verdicts)

    @property
    def out_of(self) -> int:
        return notebook(self.chapter).points


def survey(place: Path, on_chapter: Callable[[str], None] = lambda chapter: None) -> list[State]:
    """Check all that is there: a folder of notebooks, or one Python file with pieces of any chapter.

    Raises:
        SourceError: where `place` is neither, or is a file that cannot be read.
    """
    if place.is_dir():
        states = []
        for chapter in CHAPTERS:
            on_chapter(chapter)
            states.append(_of_notebook(chapter, place))
        return states
    if not place.exists():
        raise SourceError(f"there is no folder or file {place}; name the one that holds your notebooks")
    sources = load(place)
    chapters = CHAPTERS if sources.chapter is None else (sources.chapter,)
    states = []
    for chapter in CHAPTERS:
        on_chapter(chapter)
        states.append(_checked(chapter, sources) if chapter in chapters else State(chapter, fault="not in this file"))
    return states


def _of_notebook(chapter: str, folder: Path) -> State:
    name = folder_name(chapter)
    path = next((p for p in (folder / name / f"{name}.ipynb", folder / f"{name}.ipynb") if p.is_file()), None)
    if path is None:
        return State(chapter, fault="no notebook")
    try:
        return _checked(chapter, load(path, chapter))
    except SourceError as error:
        return State(chapter, fault=str(error), unreadable=True)


def _checked(chapter: str, sources: Sources) -> State:
    names = [exercise.name for exercise in notebook(chapter).exercises]
    return State(chapter, tuple(check_pieces(sources.namespace, names, faults=sources.faults)))
