"""The commands on chapters: list, run, sample, denoise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffusion_lab.cli.own import (
    BeatsOption,
    BoardsOption,
    ImagesOption,
    NormaliseOption,
    RateOption,
    SecondsOption,
    SentencesOption,
    ShapesOption,
    SizeOption,
    SoundsOption,
    TableOption,
    VectorsOption,
    own_data,
)
from diffusion_lab.cli.side_by_side import fitting, in_words, side_by_side
from diffusion_lab.cli.terminal import (
    BudgetName,
    ChapterName,
    CheckpointOption,
    DeviceName,
    DeviceOption,
    OutOption,
    RootOption,
    SeedOption,
    SourceName,
    SourceOption,
    console,
    first_process,
    mistakes_told,
    new_table,
    progress_bars,
    say,
)
from diffusion_lab.errors import LabError, SourceError

if TYPE_CHECKING:
    from diffusion_lab.grading.notebook import Choice
    from diffusion_lab.report import Report


def list_chapters() -> None:
    """The ten chapters, and those beyond the ten."""
    from diffusion_lab.chapters import BEYOND, NAMES, get

    table = new_table("", "chapter", "title", "method", "variants")
    for name in (*NAMES, *BEYOND):
        chapter = get(name)
        table.add_row(str(chapter.number), name, chapter.title, chapter.method, ", ".join(chapter.variants))
    say(table)


def run(
    chapter: Annotated[
        str,
        typer.Argument(
            metavar="CHAPTER|all|beyond", help="A chapter's name or number, all ten, or all those beyond the ten."
        ),
    ],
    budget: Annotated[
        BudgetName,
        typer.Option(help="smoke only proves that it runs; quick and full are scored; gpu is for chapter 7 alone."),
    ] = BudgetName.quick,
    source: SourceOption = SourceName.auto,
    data_root: RootOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = DeviceName.auto,
    out: OutOption = Path("runs"),
    variant: Annotated[str, typer.Option(help="Another method for the same data; see `diffusion-lab list`.")] = "",
    network: Annotated[
        str,
        typer.Option(help="Another network, where it takes the data: mlp, unet, dit, uvit, mixer, transformer or set."),
    ] = "",
    jobs: Annotated[
        int | None,
        typer.Option(help="Chapters at once, with all or beyond. By default as processors and memory allow.", min=1),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from where an interrupted run stopped.")] = False,
    pieces: Annotated[
        Path | None,
        typer.Option(help="Your own pieces: a .py file or a notebook. Ours stand in for those that fail their checks."),
    ] = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="With --pieces: take yours even if the check fails.")
    ] = False,
    images: ImagesOption = None,
    sounds: SoundsOption = None,
    sentences: SentencesOption = None,
    boards: BoardsOption = None,
    table: TableOption = None,
    shapes: ShapesOption = None,
    beats: BeatsOption = None,
    size: SizeOption = None,
    rate: RateOption = None,
    seconds: SecondsOption = None,
    vectors: VectorsOption = None,
    normalise: NormaliseOption = None,
) -> None:
    """Train, sample and score; write report, checkpoint and figures under OUT/CHAPTER."""
    with mistakes_told():
        from rich.markup import escape

        from diffusion_lab.chapters import BEYOND, NAMES, get, results_folder

        several = {"all": NAMES, "beyond": BEYOND}
        names = several.get(chapter) or (get(chapter, variant).name,)
        own = own_data(locals())
        if own is not None and chapter in several:
            raise LabError(f"--{own.kind} goes with one chapter, not with {chapter}")
        if own is not None and source is not SourceName.auto:
            raise LabError(f"--{own.kind} says which data to take; leave --source out")
        if jobs is not None and chapter not in several:
            raise LabError(f"--jobs goes with {' and '.join(several)}, not with one chapter")
        if jobs is not None and pieces is not None:
            raise LabError("chapters with your own pieces run one after the other; leave --jobs out")
        choice = None if pieces is None else _own_pieces(pieces, names, variant, unchecked)
        for name in names if network and choice is not None else ():
            if "network" in choice.slots(name):
                raise SourceError("the network of --pieces and the one of --network cannot both be taken: give one")
    options = {
        "variant": variant,
        "seed": seed,
        "budget": budget.value,
        "source": source.value,
        "data_root": data_root,
        "own": own,
        "device": device.value,
        "out": out,
        "resume": resume,
    } | ({"network": network} if network else {})
    began = time.monotonic()
    reports: dict[str, Report] = {}
    failures: dict[str, str] = {}
    with progress_bars() as progress:
        bars = {}

        def on_step(name: str, what: str, done: int, total: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=1, what="starting")
            progress.update(bars[name], completed=done, total=total, what=what)

        def on_note(name: str, note: str) -> None:
            if first_process():
                line = f"note on the data of chapter '{name}': {note}"
                progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

        for name, result in _results(names, options, choice, jobs, on_step, on_note):
            if isinstance(result, str):
                failures[name] = result
                on_step(name, "failed", 0, 1)
                continue
            reports[name] = result
            verdict = "done" if not result.judged else "passed" if result.passed else "not passed"
            on_step(name, f"{verdict}, {result.seconds['total']:.0f} s", 1, 1)
    if reports:
        results = out if own is None else results_folder(out, names[0], own)
        in_order = [reports[name] for name in names if name in reports]
        say(results_table(in_order, console().width, time.monotonic() - began))
        for report in in_order if choice is not None else ():
            from diffusion_lab.grading.notebook import comparison

            typer.echo(f"\n{report.number} {report.title}\n{comparison(report)}")
        if budget is BudgetName.smoke:
            say("A smoke run proves that everything is connected. Its scores mean nothing.")
        say(f"Reports, checkpoints and figures are under {escape(str(results))}/")
    for name in names:
        if name in failures:
            typer.echo(f"error in chapter '{name}': {failures[name]}", err=True)
    if failures:
        raise typer.Exit(2)
    if any(report.judged and not report.passed for report in reports.values()):
        raise typer.Exit(1)


def _results(
    names: Sequence[str],
    options: dict[str, Any],
    choice: Choice | None,
    jobs: int | None,
    on_step: Callable[[str, str, int, int], None],
    on_note: Callable[[str, str], None],
) -> Iterator[tuple[str, Report | str]]:
    """Each chapter with its report, or why there is none: several at once, or with own pieces in their order."""
    from diffusion_lab.chapters import run_chapter

    if choice is None and len(names) > 1:
        jobs = fitting(len(names)) if jobs is None else min(jobs, len(names))
        if jobs > 1:
            yield from side_by_side(names, options, jobs, on_step, on_note)
            return
    for name in names:
        on_step(name, "starting", 0, 1)
        told = {"on_step": partial(on_step, name), "on_note": partial(on_note, name)}
        try:
            with _in_their_place(choice, name) as slots:
                result = run_chapter(name, **{**slots, **options}, **told)
        except (LabError, OSError) as error:
            result = in_words(error)
        yield name, result


def _own_pieces(path: Path, names: Sequence[str], variant: str, unchecked: bool) -> Choice:
    """Check the pieces of a file, say which are taken, and return them."""
    from diffusion_lab.grading.notebook import choose, load

    if variant:
        raise SourceError("the exercises make a chapter's own method: --pieces and --variant do not go together")
    sources = load(path)
    choice = choose(sources.namespace, names, unchecked=unchecked, faults=sources.faults, pieces=sources.pieces)
    typer.echo("\n".join([*sources.notes, *choice.lines]))
    return choice


@contextmanager
def _in_their_place(choice: Choice | None, name: str) -> Iterator[dict[str, Any]]:
    """The slots of a chapter filled with the chosen pieces; what goes wrong in the student's is told with the line."""
    if choice is None:
        yield {}
        return
    with choice.in_place():
        try:
            yield choice.slots(name)
        except LabError:
            raise
        except Exception as error:
            lines = choice.lines_of(error)
            if not lines:
                raise
            raise SourceError(f"your piece raised {type(error).__name__}: {error}, at {lines[-1]}") from error


