"""What somebody downloaded from a learning platform: a zip or a folder, looked through before anything is read from it.

A zip that means harm, or is broken, is refused as a whole, before the first file is taken out of it. Nothing is ever
unpacked: a file is read when it is needed, and no longer than it may be.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from diffusion_lab.errors import LabError
from diffusion_lab.grading.isolation import printable

MOST_FILES = 20_000
"""In a zip or a folder; a class of 500 that hands in ten files each has a quarter of it."""
MOST_BYTES = 8 << 30
"""Of all files in a zip, unpacked."""
HARMLESS_BYTES, DENSEST = 64 << 20, 150
"""Only a small zip may be packed more tightly than this. Notebooks shrink to a tenth, rarely to less."""
LONGEST_PATH = 1000
JUNK = {"__MACOSX", ".git", ".ipynb_checkpoints", "__pycache__", ".venv", "node_modules"}
"""Folders that are no part of what was handed in."""
DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class File:
    """One file in a zip or a folder."""

    path: str
    """Inside of it, with "/" between folders, in Unicode's composed form (NFC)."""
    size: int
    """Bytes, as the zip has it."""
    opened: Callable[[], IO[bytes]]

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.path.split("/"))

    def read(self, most: int) -> bytes:
        """What is in it.

        Raises:
            LabError: it has more than `most` bytes, or cannot be read, with the reason.
        """
        if self.size > most:
            raise LabError(f"it has {self.size / 1e6:.0f} MB, and at most {most / 1e6:.0f} MB are read")
        try:
            with self.opened() as file:
                data = file.read(most + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            raise LabError(f"it cannot be read: {error or type(error).__name__}") from error
        if len(data) > most:
            raise LabError(f"it is larger than the zip says, and at most {most / 1e6:.0f} MB are read")
        return data


@contextlib.contextmanager
def opened(source: Path) -> Iterator[list[File]]:
    """The files of a zip or a folder, by path; they can be read as long as the context lasts.

    Links in a folder are left out, since they lead to files that nobody handed in. So are the leftovers of systems and
    tools (`JUNK`, and files whose name begins with a dot).

    Raises:
        LabError: there is nothing of this name, it is no zip, or it is one that must not be opened.
    """
    if source.is_dir():
        yield _in_folder(source)
    elif source.is_file():
        with open_zip(source, str(source)) as files:
            yield files
    else:
        raise LabError(f"there is no {source}; name the zip that the platform gave you, or a folder")


@contextlib.contextmanager
def open_zip(source: Path | bytes, name: str) -> Iterator[list[File]]:
    """The files of a zip, given as a path or as bytes; `name` is what messages call it.

    Raises:
        LabError: it is no zip, is damaged, or has an entry that no platform writes: a path that leads out of it, a
            link, a password, the same name twice, too many files or bytes, or a bomb. The message names the entry.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise LabError(f"{name} is not a zip that can be read: {said[:1].lower()}{said[1:]}") from error
    with archive:
        entries = archive.infolist()
        if len(entries) > MOST_FILES:
            raise LabError(f"{name} has {len(entries)} entries, and at most {MOST_FILES} are accepted")
        found: dict[str, File] = {}
        for number, entry in enumerate(entries, 1):
            path, fault = _path_of(entry), _fault_of(entry)
            if not fault and path in found:
                fault = "the name is there twice"
            if fault:
                raise LabError(f"{name}, entry {number}, {printable(path, 100)!r}: {fault}; nothing was taken from it")
            if not entry.is_dir():
                found[path] = File(path, entry.file_size, lambda entry=entry: archive.open(entry))
        _no_bomb(entries, name)
        yield [file for path, file in sorted(found.items()) if not _is_junk(file.parts)]


def _no_bomb(entries: list[zipfile.ZipInfo], name: str) -> None:
    unpacked, packed = sum(e.file_size for e in entries), sum(e.compress_size for e in entries)
    if unpacked > MOST_BYTES or (unpacked > HARMLESS_BYTES and unpacked > DENSEST * packed):
        raise LabError(
            f"{name} has {packed / 1e6:.1f} MB and would unpack to {unpacked / 1e6:.0f} MB: that is no download of "
            "notebooks; nothing was taken from it"
        )


def _path_of(entry: zipfile.ZipInfo) -> str:
    """An entry's path. Names without a note of their encoding are UTF-8 where they can be, else of old DOS."""
    path = entry.filename
    if not entry.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            path = path.encode("cp437").decode("utf-8")
    return unicodedata.normalize("NFC", path.replace("\\", "/"))


def _fault_of(entry: zipfile.ZipInfo) -> str:
    """Why this entry must not be taken; "" where nothing is wrong with it."""
    path, mode = _path_of(entry), entry.external_attr >> 16
    if len(path) > LONGEST_PATH:
        return f"its path has {len(path)} characters"
    if path.startswith("/") or DRIVE.match(path) or ".." in path.split("/") or "\0" in entry.orig_filename:
        return "its path leads out of the zip"
    if stat.S_ISLNK(mode):
        return "it is a symbolic link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "it is no plain file"
    return "it needs a password" if entry.flag_bits & 0x1 else ""


def _in_folder(source: Path) -> list[File]:
    found: list[File] = []
    for here, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not _is_junk((name,)))
        for name in sorted(names):
            place = Path(here) / name
            if _is_junk((name,)) or place.is_symlink() or not place.is_file():
                continue
            path = unicodedata.normalize("NFC", place.relative_to(source).as_posix())
            found.append(File(path, place.stat().st_size, lambda place=place: place.open("rb")))
            if len(found) > MOST_FILES:
                raise LabError(f"{source} has more than {MOST_FILES} files; name the folder of the submissions alone")
    return sorted(found, key=lambda file: file.path)


def _is_junk(parts: tuple[str, ...]) -> bool:
    return any(part in JUNK for part in parts) or parts[-1].startswith(".")
