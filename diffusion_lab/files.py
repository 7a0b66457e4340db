"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block succeeds and vanishes when it fails.

    A reader sees the old file or the new one, never a part. Two processes may do this at once: each writes its own
    file, and the rename is atomic. Folders are made as needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)  # mkstemp makes a file that nobody else can read
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> Path:
    """Write `content` to `path` and return the path."""
    with replacing(path) as part:
        part.write_bytes(content)
    return path
