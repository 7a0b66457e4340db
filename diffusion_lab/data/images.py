"""Photographs: CIFAR-10 as torchvision keeps it, or any folder or archive of images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.pictures import KIN, SUFFIXES, read_picture
from diffusion_lab.data.splits import layout_of
from diffusion_lab.data.storage import decoded, read_members
from diffusion_lab.errors import DataError, importing

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load_cifar10(path: Path) -> Dataset:
    """CIFAR-10 as (N, 3, 32, 32) in [-1, 1] from `cifar-10-batches-py`, or from a folder or archive of its images.

    Other images that lie there are read all the same, go by the name of their folder, and a note says why.

    Raises:
        DataError: a file is missing, corrupt or truncated; see also `load_image_folder`.
    """
    if path.name == "cifar-10-batches-py":
        return _from_batches(path)
    dataset = load_image_folder(path, side=32)
    count, sizes = len(dataset.train), dataset.info["sizes"]
    strange = sorted(set(dataset.classes) - set(CIFAR10_CLASSES))
    if not dataset.classes:
        why = "they lie in no folders of its classes"
    elif strange:
        why = f"it has no class {strange[0]!r}"
    elif sizes != ((32, 32), (32, 32)):
        why = f"its images are 32 x 32, and these are {span(sizes)}"
    else:
        name = "CIFAR-10" if count == 50_000 else "CIFAR-10 subset"
        return replace(dataset, name=f"{name} (image folder, {count:,} train)")
    note = f"the images in {path} are not those of CIFAR-10 ({why}), so the data are called after the folder"
    return replace(dataset, notes=(note, *dataset.notes))


def load_image_folder(path: str | Path, side: int = 32) -> Dataset:
    """Images of a folder, a tar or a zip archive as (N, 3, side, side) in [-1, 1]: the middle square, resized.

    The folder that an image lies in is its class. Images under `train`, and under `test`, `val`, `valid`,
    `validation` or `dev`, keep that split; where nothing is held out, a fixed tenth is. Images that lie in no class
    folder have no labels. `info["sizes"]` has the smallest and largest (width, height) in the files; how a single
    file is read, `read_picture` says, and `notes` what of it was not plain.

    Raises:
        DataError: the path is missing, it holds no images, an image cannot be read (see `read_picture`), or splits
            and classes do not go together (see `layout_of`).
    """
    path = Path(path)
    if path.is_file():
        tensors, words = decoded(f"images-{RECIPE}-{side}", [path], lambda: _decode(path, side))
    else:
        tensors, words = _decode(path, side)
    train, test, low, high = tensors["train"], tensors["test"], tensors["smallest"], tensors["largest"]
    labels = (tensors["train_labels"].long(), tensors["test_labels"].long()) if words["classes"] else (None, None)
    return Dataset(
        name=f"images of {path.name} ({len(train):,} train)",
        source="real",
        kind="image",
        train=_scaled(train),
        test=_scaled(test),
        train_labels=labels[0],
        test_labels=labels[1],
        classes=tuple(words["classes"]),
        info={"sizes": (tuple(low.tolist()), tuple(high.tolist()))},
        notes=tuple(words["notes"]),
    )


RECIPE = 3
"""Of reading images. Raise the number when it changes, and images that were decoded before are read again."""


def _decode(path: Path, side: int) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """uint8 images (N, side, side, 3) and labels of both splits, sizes in the files; the classes, and notes."""
    pictures = {
        name: read_picture(content, side, f"{path}/{name}") for name, content in read_members(path, SUFFIXES, KIN)
    }
    layout = layout_of(path, list(pictures))
    images = torch.from_numpy(np.stack([picture.pixels for picture in pictures.values()]))
    labels = torch.tensor(layout.labels)
    train, test = layout.rows(path)
    sizes = torch.tensor([picture.size for picture in pictures.values()])  # (N, 2)
    on_white = [name for name, picture in pictures.items() if picture.on_white]
    notes = [*layout.notes]
    if on_white:
        notes.append(f"transparent parts of {len(on_white):,} images are white now; {path}/{on_white[0]} is the first")
    tensors = {"train": images[train], "test": images[test]}
    tensors |= {"train_labels": labels[train], "test_labels": labels[test]}
    tensors |= {"smallest": sizes.min(dim=0).values, "largest": sizes.max(dim=0).values}
    return tensors, {"classes": list(layout.classes), "notes": notes}


def span(sizes: tuple[tuple[int, int], tuple[int, int]]) -> str:
    """The smallest and the largest (width, height) in words."""
    low, high = (f"{width} x {height}" for width, height in sizes)
    return low if low == high else f"{low} to {high}"


def _from_batches(path: Path) -> Dataset:
    with importing("torchvision"):
        from torchvision.datasets import CIFAR10
        from torchvision.datasets.utils import check_integrity

    meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
    for name, md5 in [*CIFAR10.train_list, *CIFAR10.test_list, meta]:
        if not (path / name).is_file():
            raise DataError(f"{path} lacks {name}; `diffusion-lab data fetch cifar10` downloads it")
        if not check_integrity(str(path / name), md5):
            raise DataError(f"{path / name} is truncated or corrupt: its md5 is not {md5}")
    train, test = (CIFAR10(str(path.parent), train=flag, download=False) for flag in (True, False))
    return Dataset(
        name="CIFAR-10",
        source="real",
        kind="image",
        train=_scaled(torch.from_numpy(train.data)),
        test=_scaled(torch.from_numpy(test.data)),
        train_labels=torch.tensor(train.targets),
        test_labels=torch.tensor(test.targets),
        classes=tuple(train.classes),
    )


def _scaled(images: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous()
