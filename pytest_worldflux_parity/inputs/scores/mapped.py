"""``columns``: any long CSV or JSONL, or a folder of such files, by a mapping that the suite writes.

    columns: {task: env, seed: seed, step: global_step, score: eval/return, where: {agent: TD-MPC2}}

``tdmpc2_logs`` and ``dreamerv3_logs`` are such mappings: of what the official programs leave in their log
folders. suites/README.md says what each key means. Rows are of the metric ``episode_return``, unless a column
names another.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml

from ...errors import ScoreTableError
from .builder import TableBuilder
from .columns import MISSING, Column, Columns, parse_number, show_value
from .csv_files import CsvFile
from .files import decode_text, lines_of, parsed_row, read_bytes, sha256_of_bytes, unpack_gzip
from .layouts import Layout
from .table import RETURN
from .tasks import names_metric

# How an export of a chart of W&B names, beside a column, the lowest and highest values behind its cells.
BOUND_SUFFIXES = ("__MIN", "__MAX")
JSONL = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")

# What the names of a file and of a column, and a file beside it, say of all rows: column -> value.
Said = Mapping[str, object]
# (Column, of which rows) -> what they say there -> the file that says so.
Whose = dict[tuple[str, str], dict[str, Path]]


def read(
    path: Path, builder: TableBuilder, columns: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, str]]:
    """Read a file or a folder.

    Args:
        columns: as a suite has them, over those that the format has itself.

    Raises:
        ScoreTableError: naming file, row and field; or the columns are not those of the file.
    """
    layout = Layout(**columns)
    hashes: dict[str, str] = {}
    whose: Whose = {}
    choices: dict[str, dict[str, bool]] = {}
    bare: list[str] = []
    for file, name, said in _find_files(path, layout):
        beside, named = _read_beside(file, path, layout) if layout.beside else ({}, {})
        said = {**beside, **said}
        if not _are_chosen(said, layout, choices):
            continue
        data = read_bytes(file)
        hashes |= {**named, name: sha256_of_bytes(data)}
        data = unpack_gzip(data, file)
        if name and has_no_row(file, data):
            bare.append(name)
            continue
        rows = _MappedRows(open_columns(file, data), layout, said)
        parts = list(rows.columns())
        for part in parts:
            builder.add(part)
        several: Whose = {}
        for found, claims in ((whose, rows.whose()), (several, rows.runs())) if parts else ():
            for column, of, value in claims:
                found.setdefault((column, of), {})[value] = file
        _refuse_several(several)
        for column, values in rows.choices.items():
            choices.setdefault(column, {}).update(values)
    _refuse_several(whose)
    _refuse_no_choice(path, layout, choices)
    return hashes, {"files_without_rows": ", ".join(bare)} if bare else {}


def _find_files(path: Path, layout: Layout) -> Iterator[tuple[Path, str, Said]]:
    """Each file, its name within the folder ("" of a table that is one file), and what its name says."""
    if not path.is_dir():
        found = layout.path.match(path.name) if layout.path else None
        yield path, "", {**layout.constants, **(found or {})}
        return
    if layout.path is None:
        raise ScoreTableError(
            "is a folder, and columns do not say which of its files are read",
            where=str(path),
            hint='add `files: "{task}/{seed}/*.csv"` to columns, in the form that they have',
        )
    named = [(name, found) for name in file_names(path) if (found := layout.path.match(name)) is not None]
    if not named:
        raise ScoreTableError(f"no file of the form {layout.files} in this folder", where=str(path))
    yield from ((path / name, name, {**layout.constants, **found}) for name, found in named)


def file_names(folder: Path) -> list[str]:
    """The files of a folder and all below it, as paths within it, sorted; not what macOS puts beside each."""
    found = [Path(here, f) for here, _, files in os.walk(folder) for f in files if not f.startswith("._")]
    return sorted(file.relative_to(folder).as_posix() for file in found)


def _are_chosen(said: Said, layout: Layout, choices: dict[str, dict[str, bool]]) -> bool:
    """Whether the rows of a file may count, by what is said of all of them; it is noted in ``choices``."""
    asked = [name for name in layout.where if name in said]
    for name in asked:
        choices.setdefault(name, {})[str(said[name])] = is_same(said[name], layout.where[name])
    return all(choices[name][str(said[name])] for name in asked)


def _read_beside(file: Path, path: Path, layout: Layout) -> tuple[Said, dict[str, str]]:
    """What the YAML file beside a file says, and its name and sha256: it is a file of the table too."""
    other, folder = (Path(os.path.normpath(p)) for p in (file.parent / layout.beside, path))
    if not path.is_dir() or not other.is_relative_to(folder):
        what = f"{other} says what these scores are of, and is not in the folder that is the table"
        raise ScoreTableError(what, where=str(file), hint="name the folder that holds both")
    data = read_bytes(other)
    try:
        # Texts alone: a program's own settings may be read in two ways, and none of them is asked.
        document = yaml.load(decode_text(data, other), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        raise ScoreTableError("not YAML", where=str(other)) from None
    if not isinstance(document, dict):
        raise ScoreTableError("is no mapping of keys", where=str(other))
    said = {key: value for key, value in document.items() if not isinstance(value, dict | list)}
    asked = {key: said[key] for key in (*(said.keys() & layout.words), *layout.kinds(said))}
    return asked, {other.relative_to(folder).as_posix(): sha256_of_bytes(data)}


def has_no_row(file: Path, data: bytes) -> bool:
    """Whether a file of a folder is of a run that has just begun: empty, or a CSV with its header alone."""
    ink = data.strip()
    return not ink or not (_is_json_lines(file) or b"\n" in ink or b"\r" in ink)


def _is_json_lines(file: Path) -> bool:
    return file.name.lower().endswith(JSONL)


class ColumnSource(Protocol):
    """A file as columns."""

    @property
    def file(self) -> Path: ...

    @property
    def header(self) -> Sequence[str]: ...

    def columns(self, numbers: Collection[str], texts: Collection[str] = ()) -> dict[str, Column]:
        """The columns of these names that there are, an entry a row."""

    def where(self, row: int) -> str:
        """``file: row`` text."""


class _JsonLines:
    """A file with an object a line; a key that a line lacks is :data:`~.columns.MISSING` there."""

    def __init__(self, file: Path, data: bytes) -> None:
        self.file = file
        self._rows: list[tuple[int, dict[str, Any]]] = []
        # Of each key the first value that is no JSON for scores: only where it is asked for is it a fault.
        self._faults: dict[str, tuple[int, str]] = {}
        for line, text in lines_of(decode_text(data, file)):
            row, faults = parsed_row(text, file, line)
            if not isinstance(row, dict):
                raise ScoreTableError(f"{show_value(row)} is not an object", where=f"{file}:{line}")
            self._rows.append((line, row))
            self._faults = {key: (line, what) for key, what in faults.items()} | self._faults
        self.header = list(dict.fromkeys(key for _, row in self._rows for key in row))
        if not self.header:
            raise ScoreTableError("the file holds no row", where=str(file))

    def columns(self, numbers: Collection[str], texts: Collection[str] = ()) -> dict[str, Column]:
        names = [name for name in self.header if name in numbers or name in texts]
        for line, name in sorted((self._faults[name][0], name) for name in names if name in self._faults):
            what = f"not JSON for scores: {self._faults[name][1]}"
            raise ScoreTableError(what, where=f"{self.file}:{line}: {name}")
        return {name: [row.get(name, MISSING) for _, row in self._rows] for name in names}

    def where(self, row: int) -> str:
        return f"{self.file}:{self._rows[row][0]}"


def open_columns(file: Path, data: bytes) -> ColumnSource:
    """A file as columns, by its name.

    Raises:
        ScoreTableError: it is neither CSV nor lines of JSON.
    """
    return _JsonLines(file, data) if _is_json_lines(file) else CsvFile(file, data)


class _MappedRows:
    """The rows of one file that count, and what is said of all of them."""

    def __init__(self, source: ColumnSource, layout: Layout, said: Said) -> None:
        self._source = source
        self._layout = layout
        self._said = said
        # Of each column of ``where``: its values as text, and whether they are chosen.
        self.choices: dict[str, dict[str, bool]] = {}
        self._runs = self._score_columns()
        bounds = [name + bound for name in self._runs for bound in BOUND_SUFFIXES]
        numbers = {self._found(layout.step, "step"), layout.seed, *self._runs, *bounds}
        words = {*layout.words, *layout.kinds(source.header), *layout.tasks(source.header)}
        words |= {*layout.runs(source.header)}
        self._cells = source.columns(numbers, words - numbers)
        self._kept = self._where()

    def columns(self) -> Iterator[Columns]:
        """What a table's builder is given."""
        for name, run in self._runs.items():
            self._refuse_means(name)
            yield from self._one(name, {**self._said, **run})

    def whose(self) -> Iterator[tuple[str, str, str]]:
        """What the rows say that they are of: column, of which rows, value, of which each has one.

        A column that names an agent or a metric has one in all rows; one that names a task one for each task.
        """
        said, rows = (self._said, *self._runs.values()), self._counted()
        for name in self._layout.kinds(dict.fromkeys([*self._cells, *(key for s in said for key in s)])):
            own = [s[name] for s in said if name in s]
            cells = self._taken(name, rows) if name in self._cells else own
            yield from (
                (name, "", value) for value in dict.fromkeys(map(str, cells)) if value != str(MISSING)
            )
        task = self._layout.task
        for name in self._layout.tasks(self._cells):
            tasks = self._taken(task, rows) if task in self._cells else repeat(self._said.get(task))
            pairs = zip(map(str, tasks), map(str, self._taken(name, rows)), strict=False)
            yield from ((name, f"the task {of}", value) for of, value in dict.fromkeys(pairs))

    def runs(self) -> Iterator[tuple[str, str, str]]:
        """What the columns that name a run say of each task and seed, as :meth:`whose` has it."""
        for name in self._layout.runs(self._cells):
            for score, run in self._runs.items():
                rows, said = self._scored(score), {**self._said, **run}
                fields = (self._field(key, said, rows) for key in ("task", "seed"))
                each = (own if isinstance(own, list | np.ndarray) else repeat(own) for own in fields)
                texts = (map(str, own) for own in (*each, self._taken(name, rows)))
                for task, seed, value in dict.fromkeys(zip(*texts, strict=False)):
                    yield name, f"the task {task} and seed {seed.removesuffix('.0')}", value

    def _counted(self) -> Sequence[int]:
        """The rows that count and have a score of any run."""
        each = [self._scored(name) for name in self._runs]
        return each[0] if len(each) == 1 else sorted({i for rows in each for i in rows})

    def _score_columns(self) -> dict[str, Said]:
        """The columns of scores, and what the name of each says."""
        layout = self._layout
        if layout.wide is None:
            return {self._found(layout.score, "score"): {}}
        runs: dict[str, Said] = {n: s for n in self._source.header if (s := layout.wide.match(n)) is not None}
        if not runs:
            what = f"no column of the form {layout.score}"
            raise ScoreTableError(what, where=str(self._source.file), valid=self._names)
        return {column: run for column, run in runs.items() if _are_chosen(run, layout, self.choices)}

    @property
    def _names(self) -> list[str]:
        return [name for name in self._source.header if not name.endswith(BOUND_SUFFIXES)]

    def _found(self, name: str, key: str) -> str:
        if name in self._source.header:
            return name
        what = f"no column {name!r}, which columns.{key} names"
        raise ScoreTableError(what, where=str(self._source.file), valid=self._names, got=name)

    def _where(self) -> list[int]:
        """The rows that count."""
        kept = list(range(len(self._cells[self._layout.step])))
        for name, wanted in self._layout.where.items():
            if name in self.choices or (name in self._said and name not in self._cells):
                continue
            cells = self._cells[self._found(name, f"where.{name}")]
            # As text, of which there are few.
            texts = [str(cell) for cell in cells]
            values = {text: cell for text, cell in zip(texts, cells, strict=True) if cell is not MISSING}
            own = self.choices[name] = {text: is_same(cell, wanted) for text, cell in values.items()}
            kept = [i for i in kept if own.get(texts[i], False)]
        return kept

    def _taken(self, name: str, rows: Sequence[int]) -> Any:
        cells = self._cells[name]
        if len(rows) == len(cells):
            return cells
        if isinstance(cells, np.ndarray):
            return cells[np.asarray(rows, np.int64)]
        return [cells[i] for i in rows]

    def _one(self, score: str, said: Said) -> Iterator[Columns]:
        """The rows of one column of scores."""
        rows, where = self._scored(score), self._source.where
        if not rows:
            return
        yield Columns(
            task=self._field("task", said, rows),
            seed=self._field("seed", said, rows),
            step=self._taken(self._layout.step, rows),
            score=self._taken(score, rows),
            where=lambda i: where(rows[i]),
            metric=self._field("metric", said, rows) if self._layout.metric else RETURN,
        )

    def _scored(self, score: str) -> Sequence[int]:
        """The rows that count and have a score: in a log a line without the key is another event."""
        skips, cells = self._layout.skips_empty, self._cells[score]
        if isinstance(cells, np.ndarray) and not (skips and np.ma.is_masked(cells)):
            return self._kept
        return [i for i in self._kept if cells[i] is not MISSING and not (skips and is_empty(cells[i]))]

    def _field(self, key: str, said: Said, rows: Sequence[int]) -> Any:
        """The cells of a field, or the one value that is said of all rows.

        Raises:
            ScoreTableError: neither is there, or they contradict each other.
        """
        name = getattr(self._layout, key)
        if name not in said:
            return self._taken(self._found(name, key), rows)
        if name in self._cells:
            for i, cell in zip(rows, self._taken(name, rows), strict=True):
                if not is_same(cell, said[name]):
                    what = f"{name} is {show_value(cell)}, and {show_value(said[name])} by the name of file"
                    what += " or column"
                    raise ScoreTableError(what, where=self._source.where(i))
        return said[name]

    def _refuse_means(self, name: str) -> None:
        """Refuse a column of W&B whose cells are means: of several runs, or of several steps."""
        if any(name + bound not in self._cells for bound in BOUND_SUFFIXES):
            return
        low, middle, high = (
            self._taken(n, self._kept) for n in (name + BOUND_SUFFIXES[0], name, name + BOUND_SUFFIXES[1])
        )
        for i, *cells in zip(self._kept, low, middle, high, strict=True):
            if cells[0] != cells[2] or cells[1] != cells[0]:
                least, most = show_value(cells[0]), show_value(cells[2])
                what = f"{name} is a mean of scores from {least} to {most}, no run's score"
                hint = "export the runs without grouping, and every point of them"
                raise ScoreTableError(what, where=self._source.where(i), hint=hint)


