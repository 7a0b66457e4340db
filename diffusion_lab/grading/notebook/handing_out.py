"""The released notebooks laid out in a folder of the learner's, never over what is there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import diffusion_lab
from diffusion_lab.errors import LabError, SourceError
from diffusion_lab.files import write_atomically
from diffusion_lab.grading.notebook.documents import content_of
from diffusion_lab.grading.notebook.renewing import changes, paper_of, renewed

PACKAGE = Path(diffusion_lab.__file__).resolve().parent
RELEASED = (PACKAGE / "notebooks", PACKAGE.parent / "exercises")
"""Where the released notebooks may be: inside the package, or in a clone."""
EARLIER = "earlier"
"""The folder for notebooks of earlier releases that newer ones have taken the place of."""


@dataclass(frozen=True)
class Placed:
    """What became of one notebook."""

    path: Path
    state: str
    """"written", "unchanged", "differs", "renewed" or "unreadable"."""
    release: str = ""
    """The release of the notebook that was there."""
    changes: tuple[str, ...] = ()
    """What this release has otherwise, where the notebook there is of another."""
    answers: tuple[str, ...] = ()
    """The functions that somebody has written in the notebook that was there."""
    earlier: Path | None = None
    """Where the notebook that was there is now, if it was renewed."""
    fault: str = ""


def released_folder() -> Path:
    """The folder of the released notebooks. Raises LabError where neither the package nor a clone has one."""
    for folder in RELEASED:
        if any(folder.glob("*/*.ipynb")):
            return folder
    raise LabError(f"the notebooks are missing: {RELEASED[0]} and {RELEASED[1]} have none; install the course anew")


def lay_out(
    folder: Path, *, update: bool = False, on_notebook: Callable[[Placed], None] = lambda placed: None
) -> list[Placed]:
    """Put each released notebook into `folder`, as NN_name/NN_name.ipynb, unless something has its place.

    Args:
        folder: made where it is missing. Names in it are compared without regard to case.
        update: replace a notebook of another release by the new one with the answers of the old one in it; the old one
            moves to `folder/earlier`.
        on_notebook: told of each notebook when it is done.

    Raises:
        LabError: where `folder` is a file, cannot be written to, or is the released notebooks' own; and where the
            released notebooks have been written in. What was laid out before stays, and the same call goes on from it.
    """
    origin = released_folder()
    if folder.exists() and not folder.is_dir():
        raise LabError(f"{folder} is a file; name a folder")
    if folder.exists() and folder.resolve() == origin:
        raise LabError(f"{folder} holds the released notebooks themselves; work there, or name another folder")
    sources = {file: file.read_bytes() for file in sorted(origin.glob("*/*.ipynb"))}
    for file, data in sources.items():
        if paper_of(data).answers:
            raise LabError(f"{file} has answers in it, and is no longer as it was released; take them out first")
    found = []
    for file, data in sources.items():
        path = _there(_there(folder, file.parent.name), file.name)
        try:
            placed = _place(path, data, folder, update)
        except OSError as error:
            done = sum(one.state in ("written", "renewed") for one in found)
            so_far = f"; {done} notebooks were written before it, and the same command goes on from there"
            raise LabError(f"{error.filename or path}: {error.strerror or error}{so_far if done else ''}") from error
        found.append(placed)
        on_notebook(placed)
    return found


def _there(folder: Path, name: str) -> Path:
    """The entry of this name in a folder, in the case in which it is there: Windows and macOS take them for one."""
    if folder.is_dir():
        entries = [entry.name for entry in folder.iterdir() if entry.name.casefold() == name.casefold()]
        if name not in entries and entries:
            return folder / min(entries)
    return folder / name


def _place(path: Path, data: bytes, folder: Path, update: bool) -> Placed:
    if not path.exists() and not path.is_symlink():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:  # fails where somebody was quicker
            file.write(data)
        return Placed(path, "written")
    try:
        there = content_of(path)
        old, new = paper_of(there), paper_of(data)
    except SourceError as error:
        return Placed(path, "unreadable", fault=str(error))
    answers, told = tuple(old.answers), tuple(changes(old, new))
    if not told:
        return Placed(path, "unchanged", old.release, answers=answers)
    if not update:
        return Placed(path, "differs", old.release, told, answers)
    earlier = _free(folder / EARLIER, f"{path.stem}_{_plain(old.release)}")
    write_atomically(earlier, there)
    write_atomically(path, renewed(old, new))
    return Placed(path, "renewed", old.release, told, answers, earlier)


def _plain(release: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", release) or "unknown"


def _free(folder: Path, stem: str) -> Path:
    names = (f"{stem}{f'_{number}' if number else ''}.ipynb" for number in range(10_000))
    return next(path for path in (folder / name for name in names) if not path.exists())
