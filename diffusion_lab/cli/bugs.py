"""The commands for "find the bug": a notebook for a chapter, and the class's answers."""

from __future__ import annotations

import csv
import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from diffusion_lab.cli.terminal import Isolation, mistakes_told, new_table, say, seed_text

SecretOption = Annotated[
    Path | None, typer.Option(help="Any text of yours: with it, each student's bug is drawn from it and their name.")
]


def bug(
    chapter: Annotated[str, typer.Argument(metavar="CHAPTER", help="A chapter's name or number.")],
    secret_file: SecretOption = None,
    to: Annotated[Path, typer.Option(help="The folder for the notebook's own folder.")] = Path("."),
) -> None:
    """Write the notebook in which a chapter's pipeline has one wrong piece, and you find it."""
    with mistakes_told():
        from diffusion_lab.errors import LabError
        from diffusion_lab.exercises.bugs import bug_task
        from diffusion_lab.exercises.owner import course_text
        from diffusion_lab.grading.notebook import bug_folder, bug_notebook

        task = bug_task(chapter)
        course = course_text(seed_text(secret_file)) if secret_file is not None else ""
        name = bug_folder(task.chapter)
        file = to / name / f"{name}.ipynb"
        if file.exists():
            raise LabError(f"{file} is there already; move it away, or name another folder with --to")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(bug_notebook(task, course))
        except OSError as error:
            raise LabError(f"{file}: {error.strerror}") from error
    typer.echo(str(file))


def grade_bugs(
    chapter: Annotated[str, typer.Argument(metavar="CHAPTER", help="A chapter's name or number.")],
    secret_file: Annotated[Path, typer.Option(help="The text that the notebooks were written with.")],
    submitted: Annotated[Path, typer.Option(help="STUDENT/NN_name_bug/NN_name_bug.ipynb is in it.")] = Path(
        "submitted"
    ),
    to: Annotated[Path, typer.Option(help="A table of the marks; what it held before is replaced.")] = Path("bugs.csv"),
    isolation: Annotated[Isolation, typer.Option(help="What keeps students' code apart.")] = Isolation.bubblewrap,
) -> None:
    """Judge what a class says about its bugs, and write down who had which."""
    with mistakes_told():
        from diffusion_lab.errors import LabError
        from diffusion_lab.exercises.bugs import bug_task
        from diffusion_lab.exercises.owner import course_text
        from diffusion_lab.grading.classroom import answers, hear
        from diffusion_lab.grading.classroom.reports import harmless
        from diffusion_lab.grading.isolation import NONE_GIVES_UP, sandbox_of

        task, course = bug_task(chapter), course_text(seed_text(secret_file))
        found = answers(submitted, task.chapter)
        if isolation is Isolation.none:
            say(NONE_GIVES_UP)
        seed = secrets.token_hex(6)
        with sandbox_of(isolation.value) as sandbox:
            heard = [hear(sandbox, task, student, file, course, seed) for student, file in found]
        titles = ("student", "points", "of", "piece", "idea", *task.parts, "notes")
        rows = [titles]
        for item in heard:
            verdict = item.verdict
            got = [f"{verdict.parts.get(part, (0.0, 0))[0]:g}" for part in task.parts]
            told = "; ".join(filter(None, (verdict.note, *item.notes)))
            rows.append((item.student, f"{verdict.points:g}", f"{verdict.out_of}", item.bug.piece, item.bug.idea,
                         *got, told))  # fmt: skip
        try:
            beside = to.with_name(f".{to.name}.new")
            with beside.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([[harmless(entry) for entry in row] for row in rows])
            os.replace(beside, to)
        except OSError as error:
            raise LabError(f"{to}: {error.strerror}") from error
        table = new_table("student", "points", "had", "idea", "notes")
        from rich.markup import escape

        for row in rows[1:]:
            table.add_row(escape(row[0]), f"{row[1]} of {row[2]}", row[3], row[4], escape(row[-1]))
        say(table)
    typer.echo(str(to))
