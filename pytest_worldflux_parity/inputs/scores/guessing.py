"""What a file or folder of scores is, by what stands in it: the format, and the columns that it takes.

A guess is for a person to look at: nothing that is judged rests on one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import ScoreTableError
from ...schemas.score_formats import SCORE_FORMATS
from .canonical import ROW_KEYS
from .columns import parse_number
from .files import parsed_json, read_bytes, read_text, unpack_gzip
from .mapped import BOUND_SUFFIXES, JSONL, ColumnSource, file_names, has_no_row, is_empty, open_columns
from .stored_runs import find_logs, systems_of
from .tasks import names_kind, names_task
from .templates import Template

_STEP_NAMES = (
    "step", "_step", "steps", "global_step", "env_step", "env_steps", "frame", "frames", "timesteps",
    "total_timesteps", "time/total_timesteps", "timestep", "t",
)  # fmt: skip
_SEED_NAMES = ("seed", "random_seed", "trial", "run")
_TASK_NAMES = ("task", "task_id", "env", "env_id", "environment", "game", "domain")
_SCORE_NAMES = ("score", "episode_return", "episode_reward", "episodic_return", "return", "reward", "value")
_LIKE_SCORE = re.compile(r"score|return|rew", re.IGNORECASE)
_EVALUATION = re.compile(r"eval|test", re.IGNORECASE)
# How people, CleanRL and the official programs name runs; the first that fits all names is taken.
_RUN_FORMS = (
    "{task}__{exp}__{seed}__*", "{task}-seed{seed}", "{task}_seed{seed}",
    "{task}-seed-{seed}", "{task}_seed_{seed}", "{task}/{exp}/{seed}", "{task}/{seed}", "{task}-{seed}",
    "{task}_{seed}", "seed: {seed}", "seed={seed}", "seed{seed}", "seed_{seed}", "seed-{seed}", "{seed}",
)  # fmt: skip
# And files; ``.*`` is their kind.
_LOG_FORMS = (
    "{task}/{exp}/{seed}/*", "{task}/{seed}/{exp}/*", "{task}/{seed}/*", "{task}/seed_{seed}/*",
    "{task}/seed{seed}/*", "{task}__{exp}__{seed}__*/*", "{task}-{seed}/*", "{task}_{seed}/*",
    "{task}/{seed}.*", "{task}-{seed}.*", "{task}_{seed}.*", "{task}_seed{seed}.*", "{task}.*", "*",
)  # fmt: skip
# Files that a message lists.
_MOST_FILES = 30
# Of TD-MPC2 the domains whose wrappers step the simulator once per action.
_ONE_FRAME = ("myo-", "mujoco-", "bipedal-walker", "lunarlander-")


@dataclass(frozen=True)
class Guess:
    """A format, and the keywords of ``load_table`` and of an artifact; ``notes`` say what is assumed."""

    format: str
    keywords: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def guess(path: Path, side: str = "worldflux") -> Guess:
    """What ``path`` is.

    Args:
        side: which one of a run of ours is read; what the candidate ran alone is never the official one.

    Raises:
        ScoreTableError: it cannot be read, or is nothing that a suite could read.
    """
    if find_logs(path):
        return _guess_run(path, side)
    if path.is_dir():
        return _guess_folder(path)
    if path.name.lower().endswith((".json", ".json.gz")):
        return _guess_document(parsed_json(read_text(path)[0], path), path)
    rows = _open_rows(path)
    if path.name.lower().endswith(JSONL) and _is_canonical(rows.header):
        return Guess("canonical_jsonl")
    if path.name.lower().endswith(".csv") and _is_result(rows.header):
        return Guess("tdmpc2_results_csv_dir")
    return _guess_columns(rows, {})


def _guess_run(path: Path, side: str) -> Guess:
    """A run of ours, where it ran the candidate too by the side that is read."""
    systems = systems_of(path)
    others = [system for system in systems if system != side]
    if len(systems) < 2 and "worldflux" not in others:
        return Guess("parity_runs")
    notes = (f"chosen of system: {side}; also there: {', '.join(others)}",)
    return Guess("parity_runs", {"columns": {"where": {"system": side}}}, notes)


def _open_rows(file: Path) -> ColumnSource:
    return open_columns(file, _read_unpacked(file))


def _read_unpacked(file: Path) -> bytes:
    return unpack_gzip(read_bytes(file), file)


def _is_canonical(header: Sequence[str]) -> bool:
    return {*ROW_KEYS} - {"metric"} <= {*header} <= {*ROW_KEYS}


def _is_result(header: Sequence[str]) -> bool:
    """Whether a CSV is of one task, after which it is named."""
    whole = {"step", "seed"} <= {*header} and bool({"reward", "score", "success"} & {*header})
    return whole and not any(names_task(name) or names_kind(name) for name in header)


def _guess_document(document: Any, path: Path) -> Guess:
    rows = document.get("scores") if isinstance(document, dict) else document
    first = rows[0] if isinstance(rows, list) and rows else None
    if isinstance(first, dict) and "xs" in first:
        return Guess("dreamerv3_scores_json_gz")
    if isinstance(first, dict) and {"task", "score"} & first.keys():
        return Guess("canonical_json")
    what = "no table that is known: neither a list of curves {task, seed, xs, ys} nor of scores"
    raise ScoreTableError(what, where=str(path), hint="write rows of {task, seed, step, score}")


def _guess_folder(path: Path) -> Guess:
    names = [name for name in file_names(path) if not PurePosixPath(name).name.startswith(".")]
    own = Template.of((SCORE_FORMATS["tdmpc2_logs"].columns or {})["files"], "files", is_path=True)
    runs = [found for name in names if (found := own.match(name)) is not None]
    if runs:
        return _guess_tdmpc2(path, runs)
    scores = [PurePosixPath(name) for name in names if PurePosixPath(name).name == "scores.jsonl"]
    if scores and all((path / name).with_name("config.yaml").is_file() for name in scores):
        return Guess("dreamerv3_logs", notes=("steps are frames, as the program logs them",))
    tables = [name for name in names if name.lower().endswith((".csv", *JSONL))]
    if not tables:
        documents = [name for name in names if name.lower().endswith((".json", ".json.gz"))]
        if documents:
            what = "a folder of this format is no table, and one file of it is"
            raise ScoreTableError(what, where=str(path), valid=documents[:_MOST_FILES])
        valid = (
            "<task>.csv",
            *(str(f.columns["files"]) for f in SCORE_FORMATS.values() if f.columns),
            "*.csv",
            "*.jsonl",
        )
        raise ScoreTableError("no table is in this folder", where=str(path), valid=valid)
    top = [name for name in tables if "/" not in name and name.lower().endswith(".csv")]
    if top and all(_is_result(_open_rows(path / name).header) for name in top):
        return Guess("tdmpc2_results_csv_dir")
    return _guess_logs(path, tables)


def _guess_tdmpc2(path: Path, runs: Sequence[Mapping[str, str]]) -> Guess:
    once = [run["task"] for run in runs if run["task"].startswith(_ONE_FRAME)]
    frames = 1 if len(once) == len(runs) else 2
    what = "its wrappers of DMControl, Meta-World and ManiSkill repeat an action twice, others do not"
    keywords: dict[str, Any] = {"frames_per_step": frames}
    chosen, note = _choose_first({"exp": [run["exp"] for run in runs]})
    if chosen:
        keywords["columns"] = {"where": chosen}
    mixed = [f"{once[0]} has 1 frame a step, others 2: read it apart"] if 0 < len(once) < len(runs) else []
    return Guess("tdmpc2_logs", keywords, (f"assumed: {frames} frames a step ({what})", *mixed, *note))


def _guess_logs(path: Path, tables: Sequence[str]) -> Guess:
    """Files of one name or kind, whose places say what their columns do not."""
    kind = Counter(PurePosixPath(name).suffix for name in tables).most_common(1)[0][0]
    tables = [name for name in tables if name.endswith(kind)]
    begun = (name for name in tables if not has_no_row(path / name, _read_unpacked(path / name)))
    rows = _open_rows(path / next(begun, tables[0]))
    lacking = {"task"} - _there(rows.header, "task", _TASK_NAMES) | {"seed"} - _there(
        rows.header, "seed", _SEED_NAMES
    )
    for form in _LOG_FORMS:
        text = form.replace(".*", kind) if form.endswith(".*") else f"{form.rstrip('*')}*{kind}"
        template = Template.of(text, "files", is_path=True)
        found = [template.match(name) for name in tables]
        if all(said is not None and lacking <= said.keys() for said in found):
            said = {key: [run[key] for run in found if run] for key in (found[0] or {})}
            own = _guess_columns(rows, said)
            columns = {"files": text, **own.keywords.get("columns", {})}
            return Guess("columns", {**own.keywords, "columns": columns}, own.notes)
    raise ScoreTableError(
        f"{len(tables)} files, and neither columns nor names say the {' and the '.join(sorted(lacking))}",
        where=str(path / tables[0]),
        valid=_LOG_FORMS,
        hint="rename the files, or write `files:` and `constants:` in columns",
    )


def _there(header: Iterable[str], field: str, names: Sequence[str]) -> set[str]:
    return {field} if _find_column(header, names) else set()


def _guess_columns(rows: ColumnSource, said: Mapping[str, Sequence[str]]) -> Guess:
    """Of a long table, or of one with a column a run; ``said``: what the names of files say."""
    header = [name for name in rows.header if not name.endswith(BOUND_SUFFIXES)]
    step = _find_column(header, _STEP_NAMES)
    if step is None:
        raise ScoreTableError("no column of steps is known", where=str(rows.file), valid=header)
    wide = _guess_wide(rows, [name for name in header if name != step])
    columns, notes = wide or _guess_long(rows, header)
    runs = [run for name in header if wide and (run := Template.of(columns["score"], "score").match(name))]
    places = {**said, **{name: [run[name] for run in runs] for run in runs[:1] for name in run}}
    columns = {"step": step, **columns}
    for key, names in (("task", _TASK_NAMES), ("seed", _SEED_NAMES)):
        found = None if key in places else _find_column(header, names)
        if found not in (None, key):
            columns[key] = found
        if found is None and key not in places:
            columns.setdefault("constants", {})[key] = _guess_constant(key, rows.file)
            notes = (*notes, f"assumed: the {key} of all rows, which nothing says")
    where, more = _choose_first(
        {**_kinds_said(rows, header), **{k: v for k, v in places.items() if names_kind(k)}}
    )
    columns = {**{k: v for k, v in columns.items() if k != v}, **({"where": where} if where else {})}
    unit = () if "frame" in step else (f"assumed: {step} counts frames; else add frames_per_step",)
    return Guess("columns", {"columns": columns} if columns else {}, (*unit, *notes, *more))


def _guess_constant(key: str, file: Path) -> object:
    if key == "task":
        return file.name.partition(".")[0]
    found = re.search(r"seed[-_=]?(\d+)", str(file), re.IGNORECASE)
    return int(found[1]) if found else 0


def _find_column(header: Iterable[str], names: Sequence[str]) -> str | None:
    """The column of the first of these names, in capital letters or not."""
    lower = {name.lower(): name for name in reversed([*header])}
    return next((lower[name] for name in names if name in lower), None)


def _guess_long(rows: ColumnSource, header: Sequence[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    score = _find_column(header, _SCORE_NAMES) or next((n for n in header if _LIKE_SCORE.search(n)), None)
    if score is None:
        raise ScoreTableError("no column of scores is known", where=str(rows.file), valid=header)
    others = [n for n in header if n != score and _LIKE_SCORE.search(n)]
    notes = [f"other columns that may be scores: {', '.join(others)}"] if others else []
    cells = rows.columns((score,))[score]
    columns: dict[str, Any] = {"score": score}
    if any(map(is_empty, cells)):
        columns["empty"] = "absent"
        notes.append("assumed: an empty score is no row; leave `empty` out where it is one that is lost")
    return columns, tuple(notes)


def _guess_wide(rows: ColumnSource, header: Sequence[str]) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    """Of an export of W&B, ``<run> - <metric>``, how its runs are named; None where this is none."""
    parts = [name.rpartition(" - ") for name in header]
    metrics = Counter(metric for run, _, metric in parts if run and not metric.startswith("_"))
    if not metrics:
        return None
    metric = next((m for m in metrics if _LIKE_SCORE.search(m)), metrics.most_common(1)[0][0])
    runs = [run for run, _, own in parts if own == metric]
    form = next(_fitting_forms(runs), None)
    if form is None:
        raise ScoreTableError(
            f"{len(runs)} runs, and their names do not say which seed each is: {', '.join(runs[:3])}",
            where=str(rows.file),
            valid=_RUN_FORMS,
            hint='name the seed in each column, or write `score: "{task}-{seed} - metric"` in columns',
        )
    others = [m for m in metrics if m != metric]
    notes = [f"other metrics: {', '.join(others)}"] if others else []
    template = Template.of(form, "score")
    tasks = dict.fromkeys(said["task"] for run in runs if "task" in (said := template.match(run) or {}))
    notes += [f"assumed: names of runs are {form}, and so tasks {', '.join(tasks)}"] if tasks else []
    return {"score": f"{form} - {metric}"}, tuple(notes)


def _fitting_forms(runs: Sequence[str]) -> Iterator[str]:
    """The forms that fit all names of runs, each another task or seed."""
    for form in _RUN_FORMS:
        template = Template.of(form, "score")
        found = [template.match(run) for run in runs]
        said = [(run.get("task"), run["seed"], run.get("exp")) for run in found if run is not None]
        if len(set(said)) == len(runs):
            yield form


def _kinds_said(rows: ColumnSource, header: Sequence[str]) -> dict[str, list[str]]:
    names = [name for name in header if names_kind(name)]
    cells = rows.columns((), names) if names else {}
    return {name: [str(cell) for cell in cells[name]] for name in names}


def _choose_first(values: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Of what says whose scores these are, an evaluation's return or else the first of several."""
    several = {
        name: sorted({*own}, key=_rank_among(own)) for name, own in values.items() if len(set(own)) > 1
    }
    where = {name: _to_value(own[0]) for name, own in several.items()}
    return where, tuple(
        f"chosen of {name}: {own[0]}; also there: {', '.join(own[1:])}" for name, own in several.items()
    )


def _rank_among(values: Sequence[str]) -> Callable[[str], tuple[bool, bool, int]]:
    return lambda text: (not _EVALUATION.search(text), not _LIKE_SCORE.search(text), values.index(text))


def _to_value(text: str) -> object:
    """As YAML would have it back."""
    return text if parse_number(text) is None else parse_number(text)
