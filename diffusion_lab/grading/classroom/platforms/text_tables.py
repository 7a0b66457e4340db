"""Tables in whatever form a platform or a spreadsheet writes them, and a cell of one filled in without touching others.

Encodings: UTF-8 and UTF-16 by their marks, UTF-8 without one, and else what charset-normalizer finds most likely.
Separators: the comma, semicolon, tabulator or bar that the first line has most of, or Excel's own line `sep=;`.
Sheets of Excel (`.xlsx`) are read with openpyxl.
"""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffusion_lab.errors import LabError

SEPARATORS = ",;\t|"
SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
LARGEST = 32 << 20
"""Bytes of a table."""
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
LIKELY = ("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "iso8859_2", "shift_jis", "cp932",
          "euc_jp", "gb18030", "big5", "euc_kr", "cp949", "koi8_r", "mac_roman")  # fmt: skip
"""Encodings that spreadsheets write where it is not UTF-8."""
WESTERN = frozenset("ÄÖÜäöüßÉÈÊËéèêëÀÁÂÃÅàáâãåÇçÑñÍÌÎÏíìîïÓÒÔÕØóòôõøÚÙÛúùûÆæŒœ’–")
EXCEL, OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


@dataclass(frozen=True)
class Row:
    """A row with something in it."""

    line: int
    """Of the file, from 1; of a sheet, its row."""
    cells: tuple[str, ...]
    """Without spaces around them, as many as the header has."""
    spans: tuple[tuple[int, int], ...] = ()
    """Where each cell stands in the text, quotation marks included; a cell that is not there has none."""


@dataclass(frozen=True)
class Table:
    """A table that was read."""

    file: Path
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    encoding: str = "utf-8"
    """What the text was read as; "" for a sheet."""
    separator: str = ","
    text: str = field(default="", repr=False)
    line: int = 1
    """Of the header."""

    def filled(self, column: int, cells: Mapping[int, str]) -> bytes:
        """The file with these cells of a column filled in, and every other character as it was.

        Args:
            column: its place, from 0.
            cells: a row's line -> what the cell is to hold.

        Raises:
            LabError: the file cannot be written in its own encoding.
        """
        if not self.encoding:
            return _filled_sheet(self, column, cells)
        pieces, done = [], 0
        for row in self.rows:
            if row.line not in cells:
                continue
            missing = column + 1 - len(row.spans)
            start, end = row.spans[column] if missing <= 0 else (row.spans[-1][1],) * 2
            was = self.text[start:end]
            new = f'"{cells[row.line]}"' if was.startswith('"') and '"' not in cells[row.line] else cells[row.line]
            if self.separator in new and not new.startswith('"'):
                new = f'"{new}"'
            pieces += [self.text[done:start], self.separator * max(missing, 0), new]
            done = end
        text = "".join([*pieces, self.text[done:]])
        try:
            return text.encode(self.encoding)
        except UnicodeEncodeError as error:  # not with numbers; where a mark has a sign of its own
            raise LabError(
                f"{self.file}: {error.object[error.start]!r} is not in its encoding, {self.encoding}"
            ) from error


def read_table(file: Path, encoding: str = "") -> Table:
    """Read a table with a header.

    Args:
        encoding: by default it is found out.

    Raises:
        LabError: no file, no table, or a row with more cells than the header; the message names file and line.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise LabError(f"{file} has more than {LARGEST / 1e6:.0f} MB; a table of students is small")
        data = file.read_bytes()
    except OSError as error:
        raise LabError(f"{file}: {error.strerror}") from error
    if data.startswith(EXCEL):
        return _of_sheet(file, data)
    if data.startswith(OLD_EXCEL):
        raise LabError(f"{file} is a sheet of an old Excel; save it as .xlsx or as CSV")
    encoding = encoding or _encoding_of(data, file)
    try:
        text = data.decode(encoding)
    except (UnicodeError, LookupError) as error:
        raise LabError(f"{file} cannot be read as {encoding}: {error}") from error
    if "\0" in text:
        raise LabError(f"{file} is no table: it holds zero bytes")
    return _of_text(file, text, encoding)


def _encoding_of(data: bytes, file: Path) -> str:
    for mark, name in MARKS:
        if data.startswith(mark):
            return name
    try:
        data.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError as error:
        fault = error
    half = data[: 2 * (len(data) // 2)]
    for name, zeros in (("utf-16-le", half[1::2]), ("utf-16-be", half[::2])):
        if zeros.count(0) > len(zeros) // 2:
            return name
    from charset_normalizer import from_bytes

    matches = list(from_bytes(data, cp_isolation=list(LIKELY), threshold=0.5))
    if not matches:
        line = data.count(b"\n", 0, fault.start) + 1
        raise LabError(f"{file}, line {line}: no usual encoding fits; save it as UTF-8, or name one with --encoding")
    best = next((match.encoding for match in matches if _of_letters(str(match))), matches[0].encoding)
    # What is Western in one of its many tables is so in Windows' own, unless that lacks a sign.
    return "cp1252" if best in ("mac_roman", "cp1254", "cp1250", "iso8859_2") and _western(data) else best


def _of_letters(text: str) -> bool:
    """Whether what is not plain in it is letters, as in names, and not the signs that a wrong table gives."""
    return all(sign.isascii() or sign in "’–\xa0" or unicodedata.category(sign)[0] in "LM" for sign in text)


def _western(data: bytes) -> bool:
    """Whether this makes words of Western languages: their own letters among plain ones."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    words = [word for word in re.findall(r"\w+", text) if not word.isascii()]
    return all(sign.isascii() or sign in WESTERN for sign in text) and all(
        re.search("[A-Za-z]", word) for word in words
    )


