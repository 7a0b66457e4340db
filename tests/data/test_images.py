"""Generated shapes, folders and archives of images, and CIFAR-10 as torchvision keeps it."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion_lab.data import load
from diffusion_lab.data.images import load_image_folder
from diffusion_lab.data.pictures import read_picture
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


RAMP = np.linspace(0, 255, 32).round().astype(np.uint8)[None].repeat(32, 0)
"""Grey from black on the left to white on the right."""


def read(image: Image.Image, kind: str = "PNG", **settings) -> np.ndarray:
    content = io.BytesIO()
    image.save(content, kind, **settings)
    return read_picture(content.getvalue(), 32, "a.png").pixels


def test_every_depth_and_colour_space_gives_the_same_ramp():
    rgb = Image.fromarray(np.stack([RAMP] * 3, -1))
    pictures = {
        "8 bits": read(Image.fromarray(RAMP)),
        "16 bits": read(Image.fromarray(RAMP.astype(np.uint16) * 257)),
        "16-bit TIFF": read(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF"),
        "big-endian TIFF": read(Image.fromarray(RAMP.astype(">u2") * 257), "TIFF"),
        "palette": read(rgb.quantize(64)),
        "CMYK": read(rgb.convert("CMYK"), "TIFF"),
        "with an alpha of 1": read(Image.fromarray(RAMP).convert("LA")),
    }
    for name, pixels in pictures.items():
        assert np.abs(pixels.astype(int) - RAMP[..., None]).max() <= 1, name


def test_transparent_parts_are_white_and_told(tmp_path: Path):
    half = np.full((32, 32, 4), 255, np.uint8)
    half[:, :16] = 0  # black, and seen through
    assert (read(Image.fromarray(half)) == 255).all()
    index = Image.fromarray(RAMP).convert("RGB").quantize(64)
    clear = index.getpixel((0, 0))
    assert (read(index, transparency=clear)[:, 0] == 255).all()
    for number in range(3):
        save(tmp_path / f"{number}.png", number)
    Image.fromarray(half).save(tmp_path / "half.png")
    assert load_image_folder(tmp_path).notes == (
        f"transparent parts of 1 images are white now; {tmp_path}/half.png is the first",
    )


def test_a_photograph_is_the_way_up_that_its_camera_noted():
    turned = Image.Exif()
    turned[0x0112] = 6  # the right side is up: turn by 90 degrees clockwise
    pixels = read(Image.fromarray(np.stack([RAMP] * 3, -1)), "JPEG", quality=95, exif=turned)
    assert np.abs(pixels.astype(int) - RAMP.T[..., None]).max() < 8


@pytest.mark.parametrize(
    ("image", "kind", "settings", "why"),
    [
        (Image.fromarray(RAMP.astype(np.float32)), "TIFF", {}, "pixels of 32 bits"),
        (Image.fromarray(RAMP.astype(np.int32)), "TIFF", {}, "pixels of 32 bits"),
        (
            Image.fromarray(RAMP),
            "GIF",
            {"save_all": True, "append_images": [Image.fromarray(RAMP.T)]},
            "holds 2 pictures",
        ),
    ],
)
def test_pictures_that_mean_more_than_one_thing_are_refused(image, kind: str, settings: dict, why: str):
    with pytest.raises(DataError, match=rf"^a\.png .*{why}"):
        read(image, kind, **settings)


@pytest.mark.parametrize("archived", ["", "zip", "tar"])
def test_what_programs_keep_beside_the_data_is_no_class(archived: str, tmp_path: Path):
    for number in range(20):
        save(tmp_path / "mine" / "ab"[number % 2] / f"{number}.png", number)
    for junk in (".ipynb_checkpoints/0-checkpoint.png", "a/.hidden/0.png", "__MACOSX/a/._0.png", "b/.DS_Store"):
        (tmp_path / "mine" / junk).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / junk).write_bytes(b"no picture")
    path = tmp_path / "mine"
    if archived:
        path = Path(shutil.make_archive(str(tmp_path / "packed"), archived, tmp_path, "mine"))
    data = load_image_folder(path)
    assert data.classes == ("a", "b") and len(data.train) + len(data.test) == 20


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Test", "dev", "TESTING"])
def test_held_out_folders_by_other_names_are_held_out(name: str, folder: Path):
    expected = load_image_folder(folder)
    (folder / "test").rename(folder / name)
    data = load_image_folder(folder)
    assert torch.equal(data.test, expected.test) and torch.equal(data.train, expected.train)
    assert data.classes == ("cat", "dog") and data.test_labels.tolist() == [0, 1]


def test_of_two_held_out_folders_one_is_taken_and_the_other_told(folder: Path):
    expected = load_image_folder(folder)
    for number in range(5):
        save(folder / "val" / "cat" / f"{number}.png", 100 + number)
    data = load_image_folder(folder)
    assert torch.equal(data.test, expected.test) and torch.equal(data.train, expected.train)
    assert data.notes == (f"`test` of {folder} is held out; left out are 5 in `val`",)


def test_a_class_that_is_called_like_a_split_is_refused_and_the_reason_told(tmp_path: Path):
    for number in range(20):
        save(tmp_path / ("valid", "invalid")[number % 2] / f"{number}.png", number)
    with pytest.raises(DataError, match="rename `valid` if it is a class"):
        load_image_folder(tmp_path)


def test_classes_above_splits_keep_their_names(tmp_path: Path):
    for number in range(8):
        save(tmp_path / "ab"[number % 2] / ("train", "test")[number // 6] / f"{number}.png", number)
    data = load_image_folder(tmp_path)
    assert data.classes == ("a", "b") and (len(data.train), len(data.test)) == (6, 2)


@pytest.mark.parametrize(("stray", "why"), [("9.png", "lies in no class folder"), ("train/9.png", "no class folder")])
def test_a_stray_image_is_named(stray: str, why: str, folder: Path):
    save(folder / stray, 0)
    with pytest.raises(DataError, match=rf"{folder}/{stray} .*{why}"):
        load_image_folder(folder)


def test_a_held_out_class_that_is_never_trained_is_named(folder: Path):
    save(folder / "test" / "cow" / "0.png", 0)
    with pytest.raises(DataError, match=rf"{folder}/test/cow/0.png is held out, of class `cow`"):
        load_image_folder(folder)


def test_pictures_of_kinds_that_are_not_read_are_not_overlooked(folder: Path):
    (folder / "train" / "cat" / "IMG_1.HEIC").touch()
    with pytest.raises(DataError, match=r"train/cat/IMG_1\.HEIC is of a kind that is not read here \(1 such"):
        load_image_folder(folder)


@pytest.mark.parametrize(
    ("classes", "side", "why"),
    [(("", ""), 32, "no folders"), (("cat", "tabby"), 32, "no class 'tabby'"), (("cat", "dog"), 48, "48 x 48")],
)
def test_own_photographs_are_not_called_cifar(classes: tuple, side: int, why: str, tmp_path: Path):
    for number in range(20):
        save(tmp_path / "cifar10" / classes[number % 2] / f"{number}.png", number, side)
    data = load("cifar10", root=tmp_path)
    assert data.name == "images of cifar10 (18 train)"
    assert why in data.notes[0] and "not those of CIFAR-10" in data.notes[0]


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
    CIFAR10 = pytest.importorskip("torchvision.datasets").CIFAR10
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
