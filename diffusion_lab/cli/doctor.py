"""The command that examines somebody's own diffusion code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from diffusion_lab.cli.terminal import mistakes_told


def doctor(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.py", help="Defines any of: betas, q_sample, loss, network, sample and more."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as data.")] = False,
) -> None:
    """Examine diffusion code of your own with data whose exact answer is known.

    The file runs in this process, with your rights: examine your own. Exit status 0: nothing found. 1: something
    found. 2: the file cannot be read.
    """
    with mistakes_told():
        from diffusion_lab.doctor import examine

        checkup = examine(file)
    typer.echo(json.dumps(checkup.as_data(), indent=2) if as_json else checkup.as_text())
    if not checkup.well:
        raise typer.Exit(1)
