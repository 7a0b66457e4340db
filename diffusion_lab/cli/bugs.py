"""The command for "find the bug": a notebook of one's own, as often as one likes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffusion_lab.cli.terminal import mistakes_told


def bug(
    chapter: Annotated[str, typer.Argument(metavar="CHAPTER", help="A chapter's name or number.")],
    to: Annotated[Path, typer.Option(help="The folder for the notebook's own folder.")] = Path("."),
) -> None:
    """Write a notebook with a pipeline in which one piece is wrong, for you to find. It is not marked."""
    with mistakes_told():
        from diffusion_lab.errors import LabError
        from diffusion_lab.exercises.bugs import bug_task
        from diffusion_lab.grading.notebook import bug_folder, bug_notebook

        task = bug_task(chapter)
        name = bug_folder(task.chapter)
        file = to / name / f"{name}.ipynb"
        if file.exists():
            raise LabError(f"{file} is there already; move it away, or name another folder with --to")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(bug_notebook(task))
        except OSError as error:
            raise LabError(f"{file}: {error.strerror}") from error
    typer.echo(str(file))
