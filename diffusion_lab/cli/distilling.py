"""The command that teaches a network to take few steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from diffusion_lab.cli.terminal import (
    ChapterName,
    DeviceName,
    DeviceOption,
    OutOption,
    RootOption,
    SeedOption,
    mistakes_told,
    progress_bars,
)


def distill(
    chapter: ChapterName,
    steps: Annotated[int, typer.Option(help="Network evaluations for a sample of the last student.", min=1)] = 4,
    teacher_steps: Annotated[
        int, typer.Option(help="Steps of the teacher: 2, 4, 8, ... times those of the student.", min=2)
    ] = 16,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The teacher, a checkpoint of a run; by default the network that ships.")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="The teacher's guidance scale, the whole way; by default as the chapter guides.", min=0),
    ] = None,
    training_steps: Annotated[int, typer.Option(help="Training steps of each halving.", min=1)] = 600,
    data_root: RootOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = DeviceName.auto,
    out: OutOption = Path("runs"),
) -> None:
    """Teach a network to sample in a few steps; write a checkpoint for each halving under OUT/CHAPTER."""
    with mistakes_told(), progress_bars() as progress:
        from diffusion_lab.chapters import get
        from diffusion_lab.chapters.distilling import TRAINING, distill

        name = get(chapter).name
        bar = progress.add_task(name, total=1, what="loading")
        written: list[tuple[int, Path]] = []
        distill(
            name,
            steps=steps,
            teacher_steps=teacher_steps,
            checkpoint=checkpoint,
            guidance=guidance,
            training=replace(TRAINING, steps=training_steps),
            out=out,
            data_root=data_root,
            device=device.value,
            seed=seed,
            on_step=lambda what, done, total: progress.update(bar, completed=done, total=total, what=what),
            on_stage=lambda student, count, path: written.append((count, path)),
        )
    for count, path in written:
        typer.echo(f"{count} step{'' if count == 1 else 's'}: {path}")
    typer.echo(f"`diffusion-lab sample {name} --checkpoint {written[-1][1]}` draws from the last one.")
