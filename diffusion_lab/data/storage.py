"""Where data lies on disk, how members of a folder or an archive are read, and the cache of decoded files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from diffusion_lab.errors import DataError
from diffusion_lab.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

ENVIRONMENT = "DIFFUSION_LAB_DATA"
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")


def user_cache() -> Path:
    """The folder of this package in the user's cache, `~/.cache/diffusion-lab` on Linux."""
    import pooch

    return Path(pooch.os_cache("diffusion-lab"))


def data_root(root: str | Path | None = None) -> Path:
    """The folder that real data is looked for in: the argument, else DIFFUSION_LAB_DATA, else the user's cache."""
    chosen = root or os.environ.get(ENVIRONMENT)
    return Path(chosen).expanduser() if chosen else user_cache()


def read_members(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield `(name, content)` of the files with these suffixes in a folder or a tar archive, sorted by name.

    Names are relative to `path` and use forward slashes. Hidden files are left out.

    Raises:
        DataError: the folder is missing, the archive is corrupt or truncated, or nothing in it has such a suffix.
    """
    path = Path(path)
    accepted = ", ".join(suffixes)
    if path.is_dir():
        files = [f for f in sorted(path.rglob("*")) if _wanted(f.name, suffixes) and f.is_file()]
        if not files:
            raise DataError(f"{path} holds no file that can be used; accepted suffixes are {accepted}")
        for file in files:
            yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    if not path.is_file():
        raise DataError(f"{path} is neither a folder nor an archive ({', '.join(ARCHIVES)})")
    try:
        with tarfile.open(path) as archive:
            members = sorted(
                (member.name, archive.extractfile(member).read())
                for member in archive
                if member.isfile() and _wanted(PurePosixPath(member.name).name, suffixes)
            )
    except (tarfile.TarError, EOFError, OSError, LZMAError, zlib.error) as fault:
        raise DataError(f"{path} is not a complete tar archive: {fault}") from fault
    if not members:
        raise DataError(f"{path} holds no file that can be used; accepted suffixes are {accepted}")
    yield from members


def _wanted(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes) and not name.startswith(".")


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
    where = hashlib.sha256("\n".join(str(f.resolve()) for f in files).encode()).hexdigest()[:16]
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


def held_out(count: int, one_in: int = 10) -> tuple[Tensor, Tensor]:
    """Fixed indices (train, test) for data without a split of its own: one item in `one_in`, at least one, is held out.

    Raises:
        DataError: fewer than two items, so that nothing can be held out.
    """
    import torch

    if count < 2:
        raise DataError(f"at least 2 items are needed to hold one out for testing, found {count}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    tests = max(1, count // one_in)
    return order[tests:].sort().values, order[:tests].sort().values
