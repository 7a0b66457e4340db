"""Shapes of the user's own: meshes, or clouds of points, in any format that `trimesh` reads (`beyond` extra)."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
import torch

from diffusion_lab.data.clouds import POINTS, normalise
from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.meshes import SPREAD, draw_points, parse, read_mesh
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.data.splits import layout_of
from diffusion_lab.data.storage import read_members
from diffusion_lab.errors import DataError

SUFFIXES = (".off", ".obj", ".stl", ".ply", ".glb", ".xyz")
KIN = (".gltf", ".dae", ".3ds", ".3mf", ".fbx", ".blend", ".step", ".stp", ".pcd", ".las", ".laz", ".pts")
"""Shapes too, which need other libraries or lie in several files."""
WORDS = {
    "all": "all are centred and scaled alike, so that relative sizes stay",
    "class": "each class is centred and scaled for itself, so that sizes say nothing across classes",
    "shape": "each is centred and scaled for itself, so that sizes are gone",
}


def load_own_shapes(own: OwnData) -> Dataset:
    """A folder or archive of shapes as clouds (N, 128, 3) of points, each drawn by area from the faces of a mesh.

    A file without faces is a cloud already: 256 of its points are taken, half of them for the cloud. `own.normalise`
    says what has one centre and one size (see `clouds.normalise`). Folders are classes and splits: see `layout_of`.
    `info` is that of `load_meshes`. An OBJ file announces no counts: one that was cut off between two lines is read as
    it is.

    Raises:
        DataError: `trimesh` is not installed; no such files, or some in other formats; one that cannot be read, is
            truncated, has no area, or has too few points; see also `layout_of`.
    """
    clouds, lengths, without_faces, open_ones = {}, [], 0, 0
    for number, (name, content) in enumerate(read_members(own.path, SUFFIXES, KIN)):
        points, closed, length = _read(content, name, f"{own.path}/{name}", number)
        clouds[name] = points
        lengths.append(length)
        without_faces += closed is None
        open_ones += closed is False
    layout = layout_of(own.path, list(clouds))
    train, test = layout.rows(own.path)
    stacked, labels = torch.from_numpy(np.stack([*clouds.values()])), torch.tensor(layout.labels)
    first, second = stacked[:, :POINTS], stacked[:, POINTS:]
    how = own.normalise or "all"
    parts = normalise(first[train], first[test], second[test], labels[train], labels[test], how)
    notes = [f"{len(clouds):,} shapes as clouds of {POINTS} points: {WORDS[how]}"]
    if without_faces:
        notes.append(f"{without_faces:,} of them have no faces: points are taken from those in the file")
    if open_ones:
        notes.append(f"{open_ones:,} of them are not closed; points are drawn from all their faces")
    if how != "shape" and max(lengths) > SPREAD * min(lengths):
        notes.append(
            f"they are {min(lengths):.3g} to {max(lengths):.3g} long: where these are different units, ask for "
            "--normalise shape"
        )
    return Dataset(
        name=f"{own.name} ({len(train):,} to train on)",
        source="own",
        kind="cloud",
        train=parts.pop("train"),
        test=parts.pop("test"),
        train_labels=labels[train] if layout.classes else None,
        test_labels=labels[test] if layout.classes else None,
        classes=layout.classes,
        info=parts,
        notes=(*notes, *layout.notes),
    )


def _read(content: bytes, name: str, where: str, seed: int) -> tuple[np.ndarray, bool | None, float]:
    """256 points of a shape (256, 3); whether it is closed, None for points alone; its longest side."""
    kind = PurePosixPath(name).suffix.lower().lstrip(".")
    if kind == "off":
        return read_mesh(content, where, 2 * POINTS, seed)
    if kind == "ply":
        _require_whole(content, where)
    shape = parse(content, where, kind)
    if len(getattr(shape, "faces", ())):
        return draw_points(shape, where, 2 * POINTS, seed)
    points = np.asarray(shape.vertices, dtype=np.float64)
    if len(points) < 2 * POINTS:
        raise DataError(f"{where} has no faces and {len(points):,} points; at least {2 * POINTS} are needed")
    length = float(np.ptp(points, axis=0).max())
    if not length > 0:
        raise DataError(f"{where} has all its points in one place")
    return np.random.default_rng(seed).choice(points, 2 * POINTS, replace=False), None, length


def _require_whole(content: bytes, where: str) -> None:
    """See that a PLY file in text has a line for all that its head announces: `trimesh` takes what it finds.

    One in binary is compared with its head by `trimesh`.
    """
    head, _, body = content.partition(b"end_header")
    lines = [line.split() for line in head.splitlines()]
    if [b"format", b"ascii"] not in [line[:2] for line in lines]:
        return
    counts = [line[2] for line in lines if line[:1] == [b"element"] and len(line) == 3]
    announced = sum(int(count) for count in counts if count.isdigit())
    rows = [line.split() for line in body.splitlines() if line.strip()]
    if len(rows) < announced:
        raise DataError(f"{where} is truncated: it announces {announced:,} lines, and has {len(rows):,} of them")
