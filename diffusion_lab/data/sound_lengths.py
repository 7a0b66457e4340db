"""How long a sound file says it is: libsndfile reads a truncated one without a word."""

from __future__ import annotations

from collections.abc import Callable

UNKNOWN = 0x7FFF_F000
"""From here on a length of 32 bits is what a program writes that could not go back, because it wrote to a pipe."""
OGG_HEADER = 27
"""Bytes of a page's header before the table of its segments (RFC 3533, section 6)."""


def _little(content: bytes, start: int, stop: int) -> int:
    return int.from_bytes(content[start:stop], "little")


def _big(content: bytes, start: int, stop: int) -> int:
    return int.from_bytes(content[start:stop], "big")


def _known(size: int, before: int) -> int | None:
    return size + before if size < UNKNOWN else None


def _ogg(content: bytes) -> int | None:
    """Where the last page ends."""
    start = content.rfind(b"OggS")
    segments = content[start + OGG_HEADER - 1 : start + OGG_HEADER]
    if not segments:
        return start + OGG_HEADER
    table = content[start + OGG_HEADER : start + OGG_HEADER + segments[0]]
    return start + OGG_HEADER + segments[0] + sum(table)


HEADERS: dict[bytes, Callable[[bytes], int | None]] = {
    b"RIFF": lambda content: _known(_little(content, 4, 8), 8),
    b"RIFX": lambda content: _known(_big(content, 4, 8), 8),
    b"FORM": lambda content: _known(_big(content, 4, 8), 8),  # AIFF
    b"RF64": lambda content: _little(content, 20, 28) + 8,  # the chunk ds64 comes first (EBU Tech 3306)
    b"riff": lambda content: _little(content, 16, 24),  # Sony Wave64, which counts its header too
    b".snd": lambda content: _known(_big(content, 8, 12), _big(content, 4, 8)),
    b"OggS": _ogg,
}


def announced_length(content: bytes) -> int | None:
    """How many bytes a sound file should have by its header, or by its last page; None where it does not say.

    Args:
        content: the file, in WAV, RF64, Wave64, AIFF, AU or Ogg. Others do not say it, or their decoder notices.
    """
    read = HEADERS.get(content[:4])
    return None if read is None else read(content)
