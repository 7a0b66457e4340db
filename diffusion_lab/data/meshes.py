"""Meshes: OFF files in the folders of ModelNet, read by `trimesh` (`beyond` extra) and sampled by area.

`CLASS/train/NAME.off` and `CLASS/test/NAME.off` are the layout of Wu et al. 2015, "3D ShapeNets". Where no mesh lies in
such a folder, `CLASS/NAME.off` will do, and one mesh in five of each class is held out.
"""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from diffusion_lab.data.clouds import POINTS, normalise
from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.storage import ARCHIVES, decoded, held_out, read_members
from diffusion_lab.errors import DataError

RECIPE = 1
"""Of reading meshes. Raise the number when it changes, and what was decoded before is read again."""
KIN = (".obj", ".stl", ".ply", ".glb", ".gltf")
SPREAD = 20.0
"""A class whose largest mesh is so many times as long as its smallest is perhaps in two units."""


def load_meshes(path: Path, normalisation: str = "all") -> Dataset:
    """Clouds (N, 128, 3) of points drawn by area from the faces of meshes, by class.

    A mesh need not be closed: points come from all its faces, those inside it too. `info["test_again"]` has other
    points of the meshes held out.

    Args:
        path: a folder or an archive with OFF files.
        normalisation: "all", "class" or "shape", see `clouds.normalise`.

    Raises:
        DataError: `trimesh` is not installed; no OFF file; one that is truncated, without faces or area, or with
            vertices that are not finite; fewer than two classes, or a class of which none is held out.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    tensors, words = decoded(f"meshes-{RECIPE}", files, lambda: _decode(path))
    classes, clouds, labels, held = words["classes"], tensors["clouds"], tensors["labels"], tensors["held"]
    for name, part in (("to train on", ~held), ("held out", held)):
        missing = sorted({*range(len(classes))} - {*labels[part].tolist()})
        if missing:
            raise DataError(f"{path} has no mesh of class {classes[missing[0]]!r} {name}")
    first, second = clouds[:, :POINTS], clouds[:, POINTS:]
    train_labels, test_labels = labels[~held], labels[held]
    parts = normalise(first[~held], first[held], second[held], train_labels, test_labels, normalisation)
    notes = [*words["notes"]] + ([] if normalisation == "shape" else words["units"])
    return Dataset(
        name=f"meshes of {_bare(path.name)}",
        source="real",
        kind="cloud",
        train=parts.pop("train"),
        test=parts.pop("test"),
        train_labels=train_labels,
        test_labels=test_labels,
        classes=tuple(classes),
        info=parts,
        notes=tuple(notes),
    )


def _bare(name: str) -> str:
    return next((name[: -len(ending)] for ending in ARCHIVES if name.lower().endswith(ending)), name)


def _decode(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, list[str]]]:
    rows = []
    for number, (name, content) in enumerate(read_members(path, (".off",), KIN)):
        file = f"{path}/{name}"
        label, split = _place(name, file)
        points, closed, length = read_mesh(content, file, 2 * POINTS, seed=number)
        rows.append((label, split, points, closed, length))
    labels, splits, points, closed, lengths = zip(*rows, strict=True)
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise DataError(f"{path} has meshes of one class, {classes[0]!r}; at least 2 are needed")
    numbers = [classes.index(label) for label in labels]
    open_ones = len(closed) - sum(closed)
    notes = [f"{open_ones} of {len(closed)} meshes are not closed; points are drawn from all their faces"]
    tensors = {
        "clouds": torch.from_numpy(np.stack(points)),
        "labels": torch.tensor(numbers),
        "held": _held(splits, numbers, path),
    }
    units = _units(classes, np.array(numbers), np.array(lengths))
    return tensors, {"classes": classes, "notes": notes if open_ones else [], "units": units}


def _place(name: str, file: str) -> tuple[str, str]:
    """The class of a mesh, and "train", "test" or "", from the folders it lies in."""
    folders = PurePosixPath(name).parts[:-1]
    split = folders[-1] if folders and folders[-1] in ("train", "test") else ""
    if len(folders) < 1 + bool(split):
        raise DataError(f"{file} lies in no folder that names its class, such as chair/train/ or chair/")
    return folders[-2 if split else -1], split


def _held(splits: tuple[str, ...], labels: list[int], path: Path) -> torch.Tensor:
    """Which meshes are held out (N,) bool."""
    if not any(splits):
        held, numbers = torch.zeros(len(splits), dtype=torch.bool), torch.tensor(labels)
        for label in numbers.unique():
            rows = (numbers == label).nonzero().flatten()
            held[rows[held_out(len(rows), one_in=5, where=f"{path}, one class")[1]]] = True
        return held
    if not all(splits):
        raise DataError(f"{path} has {splits.count('')} of {len(splits)} meshes in neither a folder train nor test")
    return torch.tensor([split == "test" for split in splits])


def _units(classes: list[str], labels: np.ndarray, lengths: np.ndarray) -> list[str]:
    """A note on each class whose meshes differ so much in size that they may be in different units."""
    notes = []
    for number, name in enumerate(classes):
        own = lengths[labels == number]
        if own.max() > SPREAD * own.min():
            notes.append(
                f"meshes of class {name!r} are {own.min():.3g} to {own.max():.3g} long: where these are different "
                "units, bring them to one unit"
            )
    return notes


def read_mesh(content: bytes, name: str, count: int, seed: int) -> tuple[np.ndarray, bool, float]:
    """`count` points (count, 3) on an OFF file's mesh, uniform over its area; whether it is closed; its longest side.

    Raises:
        DataError: see `load_meshes`; the message begins with `name`.
    """
    _require_whole(content.decode("utf-8", "replace"), name)
    return draw_points(parse(content, name, "off"), name, count, seed)


def parse(content: bytes, name: str, kind: str) -> Any:
    """What `trimesh` makes of a file: a mesh, or a cloud of points where the file has no faces.

    Raises:
        DataError: `trimesh` is not installed, or cannot read it; nothing is in it, or a vertex is not finite.
    """
    try:
        import trimesh
    except ImportError as fault:
        raise DataError("trimesh is needed for meshes; `pip install diffusion-lab[beyond]` adds it") from fault
    try:
        found = trimesh.load(io.BytesIO(content), file_type=kind, process=False)
        # A file of several bodies is a scene, with a place for each.
        found = trimesh.util.concatenate(found.dump()) if isinstance(found, trimesh.Scene) else found
        vertices = np.asarray(found.vertices, dtype=np.float64)
    except Exception as fault:  # trimesh raises whatever its parsing stumbles over
        reason = str(fault).strip().partition("\n")[0] or type(fault).__name__
        raise DataError(f"{name} cannot be read: {reason}") from fault
    if not len(vertices):
        raise DataError(f"{name} has nothing in it that could be read; is it complete?")
    bad = int((~np.isfinite(vertices)).any(axis=1).sum())
    if bad:
        raise DataError(f"{name} has {bad} of {len(vertices)} vertices that are not finite")
    return found


def draw_points(mesh: Any, name: str, count: int, seed: int) -> tuple[np.ndarray, bool, float]:
    """`count` points (count, 3) on what `parse` has read, and the rest of what `read_mesh` returns.

    Raises:
        DataError: it has no faces, faces without area, or a face with a vertex that is not there.
    """
    import trimesh

    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    if not len(faces):
        raise DataError(f"{name} has no face of three corners or more; points are drawn from faces")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise DataError(f"{name} has a face with a vertex that is not there: {faces.max()} of {len(vertices)}")
    if not mesh.area > 0:
        raise DataError(f"{name} has faces without any area")
    points, _ = trimesh.sample.sample_surface(mesh, count, seed=seed)
    mesh.merge_vertices()  # many programs write a vertex once for each of its faces, which leaves every edge open
    return np.asarray(points, dtype=np.float64), bool(mesh.is_watertight), float(mesh.extents.max())


def _require_whole(text: str, name: str) -> None:
    """See that all vertices and faces that the head of a file announces are there: `trimesh` takes what it finds."""
    rows = text.splitlines()
    if "#" in text:
        rows = [row.partition("#")[0] for row in rows]
    rows = [row for row in rows if row and not row.isspace()]  # of hundreds of thousands, only a few are taken apart
    first = rows[0].split() if rows else [""]
    if not first[0].upper().startswith(("OFF", "COFF")):
        raise DataError(f"{name} is no OFF file: it does not begin with OFF")
    # ModelNet has files whose counts follow in the same line, even without a space: OFF490 518 0
    rest = [first[0].upper().partition("OFF")[2], *first[1:]]
    counts, body = (rest, rows[1:]) if any(rest) else (rows[1].split() if len(rows) > 1 else [], rows[2:])
    try:
        vertices, faces = (int(word) for word in [word for word in counts if word][:2])
        if vertices < 0 or faces < 0:
            raise ValueError(f"{vertices} vertices, {faces} faces")
    except ValueError as fault:
        raise DataError(f"{name} does not say how many vertices and faces it has") from fault
    if not faces:
        raise DataError(f"{name} has no faces, only {vertices} vertices; points are drawn from faces")
    found, last = len(body), body[-1].split() if body else [""]
    short = found == vertices + faces and last[0].isdigit() and len(last) < int(last[0]) + 1
    if found < vertices + faces or short:
        raise DataError(
            f"{name} is truncated: it announces {vertices} vertices and {faces} faces, and has {found} lines of them"
            + (", the last one cut off" if short else "")
        )