def _of_text(file: Path, text: str, encoding: str) -> Table:
    start = 0
    if excels := SEPARATOR_LINE.match(text):
        separator, start = excels[1], excels.end()
    else:
        separator = _separator_of(text)
    lines = _rows(text, separator, start, file)
    head = next(lines, None)
    if head is None:
        raise LabError(f"{file} is empty; its first line must name the columns")
    header = tuple(cell.strip() for cell in head.cells)
    rows = []
    for row in lines:
        cells = [cell.strip() for cell in row.cells]
        if any(cells[len(header) :]):
            raise LabError(
                f"{file}, line {row.line} has {len(cells)} cells, and the header has {len(header)}: "
                f"is {separator!r} its separator, and is a name with it in quotation marks?"
            )
        padded = (cells + [""] * len(header))[: len(header)]
        rows.append(Row(row.line, tuple(padded), row.spans))
    return Table(file, header, tuple(rows), encoding, separator, text, head.line)


def _separator_of(text: str) -> str:
    """The one that is there most often outside of quotation marks, in the first line with something in it."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    outside = re.sub(r'"[^"]*"', "", first)
    return max(SEPARATORS, key=outside.count)


def _rows(text: str, separator: str, start: int, file: Path) -> Iterator[Row]:
    """The rows of a text in which something stands, with the place of each cell. Quotation marks as in RFC 4180."""
    place, line = start, text.count("\n", 0, start) + 1
    plain = re.compile(f"[^{re.escape(separator)}\r\n]*")
    while place < len(text):
        cells: list[str] = []
        spans: list[tuple[int, int]] = []
        begins = line
        while True:
            first = place
            if text.startswith('"', place):
                end = place + 1
                while (end := text.find('"', end)) >= 0 and text.startswith('"', end + 1):
                    end += 2
                if end < 0:
                    raise LabError(f"{file}, line {line}: a quotation mark opens there, and none closes it")
                inside = text[place + 1 : end].replace('""', '"')
                line += inside.count("\n")
                place = plain.match(text, end + 1).end()
                cells.append(inside + text[end + 1 : place])
            else:
                place = plain.match(text, place).end()
                cells.append(text[first:place])
            spans.append((first, place))
            if not text.startswith(separator, place):
                break
            place += 1
        if any(cell.strip() for cell in cells):
            yield Row(begins, tuple(cells), tuple(spans))
        place += 2 if text.startswith("\r\n", place) else 1
        line += 1


def _of_sheet(file: Path, data: bytes) -> Table:
    sheet = _workbook(file, data).worksheets[0]
    found = []
    for line, values in enumerate(sheet.iter_rows(values_only=True), 1):
        cells = tuple(_as_text(value) for value in values)
        if any(cells):
            found.append(Row(line, cells))
    if not found:
        raise LabError(f"{file}: the first sheet is empty; its first row must name the columns")
    width = max(place for place, cell in enumerate(found[0].cells, 1) if cell)
    for row in found:
        if any(row.cells[width:]):
            raise LabError(f"{file}, row {row.line} has cells beyond the last column that the header names")
    rows = [Row(row.line, (row.cells + ("",) * width)[:width]) for row in found]
    return Table(file, rows[0].cells, tuple(rows[1:]), "", "", "", rows[0].line)


def _filled_sheet(table: Table, column: int, cells: Mapping[int, str]) -> bytes:
    book = _workbook(table.file, table.file.read_bytes())
    for line, text in cells.items():
        try:
            value: float | str = float(text)
        except ValueError:
            value = text
        book.worksheets[0].cell(line, column + 1).value = value
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def _workbook(file: Path, data: bytes):
    from diffusion_lab.grading.classroom.platforms.archives import open_zip

    with open_zip(data, str(file)):  # a sheet is a zip, and can be a bomb like any other
        pass
    try:
        import openpyxl
    except ImportError as error:
        raise LabError(
            f"{file} is a sheet of Excel, which needs openpyxl: pip install openpyxl; or save it as CSV"
        ) from error
    try:
        return openpyxl.load_workbook(io.BytesIO(data))
    except Exception as error:  # whatever openpyxl makes of a damaged one
        raise LabError(f"{file} is no sheet that can be read: {error}") from error


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return (
        f"{value:g}" if isinstance(value, float) and value == int(value) and abs(value) < 1e15 else str(value).strip()
    )