def _refuse_several(whose: Mapping[tuple[str, str], Mapping[str, Path]]) -> None:
    for (column, which), values in whose.items():
        if len(values) > 1:
            first, of = next(iter(values)), f" for {which}" if which else ""
            apart = f", or read each as a metric: `metric: {column}`" if names_metric(column) else ""
            raise ScoreTableError(
                f"scores of {len(values)} values of {column}{of} in one table",
                where=", ".join(map(str, dict.fromkeys(values.values()))),
                valid=values,
                hint=f"choose one in columns: `where: {{{column}: {first}}}`{apart}",
            )


def _refuse_no_choice(path: Path, layout: Layout, choices: Mapping[str, Mapping[str, bool]]) -> None:
    for column, values in choices.items():
        if not any(values.values()):
            wanted = layout.where[column]
            what = f"no row has {show_value(wanted)} in {column}"
            raise ScoreTableError(what, where=str(path), valid=values, got=wanted)


def is_empty(cell: object) -> bool:
    """Whether a cell is there and says nothing: a null, or masked in an array."""
    return cell is None or cell is np.ma.masked


def is_number(value: object) -> bool:
    """Whether a cell is a number; true is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_same(cell: object, wanted: object) -> bool:
    """Whether a cell says what a suite or a name says: the same text, or the same number."""
    if isinstance(wanted, bool) or isinstance(cell, bool):
        return str(cell).lower() == str(wanted).lower()
    if is_number(wanted) and isinstance(cell, str):
        return parse_number(cell) == wanted
    if is_number(cell) and isinstance(wanted, str):
        return parse_number(wanted) == cell
    return cell == wanted
