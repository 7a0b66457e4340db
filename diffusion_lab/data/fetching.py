"""Downloads of real data: a file is checked before it takes its place, so that a broken one leaves nothing behind."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from diffusion_lab.data.catalogue import ENTRIES, entry_of
from diffusion_lab.data.storage import ENVIRONMENT, data_root
from diffusion_lab.errors import DataError, LabError, importing

# (address, hash) of one file. The hash of FSDD is the one of TensorFlow Datasets, that of GloVe of gensim-data's list.
FSDD = (
    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.9.tar.gz",
    "sha256:8bc44cde129d505cbbb6b365c09f80c663f2aa77578afc634e6141a2f87100c0",
)
EUROSAT = (  # as in torchvision's `EuroSAT`
    "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
    "md5:c8fa014336c82ac7804f0398fcb19387",
)
GLOVE = (
    "https://github.com/piskvorky/gensim-data/releases/download/glove-twitter-25/glove-twitter-25.gz",
    "md5:50db0211d7e7a2dcd362c6b774762793",
)


def fetch(name: str, root: str | Path | None = None) -> Path:
    """Download the real data called `name` under the data root, with a progress bar, and return where it lies.

    A file that is already there with the right checksum is not downloaded again.

    Raises:
        DataError: nothing to download under this name, a root that cannot be written to, a server that does not
            answer, or content that does not have the known checksum (it is not kept).
    """
    entry = entry_of(name)
    if not entry.fetchable:
        fetchable = ", ".join(name for name, entry in ENTRIES.items() if entry.fetchable)
        what = "is generated"
        if entry.real_name:
            what = f"comes from you: put {entry.real_name} under the data root as {' or '.join(entry.patterns)}"
        raise DataError(f"{name} {what}; there is nothing to download; names that can be fetched are {fetchable}")
    folder = data_root(root)
    try:
        return _FETCHERS[name](folder)
    except LabError:
        raise
    except OSError as fault:
        raise DataError(
            f"cannot write to {folder} ({fault}); {ENVIRONMENT} or a data root names another folder"
        ) from fault


def _mnist(folder: Path) -> Path:
    with importing("torchvision"):
        from torchvision.datasets import MNIST

    raw = folder / "MNIST" / "raw"
    for file, md5 in MNIST.resources:
        _download([mirror + file for mirror in MNIST.mirrors], f"md5:{md5}", raw / file)
    return raw


def _cifar10(folder: Path) -> Path:
    with importing("torchvision"):
        from torchvision.datasets import CIFAR10
        from torchvision.datasets.utils import extract_archive

    archive = folder / CIFAR10.filename
    _download([CIFAR10.url], f"md5:{CIFAR10.tgz_md5}", archive)
    target = folder / CIFAR10.base_folder
    # Unpacked beside its place and then renamed, so that an interruption leaves no half of it.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        extract_archive(str(archive), scratch)
        shutil.rmtree(target, ignore_errors=True)
        Path(scratch, CIFAR10.base_folder).rename(target)
    return target


def _audio(folder: Path) -> Path:
    return _download([FSDD[0]], FSDD[1], folder / "free-spoken-digit-dataset-1.0.9.tar.gz")


def _satellite(folder: Path) -> Path:
    return _download([EUROSAT[0]], EUROSAT[1], folder / "EuroSAT.zip")


def _text(folder: Path) -> Path:
    return _download([GLOVE[0]], GLOVE[1], folder / "glove-twitter-25.gz")


_FETCHERS = {"mnist": _mnist, "cifar10": _cifar10, "audio": _audio, "satellite": _satellite, "text": _text}


def _download(addresses: list[str], known_hash: str, target: Path) -> Path:
    """The file from the first of the addresses that serves it, checked against its hash before it takes its place."""
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)  # pooch tells of every download on stderr
    faults = []
    for address in addresses:
        with _Bar(target.name) as bar:
            downloader = pooch.HTTPDownloader(progressbar=bar, timeout=30)
            try:
                pooch.retrieve(address, known_hash, fname=target.name, path=target.parent, downloader=downloader)
                return target
            except requests.RequestException as fault:
                faults.append(f"{address}: {fault}")
            except ValueError as fault:  # what pooch raises when the hash differs
                faults.append(f"{address} does not have the checksum {known_hash}: {fault}")
    raise DataError(f"{target.name} could not be downloaded: " + "; ".join(faults))


class _Bar:
    """rich's progress bar on stdout behind the four names that pooch calls."""

    def __init__(self, label: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns)
        self._task = self._progress.add_task(label, total=None)
        self.total = 0

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._progress.stop()

    def update(self, count: int) -> None:
        self._progress.update(self._task, total=self.total or None, advance=count)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.refresh()
