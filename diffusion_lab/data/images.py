"""Photographs: CIFAR-10 as torchvision keeps it, or any folder or archive of images."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.storage import decoded, held_out, read_members
from diffusion_lab.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
SPLITS = ("train", "test")


def load_cifar10(path: Path) -> Dataset:
    """CIFAR-10 as (N, 3, 32, 32) in [-1, 1] from `cifar-10-batches-py`, or from a folder or archive of its images.

    Raises:
        DataError: a file is missing, corrupt or truncated.
    """
    if path.name == "cifar-10-batches-py":
        return _from_batches(path)
    dataset = load_image_folder(path, side=32)
    count = len(dataset.train)
    name = "CIFAR-10" if count == 50_000 else "CIFAR-10 subset"
    return replace(dataset, name=f"{name} (image folder, {count:,} train)")


def load_image_folder(path: str | Path, side: int = 32) -> Dataset:
    """Images of a folder or a tar archive as (N, 3, side, side) in [-1, 1]: centre-cropped to a square, then resized.

    The folder that an image lies in is its class, and images under `train` and `test` keep that split; where there
    is no `test`, a fixed tenth is held out. Images that lie in no class folder have no labels.

    Raises:
        DataError: the path is missing, it holds no images, or an image cannot be read.
    """
    path = Path(path)
    if path.is_file():
        tensors, words = decoded(f"images-{side}", [path], lambda: _decode(path, side))
    else:
        tensors, words = _decode(path, side)
    train, test = tensors["train"], tensors["test"]
    if not len(train):
        raise DataError(f"{path} has images under `test` and none to train on")
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
    )


def _decode(path: Path, side: int) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """uint8 images (N, side, side, 3) and labels of both splits, and the names of the classes."""
    pixels, splits, folders = [], [], []
    for name, content in read_members(path, SUFFIXES):
        pixels.append(_read_image(content, side, f"{path}/{name}"))
        parents = PurePosixPath(name).parts[:-1]
        splits.append(next((part for part in parents if part in SPLITS), "train"))
        folders.append(parents[-1] if parents and parents[-1] not in SPLITS else "")
    images = torch.from_numpy(np.stack(pixels))
    # One folder around everything is no class.
    classes = sorted(set(folders)) if len(set(folders)) > 1 else []
    labels = torch.tensor([classes.index(folder) if classes else 0 for folder in folders])
    is_test = torch.tensor([split == "test" for split in splits])
    train, test = (~is_test).nonzero()[:, 0], is_test.nonzero()[:, 0]
    if not len(test):
        train, test = held_out(len(images))
    tensors = {"train": images[train], "test": images[test]}
    tensors |= {"train_labels": labels[train], "test_labels": labels[test]}
    return tensors, {"classes": classes}


def _read_image(content: bytes, side: int, name: str) -> np.ndarray:
    """One image as uint8 (side, side, 3)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            image = image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
        reason = "it is not an image" if isinstance(fault, UnidentifiedImageError) else fault
        raise DataError(f"{name} cannot be read as an image: {reason}") from fault
    if image.size != (side, side):
        short = min(image.size)
        left, top = (image.width - short) // 2, (image.height - short) // 2
        image = image.resize((side, side), Image.Resampling.BICUBIC, box=(left, top, left + short, top + short))
    return np.asarray(image)


def _from_batches(path: Path) -> Dataset:
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
