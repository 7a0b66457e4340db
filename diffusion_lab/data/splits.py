"""Which files of a folder are for training and which are held out, and what their classes are, by their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from diffusion_lab.data.storage import held_out
from diffusion_lab.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

TRAIN = ("train", "training")
HELD_OUT = ("test", "testing", "val", "valid", "validation", "dev", "eval", "holdout", "held_out")
"""In capitals or not. Where several are there, the first of this list is held out."""


class Layout(NamedTuple):
    """What the names of files say about them."""

    splits: list[str]
    """For each file "train", "test" or "", which is left out."""
    labels: list[int]
    """For each file the number of its class; 0 where there are no classes."""
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def rows(self, where: Path, one_in: int = 10) -> tuple[Tensor, Tensor]:
        """The numbers (train, test) of the files; without held-out folders one in `one_in` is held out.

        Raises:
            DataError: nothing can be held out, see `held_out`; the message calls the data `where`.
        """
        import torch

        kinds = ("train", "test")
        train, test = (torch.tensor([i for i, split in enumerate(self.splits) if split == kind]) for kind in kinds)
        if len(test):
            return train, test
        return held_out(len(self.splits), one_in, labels=self.labels if self.classes else None, where=where)


def layout_of(path: Path, names: Sequence[str]) -> Layout:
    """Splits and classes of the files of `path` by their relative names, such as `train/cat/1.png`.

    The innermost folder that is no split is the class. One folder around everything is no class.

    Raises:
        DataError: some files lie in a class folder and others do not; held-out files of a class that has no others;
            nothing to train on.
    """
    found = _found(names)
    kinds, splits, notes = _sides(path, found)
    parts = [PurePosixPath(name).parts[:-1] for name in names]
    folders = [next((part for part in reversed(parents) if not _is_split(part)), "") for parents in parts]
    train = {folder for folder, split in zip(folders, splits, strict=True) if split == "train"}
    for name, folder, split in zip(names, folders, splits, strict=True):
        if split == "test" and folder not in train:
            raise DataError(_strange(path, name, folder, kinds[0], any(part.lower() in TRAIN for part in found)))
    loose = [name for name, folder in zip(names, folders, strict=True) if not folder]
    if loose and len(set(folders)) > 1 and set(train) != {""}:
        raise DataError(
            f"{path}/{loose[0]} lies in no class folder, and others do ({len(loose):,} of {len(names):,} do not); "
            "put it into the folder of its class, or move it out of the way"
        )
    classes = tuple(sorted(train)) if len(train) > 1 else ()
    labels = [classes.index(folder) if split and classes else 0 for folder, split in zip(folders, splits, strict=True)]
    return Layout(splits, labels, classes, notes)


def splits_of(path: Path, names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """`Layout.splits` of files by their relative names, with no regard to other folders, and notes.

    Raises:
        DataError: nothing to train on.
    """
    _, splits, notes = _sides(path, _found(names))
    return splits, notes


def _found(names: Sequence[str]) -> list[str]:
    """The outermost folder of each file that names a split; "" where there is none."""
    return [next((part for part in PurePosixPath(name).parts[:-1] if _is_split(part)), "") for name in names]


def _sides(path: Path, found: Sequence[str]) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Folders with held-out files, the first of `HELD_OUT` first; `Layout.splits`; notes."""
    kinds = sorted({part.lower() for part in found if part.lower() in HELD_OUT}, key=HELD_OUT.index)
    splits = [_split(part.lower(), kinds) for part in found]
    if "train" not in splits:
        raise DataError(f"{path} has files under `{kinds[0]}` and none to train on")
    notes = []
    if len(kinds) > 1:
        left_out = ", ".join(f"{sum(part.lower() == kind for part in found):,} in `{kind}`" for kind in kinds[1:])
        notes.append(f"`{kinds[0]}` of {path} is held out; left out are {left_out}")
    return kinds, splits, tuple(notes)


def _is_split(folder: str) -> bool:
    return folder.lower() in TRAIN + HELD_OUT


def _split(folder: str, kinds: Sequence[str]) -> str:
    if folder in HELD_OUT:
        return "test" if folder == kinds[0] else ""
    return "train"


def _strange(path: Path, name: str, folder: str, kind: str, has_train: bool) -> str:
    what = f"of class `{folder}`" if folder else "of no class"
    remedy = "move it to the others of its kind, or out of the way"
    if not has_train:
        remedy = f"`{kind}` names held-out files: put the others under `train`, or rename `{kind}` if it is a class"
    return f"{path}/{name} is held out, {what}, and there is nothing {what} to train on; {remedy}"
