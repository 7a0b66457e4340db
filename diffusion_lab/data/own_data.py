"""What a user says about data of their own: of which kind they are, where they lie, and how they are to be read."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffusion_lab.errors import DataError

OPTIONS: dict[str, tuple[str, ...]] = {
    "images": ("size",),
    "sounds": ("rate", "seconds"),
    "sentences": ("vectors",),
    "boards": (),
    "table": (),
    "shapes": ("normalise",),
    "beats": (),
}
"""The kinds of data, and which options each takes."""
CHOICES = {"normalise": ("all", "class", "shape")}
RANGES = {"size": (8, 512), "rate": (1_000, 192_000), "seconds": (0.05, 20.0)}
UNITS = {"size": "pixels", "rate": "Hz", "seconds": "seconds"}
LONGEST_NAME = 40


@dataclass(frozen=True)
class OwnData:
    """Data of the user's own.

    Raises:
        DataError: an unknown kind, nothing at that path, an option that this kind does not take, or one out of range.
    """

    kind: str
    """"images", "sounds", "sentences", "boards", "table", "shapes" or "beats"."""
    path: Path
    """A folder or an archive of files, or one file. Kept as an absolute path."""
    size: int | None = None
    """Height and width of an image in pixels; None for the chapter's."""
    rate: int | None = None
    """Samples of sound in a second; None for the chapter's."""
    seconds: float | None = None
    """The length of a sound; None for the chapter's."""
    vectors: Path | None = None
    """A file of word vectors in GloVe's text format; None for a random vector for each word."""
    normalise: str | None = None
    """Which shapes have one centre and one size, see `clouds.normalise`; None for "all"."""

    def __post_init__(self) -> None:
        if self.kind not in OPTIONS:
            raise DataError(f"no data of your own are called {self.kind!r}; the kinds are {', '.join(OPTIONS)}")
        for option in (name for names in OPTIONS.values() for name in names):
            value = getattr(self, option)
            if value is None:
                continue
            if option not in OPTIONS[self.kind]:
                kind = next(kind for kind, names in OPTIONS.items() if option in names)
                raise DataError(f"{option} is an option of {kind}, and your data are {self.kind}")
            if option in CHOICES and value not in CHOICES[option]:
                raise DataError(f"{option} must be one of {', '.join(CHOICES[option])}; got {value!r}")
            low, high = RANGES.get(option, (None, None))
            if low is not None and not low <= value <= high:
                raise DataError(f"{option} must be {low:g} to {high:g} {UNITS[option]}, got {value:g}")
        for option in ("path", "vectors"):
            value = getattr(self, option)
            if value is not None:
                object.__setattr__(self, option, Path(os.path.abspath(Path(value).expanduser())))
        if not self.path.exists():
            raise DataError(f"there is no {self.path} to read {self.kind} from")

    @property
    def called(self) -> str:
        """The last part of the path as it is shown, with a slash after a folder: `pets/` or `pets.zip`."""
        # A name need not be text in UTF-8, and may hold what moves the cursor or is very long.
        text = os.fsencode(self.path.name).decode("utf-8", "replace")
        text = "".join(sign if sign.isprintable() else "?" for sign in text)
        text = text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
        return f"{text}/" if self.path.is_dir() else text

    @property
    def name(self) -> str:
        """What the data are called everywhere. "your" comes first: a folder called mnist does not make them MNIST."""
        return f"your {'rows' if self.kind == 'table' else self.kind} in {self.called}"

    @property
    def folder(self) -> str:
        """The name in letters that any system takes for the name of a folder; for results."""
        safe = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in self.called.strip("/…"))
        return safe.strip(". ") or "data"

    def as_settings(self) -> dict[str, Any]:
        """All of it for JSON; `OwnData(**settings)` is the inverse."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
