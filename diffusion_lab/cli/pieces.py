"""The commands on a student's pieces: check, progress, and the audit of the grader."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffusion_lab.cli.terminal import course_rules, mistakes_told, new_table, progress_bars, say, seed_text
from diffusion_lab.errors import SourceError

if TYPE_CHECKING:
    from diffusion_lab.grading.notebook import State

BAR = 20
"""Characters of the bar in the table of progress."""


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .py file or a notebook of this course.")],
    chapter: Annotated[
        str, typer.Option(help="Which chapter's exercises to look for. By default the notebook's.")
    ] = "",
    seed_file: Annotated[
        Path | None,
        typer.Option(help="The seed of a `grade` run, to ask what it asked. By default the cases that everybody sees."),
    ] = None,
    course: Annotated[
        Path, typer.Option(help="An instructor's course folder, whose course.toml changes points or adds exercises.")
    ] = Path("."),
) -> None:
    """Check the pieces in a file and say what is wrong with them. Exit status 1 if any does not pass."""
    with mistakes_told(), course_rules(course):
        from diffusion_lab.grading.judge import VISIBLE_SEED, points, seed_of, told
        from diffusion_lab.grading.notebook import check_piece, load

        sources = load(file, chapter or None)
        if not sources.names:
            raise SourceError(
                f"{file} has none of the course's functions; with --chapter NAME it says which ones are looked for"
            )
        for note in sources.notes:
            typer.echo(note)
        text = seed_text(seed_file)
        seed = seed_of(text) if text else VISIBLE_SEED
        verdicts = []
        for name in sources.names:
            fault = sources.faults.get(name, "")
            given = {"fault": fault, "pieces": sources.pieces, "owner": sources.owner}
            verdicts.append(check_piece(name, sources.namespace, seed, **given))
            typer.echo(told(verdicts[-1]))
        for place, fault in sources.faults.items():
            if place not in sources.names:
                typer.echo(f"outside of the pieces: {fault}")
    got, most = sum(verdict.points for verdict in verdicts), sum(verdict.out_of for verdict in verdicts)
    right = sum(verdict.passed for verdict in verdicts)
    typer.echo(f"{points(got)} of {most} points, {right} of {len(verdicts)} pieces are right")
    if right < len(verdicts):
        raise typer.Exit(1)


def see(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .py file or a notebook of this course.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The function, such as ddpm_step.")],
    out: Annotated[Path, typer.Option(help="The folder that the picture is written to.")] = Path("runs"),
) -> None:
    """Draw what a function does to the chapter's samples, right or wrong, beside what ours does."""
    with mistakes_told():
        from diffusion_lab.exercises import task
        from diffusion_lab.grading.notebook import load
        from diffusion_lab.grading.notebook import see as seen
        from diffusion_lab.plots import save

        chapter = task(name).chapter
        sources = load(file)
        sight = seen(name, sources.namespace, pieces=sources.pieces, fault=sources.faults.get(name, ""))
        typer.echo(sight.text)
        if sight.figure is None:
            raise typer.Exit(1)
        typer.echo(f"picture: {save(sight.figure, out / chapter / f'see_{name}.png')}")


def progress(
    place: Annotated[
        Path, typer.Argument(metavar="FOLDER|FILE.py", help="The folder of your notebooks, or one file of all pieces.")
    ] = Path("exercises"),
) -> None:
    """How far you are, chapter by chapter; below the ten, those beyond that you have begun."""
    with mistakes_told():
        from diffusion_lab.exercises.catalogue import BEYOND, NOTEBOOKS
        from diffusion_lab.grading.notebook import survey

        table = new_table("", "chapter", "pieces", "points", "", "next")
        with progress_bars() as bars:
            bar = bars.add_task("checking", total=len(NOTEBOOKS), what="")
            states = survey(place, lambda chapter: bars.update(bar, advance=1, what=chapter))
        ten = [state for state in states if state.chapter not in BEYOND]
        begun = [state for state in states if state.chapter in BEYOND and state.begun]
        got, most = (sum(getattr(state, what) for state in ten) for what in ("points", "out_of"))
        for state in ten:
            table.add_row(*_row(state))
        table.add_row("", "together", "", f"{got:g} of {most:g}", _bar(got, most), "", end_section=True)
        for state in begun:
            table.add_row(*_row(state))
    say(table)
    for state in states:
        for said in (*state.notes, *([state.fault] if state.unreadable else [])):
            typer.echo(f"{state.chapter}: {said}")


