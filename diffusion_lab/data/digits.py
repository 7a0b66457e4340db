"""Handwritten digits: MNIST where it is on disk, else the small digits that ship with scikit-learn."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tempfile
import zlib
from pathlib import Path

import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.storage import decoded
from diffusion_lab.errors import DataError, importing

CLASSES = tuple(str(digit) for digit in range(10))
# The md5 of the four files of MNIST, unpacked: a .gz that was packed again has another md5, its content has not.
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def load_small_digits() -> Dataset:
    """scikit-learn's 1,797 digits of 8x8 pixels, resized to (N, 1, 28, 28) in [-1, 1]; a fixed fifth is held out."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 8 - 1  # (N, 1, 8, 8), from 0..16 to [-1, 1]
    images = torch.nn.functional.interpolate(images, size=(28, 28), mode="bilinear", align_corners=False)
    labels = torch.from_numpy(digits.target).long()
    train, test = train_test_split(range(len(labels)), test_size=360, stratify=digits.target, random_state=0)
    return Dataset(
        name="scikit-learn 8x8 digits, resized to 28x28",
        source="bundled",
        kind="image",
        train=images[train],
        test=images[test],
        train_labels=labels[train],
        test_labels=labels[test],
        classes=CLASSES,
    )


def load_mnist(images: Path) -> Dataset:
    """MNIST: 60,000 + 10,000 images (N, 1, 28, 28) in [-1, 1], the four idx files beside `images` packed or not.

    Raises:
        DataError: one of the files is missing, is a truncated or corrupt .gz, or is not MNIST's.
    """
    folder = images.parent
    files = [_present(folder, name) for name in MNIST_MD5]
    tensors, _ = decoded("mnist", files, lambda: (_read(files), {}))
    return Dataset(
        name="MNIST",
        source="real",
        kind="image",
        train=_scaled(tensors["train"]),
        test=_scaled(tensors["test"]),
        train_labels=tensors["train_labels"],
        test_labels=tensors["test_labels"],
        classes=CLASSES,
    )


def _present(folder: Path, name: str) -> Path:
    for file in (folder / name, folder / f"{name}.gz"):
        if file.is_file():
            return file
    raise DataError(f"{folder} lacks {name} (or {name}.gz); `diffusion-lab data fetch mnist` downloads the four files")


def _read(files: list[Path]) -> dict[str, Tensor]:
    """The uint8 images and int64 labels, read by torchvision from checked, unpacked copies."""
    with importing("torchvision"):
        from torchvision.datasets import MNIST

    with tempfile.TemporaryDirectory(prefix="diffusion-lab-") as scratch:
        raw = Path(scratch) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for file, (name, md5) in zip(files, MNIST_MD5.items(), strict=True):
            _unpack(file, raw / name)
            with open(raw / name, "rb") as content:
                actual = hashlib.md5(content.read(), usedforsecurity=False).hexdigest()
            if actual != md5:
                raise DataError(f"{file} is not MNIST's {name}: its content has md5 {actual}, expected {md5}")
        train, test = (MNIST(scratch, train=flag, download=False) for flag in (True, False))
        return {
            "train": train.data,
            "train_labels": train.targets,
            "test": test.data,
            "test_labels": test.targets,
        }


def _unpack(file: Path, target: Path) -> None:
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rb") as packed, open(target, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
    except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
        raise DataError(f"{file} is truncated or corrupt: {fault}") from fault


def _scaled(images: Tensor) -> Tensor:
    """uint8 (N, 28, 28) to float32 (N, 1, 28, 28) in [-1, 1]."""
    return images[:, None].float().div_(127.5).sub_(1)
