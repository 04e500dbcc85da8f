"""CSV files as columns, so many rows at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import ScoreTableError
from .columns import Column, parse_number, show_value
from .files import decode_text

if TYPE_CHECKING:
    from _csv import Reader

# What plain numbers are written with.
_PLAIN_TEXT = dict.fromkeys(map(ord, "0123456789+-.eE,"))
_OTHER_SEPARATORS = (";", "\t", "|")
# Whole numbers up to this are exact as floats.
_EXACT = 2.0**53
# Rows that stand in memory as text at a time: fewer lists than have Python look for garbage (700).
_ROWS_AT_ONCE = 512


class CsvFile:
    """The header and the columns of a CSV file; lines of blanks or of empty cells are passed over.

    Raises:
        ScoreTableError: not CSV, not UTF-8, cells parted by another sign, or a column stands twice.
    """

    def __init__(self, file: Path, data: bytes) -> None:
        self.file = file
        # Blanks on a line of their own after the last row are no cell of it.
        end = len(data.rstrip(b" \t\r\n"))
        rest, newline, _ = data[end:].partition(b"\n")
        # Of a file without such lines that is the very same object, and no copy of it.
        self._data = data[: end + len(rest) + len(newline)]
        self._refuse_other_separator()
        reader = self._reader()
        with self._refusing(reader):
            self.header: list[str] = next(filter(any, reader), [])
        if len(set(self.header)) != len(self.header):
            raise ScoreTableError(f"a column stands twice in {show_value(self.header)}", where=f"{file}:1")

    def _refuse_other_separator(self) -> None:
        header = self._data.lstrip().partition(b"\n")[0]
        other = next((sign for sign in _OTHER_SEPARATORS if sign.encode() in header), None)
        if other is not None and b"," not in header:
            raise ScoreTableError(
                f"not CSV: cells are parted by {other!r}, and not by commas",
                where=f"{self.file}:1",
                hint="export it with commas, and with points in numbers",
            )

    def columns(self, numbers: Collection[str], texts: Collection[str] = ()) -> dict[str, Column]:
        """The columns of these names.

        Args:
            numbers: an array, masked where a cell is empty; or a list, in which a cell that is no number
                stays text.
            texts: a list of the cells as they are.

        Raises:
            ScoreTableError: names the line with too few or too many cells; or there is no row.
        """
        names = [name for name in self.header if name in numbers or name in texts]
        found: dict[str, list[Column]] = {name: [] for name in names}
        known: dict[str, str] = {}
        for cells in self._chunks():
            for name in names:
                own = cells[self.header.index(name)]
                found[name].append(
                    [known.setdefault(c, c) for c in own] if name in texts else _parse_numbers(own)
                )
        if not any(found.values()):
            raise ScoreTableError("no row below the header", where=str(self.file))
        # One after the other, so that no more than one column stands in memory twice.
        return {name: _join_columns(found.pop(name)) for name in names}

    def where(self, row: int) -> str:
        """``file:line`` of a row, counted from 0 below the header."""
        reader = self._reader()
        next(islice(filter(any, reader), row + 1, None))
        return f"{self.file}:{reader.line_num}"

    def _chunks(self) -> Iterator[list[tuple[str, ...]]]:
        """Cells by column, of so many rows at a time."""
        reader, width, count = self._reader(), len(self.header), 0
        rows = filter(any, reader)
        next(rows)
        while True:
            with self._refusing(reader):
                chunk = list(islice(rows, _ROWS_AT_ONCE))
            if not chunk:
                return
            if set(map(len, chunk)) != {width}:
                odd = next(i for i, cells in enumerate(chunk) if len(cells) != width)
                what = f"{len(chunk[odd])} cells under {width} columns"
                raise ScoreTableError(what, where=self.where(count + odd))
            count += len(chunk)
            yield list(zip(*chunk, strict=True))

    def _reader(self) -> Reader:
        return csv.reader(self._lines(), strict=True)

    @contextmanager
    def _refusing(self, reader: Reader) -> Iterator[None]:
        try:
            yield
        except csv.Error as error:
            raise ScoreTableError(f"not CSV: {error}", where=f"{self.file}:{reader.line_num}") from None
        except UnicodeDecodeError:
            decode_text(self._data, self.file)
            raise

    def _lines(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BytesIO(self._data), encoding="utf-8-sig", newline="")


def _parse_numbers(cells: Sequence[str]) -> Column:
    if not ",".join(cells).translate(_PLAIN_TEXT):
        try:
            values = np.fromiter(map(float, cells), np.float64)
        except ValueError:
            pass
        else:
            if (abs(values) < _EXACT).all():
                return values
    each = [parse_number(cell) if cell else None for cell in cells]
    if any(cell and value is None for cell, value in zip(cells, each, strict=True)):
        return [cell or None if value is None else value for cell, value in zip(cells, each, strict=True)]
    values = np.array(each, np.float64)
    empty = np.isnan(values)
    return np.ma.array(values, mask=empty) if (empty | (abs(values) < _EXACT)).all() else each


def _join_columns(parts: list[Column]) -> Column:
    if all(isinstance(part, np.ndarray) for part in parts):
        masked = any(isinstance(part, np.ma.MaskedArray) for part in parts)
        joined: NDArray[np.float64] = (np.ma.concatenate if masked else np.concatenate)(parts)
        return joined
    return [value for part in parts for value in (part if isinstance(part, list) else part.tolist())]
