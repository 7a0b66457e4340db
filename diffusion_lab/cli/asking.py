"""The command that prints what to ask a student in person."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from diffusion_lab.cli.grading import CourseOption
from diffusion_lab.cli.terminal import course_rules, mistakes_told


def questions(
    submission: Annotated[
        Path, typer.Argument(metavar="SUBMISSION", help="A graded notebook, or its folder: submitted/ada/01_normal_1d.")
    ],
    most: Annotated[int, typer.Option(min=1, help="How many questions at most.")] = 12,
    course: CourseOption = Path("."),
) -> None:
    """Print a page of questions on a graded submission, made from the student's own code, mistakes, bug and numbers.

    It is Markdown, the same each time, and runs none of the student's code. What stands in square brackets is for you.
    """
    with mistakes_told(), course_rules(course):
        from diffusion_lab.grading.classroom import questions_on

        result, page = questions_on(course, submission, most)
        file = submission if submission.suffix == ".ipynb" else submission / f"{submission.resolve().name}.ipynb"
        if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() != result.digest:
            typer.echo("The file has changed since it was graded; these questions are about what was graded.\n")
    typer.echo(page, nl=False)
