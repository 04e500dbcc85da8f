"""CSV files as columns: read by numpy where all cells are plain numbers, and else row by row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import ScoreTableError
from .columns import Column, number, shown
from .files import decoded

# What plain numbers, and the lines that they stand in, are written with.
_PLAIN = b"0123456789+-.eE,\r\n"
_INK = re.compile(rb"\S")
_PLAIN_TEXT = dict.fromkeys(map(ord, "0123456789+-.eE,"))
# Whole numbers up to this are exact as floats.
_EXACT = 2.0**53
# Rows that stand in memory as text at a time.
_CHUNK = 4096


class CsvFile:
    """The header and the columns of a CSV file; blank lines are passed over.

    Raises:
        ScoreTableError: not CSV, not UTF-8, or a column stands twice.
    """

    def __init__(self, file: Path, data: bytes) -> None:
        self.file = file
        self._data = data
        self.header: list[str] = next(self._rows(), (0, []))[1]
        if len(set(self.header)) != len(self.header):
            raise ScoreTableError(f"a column stands twice in {shown(self.header)}", where=f"{file}:1")

    def columns(self, numbers: Collection[str], texts: Collection[str] = ()) -> dict[str, Column]:
        """The columns of these names.

        Args:
            numbers: their cells become numbers, None where a cell is empty, and stay text where a cell is
                anything else. A column of nothing but numbers is an array.
            texts: their cells stay as they are.

        Raises:
            ScoreTableError: names the line with too few or too many cells; or there is no row.
        """
        names = [name for name in self.header if name in numbers or name in texts]
        plain = None if any(name in texts for name in names) else self._plain()
        if plain is not None:
            return {name: plain[:, self.header.index(name)] for name in names}
        found: dict[str, list[Column]] = {name: [] for name in names}
        for cells in self._chunks():
            for name in names:
                own = cells[self.header.index(name)]
                found[name].append(list(own) if name in texts else _numbers(own))
        if not any(found.values()):
            raise ScoreTableError("no row below the header", where=str(self.file))
        return {name: _joined(parts) for name, parts in found.items()}

    def where(self, row: int) -> str:
        """``file:line`` of a row, counted from 0 below the header."""
        return f"{self.file}:{next(islice(self._rows(), row + 1, None))[0]}"

    def _plain(self) -> NDArray[np.float64] | None:
        """All cells, shape (rows, columns), where numpy reads them and none could be read otherwise."""
        end = self._data.find(b"\n") % (len(self._data) + 1) + 1
        marks = self._data.translate(None, _PLAIN)
        returns = self._data.count(b"\r") - self._data.count(b"\r\n")
        if returns or marks != self._data[:end].translate(None, _PLAIN) or not _INK.search(self._data, end):
            return None
        lines = self._lines()
        next(lines)
        try:
            cells = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
        except ValueError:
            return None
        known = cells.shape[1] == len(self.header) and (abs(cells) < _EXACT).all()
        return cells if known else None

    def _chunks(self) -> Iterator[list[Sequence[str]]]:
        """Cells by column, of so many rows at a time."""
        rows = self._rows()
        next(rows)
        while chunk := list(islice(rows, _CHUNK)):
            for line, cells in chunk:
                if len(cells) != len(self.header):
                    what = f"{len(cells)} cells under {len(self.header)} columns"
                    raise ScoreTableError(what, where=f"{self.file}:{line}")
            yield list(zip(*(cells for _, cells in chunk), strict=True))

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Line and cells of each row that is not blank."""
        reader = csv.reader(self._lines(), strict=True)
        try:
            yield from ((reader.line_num, cells) for cells in reader if cells)
        except csv.Error as error:
            raise ScoreTableError(f"not CSV: {error}", where=f"{self.file}:{reader.line_num}") from None
        except UnicodeDecodeError:
            decoded(self._data, self.file)
            raise

    def _lines(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BytesIO(self._data), encoding="utf-8-sig", newline="")


def _numbers(cells: Sequence[str]) -> Column:
    if not ",".join(cells).translate(_PLAIN_TEXT):
        try:
            values = np.fromiter(map(float, cells), np.float64)
        except ValueError:
            pass
        else:
            if (abs(values) < _EXACT).all():
                return values
    return [_cell(cell) for cell in cells]


def _cell(cell: str) -> object:
    value = number(cell)
    return value if value is not None else cell or None


def _joined(parts: list[Column]) -> Column:
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) == len(parts):
        joined: NDArray[np.float64] = np.concatenate(arrays)
        return joined
    return [value for part in parts for value in (part if isinstance(part, list) else part.tolist())]
