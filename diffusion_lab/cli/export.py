"""The commands that make files for learning platforms: marks in their own tables, and graders that run there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffusion_lab.cli.grading import NOT_ALL_GRADED, ChapterArgument, CourseOption
from diffusion_lab.cli.terminal import mistakes_told

app = typer.Typer(no_args_is_help=True, help="Make files for learning platforms: marks, and graders that run there.")


@app.command()
def marks(
    chapter: ChapterArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What the platform exported: CSV, .xls with tabs, .xlsx.")
    ],
    to: Annotated[Path | None, typer.Option(help="The copy. By default FILE with _marks in its name.")] = None,
    column: Annotated[str, typer.Option(help="The column's name, where it is not called after the chapter.")] = "",
    scale: Annotated[bool, typer.Option("--scale", help="Turn the chapter's points into the platform's.")] = False,
    encoding: Annotated[str, typer.Option(help="Of the file. By default it is found out.")] = "",
    course: CourseOption = Path("."),
) -> None:
    """Fill a chapter's marks into a platform's own table and leave all else in it alone.

    Exit status 0: every mark is in its row. 2: nothing was written. 3: some marks found no row; lines say whose.
    """
    with mistakes_told():
        from diffusion_lab.grading.classroom.platforms import fill_in

        to = to or file.with_name(f"{file.stem}_marks{file.suffix}")
        filled = fill_in(course, chapter, file, to, column=column, scale=scale, encoding=encoding)
    for words in filled.left_alone:
        typer.echo(f"left alone: {words}")
    changed = f", {filled.changed} of them in the place of another mark" if filled.changed else ""
    typer.echo(f"{len(filled.marks)} marks are in '{filled.column}' of {filled.file}{changed}")
    for words in filled.unplaced:
        typer.echo(f"error: no mark for {words}", err=True)
    if filled.unplaced:
        raise typer.Exit(NOT_ALL_GRADED)
