"""The command that shows pairs of submissions whose code is alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffusion_lab.cli.grading import CourseOption
from diffusion_lab.cli.terminal import course_rules, mistakes_told, new_table, progress_bars, say

MOST_ROWS = 20


def similarity(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Submissions, STUDENT/NN_name/NN_name.ipynb, or loose notebooks.")
    ],
    chapter: Annotated[str, typer.Option(help="One chapter. By default all that are there.")] = "",
    to: Annotated[Path, typer.Option(help="The page to write.")] = Path("similarity.html"),
    course: CourseOption = Path("."),
) -> None:
    """List pairs of submissions whose code is alike beyond what the exercises force, for you to look at.

    It is no verdict, runs no student's code, and nothing else in the course uses it.
    """
    with mistakes_told(), course_rules(course):
        from rich.markup import escape

        from diffusion_lab.exercises import notebook
        from diffusion_lab.exercises.catalogue import NOTEBOOKS
        from diffusion_lab.exercises.catalogue import find as find_chapter
        from diffusion_lab.files import write_atomically
        from diffusion_lab.grading.classroom import alike, answers_in
        from diffusion_lab.grading.classroom.reports import NO_VERDICT, likeness_page

        wanted = (find_chapter(chapter),) if chapter else NOTEBOOKS
        with progress_bars() as bars:
            bar = bars.add_task("reading", total=1, what="")
            answers, unread = answers_in(
                folder, wanted, lambda what, done, total: bars.update(bar, completed=done, total=total)
            )
        found = [pair for name in answers for pair in alike(answers[name], notebook(name).exercises)]
        found.sort(key=lambda pair: -pair.shared)
        students = len({student for given in answers.values() for student in given})
        write_atomically(to, likeness_page(found, students).encode())
    for words in unread:
        typer.echo(f"not read: {words}")
    if found:
        table = new_table("exercise", "student", "and", "places in common", "share")
        for pair in found[:MOST_ROWS]:
            table.add_row(pair.exercise, escape(pair.one), escape(pair.other), str(pair.shared), f"{pair.share:.0%}")
        say(table)
    counted = f"{len(found)} pair{'' if len(found) == 1 else 's'} of answers"
    typer.echo(f"{students} submissions compared, {counted} alike; {to} shows them")
    typer.echo(NO_VERDICT)