WIDE = 120
"""From this many columns on, the table of results has all its columns."""


def results_table(reports: list[Report], width: int, seconds: float):
    """Chapter, data, network, seconds, and the first score of each report beside its floor and threshold.

    `seconds` is what they took together, which is less than their sum where they ran side by side.
    On a terminal of fewer than `WIDE` columns the network and the floor are left to report.json.
    """
    from rich.markup import escape

    wide = width >= WIDE
    names = ["chapter", "data", "network", "seconds", "metric", "score", "floor", "threshold", "passed"]
    table = new_table(*(names if wide else [name for name in names if name not in ("network", "floor")]))
    for report in reports:
        cells = {
            "chapter": f"{report.number} {report.chapter}",
            "data": escape(report.dataset),
            "network": report.network,
            "seconds": f"{report.seconds['total']:.0f}",
            **_first_score(report),
        }
        table.add_row(*(cells[str(column.header)] for column in table.columns))
    for column in table.columns:
        column.no_wrap = column.header not in ("data", "network", "metric")
    if all(report.judged for report in reports):
        table.caption = f"{seconds:.0f} s together. A chapter has passed when all scores in its report.json have."
    return table


def _first_score(report: Report) -> dict[str, str]:
    """The cells of a report's first score."""
    if not report.scores:
        return {"metric": "not scored", "score": "-", "floor": "-", "threshold": "-", "passed": "-"}
    score = report.scores[0]
    return {
        "metric": score.name,
        "score": f"{score.value:.3g}",
        "floor": f"{score.floor:.3g}",
        "threshold": score.limit,
        "passed": ("yes" if report.passed else "no") if report.judged else "-",
    }


