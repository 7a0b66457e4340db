"""How far a student is in every chapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion_lab.errors import SourceError
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import NOTEBOOKS, folder_name
from diffusion_lab.grading.judge import Verdict
from diffusion_lab.grading.notebook.sources import Sources, load, open_document
from diffusion_lab.grading.notebook.stand_ins import check_pieces


@dataclass(frozen=True)
class State:
    """What is done of one notebook."""

    chapter: str
    verdicts: tuple[Verdict, ...] = ()
    """In the order of the exercises; none where there is no notebook."""
    fault: str = ""
    """Why nothing was checked."""
    unreadable: bool = False
    """Whether there is a file, and the fault is in it."""
    notes: tuple[str, ...] = ()
    """Such as which of several copies was taken."""
    begun: bool = False
    """Whether a function of the student's is in it, right or wrong."""

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
        states, files = [], _notebooks(place)
        for chapter in NOTEBOOKS:
            on_chapter(chapter)
            states.append(_of_notebook(chapter, files))
        return states
    if not place.exists():
        raise SourceError(f"there is no folder or file {place}; name the one that holds your notebooks")
    sources = load(place)
    chapters = NOTEBOOKS if sources.chapter is None else (sources.chapter,)
    states = []
    for chapter in NOTEBOOKS:
        on_chapter(chapter)
        states.append(_checked(chapter, sources) if chapter in chapters else State(chapter, fault="not in this file"))
    return states


def _notebooks(folder: Path) -> dict[Path, Any]:
    """The notebooks in a folder, and in the folders of chapters in it, with what each calls its chapter."""
    files = sorted(folder.glob("*.ipynb"))
    for chapter in NOTEBOOKS:
        files += sorted((folder / folder_name(chapter)).glob("*.ipynb"))
    found: dict[Path, Any] = {}
    for file in files:
        try:
            found[file] = open_document(file).chapter
        except SourceError:
            found[file] = None
    return found


def _of_notebook(chapter: str, files: Mapping[Path, Any]) -> State:
    """The notebook with the chapter's own name, in its folder before beside it; else the newest that is of it."""
    name = f"{folder_name(chapter)}.ipynb"
    plain = [path for path in files if path.name == name]
    others = [path for path, about in files.items() if about == chapter and path.name != name]
    plain.sort(key=lambda path: path.parent.name != folder_name(chapter))
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    found = [*plain, *others]
    if not found:
        return State(chapter, fault="no notebook")
    notes = _which(found)
    try:
        return _checked(chapter, load(found[0], chapter), notes)
    except SourceError as error:
        return State(chapter, fault=str(error), unreadable=True, notes=notes, begun=True)


def _which(found: Sequence[Path]) -> tuple[str, ...]:
    """Which of several notebooks was taken."""
    if len(found) == 1:
        return ()
    taken, *others = found
    newer = [path for path in others if path.stat().st_mtime > taken.stat().st_mtime]
    listed = ", ".join(f"{path}{' (newer)' if path in newer else ''}" for path in others)
    return (f"{taken} is counted, and not {listed}",)


def _checked(chapter: str, sources: Sources, notes: tuple[str, ...] = ()) -> State:
    names = [exercise.name for exercise in notebook(chapter).exercises]
    verdicts = check_pieces(sources.namespace, names, faults=sources.faults, pieces=sources.pieces, owner=sources.owner)
    begun = any(v.exercise in sources.faults or v.state in ("passed", "failed", "not run") for v in verdicts)
    return State(chapter, tuple(verdicts), notes=notes, begun=begun)
