"""The options by which a command gets data of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffusion_lab.errors import LabError

if TYPE_CHECKING:
    from diffusion_lab.data.own_data import OwnData

PANEL = "Data of your own"


def _own(help: str, metavar: str):
    return Annotated[Path | None, typer.Option(help=help, metavar=metavar, rich_help_panel=PANEL)]


ImagesOption = _own("Folder or archive of images, for mnist and cifar10.", "FOLDER")
SoundsOption = _own("Folder or archive of sounds, for audio.", "FOLDER")
SentencesOption = _own("Text file with a sentence on each line, for text.", "FILE")
BoardsOption = _own("PGN file or folder, or a text file with a board on each line, for games.", "FILE")
TableOption = _own("CSV file, for normal_nd.", "FILE")
ShapesOption = _own("Folder or archive of meshes or clouds of points, for points.", "FOLDER")
BeatsOption = _own(
    "Folder or archive of records in PhysioNet's format (.hea with .dat or .mat), for heartbeats.", "FOLDER"
)
SizeOption = Annotated[
    int | None, typer.Option(help="With --images: pixels, high and wide.", rich_help_panel=PANEL, show_default=False)
]
RateOption = Annotated[int | None, typer.Option(help="With --sounds: samples a second.", rich_help_panel=PANEL)]
SecondsOption = Annotated[float | None, typer.Option(help="With --sounds: how long each is.", rich_help_panel=PANEL)]
VectorsOption = Annotated[
    Path | None, typer.Option(help="With --sentences: a file of GloVe vectors.", rich_help_panel=PANEL)
]
NormaliseOption = Annotated[
    str | None,
    typer.Option(
        help="With --shapes: what is centred and scaled together: all shapes, each class, or each shape by itself.",
        metavar="all|class|shape",
        rich_help_panel=PANEL,
    ),
]


def own_data(asked: Mapping[str, Any]) -> OwnData | None:
    """What a command's options say about data of the user's own; None where they name none.

    Args:
        asked: the command's parameters by name. Those of `data.own_data.OPTIONS` are looked for, each kind with the
            path that was given for it, if any.

    Raises:
        LabError: two kinds at once, or an option of a kind without its data.
    """
    from diffusion_lab.data.own_data import OPTIONS, OwnData

    given = {kind: asked[kind] for kind in OPTIONS if asked.get(kind) is not None}
    names = (name for of_kind in OPTIONS.values() for name in of_kind)
    options = {name: asked[name] for name in names if asked.get(name) is not None}
    if len(given) > 1:
        raise LabError(f"one kind of data at a time, got {' and '.join(f'--{kind}' for kind in given)}")
    if not given:
        for name in options:
            kind = next(kind for kind, names in OPTIONS.items() if name in names)
            raise LabError(f"--{name} goes with --{kind}, and there is none")
        return None
    ((kind, path),) = given.items()
    return OwnData(kind, path, **options)
