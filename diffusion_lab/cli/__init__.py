"""The command `diffusion-lab`. Nothing here imports PyTorch before a command needs it, so that help is quick."""

from __future__ import annotations

import typer

from diffusion_lab.cli import data, grading, pieces, runs
from diffusion_lab.cli.runs import results_table

__all__ = ["app", "main", "results_table"]

app = typer.Typer(
    help="A course on diffusion models: ten datasets, trained, sampled and scored beside the exact truth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("list")(runs.list_chapters)
for command in (runs.run, runs.sample, runs.denoise, pieces.check, pieces.progress, pieces.audit):
    app.command()(command)
for command in (grading.release, grading.collect, grading.grade, grading.feedback):
    app.command(rich_help_panel="For teachers")(command)
app.add_typer(data.app, name="data")


def main() -> None:
    """The entry point of `diffusion-lab` and `python -m diffusion_lab`."""
    app()
