"""The lines of a text file of the user's own."""

from __future__ import annotations

import codecs
from pathlib import Path

from diffusion_lab.errors import DataError


def read_lines(path: Path) -> list[str]:
    """The lines of a file in UTF-8, or in UTF-16 where it begins with the mark that Windows writes for that.

    Raises:
        DataError: it is a folder, empty, or no such text; the message names the line.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; one text file is needed")
    content = path.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content[: fault.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: byte {content[fault.start]:#04x} is no text in {'UTF-16' if wide else 'UTF-8'}; "
            "save the file as UTF-8"
        ) from fault
    if "\0" in text:
        raise DataError(
            f"{path}, line {text[: text.index(chr(0))].count(chr(10)) + 1}: a zero byte, so this is no text"
        )
    if not text.strip():
        raise DataError(f"{path} is empty")
    # Not splitlines(): it also ends a line at signs that stand inside of one.
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