def sample(
    chapter: ChapterName,
    checkpoint: CheckpointOption = None,
    count: Annotated[int, typer.Option(help="How many samples.", min=1)] = 64,
    steps: Annotated[
        int | None, typer.Option(help="Sampler steps; by default those of the checkpoint's budget.", min=1)
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale, where there are labels; 1 is none.", min=0)
    ] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Guide only between these two times: 0 is data, 1 is noise. By default the chapter's, and the whole "
            "way with --guidance.",
            metavar="FROM TO",
        ),
    ] = None,
    sampler: Annotated[str, typer.Option(help="ddpm, ddim, euler, heun or dpmpp_2m; by default the chapter's.")] = "",
    spacing: Annotated[
        str, typer.Option(help="Where its steps lie: uniform, log_snr or karras; by default the schedule's.")
    ] = "",
    label: Annotated[str, typer.Option(help="One class for all samples: its name or number.")] = "",
    data_root: RootOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = DeviceName.auto,
    out: OutOption = Path("runs"),
    images: ImagesOption = None,
    sounds: SoundsOption = None,
    sentences: SentencesOption = None,
    boards: BoardsOption = None,
    table: TableOption = None,
    shapes: ShapesOption = None,
    beats: BeatsOption = None,
) -> None:
    """Draw samples from a trained network; write them and a picture of them under OUT/CHAPTER/samples."""
    with mistakes_told(), progress_bars() as progress:
        from diffusion_lab.chapters import get, results_folder, samples

        name = get(chapter).name
        own = own_data(locals())
        folder = results_folder(out, name, own)
        bar = progress.add_task(name, total=1, what="loading")
        options = {"data_root": data_root, "seed": seed, "device": device.value, "guidance": guidance, "own": own}
        options |= {"guidance_interval": guidance_interval, "spacing": spacing} | ({"step": sampler} if sampler else {})
        experiment, which = samples.open_network(name, checkpoint, folder, **options)
        number = samples.label_of(experiment, label) if label else None
        notes = experiment.dataset.notes
        experiment.on_step = lambda what, done, total: progress.update(bar, completed=done, total=total, what=what)
        files = samples.draw(experiment, folder / "samples", count=count, steps=steps, label=number)
    for line in (which, *files):
        typer.echo(str(line))
    for note in notes:
        typer.echo(f"note on the data: {note}")


def denoise(
    chapter: ChapterName,
    checkpoint: CheckpointOption = None,
    data_root: RootOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = DeviceName.auto,
    out: OutOption = Path("runs"),
    images: ImagesOption = None,
    sounds: SoundsOption = None,
    sentences: SentencesOption = None,
    boards: BoardsOption = None,
    table: TableOption = None,
    shapes: ShapesOption = None,
    beats: BeatsOption = None,
) -> None:
    """Denoise held-out data at several noise levels, beside the exact answer where there is one."""
    with mistakes_told():
        from diffusion_lab.chapters import get, results_folder, samples

        name = get(chapter).name
        own = own_data(locals())
        folder = results_folder(out, name, own)
        options = {"data_root": data_root, "seed": seed, "device": device.value, "own": own}
        experiment, which = samples.open_network(name, checkpoint, folder, **options)
        files, scores, levels = samples.denoise(experiment, folder)
        notes = experiment.dataset.notes
    answers = new_table("log-SNR", *scores)
    for i, level in enumerate(levels):
        answers.add_row(f"{level:.1f}", *(f"{values[i]:.4g}" for values in scores.values()))
    say(answers)
    for line in (which, *files):
        typer.echo(str(line))
    for note in notes:
        typer.echo(f"note on the data: {note}")
