"""The command on the open challenge."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from diffusion_lab.cli.terminal import (
    Isolation,
    RootOption,
    SourceName,
    SourceOption,
    mistakes_told,
    new_table,
    progress_bars,
    say,
)


class ChallengeBudget(str, enum.Enum):
    smoke = "smoke"
    full = "full"


def challenge(
    name: Annotated[str, typer.Argument(metavar="spiral|mnist", help="Which challenge.")],
    entry: Annotated[
        Path | None,
        typer.Argument(metavar="[ENTRY]", help="A .py file or a notebook with your pieces. Without it: the table."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A .safetensors file with the weights of the entry's network: no training here.")
    ] = None,
    called: Annotated[str, typer.Option("--name", help="What the table calls it. By default the file's name.")] = "",
    budget: Annotated[
        ChallengeBudget, typer.Option(help="smoke shows in seconds whether an entry runs; full is scored.")
    ] = ChallengeBudget.full,
    source: SourceOption = SourceName.auto,
    data_root: RootOption = None,
    isolation: Annotated[
        Isolation, typer.Option(help="How its code is kept apart; none only for code that you trust.")
    ] = Isolation.bubblewrap,
    out: Annotated[Path, typer.Option(help="Folder for the table of entries.")] = Path("challenge"),
) -> None:
    """Train, sample and score an entry under the rules, in the sandbox; add it to the table in OUT."""
    with mistakes_told():
        from diffusion_lab.challenge import (
            as_markdown,
            enter,
            read_entry,
            read_table,
            reference_table,
            rules_of,
            with_row,
            write_table,
        )

        rules = rules_of(name, budget.value)
        path = out / f"{name}.json"
        rows = [*reference_table(name), *read_table(path)]
        if entry is None and weights is None:
            _show(rows)
            return
        taking_part = read_entry(rules, entry, weights, called)
        if isolation is Isolation.none:
            from diffusion_lab.grading.isolation import NONE_GIVES_UP

            typer.echo(NONE_GIVES_UP)
        with progress_bars() as progress:
            bar = progress.add_task(taking_part.name[:10], total=1, what="starting")
            row = enter(
                rules,
                taking_part,
                source=source.value,
                data_root=data_root,
                isolation=isolation.value,
                on_step=lambda what, done, total: progress.update(bar, completed=done, total=total, what=what),
            )
            progress.update(bar, completed=1, total=1, what="done")
        if not rules.scored:
            say(
                f"'{row.name}' runs: {row.parameters:,} parameters. A smoke run is not scored, and nothing is recorded."
            )
            return
        write_table(path, with_row(read_table(path), row))
        rows = [*reference_table(name), *read_table(path)]
        (out / f"{name}.md").write_text(as_markdown(rows) + "\n", encoding="utf-8")
    _show(rows)
    say(f"The table is in {path} and {path.with_suffix('.md')}")


def _show(rows: list) -> None:
    if not rows:
        say("There are no entries yet.")
    for data in dict.fromkeys(row.data for row in rows):
        here = [row for row in rows if row.data == data]
        counts = sorted({int(count) for row in here for count in row.values})
        table = new_table(
            "entry", "made of", "weights", "parameters", *(f"{count} eval." for count in counts), "floor", "copies"
        )
        for row in sorted(here, key=lambda row: row.mean(counts[-1])):
            table.add_row(
                row.name,
                ", ".join(row.made_of) or "the course's own",
                "trained here" if row.trained_here else "brought along",
                f"{row.parameters:,}",
                *(f"{row.mean(count):.3g} ± {row.spread(count):.1g}" for count in counts),
                f"{row.floor:.3g}",
                f"{row.copied:.0%}",
            )
        table.caption = f"{data}: {here[0].metric}, lower is better"
        say(table)
