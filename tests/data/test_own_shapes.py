"""Shapes of one's own: any format and folder; what is said of them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion_lab.data.clouds import to_units
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.data.own_shapes import load_own_shapes
from diffusion_lab.errors import DataError

trimesh = pytest.importorskip("trimesh")

IN_TEXT = trimesh.creation.box().export(file_type="ply", encoding="ascii")
"""8 vertices and 12 faces."""
KINDS = ("off", "obj", "stl", "ply", "glb")


def boxes(folder: Path, kinds=KINDS, size: float = 1.0) -> Path:
    """A box of 1 x 2 x 4 in each format."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, kind in enumerate(kinds):
        trimesh.creation.box((size, 2 * size, 4 * size)).export(folder / f"{number}.{kind}")
    return folder


def test_the_same_box_in_every_format_is_the_same_cloud_of_points(tmp_path: Path):
    """Sides of 1, 2 and 4: the mean square distance from the centre along x is that of a uniform point of the faces."""
    data = load_own_shapes(OwnData("shapes", boxes(tmp_path / "box", KINDS * 8)))
    units = to_units(
        torch.cat([data.train, data.test]), data.info["train_centre"][:1], data.info["train_scale"][:1]
    ).reshape(-1, 3)
    # Faces of area 8 (two, at x = +-1/2), 4 (two) and 2 (two): E x^2 = (16 / 4 + 12 / 12) / 28.
    assert float(units[:, 0].square().mean()) == pytest.approx(5 / 28, abs=0.01)
    assert units.abs().amax(0).tolist() == pytest.approx([0.5, 1, 2], abs=1e-6)
    assert data.classes == () and data.train_labels is None and "40 shapes as clouds of 128" in data.notes[0]
    assert data.name == "your shapes in box/ (36 to train on)"


def test_folders_are_classes_and_splits_and_other_units_are_told(tmp_path: Path):
    for folder, size in (("train/cup", 1), ("train/jug", 2), ("val/cup", 1), ("val/jug", 100)):
        boxes(tmp_path / "x" / folder, ("stl", "ply"), size)
    data = load_own_shapes(OwnData("shapes", tmp_path / "x"))
    assert data.classes == ("cup", "jug") and data.test_labels.tolist() == [0, 0, 1, 1]
    assert "they are 4 to 400 long: where these are different units" in data.notes[-1]
    alone = load_own_shapes(OwnData("shapes", tmp_path / "x", normalise="shape"))
    spread = torch.cat([alone.train, alone.test]).square().mean((1, 2))
    assert spread.tolist() == pytest.approx([1] * 8, rel=1e-5) and "long" not in "".join(alone.notes)


def test_points_without_faces_are_taken_as_they_are(tmp_path: Path):
    places = np.random.default_rng(0).normal(size=(300, 3)).round(3)
    for name in ("a.ply", "b.xyz"):
        trimesh.PointCloud(places).export(tmp_path / name)
    data = load_own_shapes(OwnData("shapes", tmp_path))
    units = to_units(data.train, data.info["train_centre"], data.info["train_scale"])[0]
    there = {tuple(row) for row in places.tolist()}
    assert all(tuple(row) in there for row in units.double().round(decimals=3).tolist())
    both = torch.cat([data.test[0], data.info["test_again"][0]])
    assert len(both.unique(dim=0)) == 256  # the other points of a shape are others
    assert "2 of them have no faces" in data.notes[1]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.obj", b"", "x.obj has nothing in it that could be read"),
        ("x.stl", b"solid x", "x.stl has nothing in it"),
        ("x.ply", b"ply\nformat", "x.ply cannot be read"),
        ("x.ply", IN_TEXT[: IN_TEXT.rindex(b"3 ")], "x.ply is truncated: it announces 20 lines, and has 19 of them"),
        ("x.obj", b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "1 of 3 vertices that are not finite"),
        ("x.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "x.obj has faces without any area"),
        ("x.xyz", b"1 2 3\n4 5 6\n", "has no faces and 2 points; at least 256 are needed"),
        ("x.xyz", b"1 2 3\n" * 300, "has all its points in one place"),
        ("x.step", b"", "x.step is of a kind that is not read here"),
    ],
)
def test_one_bad_shape_among_many_is_named(name: str, content: bytes, reason: str, tmp_path: Path):
    (boxes(tmp_path / "box") / name).write_bytes(content)
    with pytest.raises(DataError, match=reason):
        load_own_shapes(OwnData("shapes", tmp_path / "box"))
