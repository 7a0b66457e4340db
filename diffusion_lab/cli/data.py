"""The commands on datasets."""

from __future__ import annotations

from typing import Annotated

import typer

from diffusion_lab.cli.terminal import RootOption, mistakes_told, new_table, say

app = typer.Typer(
    help="The datasets: what is bundled, what is on disk, and how to fetch the rest.", no_args_is_help=True
)


@app.command("list")
def data_list(data_root: RootOption = None) -> None:
    """Which data each chapter can run on, and which of them are on this machine."""
    with mistakes_told():
        from diffusion_lab.data import available

        table = new_table("name", "chapter", "bundled", "real", "on disk", "size", "licence")
        for info in available(data_root):
            place = str(info.on_disk) if info.on_disk else "no" if info.real else "-"
            table.add_row(info.name, info.chapter, info.bundled, info.real, place, info.size, info.licence)
    say(table)


@app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="A dataset's name; see `diffusion-lab data list`.")],
    data_root: RootOption = None,
) -> None:
    """Download real data, with progress and a checksum."""
    with mistakes_told():
        from diffusion_lab.data import fetch

        path = fetch(name, data_root)
    say(f"{name} is at {path}")
