"""The command `diffusion-lab`. Nothing here imports PyTorch before a command needs it, so that help is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from diffusion_lab import __version__
from diffusion_lab.cli import (
    asking,
    beginning,
    bugs,
    challenge,
    data,
    distilling,
    doctor,
    export,
    grading,
    pieces,
    runs,
    similarity,
)
from diffusion_lab.cli.runs import results_table
from diffusion_lab.cli.terminal import speak_plainly

__all__ = ["app", "main", "results_table"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"diffusion-lab {__version__}")
        raise typer.Exit()


@app.callback()
def _before(
    version: Annotated[
        bool, typer.Option("--version", help="Say which release this is.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A course on diffusion models: ten datasets, trained, sampled and scored beside the exact truth."""


app.command("list")(runs.list_chapters)
for command in (
    beginning.start,
    beginning.book,
    runs.run,
    runs.sample,
    runs.denoise,
    distilling.distill,
    pieces.check,
    pieces.see,
    pieces.progress,
    pieces.audit,
    bugs.bug,
    challenge.challenge,
    doctor.doctor,
):
    app.command()(command)
for command in (grading.release, grading.collect, grading.grade, grading.feedback):
    app.command(rich_help_panel="For teachers")(command)
app.command(rich_help_panel="For teachers")(asking.questions)
app.command(rich_help_panel="For teachers")(similarity.similarity)
app.add_typer(data.app, name="data")
app.add_typer(export.app, name="export", rich_help_panel="For teachers")


def main() -> None:
    """The entry point of `diffusion-lab` and `python -m diffusion_lab`."""
    speak_plainly()
    app()
