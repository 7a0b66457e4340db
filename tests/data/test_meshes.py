"""Meshes in ModelNet's folders: what is read, how it is sampled, and what is refused."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion_lab.data import load
from diffusion_lab.data.clouds import to_units
from diffusion_lab.data.meshes import load_meshes, read_mesh
from diffusion_lab.errors import DataError

trimesh = pytest.importorskip("trimesh")


def box(x: float, y: float, z: float) -> str:
    return trimesh.creation.box((x, y, z)).export(file_type="off")


def furniture(folder: Path, count: int = 3, splits: bool = True, size: float = 1.0) -> Path:
    """Two classes of boxes, flat and high."""
    for label, sides in (("bed", (2, 2, 0.5)), ("lamp", (0.5, 0.5, 3))):
        for number in range(count):
            split = ("test" if number == 0 else "train") if splits else ""
            file = folder / label / split / f"{label}_{number}.off"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(box(*(size * side * (1 + 0.1 * number) for side in sides)))
    return folder


def test_meshes_are_read_by_class_and_sampled_by_area(tmp_path: Path, own_cache: Path):
    data = load_meshes(furniture(tmp_path / "shop"))
    assert data.name == "meshes of shop" and data.classes == ("bed", "lamp") and data.kind == "cloud"
    assert data.train.shape == (4, 128, 3) and data.test.shape == (2, 128, 3) == data.info["test_again"].shape
    assert data.test_labels.tolist() == [0, 1] and data.notes == ()
    units = to_units(data.test, data.info["test_centre"], data.info["test_scale"])
    extents = units.amax(1) - units.amin(1)
    assert (extents - torch.tensor([[2, 2, 0.5], [0.5, 0.5, 3]])).abs().max() < 0.15
    assert torch.equal(load_meshes(tmp_path / "shop").train, data.train)


def test_points_lie_on_the_faces_as_their_areas_say():
    """A box 4 x 1 x 1: the four long faces have 16 of its 18 units of area; by vertices they would have two thirds."""
    points, closed, length = read_mesh(box(4, 1, 1).encode(), "box", 6000, seed=0)
    on_end = np.isclose(np.abs(points[:, 0]), 2)
    assert closed and length == pytest.approx(4)
    assert on_end.mean() == pytest.approx(2 / 18, abs=4 * (2 / 18 * 16 / 18 / 6000) ** 0.5)
    assert np.isclose(np.abs(points) / [2, 0.5, 0.5], 1).any(axis=1).all()


def test_other_ways_to_write_the_same_mesh(tmp_path: Path, own_cache: Path):
    text = box(1, 2, 3)
    counts = text.split("\n")[1]
    wanted = read_mesh(text.encode(), "box", 50, seed=1)[0]
    for other in (
        text.replace(f"OFF\n{counts}", f"OFF{counts}", 1),  # as some files of ModelNet have it
        text.replace("OFF\n", "OFF\n# a comment\n\n", 1),
        text.replace("\n", "\r\n"),
    ):
        assert np.array_equal(read_mesh(other.encode(), "box", 50, seed=1)[0], wanted)
    without = load_meshes(furniture(tmp_path / "a", count=5, splits=False))
    assert len(without.test) == 2 and without.test_labels.tolist() == [0, 1]
    with tarfile.open(tmp_path / "b.tar.xz", "w:xz") as archive:
        archive.add(furniture(tmp_path / "c"), "c")
    packed, folder = load_meshes(tmp_path / "b.tar.xz"), load_meshes(tmp_path / "c")
    assert torch.equal(packed.train, folder.train) and packed.name == "meshes of b"


def test_open_meshes_and_other_units_are_told(tmp_path: Path, own_cache: Path):
    folder = furniture(tmp_path / "a")
    text = (folder / "bed/train/bed_1.off").read_text()
    lines = text.replace(text.split("\n")[1], "8 11 0", 1).rstrip().split("\n")
    (folder / "bed/train/bed_1.off").write_text("\n".join(lines[:-1]))
    (folder / "lamp/train/lamp_1.off").write_text(box(50, 50, 300))
    notes = load_meshes(folder).notes
    assert notes[0] == "1 of 6 meshes are not closed; points are drawn from all their faces"
    assert notes[1].startswith("meshes of class 'lamp' are 3 to 300 long: where these are different units, bring them")
    assert len(notes) == 2 and len(load_meshes(folder, "shape").notes) == 1


BED = "bed/train/bed_1.off"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: "OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n", "bed_1.off has no faces, only 3 vertices"),
        (lambda text: text[: len(text) // 2], "bed_1.off is truncated: it announces 8 vertices and 12 faces"),
        (lambda text: text.rstrip().rsplit(" ", 1)[0], "bed_1.off is truncated.* the last one cut off"),
        (lambda text: text[: text.index("\n", 5) + 1], "bed_1.off is truncated.*has 0 lines"),
        (lambda text: text.replace(" 1.1000000000", " nan", 1), "bed_1.off has 1 of 8 vertices that are not finite"),
        (lambda text: text.rstrip()[:-1] + "9", "bed_1.off .*face"),
        (lambda text: "OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n", "bed_1.off has faces without any area"),
        (lambda text: text[4:], "bed_1.off is no OFF file"),
        (lambda text: "OFF\nvertices faces\n", "bed_1.off does not say how many"),
        (lambda text: "OFF\n3 -1 0\n0 0 0\n1 0 0\n0 1 0\n", "bed_1.off does not say how many"),
        (lambda text: "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n2 0 1\n", "bed_1.off has no face of three corners or more"),
        (lambda text: text.replace("\n", "\nx", 3), "bed_1.off"),
    ],
    ids="faces half last head nan index area magic counts negative corners letters".split(),
)
def test_what_cannot_be_read_is_refused_with_the_file_and_the_reason(tmp_path: Path, own_cache: Path, spoil, said: str):
    folder = furniture(tmp_path / "a")
    (folder / BED).write_text(spoil((folder / BED).read_text()))
    with pytest.raises(DataError, match=said):
        load_meshes(folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: [x.unlink() for x in f.glob("lamp/*/*")], "has meshes of one class, 'bed'"),
        (lambda f: (f / "bed/test/bed_0.off").unlink(), "has no mesh of class 'bed' held out"),
        (lambda f: (f / BED).rename(f / "bed/bed_1.off"), "has 1 of 6 meshes in neither a folder train nor test"),
        (lambda f: (f / BED).rename(f / "bed_1.off"), "lies in no folder that names its class"),
        (lambda f: (f / "x.stl").touch(), "is of a kind that is not read here"),
        (lambda f: [x.unlink() for x in f.rglob("*.off")], "holds no file that can be used"),
    ],
    ids="one held mixed loose kin none".split(),
)
def test_folders_that_cannot_be_read_are_refused(tmp_path: Path, own_cache: Path, spoil, said: str):
    folder = furniture(tmp_path / "a")
    spoil(folder)
    with pytest.raises(DataError, match=said):
        load_meshes(folder)


def test_without_trimesh_the_extra_is_named(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch):
    folder = furniture(tmp_path / "a")
    monkeypatch.setitem(__import__("sys").modules, "trimesh", None)
    with pytest.raises(DataError, match=r"pip install diffusion-lab\[beyond\]"):
        load_meshes(folder)


@pytest.mark.slow
@pytest.mark.real_data
def test_real_furniture():
    data = load("points", source="real")
    assert data.source == "real" and {"chair", "table"} <= {*data.classes}
    assert data.train.isfinite().all() and data.train.square().mean() == pytest.approx(1, abs=1e-3)
    assert min(data.test_labels.bincount()) >= 5 and "not closed" in data.notes[0]
