"""Score the reference's own entries in the open challenge, and write the tables that come with the package.

    python scripts/record_challenge.py spiral

Each file of `diffusion_lab/challenge/reference/CHALLENGE/` is an entry; besides them there is the course's own, which
replaces no piece. It needs bubblewrap and the real data, and a few minutes on two cores that nobody else uses.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from diffusion_lab.challenge import NAMES, as_markdown, enter, read_entry, reference_table, rules_of, write_table
from diffusion_lab.challenge.reference import reference_entries
from diffusion_lab.challenge.table import RECORDED, with_row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("challenges", nargs="+", choices=NAMES, help="which challenges")
    parser.add_argument("--only", help="one entry alone, by its name")
    wanted = parser.parse_args()
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()) as progress:
        for challenge in wanted.challenges:
            rules = rules_of(challenge)
            for name, path in reference_entries(challenge).items():
                if wanted.only not in (None, name):
                    continue
                bar = progress.add_task(f"{challenge}: {name}", total=1)

                def on_step(what: str, done: int, total: int, bar=bar, name=name) -> None:
                    progress.update(bar, description=f"{name}: {what}", completed=done, total=total)

                row = enter(rules, read_entry(rules, path, name=name), source="auto", on_step=on_step)
                table = Path(RECORDED) / f"{challenge}.json"
                write_table(table, with_row(reference_table(challenge), row))
            progress.print(as_markdown(reference_table(challenge)))


if __name__ == "__main__":
    main()