def audit(
    chapter: Annotated[str, typer.Argument(metavar="[CHAPTER]", help="One chapter; by default all.")] = "",
    seeds: Annotated[
        int, typer.Option(min=1, help="Draws of cases on which every answer is tried; hints are read on four of them.")
    ] = 20,
    mistakes: Annotated[
        bool, typer.Option("--mistakes", help="Also invent mistakes that are on no list, and count how many are named.")
    ] = False,
) -> None:
    """Grade the grader: every wrong answer must be rejected and named, every right one accepted."""
    if mistakes:
        _rehearse(chapter)
        return
    with mistakes_told():
        from diffusion_lab.exercises import notebook, tasks
        from diffusion_lab.grading.judge import audit as examine

        items = notebook(chapter).exercises if chapter else tuple(tasks().values())
        table = new_table("exercise", "chapter", "wrong answers named", "right answers accepted", "gaps")
        gaps: list[str] = []
        with progress_bars() as bars:
            bar = bars.add_task("auditing", total=len(items), what="")
            for item in items:
                bars.update(bar, what=item.name)
                result = examine(item, range(min(seeds, 4)), range(4, seeds))
                table.add_row(
                    item.name,
                    item.chapter,
                    f"{result.named} of {result.wrong}",
                    f"{result.accepted} of {result.right}",
                    str(len(result.gaps) or "-"),
                )
                gaps += [f"{item.name}: {gap}" for gap in result.gaps]
                bars.update(bar, advance=1)
    say(table)
    for gap in gaps:
        typer.echo(gap)
    typer.echo(f"{len(items)} exercises, {len(gaps) or 'no'} gap{'' if len(gaps) == 1 else 's'}")
    if gaps:
        raise typer.Exit(1)


def _rehearse(chapter: str) -> None:
    with mistakes_told():
        from diffusion_lab.exercises import library, notebook
        from diffusion_lab.grading.judge import rehearse

        known = library()
        items = [i for i in notebook(chapter).exercises if i.name in known] if chapter else list(known.values())
        table = new_table(
            "exercise", "chapter", "single mistakes named", "by the edit made", "pairs: one named", "both"
        )
        results = []
        with progress_bars() as bars:
            bar = bars.add_task("making mistakes", total=len(items), what="")
            for item in items:
                bars.update(bar, what=item.name)
                results.append(rehearse(item))
                bars.update(bar, advance=1)
    for r in results:
        row = (f"{r.named} of {r.singles}", str(r.alike), f"{r.one_named} of {r.pairs}", str(r.both_named))
        table.add_row(r.exercise.name, r.exercise.chapter, *row)
    say(table)
    made: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for r in results:
        made.update(r.made_of)
        found.update(r.named_of)
    kinds = new_table("kind of single mistake", "named")
    for kind, number in made.most_common():
        kinds.add_row(kind, f"{found[kind]} of {number}")
    say(kinds)
    singles, pairs = sum(r.singles for r in results), sum(r.pairs for r in results)
    named, alike = sum(r.named for r in results), sum(r.alike for r in results)
    one, both = sum(r.one_named for r in results), sum(r.both_named for r in results)
    typer.echo(
        f"{singles} functions with one mistake: {named / max(singles, 1):.0%} named, "
        f"{alike / max(singles, 1):.0%} by the edit that was made"
    )
    typer.echo(f"{pairs} with two: one named in {one / max(pairs, 1):.0%}, both in {both / max(pairs, 1):.0%}")


def _row(state: State) -> tuple[str, ...]:
    """A chapter's line in the table of `progress`."""
    from diffusion_lab.exercises import notebook
    from diffusion_lab.exercises.catalogue import number_of

    right = sum(verdict.passed for verdict in state.verdicts)
    return (
        str(number_of(state.chapter)),
        state.chapter,
        f"{right} of {len(notebook(state.chapter).exercises)}",
        f"{state.points:g} of {state.out_of}",
        _bar(state.points, state.out_of),
        _next(state),
    )


def _bar(got: float, most: float) -> str:
    full = int(BAR * got / most) if most else 0  # full for all points alone
    return "█" * full + "░" * (BAR - full)


def _next(state: State) -> str:
    if state.fault:
        return "cannot be read" if state.unreadable else state.fault
    return next((f"{v.exercise} ({v.state})" for v in state.verdicts if not v.passed), "done")
