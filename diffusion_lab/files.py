"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block succeeds and vanishes when it fails.

    A reader sees the old file or the new one, never a part. Two processes may do this at once: each writes its own
    file, and the rename is atomic. Folders are made as needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, mode)  # until here nobody else can read the file that mkstemp made
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> Path:
    """Write `content` to `path` and return the path; `mode` says who may read it from its first moment on."""
    with replacing(path, mode) as part:
        part.write_bytes(content)
    return path
