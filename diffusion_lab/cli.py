"""The command `diffusion-lab`. Nothing here imports PyTorch before a command needs it, so that help is quick."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffusion_lab.errors import LabError

if TYPE_CHECKING:
    from diffusion_lab.report import Report

app = typer.Typer(
    help="A course on diffusion models: ten datasets, trained, sampled and scored beside the exact truth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(
    help="The datasets: what is bundled, what is on disk, and how to fetch the rest.", no_args_is_help=True
)
app.add_typer(data_app, name="data")


class BudgetName(str, enum.Enum):
    smoke = "smoke"
    quick = "quick"
    full = "full"


class SourceName(str, enum.Enum):
    auto = "auto"
    bundled = "bundled"
    real = "real"


class DeviceName(str, enum.Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


ChapterName = Annotated[
    str, typer.Argument(metavar="CHAPTER", help="A chapter's name or number; see `diffusion-lab list`.")
]
SourceOption = Annotated[
    SourceName, typer.Option(help="Which data: real where they are on disk (auto), or one kind only.")
]
RootOption = Annotated[
    Path | None, typer.Option(help="Folder of the real data. By default $DIFFUSION_LAB_DATA, else the user's cache.")
]
SeedOption = Annotated[int, typer.Option(help="The source of all randomness.", min=0)]
DeviceOption = Annotated[DeviceName, typer.Option(help="Where to compute.")]
CheckpointOption = Annotated[
    Path | None, typer.Option(help="A checkpoint of a run. By default OUT/CHAPTER/checkpoint.safetensors.")
]
OutOption = Annotated[Path, typer.Option(help="Folder for results.")]


@app.command("list")
def list_chapters() -> None:
    """The ten chapters."""
    from diffusion_lab.chapters import NAMES, get

    table = _table("", "chapter", "title", "method", "variants")
    for name in NAMES:
        chapter = get(name)
        table.add_row(str(chapter.number), name, chapter.title, chapter.method, ", ".join(chapter.variants))
    _print(table)


@app.command()
def run(
    chapter: Annotated[str, typer.Argument(metavar="CHAPTER|all", help="A chapter's name or number, or all ten.")],
    budget: Annotated[
        BudgetName, typer.Option(help="smoke proves that it runs; quick and full are scored.")
    ] = BudgetName.quick,
    source: SourceOption = SourceName.auto,
    data_root: RootOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = DeviceName.auto,
    out: OutOption = Path("runs"),
    variant: Annotated[str, typer.Option(help="Another method for the same data; see `diffusion-lab list`.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from where an interrupted run stopped.")] = False,
) -> None:
    """Train, sample and score; write report, checkpoint and figures under OUT/CHAPTER."""
    with _told():
        from diffusion_lab.chapters import NAMES, get, run_chapter

        names = NAMES if chapter == "all" else (get(chapter, variant).name,)
    reports: list[Report] = []
    failures: dict[str, LabError] = {}
    with _progress() as progress:
        for name in names:
            bar = progress.add_task(name, total=1, what="starting")

            def on_step(what: str, done: int, total: int, bar=bar) -> None:
                progress.update(bar, completed=done, total=total, what=what)

            try:
                report = run_chapter(
                    name,
                    variant=variant,
                    seed=seed,
                    budget=budget.value,
                    source=source.value,
                    data_root=data_root,
                    device=device.value,
                    out=out,
                    resume=resume,
                    on_step=on_step,
                )
            except LabError as error:
                failures[name] = error
                progress.update(bar, what="failed")
                continue
            reports.append(report)
            verdict = "done" if not report.meaningful else "passed" if report.passed else "not passed"
            progress.update(bar, completed=1, total=1, what=f"{verdict}, {report.seconds['total']:.0f} s")
    if reports:
        _print(results_table(reports, _console().width))
        if budget is BudgetName.smoke:
            _print("A smoke run proves that everything is connected. Its scores mean nothing.")
        _print(f"Reports, checkpoints and figures are under {out}/")
    for name, error in failures.items():
        typer.echo(f"error in chapter '{name}': {error}", err=True)
    if failures:
        raise typer.Exit(2)
    if budget is not BudgetName.smoke and not all(report.passed for report in reports):
        raise typer.Exit(1)


WIDE = 120
"""From this many columns on, the table of results has all its columns."""


def results_table(reports: list[Report], width: int):
    """Chapter, data, network, seconds, and the first score of each report beside its floor and threshold.

    On a terminal of fewer than `WIDE` columns the network and the floor are left to report.json.
    """
    wide = width >= WIDE
    names = ["chapter", "data", "network", "seconds", "metric", "score", "floor", "threshold", "passed"]
    table = _table(*(names if wide else [name for name in names if name not in ("network", "floor")]))
    for report in reports:
        score = report.scores[0]
        cells = {
            "chapter": f"{report.number} {report.chapter}",
            "data": report.dataset,
            "network": report.network,
            "seconds": f"{report.seconds['total']:.0f}",
            "metric": score.name,
            "score": f"{score.value:.3g}",
            "floor": f"{score.floor:.3g}",
            "threshold": f"{'≤' if score.better == 'lower' else '≥'} {score.threshold:.3g} {score.unit}".strip(),
            "passed": ("yes" if report.passed else "no") if report.meaningful else "-",
        }
        table.add_row(*(cells[str(column.header)] for column in table.columns))
    for column in table.columns:
        column.no_wrap = column.header not in ("data", "network", "metric")
    if all(report.meaningful for report in reports):
        total = sum(report.seconds["total"] for report in reports)
        table.caption = f"{total:.0f} s together. A chapter has passed when all scores in its report.json have."
    return table


@app.command()
def sample(
    chapter: ChapterName,
    checkpoint: CheckpointOption = None,
    count: Annotated[int, typer.Option(help="How many samples.", min=1)] = 64,
    steps: Annotated[
        int | None, typer.Option(help="Sampler steps; by default those of the checkpoint's budget.", min=1)
    ] = None,
    data_root: RootOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = DeviceName.auto,
    out: OutOption = Path("runs"),
) -> None:
    """Draw samples from a checkpoint; write them and a picture of them under OUT/CHAPTER/samples."""
    with _told(), _progress() as progress:
        from diffusion_lab.chapters import get, samples

        name = get(chapter).name
        bar = progress.add_task(name, total=1, what="loading")
        files = samples.draw(
            name,
            checkpoint or out / name / "checkpoint.safetensors",
            count=count,
            steps=steps,
            data_root=data_root,
            seed=seed,
            device=device.value,
            folder=out / name / "samples",
            on_step=lambda what, done, total: progress.update(bar, completed=done, total=total, what=what),
        )
    for file in files:
        _print(str(file))


@app.command()
def denoise(
    chapter: ChapterName,
    checkpoint: CheckpointOption = None,
    data_root: RootOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = DeviceName.auto,
    out: OutOption = Path("runs"),
) -> None:
    """Denoise held-out data at several noise levels, beside the exact answer where there is one."""
    with _told():
        from diffusion_lab.chapters import get, samples

        name = get(chapter).name
        path, scores, levels = samples.denoise(
            name,
            checkpoint or out / name / "checkpoint.safetensors",
            data_root=data_root,
            seed=seed,
            device=device.value,
            folder=out / name,
        )
    table = _table("log-SNR", *scores)
    for i, level in enumerate(levels):
        table.add_row(f"{level:.1f}", *(f"{values[i]:.4g}" for values in scores.values()))
    _print(table)
    _print(str(path))


@data_app.command("list")
def data_list(data_root: RootOption = None) -> None:
    """Which data each chapter can run on, and which of them are on this machine."""
    with _told():
        from diffusion_lab.data import available

        table = _table("name", "chapter", "bundled", "real", "on disk", "size", "licence")
        for info in available(data_root):
            place = str(info.on_disk) if info.on_disk else "no" if info.real else "-"
            table.add_row(info.name, info.chapter, info.bundled, info.real, place, info.size, info.licence)
    _print(table)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="A dataset's name; see `diffusion-lab data list`.")],
    data_root: RootOption = None,
) -> None:
    """Download real data, with progress and a checksum."""
    with _told():
        from diffusion_lab.data import fetch

        path = fetch(name, data_root)
    _print(f"{name} is at {path}")


@contextmanager
def _told() -> Iterator[None]:
    """Say what the user can mend in one line, without a traceback."""
    try:
        yield
    except LabError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


@contextmanager
def _progress() -> Iterator:
    """Bars on standard output: in a notebook, standard error counts as a fault."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:10}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}"),
    )
    with Progress(*columns, refresh_per_second=4, disable=not _first_process()) as progress:
        yield progress


def _first_process() -> bool:
    """Under `accelerate launch` every process runs this program, and one of them speaks."""
    return os.environ.get("RANK", "0") == "0"


def _table(*columns: str):
    from rich.table import Table

    table = Table(*columns, header_style="bold")
    return table


def _console():
    from rich.console import Console

    console = Console(quiet=not _first_process())
    # A file or a pipe has no width of its own; a table in it should not be squeezed into 80 columns.
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(quiet=console.quiet, width=160)


def _print(what) -> None:
    _console().print(what, highlight=False, soft_wrap=isinstance(what, str))


def main() -> None:
    """The entry point of `diffusion-lab` and `python -m diffusion_lab`."""
    app()
