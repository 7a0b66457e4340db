"""Where data lies on disk, how members of a folder or an archive are read, and the cache of decoded files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from lzma import LZMAError
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING

from diffusion_lab.errors import DataError
from diffusion_lab.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

ENVIRONMENT = "DIFFUSION_LAB_DATA"
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")
PRIVATE = {"__MACOSX", "@eaDir", "$RECYCLE.BIN"}
"""Folders that macOS, Synology and Windows put beside the data; those of others begin with a dot."""


def user_cache() -> Path:
    """The folder of this package in the user's cache, `~/.cache/diffusion-lab` on Linux."""
    import pooch

    return Path(pooch.os_cache("diffusion-lab"))


def data_root(root: str | Path | None = None) -> Path:
    """The folder that real data is looked for in: the argument, else DIFFUSION_LAB_DATA, else the user's cache."""
    chosen = root or os.environ.get(ENVIRONMENT)
    return Path(chosen).expanduser() if chosen else user_cache()


def read_members(path: Path, suffixes: tuple[str, ...], kin: tuple[str, ...] = ()) -> Iterator[tuple[str, bytes]]:
    """Yield `(name, content)` of the files with these suffixes in a folder, a tar or a zip archive, sorted by name.

    Names are relative to `path` and use forward slashes. What a program keeps for itself is left out: hidden files and
    folders such as `.ipynb_checkpoints` and `.DS_Store`, and `__MACOSX`.

    Args:
        kin: suffixes of files that are data too, but of a kind that is not read: better refused than overlooked.

    Raises:
        DataError: the folder is missing, the archive is corrupt, truncated or locked, there is a file of `kin` in it,
            a name in it leads out of it, or nothing in it has an accepted suffix.
    """
    path = Path(path)
    if path.is_dir():
        names = {f.relative_to(path).as_posix(): f for f in path.rglob("*") if f.is_file()}
        for name in _chosen(path, names, suffixes, kin):
            yield name, names[name].read_bytes()
    elif path.name.lower().endswith((*suffixes, *kin)):
        raise DataError(f"{path} is one file; give the folder that it lies in, or an archive ({', '.join(ARCHIVES)})")
    elif not path.is_file():
        raise DataError(f"{path} is neither a folder nor an archive ({', '.join(ARCHIVES)})")
    elif zipfile.is_zipfile(path):
        yield from _from_zip(path, suffixes, kin)
    else:
        yield from _from_tar(path, suffixes, kin)


