"""What students have written, exercise by exercise, read from their notebooks without running anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from diffusion_lab.errors import LabError, SourceError
from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.records import find
from diffusion_lab.grading.classroom.submission import IntakeError, parsed
from diffusion_lab.grading.notebook import content_of, of_notebook


def answers_in(
    folder: Path, chapters: Sequence[str], on_step: Callable[[str, int, int], None] = lambda *_: None
) -> tuple[dict[str, dict[str, dict[str, str]]], list[str]]:
    """The answers in a folder of submissions, and what could not be read, with the reason.

    Args:
        folder: with STUDENT/NN_name/NN_name.ipynb, or with loose notebooks, each called after its student.
        chapters: whose notebooks are wanted.

    Returns:
        chapter -> student -> exercise -> source; and lines on files that hold no submission.

    Raises:
        LabError: there is no such folder, or not two submissions in it.
    """
    if not folder.is_dir():
        raise LabError(f"there is no folder {folder}")
    handed_in = find(folder, chapters)
    files = [(s.chapter, s.student, s.path) for s in handed_in if not s.reason]
    unread = [f"{s.student}, {s.chapter}: {s.reason}" for s in handed_in if s.reason]
    for path in sorted(folder.glob("*.ipynb")):
        try:
            chapter = of_notebook(content_of(path)).chapter
        except (SourceError, OSError) as error:
            unread.append(f"{path.name}: {error}")
            continue
        if chapter in chapters:
            files.append((chapter, path.stem, path))
    found: dict[str, dict[str, dict[str, str]]] = {}
    for done, (chapter, student, path) in enumerate(files):
        on_step("reading", done, len(files))
        try:
            intake = parsed(content_of(path), notebook(chapter))
        except (IntakeError, SourceError, OSError) as error:
            unread.append(f"{student}, {chapter}: {error}")
            continue
        found.setdefault(chapter, {})[student] = {name: cell.written for name, cell in intake.solutions.items()}
    on_step("reading", len(files), len(files))
    if not any(len(given) > 1 for given in found.values()):
        raise LabError(f"{folder} has no two submissions to one chapter: folders STUDENT/NN_name, or loose notebooks")
    return found, unread
