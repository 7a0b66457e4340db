"""Generated shapes, folders and archives of images, and CIFAR-10 as torchvision keeps it."""

from __future__ import annotations

import hashlib
import math
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from diffusion_lab.data import load
from diffusion_lab.data.images import load_image_folder
from diffusion_lab.data.shapes import SHAPES, _box, _draw, _polygon, load_shapes
from diffusion_lab.errors import DataError


def picture(number: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)


def save(path: Path, number: int, side: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number, side)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """cifar10/{train,test}/{cat,dog}/*.png: 6 + 2 images, numbered in the order of their names."""
    number = 0
    for split, count in (("test", 1), ("train", 3)):
        for label in ("cat", "dog"):
            for take in range(count):
                save(tmp_path / "cifar10" / split / label / f"{take}.png", number)
                number += 1
    return tmp_path / "cifar10"


@pytest.mark.parametrize("archived", [False, True])
def test_image_folder_with_splits_and_classes(archived: bool, folder: Path):
    if archived:
        with tarfile.open(folder.parent / "cifar10.tar.gz", "w:gz") as archive:
            archive.add(folder, "cifar10")
        folder.rename(folder.parent / "elsewhere")
    for _ in range(2):  # the second time from the decoded copy
        data = load("cifar10", source="real", root=folder.parent)
        assert data.name == "CIFAR-10 subset (image folder, 6 train)"
        assert data.classes == ("cat", "dog")
        assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1] and data.test_labels.tolist() == [0, 1]
        for number, image in enumerate([*data.test, *data.train]):
            np.testing.assert_allclose((image.permute(1, 2, 0).numpy() + 1) * 127.5, picture(number), atol=1e-3)


def test_flat_folder_of_other_sizes_and_modes(tmp_path: Path):
    for number in range(20):
        save(tmp_path / "mine" / f"{number:02}.png", number, side=40 + number)
    Image.new("LA", (64, 48), (255, 0)).save(tmp_path / "mine" / "wide.png")
    data = load_image_folder(tmp_path / "mine", side=16)
    assert data.train.shape == (19, 3, 16, 16) and data.test.shape == (2, 3, 16, 16)
    assert data.train_labels is None and data.classes == ()


def test_the_crop_is_central(tmp_path: Path):
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = 255
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    assert load_image_folder(tmp_path, side=8).train.min() == 1


def test_a_folder_without_images_is_named(tmp_path: Path):
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "notes.txt").touch()
    with pytest.raises(DataError, match=rf"{tmp_path}/cifar10 holds no file .*\.png, \.jpg"):
        load("cifar10", root=tmp_path)


@pytest.mark.parametrize("fault", ["truncated", "text", "empty"])
def test_an_unreadable_image_is_named(fault: str, folder: Path):
    bad = folder / "train" / "dog" / "1.png"
    content = {"truncated": bad.read_bytes()[:900], "text": b"no image at all", "empty": b""}[fault]
    bad.write_bytes(content)
    with pytest.raises(DataError, match=f"{bad} cannot be read as an image"):
        load("cifar10", root=folder.parent)


def test_one_image_is_not_enough(tmp_path: Path):
    save(tmp_path / "0.png", 0)
    with pytest.raises(DataError, match="at least 2"):
        load_image_folder(tmp_path)


def test_images_to_test_alone_are_refused(folder: Path):
    (folder / "train").rename(folder.parent / "train")
    with pytest.raises(DataError, match="none to train on"):
        load_image_folder(folder)


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small `cifar-10-batches-py` whose checksums torchvision takes for the known ones."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    sums = {}
    contents = {
        name: {"data": np.stack([picture(n).transpose(2, 0, 1).ravel() for n in numbers]), "labels": numbers}
        for name, numbers in {"data_batch_1": [0, 1], "data_batch_2": [2, 3], "test_batch": [4, 5]}.items()
    }
    for name, content in {**contents, "batches.meta": {"label_names": list("abcdef")}}.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in ("data_batch_1", "data_batch_2")])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", dict(CIFAR10.meta, md5=sums["batches.meta"]))
    return folder


def test_batches_of_torchvision(batches: Path):
    data = load("cifar10", source="real", root=batches.parent)
    assert data.name == "CIFAR-10" and data.classes == tuple("abcdef")
    assert data.train_labels.tolist() == [0, 1, 2, 3] and data.test_labels.tolist() == [4, 5]
    np.testing.assert_allclose((data.test[1].permute(1, 2, 0).numpy() + 1) * 127.5, picture(5), atol=1e-3)


def test_broken_batches_are_named(batches: Path):
    bad = batches / "data_batch_2"
    bad.write_bytes(bad.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{bad} is truncated or corrupt"):
        load("cifar10", root=batches.parent)
    bad.unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_2.*data fetch cifar10"):
        load("cifar10", root=batches.parent)


def test_shapes_come_from_the_seed_and_in_equal_numbers():
    data = load_shapes(3)
    one, again, other = (_draw(SHAPES["star"], 20, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert not torch.equal(data.train, load_shapes(4).train)
    assert data.train_labels.bincount().tolist() == [800] * 10 and data.test_labels.bincount().tolist() == [200] * 10
    assert data.classes == tuple(SHAPES)
    assert len(torch.cat([data.train, data.test]).flatten(1).unique(dim=0)) == 10_000, (
        "no test image is a training image"
    )


def test_the_distance_to_a_polygon_is_that_to_a_box():
    points = 3 * torch.rand(2, 1000, generator=torch.Generator().manual_seed(0)) - 1.5
    for turn in (1, -1):
        corners = [(0.8, 0.5), (-0.8, 0.5), (-0.8, -0.5), (0.8, -0.5)][::turn]
        torch.testing.assert_close(_polygon(*points, corners), _box(*points, 0.8, 0.5))


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("disc", math.pi * 0.9**2),
        ("ring", math.pi * (0.96**2 - 0.48**2)),
        ("square", (2 * 0.78) ** 2),
        ("triangle", 3 * math.sqrt(3) / 4 * 1.15**2),
        ("cross", 4 * 0.32 * (2 - 0.32)),
        ("star", 5 * 1.15 * 0.46 * math.sin(math.pi / 5)),
    ],
)
def test_shapes_have_their_area(name: str, area: float):
    axis = (torch.arange(600) + 0.5) / 200 - 1.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    assert float((SHAPES[name](x, y) < 0).float().mean() * 9) == pytest.approx(area, rel=0.01)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_stands_out_and_keeps_within_the_picture(name: str):
    images = _draw(SHAPES[name], 50, torch.Generator().manual_seed(0))
    border = torch.ones(32, 32, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    spread = images[:, :, border].std(dim=-1).mean()
    assert images.flatten(1).std(dim=1).mean() > 2 * spread
    assert images.abs().max() <= 1