def _from_tar(path: Path, suffixes: tuple[str, ...], kin: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    wanted = (*suffixes, *kin)
    try:
        with tarfile.open(path) as archive:  # read once from front to end: going back in a packed file unpacks it again
            contents = {
                member.name: archive.extractfile(member).read() if member.name.lower().endswith(suffixes) else b""
                for member in archive
                if member.isfile() and member.name.lower().endswith(wanted) and not _private(member.name)
            }
    except (tarfile.TarError, EOFError, OSError, LZMAError, zlib.error) as fault:
        raise DataError(f"{path} is not a complete tar archive: {fault}") from fault
    for name in _chosen(path, contents, suffixes, kin):
        yield name, contents[name]


def _from_zip(path: Path, suffixes: tuple[str, ...], kin: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
            for name in _chosen(path, names, suffixes, kin):
                yield name, archive.read(name)
    # RuntimeError and NotImplementedError are zipfile's words for a password and for a way of packing it lacks.
    except (zipfile.BadZipFile, EOFError, OSError, LZMAError, zlib.error, RuntimeError) as fault:
        raise DataError(f"{path} is not a zip archive that can be read: {fault}") from fault


def _chosen(path: Path, names: Iterable[str], suffixes: tuple[str, ...], kin: tuple[str, ...]) -> list[str]:
    """The names to read, sorted."""
    names = sorted(name for name in names if not _private(name))
    accepted = ", ".join(suffixes)
    others = [name for name in names if name.lower().endswith(kin)] if kin else []
    if others:
        raise DataError(
            f"{path}/{others[0]} is of a kind that is not read here ({len(others):,} such files); accepted suffixes "
            f"are {accepted}: convert it, or move it out of the way"
        )
    names = [name for name in names if name.lower().endswith(suffixes)]
    if not names:
        raise DataError(f"{path} holds no file that can be used; accepted suffixes are {accepted}")
    for name in names:  # some are written to a folder: nothing may land outside of it
        if PurePath(name).anchor or ".." in PurePath(name).parts:
            raise DataError(f"{path} names a file outside of itself, {name}; pack the folder again")
    return names


def _private(name: str) -> bool:
    """Whether a file, or a folder above it, is one that some program keeps for itself."""
    return any(
        (part.startswith(".") and part not in (".", "..")) or part in PRIVATE for part in PurePosixPath(name).parts
    )


def decoded(
    label: str, files: Sequence[Path], decode: Callable[[], tuple[Mapping[str, Tensor], Mapping[str, list[str]]]]
) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """`decode()`, which returns (tensors, lists of words), or the copy of what it returned for these files before.

    The copy lies in the user's cache, and is used as long as path, size and modification time of every file agree.
    A cache that cannot be written to costs time and nothing else.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    stamp = json.dumps([[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files])
    where = hashlib.sha256(b"\n".join(os.fsencode(f.resolve()) for f in files)).hexdigest()[:16]
    copy = user_cache() / "decoded" / f"{label}-{where}.safetensors"
    # A copy that cannot be read is made again.
    with contextlib.suppress(OSError, SafetensorError), safe_open(copy, "pt") as stored:
        metadata = stored.metadata() or {}
        if metadata.get("stamp") == stamp:
            return {name: stored.get_tensor(name) for name in stored.keys()}, json.loads(metadata["words"])
    tensors, words = decode()
    with contextlib.suppress(OSError), replacing(copy) as part:
        save_file(dict(tensors), part, metadata={"stamp": stamp, "words": json.dumps(dict(words))})
    return dict(tensors), dict(words)


def held_out(
    count: int, one_in: int = 10, labels: Sequence[int] | None = None, where: Path | str = "the data"
) -> tuple[Tensor, Tensor]:
    """Fixed indices (train, test) for data without a split of its own: one item in `one_in`, at least one, is held out.

    Args:
        labels: the class of each item, where there are some: of each, one item at least is left to train on.
        where: what an error calls the data.

    Raises:
        DataError: fewer than two items, or no two of one class, so that nothing can be held out.
    """
    import torch

    if count < 2:
        raise DataError(f"{where}: at least 2 items are needed to hold one out for testing, found {count}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    classes = [0] * count if labels is None else labels
    left = Counter(classes)
    tests = []
    for item in order.tolist():
        if left[classes[item]] > 1 and len(tests) < max(1, count // one_in):
            left[classes[item]] -= 1
            tests.append(item)
    if not tests:
        raise DataError(
            f"{where}: each of {count} classes has one item only, and one must be held out for testing; give one two"
        )
    test = torch.zeros(count, dtype=torch.bool)
    test[tests] = True
    return (~test).nonzero().flatten(), test.nonzero().flatten()


FEW = 0.01
"""The share of bad entries in a file that is taken without them. A bad file is refused: it can be moved."""


def left_out(faults: Sequence[str], count: int, what: str) -> tuple[str, ...]:
    """A note on the entries of a file or two that cannot be used; none where there are no faults.

    Args:
        faults: what is wrong with each, with file and line.
        count: how many entries there are in all.
        what: the entries' name, in the plural.

    Raises:
        DataError: more than one in a hundred is bad, so that something is wrong with all of it.
    """
    if not faults:
        return ()
    if len(faults) > FEW * count:
        more = f" (and {len(faults) - 1:,} more of {count:,} {what})" if len(faults) > 1 else ""
        raise DataError(f"{faults[0]}{more}")
    return (f"{len(faults):,} of {count:,} {what} cannot be used and are left out; the first: {faults[0]}",)
