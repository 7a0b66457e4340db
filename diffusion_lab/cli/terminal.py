"""What the commands share: options, tables, bars, and mistakes told in one line."""

from __future__ import annotations

import codecs
import enum
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffusion_lab.errors import LabError

if TYPE_CHECKING:
    from diffusion_lab.grading.classroom.rules import Rules


class BudgetName(str, enum.Enum):
    smoke = "smoke"
    quick = "quick"
    full = "full"
    gpu = "gpu"


class Isolation(str, enum.Enum):
    bubblewrap = "bubblewrap"
    container = "container"
    none = "none"


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
    SourceName, typer.Option(help="Which data: the real ones if you have them on disk (auto), or one kind only.")
]
RootOption = Annotated[
    Path | None, typer.Option(help="Folder of the real data. By default $DIFFUSION_LAB_DATA, or else your cache.")
]
SeedOption = Annotated[int, typer.Option(help="The source of all randomness.", min=0)]
DeviceOption = Annotated[DeviceName, typer.Option(help="Where to compute.")]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(help="A checkpoint of a run. By default OUT/CHAPTER/checkpoint.safetensors, or else the shipped one."),
]
OutOption = Annotated[Path, typer.Option(help="Folder for results.")]


@contextmanager
def mistakes_told() -> Iterator[None]:
    """Say what the user can mend in one line, without a traceback: their input, or a folder that is full or closed."""
    try:
        yield
    except LabError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except OSError as error:
        if error.filename is None:  # no file: not the user's
            raise
        typer.echo(f"error: {of_file(error)}", err=True)
        raise typer.Exit(2) from error


@contextmanager
def course_rules(course: Path) -> Iterator[Rules]:
    """What the course's `course.toml` decides, in force as long as this is open; nothing where it has none."""
    from diffusion_lab.grading.classroom.rules import ruled

    with ruled(course) as rules:
        yield rules


def are(count: int, what: str) -> str:
    """A count with its verb: "1 mark is", "2 marks are"."""
    return f"{count} {what} is" if count == 1 else f"{count} {what}s are"


def of_file(error: OSError) -> str:
    """What the system says of a file, such as "runs/spiral: Permission denied"."""
    return f"{error.filename}: {error.strerror}"


PLAIN = {
    "✓": "+",
    "✗": "x",
    "█": "#",
    "░": ".",
    "≤": "<=",
    "≥": ">=",
    "…": "...",
    "→": "->",
    "–": "-",
    "−": "-",
    "·": "*",
    "×": "x",
    "²": "^2",
    "√": "sqrt ",
    "α": "alpha",
    "β": "beta",
    "ε": "eps",
    "λ": "lambda",
    "μ": "mu",
    "σ": "sigma",
}
"""What stands for a sign where the terminal's encoding has none, such as cp1252 of a Windows console."""


def speak_plainly() -> None:
    """Let standard output and standard error write another sign for one that their encoding lacks, and never fail."""

    def plain(fault: UnicodeError) -> tuple[str, int]:
        if not isinstance(fault, UnicodeEncodeError):
            raise fault
        signs = fault.object[fault.start : fault.end]
        return "".join(PLAIN.get(sign, "?") for sign in signs), fault.end

    codecs.register_error("diffusion-lab-plain", plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's own stream has no encoding
            stream.reconfigure(errors="diffusion-lab-plain")


@contextmanager
def progress_bars() -> Iterator:
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
    with Progress(*columns, refresh_per_second=4, disable=not first_process()) as progress:
        yield progress


def first_process() -> bool:
    """Under `accelerate launch` every process runs this program, and one of them speaks."""
    return os.environ.get("RANK", "0") == "0"


def new_table(*columns: str):
    """An empty table."""
    from rich.table import Table

    return Table(*columns, header_style="bold")


def console():
    """Standard output, wide enough for a table."""
    from rich.console import Console

    plain = Console(quiet=not first_process())
    # A file or a pipe has no width of its own; a table in it should not be squeezed into 80 columns.
    return plain if plain.is_terminal or "COLUMNS" in os.environ else Console(quiet=plain.quiet, width=160)


def say(what) -> None:
    """Print a line or a table; in a line, [square brackets] are markup."""
    console().print(what, highlight=False, soft_wrap=isinstance(what, str))


def seed_text(seed_file: Path | None) -> str:
    """The seed in a file, as text; "" for no file. Raises LabError for one that is empty or cannot be read."""
    from diffusion_lab.errors import LabError

    if seed_file is None:
        return ""
    try:
        data = seed_file.read_bytes()
    except OSError as error:
        raise LabError(f"{seed_file}: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        text = data.hex()
    if not text:
        raise LabError(f"{seed_file} is empty")
    return text
