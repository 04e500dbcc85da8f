"""Tables read as columns are what the same rows are one by one: cells, runs, names, and what it costs."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import ScoreTableError
from pytest_worldflux_parity.inputs.scores import RETURN, SUCCESS, ScoreTable, load_table
from pytest_worldflux_parity.inputs.scores.builder import DUPLICATES
from tests.oracles import ORACLES

CSV = "tdmpc2_results_csv_dir"
DREAMER = "dreamerv3_scores_json_gz"
ROW = {"task": "a", "seed": 0, "step": 1}
untimed = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# Cells, one by one.

PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,6})?", re.ASCII)
CELLS = ["0", "7", "-1", "+2", "1.5", "2.", ".5", "1e3", "1000.0", "9007199254740993", "0012", '"3"']
ODD = ["", " 1", "1 ", "1_000", "nan", "inf", "-Infinity", "1e400", "0x10", "\uff11", "1,5", '"1,5"', "true"]
cells = st.one_of(st.sampled_from(CELLS), st.integers(0, 50).map(str), st.floats(-1e6, 1e6).map(repr))


def one_by_one(text: str) -> dict[tuple[int, int], float | None] | None:
    """(Seed, step) -> score of a CSV as it is written down in words; None where it has to be refused."""
    try:
        header, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        return None
    found: dict[tuple[int, int], float | None] = {}
    for row in rows:
        values = [float(c) if PLAIN.fullmatch(c) else c or None for c in row]
        if len(row) != len(header) or any(isinstance(value, str) for value in values):
            return None
        step, score, seed = values
        if not all(isinstance(n, float) and n >= 0 and n.is_integer() for n in (step, seed)):
            return None
        assert not isinstance(score, str)
        if score is not None and not abs(score) <= 1e50:
            return None
        key = (whole(row[2]), whole(row[0]))
        if found.setdefault(key, score) != score:
            return None
    return found if any(score is not None for score in found.values()) else None


def whole(cell: str) -> int:
    return int(cell) if cell.isdecimal() else int(float(cell))


@untimed
@given(st.data())
@pytest.mark.parametrize("odd", [False, True])
def test_a_csv_is_read_as_its_cells_are_one_by_one(tmp_path: Path, odd: bool, data: st.DataObject) -> None:
    cell = st.one_of(cells, st.sampled_from(ODD)) if odd else cells
    rows = data.draw(st.lists(st.lists(cell, min_size=3, max_size=3), max_size=8))
    end = data.draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
    text = end.join(["step,reward,seed", *map(",".join, rows)]) + data.draw(st.sampled_from(["", end]))
    path = tmp_path / "walker-walk.csv"
    path.write_bytes(text.encode())
    # Cells alone: in whatever order their rows stand, they are one run.
    expected = one_by_one(text)
    if expected is None:
        with pytest.raises(ScoreTableError):
            load_table(path, CSV, duplicates="one_run")
        return
    table = load_table(path, CSV, duplicates="one_run")
    found: dict[tuple[int, int], float | None] = {(r.seed, r.step): r.score for r in table.rows}
    nulls = {(seed, step): None for (_, seed, _), steps in table.nulls.items() for step in steps}
    assert {**found, **nulls} == expected


@pytest.mark.parametrize(
    ("at", "cell", "message"),
    [
        (5, "", "null"),
        (5000, "", "null"),
        (5000, "x", "walker-walk.csv:5002: score is 'x', not a finite number"),
        (5000, "1_000", "walker-walk.csv:5002: score is '1_000', not a finite number"),
        (5000, "1,2", "walker-walk.csv:5002: 4 cells under 3 columns"),
        (5000, "1e300", "walker-walk.csv:5002: score is 1e+300, not a finite number"),
    ],
)
def test_one_cell_among_thousands_is_named(tmp_path: Path, at: int, cell: str, message: str) -> None:
    lines = [f"{i},{i / 2},1" for i in range(6000)]
    lines[at] = f"{at},{cell},1"
    path = tmp_path / "walker-walk.csv"
    path.write_text("\n".join(["step,reward,seed", *lines]), encoding="utf-8")
    if message == "null":
        table = load_table(path, CSV)
        assert (len(table), table.nulls) == (5999, {("walker-walk", 1, RETURN): (at,)})
        assert {(r.step, r.score) for r in table.rows} == {(i, i / 2) for i in range(6000) if i != at}
    else:
        with pytest.raises(ScoreTableError) as caught:
            load_table(path, CSV)
        assert message in str(caught.value)


# Runs.


def falls(steps: list[int]) -> list[bool]:
    """Where a step leaves the direction that most have."""
    down, up = ([sign * b > sign * a for a, b in pairwise(steps)] for sign in (-1, 1))
    return down if sum(down) <= sum(up) else up


def unordered(steps: list[int]) -> bool:
    against = falls(steps)
    return 4 * sum(against) > len(steps) and any(map(all, pairwise(against)))


def chosen(rows: list[tuple[int, int, float]], rule: str | None) -> dict[int, list[tuple[int, float]]] | None:
    """Seed -> curve by a rule as the suite's pages have it; None where it is refused."""
    curves = {}
    for seed in {seed for seed, *_ in rows}:
        own = [row[1:] for row in rows if row[0] == seed]
        once, steps = [step for step, _ in dict.fromkeys(own)], [step for step, _ in own]
        beside = [a[0] == b[0] and a[1] != b[1] for a, b in pairwise(own)]
        cuts = [i + 1 for i, fall in enumerate(falls(steps)) if fall or beside[i]]
        twice = len(set(once)) != len(once)
        if not twice and (not any(falls(once)) or unordered(once)):
            cuts = []
        if rule in ("first", "last"):
            most = Counter(steps).most_common(1)[0][1]
            if (any(beside) or unordered(steps)) and len(cuts) >= most:
                return None
            own = own[: [*cuts, len(own)][0]] if rule == "first" else own[[0, *cuts][-1] :]
        elif (rule is None and cuts) or (rule == "one_run" and twice):
            return None
        curves[seed] = sorted(dict(own).items())
    return curves


table_rows = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 5), st.sampled_from([0.0, 1.0, 2.0])), min_size=1, max_size=14
)


@untimed
@given(table_rows, st.sampled_from([None, *DUPLICATES]))
@pytest.mark.parametrize("format", ["canonical_json", "canonical_jsonl", CSV])
def test_a_rule_chooses_a_run_in_every_format(
    tmp_path: Path, format: str, rows: list[tuple[int, int, float]], rule: str | None
) -> None:
    objects = [{"task": "t", "seed": n, "step": step, "score": score} for n, step, score in rows]
    path = tmp_path / "t.csv"
    path.write_text(
        {
            "canonical_json": json.dumps(objects),
            "canonical_jsonl": "\n".join(map(json.dumps, objects)),
            CSV: "\n".join(["seed,step,score", *(f"{n},{step},{score}" for n, step, score in rows)]),
        }[format],
        encoding="utf-8",
    )
    expected = chosen(rows, rule)
    if expected is None:
        with pytest.raises(ScoreTableError, match=r"a second (score|curve)|do not say which run is which"):
            load_table(path, format, duplicates=rule)
        return
    table = load_table(path, format, duplicates=rule)
    assert {seed: [(p.step, p.value) for p in table.curve("t", seed)] for seed in expected} == expected
    assert len(table) + table.merged_rows == len(rows)


def table_of(tmp_path: Path, points: str, rule: str | None = None) -> ScoreTable:
    """A table of one seed with rows of these steps; a letter behind a step stands for its score."""
    rows = [(point.rstrip("ab"), 1 + ord(point[-1])) for point in points.split()]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["seed,step,score", *(f"1,{s},{v}" for s, v in rows)]), encoding="utf-8")
    return load_table(path, CSV, duplicates=rule)


@pytest.mark.parametrize(
    ("points", "line"),
    [
        ("10a 20a 30a 15b 25b 35b", 5),
        ("10a 20a 15b 25b", 4),
        ("10a 20a 30a 15b", 5),
        ("0a 10a 20a 30a 0a 15b 25b 35b", 6),  # both begin with the same score
        ("30a 20a 10a 35b 25b 15b", 5),  # the newest first
        ("10a 20a 11b 21b 12b 22b 13b 23b", 4),
    ],
)
def test_a_second_run_at_steps_of_its_own_is_refused_or_chosen(
    tmp_path: Path, points: str, line: int
) -> None:
    """Never points of two runs in one curve, though no step stands twice with two scores."""
    with pytest.raises(ScoreTableError, match=rf"t\.csv:{line}: a second curve for t seed 1") as caught:
        table_of(tmp_path, points)
    assert "`duplicates: one_run`" in caught.value.hint
    first = table_of(tmp_path, points, "first")
    assert len(first.curve("t", 1)) == line - 2
    assert table_of(tmp_path, points, "last").curve("t", 1)[-1].value != first.curve("t", 1)[-1].value
    assert len(table_of(tmp_path, points, "one_run").curve("t", 1)) == len({p[:-1] for p in points.split()})


@pytest.mark.parametrize("rule", [None, "first", "last", "one_run"])
@pytest.mark.parametrize(
    "points",
    [
        "10a 20b 30a",
        "30a 20b 10a",
        "50a 40b 10a 30a 60b 20a 70a",  # in no order
        "0a 10b 10b 20a 20a",  # lines written twice
        "0a 10b 20a 0a 10b 20a 30a",  # a log that was begun again with what it held
    ],
)
def test_the_rows_of_one_run_are_one_curve(tmp_path: Path, points: str, rule: str | None) -> None:
    table = table_of(tmp_path, points, rule)
    assert len(table.curve("t", 1)) == len(set(points.split()))
    assert (table.left_out, table.merged_rows) == ({}, len(points.split()) - len(table))


@pytest.mark.parametrize("rule", ["first", "last"])
@pytest.mark.parametrize(
    "points",
    ["0a 0b 10a 10b 20a 20b", "20b 20a 10b 10a 0b 0a", "0a 0a 10a 10b 20a 20b", "9a 5b 1a 7a 9b 3a 2b 8a"],
)
def test_no_run_is_chosen_where_rows_do_not_say_which(tmp_path: Path, points: str, rule: str | None) -> None:
    """A table sorted by step, cut at every row, would leave a point of each run."""
    with pytest.raises(
        ScoreTableError, match=r"t\.csv:\d: .*( do not say which run is|a second score)"
    ) as caught:
        table_of(tmp_path, points, rule)
    assert "each run in a file" in caught.value.hint


def test_a_run_that_went_on_from_a_checkpoint_is_chosen_with_what_each_rule_leaves(tmp_path: Path) -> None:
    points = "0a 10a 20a 10b 20b 30b"
    with pytest.raises(ScoreTableError, match="a second score") as caught:
        table_of(tmp_path, points)
    assert "`duplicates: first` (steps 0 to 20) or `duplicates: last` (steps 10 to 30)" in caught.value.hint
    assert [p.step for p in table_of(tmp_path, points, "last").curve("t", 1)] == [10, 20, 30]


def test_rows_of_two_spellings_of_a_task_are_two_runs(tmp_path: Path) -> None:
    rows = [(task, step) for step in (0, 100) for task in ("atari_pong", "atari100k_pong")]
    rows = [{"task": t, "seed": 0, "step": s + len(t), "score": len(t)} for t, s in rows]
    path = tmp_path / "t.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(ScoreTableError, match="a second curve for atari_pong seed 0"):
        load_table(path, "canonical_json")
    assert [p.step for p in load_table(path, "canonical_json", duplicates="last").curve("atari_pong", 0)] == [
        14,
        114,
    ]
    path.write_text(json.dumps(rows[1::2]), encoding="utf-8")
    assert len(load_table(path, "canonical_json").curve("atari_pong", 0)) == 2


def curve(seed: Any, xs: list[int], ys: list[float | None], **more: Any) -> dict[str, Any]:
    return {"task": "atari_pong", "method": "m", "seed": seed, "xs": xs, "ys": ys, **more}


def dreamer(tmp_path: Path, content: list[Any], rule: str | None = None) -> ScoreTable:
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return load_table(path, DREAMER, duplicates=rule)


def test_each_curve_of_a_curve_file_is_a_run_however_its_steps_interleave(tmp_path: Path) -> None:
    """A second run appended under the same seed, at steps of its own: never points of both."""
    both = [curve(0, [100, 200, 399], [0, 0, 0]), curve(0, [150, 250, 398], [10, 50, None])]
    assert [p.step for p in dreamer(tmp_path, both, "first").curve("atari_pong", 0)] == [100, 200, 399]
    last = dreamer(tmp_path, both, "last")
    assert [p.step for p in last.curve("atari_pong", 0)] == [150, 250]
    assert (last.left_out, last.nulls) == ({"atari_pong": 3}, {("atari_pong", 0, RETURN): (398,)})
    with pytest.raises(ScoreTableError, match="a second curve for atari_pong seed 0"):
        dreamer(tmp_path, both)
    # The steps of one curve may stand in any order, and none twice with two scores, whatever the rule.
    assert len(dreamer(tmp_path, [curve(0, [200, 100], [1, 2])], "first").curve("atari_pong", 0)) == 2
    with pytest.raises(ScoreTableError, match=r"a second score 2\.0 for atari_pong seed 0 step 100"):
        dreamer(tmp_path, [curve(0, [100, 100], [1, 2])], "first")


def test_a_null_and_a_score_of_one_step_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(ScoreTableError, match=r"a second score null for .* which has 1\.0"):
        dreamer(tmp_path, [curve(0, [100, 100], [1, None])])


def test_points_of_two_runs_in_one_curve_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("seed,step,score\n1,0,1\n1,100,2\n1,200,3\n1,0,4\n1,100,5\n", encoding="utf-8")
    table = load_table(path, CSV, duplicates="last_point")
    assert [p.value for p in table.curve("t", 1)] == [4, 5, 3]
    assert (table.mixed, table.left_out, table.merged) == ({"t": 1}, {"t": 2}, {})


def test_seeds_as_the_official_plot_tool_writes_them(tmp_path: Path) -> None:
    seeds = dreamer(tmp_path, [curve("0", [100], [1]), curve("1.0", [100], [2]), curve(2, [100], [3])])
    assert seeds.seeds("atari_pong") == (0, 1, 2)
    with pytest.raises(ScoreTableError, match="a second curve"):
        dreamer(tmp_path, [curve("1", [100], [1]), curve(1, [200], [2])])


def test_an_empty_list_of_curves_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(ScoreTableError, match="the table holds no score"):
        dreamer(tmp_path, [])


# Columns that name whose rows these are.


def folder_of(tmp_path: Path, **files: str) -> Callable[[], ScoreTable]:
    for name, text in files.items():
        (tmp_path / f"{name.replace('_', '-')}.csv").write_text(text, encoding="utf-8")
    return lambda: load_table(tmp_path, CSV)


NAMED = "step,reward,seed,{}\n0,5,1,{}\n0,6,2,{}\n"


@pytest.mark.parametrize("column", ["agent", "method", "Algo", "variant", "model_name", "exp name", "env_id"])
def test_two_agents_are_never_one_side(tmp_path: Path, column: str) -> None:
    with pytest.raises(ScoreTableError, match=r"cheetah-run\.csv:3: the column .* says 'SAC' in "):
        folder_of(tmp_path, cheetah_run=NAMED.format(column, "cheetah-run", "SAC"))()


def test_one_agent_in_all_files_goes_to_the_provenance(tmp_path: Path) -> None:
    own = {
        "cheetah_run": NAMED.format("agent", "TD-MPC2", "TD-MPC2"),
        "walker_walk": "seed,task,step,Agent ID,reward\n1,walker-walk,0,7,5\n",
    }
    table = folder_of(tmp_path, **own)()
    assert (len(table), table.provenance) == (3, {"agent": "TD-MPC2", "Agent ID": "7"})
    second = NAMED.format("agent", "SAC", "SAC")
    with pytest.raises(ScoreTableError, match=r"walker-walk\.csv:2: .* 'SAC' in a table of 'TD-MPC2'"):
        folder_of(tmp_path, **own | {"walker_walk": second})()


@pytest.mark.parametrize("column", ["task", "Environment", "env"])
def test_a_task_that_is_not_the_files_is_refused(tmp_path: Path, column: str) -> None:
    assert len(folder_of(tmp_path, walker_walk=NAMED.format(column, "walker-walk", "walker-walk"))()) == 2
    with pytest.raises(ScoreTableError, match="says 'walker-run' in the file of the task walker-walk"):
        folder_of(tmp_path, walker_walk=NAMED.format(column, "walker-walk", "walker-run"))()


def test_counts_of_environments_and_models_name_nothing(tmp_path: Path) -> None:
    text = "step,reward,seed,env_steps,model_loss,run\n0,5,1,0,0.5,a\n10,6,1,20,0.4,b\n"
    assert len(folder_of(tmp_path, walker_walk=text)()) == 2


def test_an_empty_reward_beside_success_is_a_table_of_success(tmp_path: Path) -> None:
    table = folder_of(
        tmp_path,
        mw_hammer="step,success,seed,reward\n0,0.0,1,\n1000,1.0,1,\n",
        walker_walk="step,success,seed,reward\n0,,1,10.0\n1000,,1,901\n",
        cheetah_run="step,success,seed,reward\n0,1,1,10.0\n1000,1,1,901\n",
    )()
    assert (table.tasks(SUCCESS), table.tasks()) == (("mw-hammer",), ("cheetah-run", "walker-walk"))
    assert (table.dropped_rows, [p.value for p in table.curve("mw-hammer", 1, SUCCESS)]) == (0, [0.0, 1.0])


# Faults of JSON.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[\n{"seed": 0},\n{"score":\nNaN}]', "t.json:4: [1].score: not JSON for scores: NaN is no"),
        ('{"scores": [{"a": "NaN {[,"},\n{"task": 1, "task": 2}]}', "t.json:2: scores[1]: not JSON for "),
        ('[{"a": 1},\n{"a": 2,}]', "t.json:2: [1]: not JSON: "),
        ('[{"a": "x\\q"}]', "t.json:1: [0].a: not JSON: "),
        ('[{"a": "\\u0062", "b": 1, "\\u0061": 2}]', "the key 'a' stands twice in one object"),
        ('[{"b": [1, {"c": -' + "9" * 5000 + "}]}]", "[0].b[1].c: not JSON for scores: a number of 5001"),
        ("[1, 2", "t.json:1: [1]: not JSON: "),
    ],
)  # fmt: skip
def test_a_fault_of_json_is_named_with_its_line_and_row(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScoreTableError) as caught:
        load_table(path, "canonical_json")
    assert message in str(caught.value)


JSON_ROWS = {
    "not an object": (
        "canonical_json",
        {"provenance": {"scores": [[1]]}, "scores": [1, {}]},
        ":10: scores[0]: 1 is",
    ),
    "a score": ("canonical_json", [{**ROW, "score": s} for s in (1, "2")], ":8: scores[1]: score is '2'"),
    "a curve": (
        "dreamerv3_scores_json_gz",
        [curve(0, [1], [2]), curve(1, [1], [])],
        ":13: [1]: 1 xs and 0 ys",
    ),
    "a point": ("dreamerv3_scores_json_gz", [curve(0, [1, 2], [2, True])], ":2: [0] point 1: score is True"),
}


@pytest.mark.parametrize("name", JSON_ROWS)
def test_a_row_of_json_that_is_none_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    format, content, message = JSON_ROWS[name]
    path = tmp_path / "t.json"
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    with pytest.raises(ScoreTableError) as caught:
        load_table(path, format)
    assert f"t.json{message}" in str(caught.value)


# What it costs.


def cost(path: Path, row: str, rows: int) -> tuple[int, int]:
    """Calls of functions, and the peak of memory in bytes, of reading a CSV of so many rows."""
    header = "step,reward,seed,agent" if "SAC" in row else "step,reward,seed"
    path.write_text("\n".join([header, *(row.format(i=i) for i in range(rows))]), encoding="utf-8")
    calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    tracemalloc.start()
    sys.setprofile(count)
    try:
        load_table(path, CSV, duplicates="last_point")
    finally:
        sys.setprofile(None)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return calls, peak


@pytest.mark.parametrize(
    ("row", "bytes_each"),
    [("{i},1.5,3", 120), ("{i},,3\n{i},2.5,4", 350), ("{i},1.5,3,SAC", 350), ("{i},1.5,3\n{i},2.5,3", 350)],
)
def test_reading_costs_the_same_for_each_further_row(tmp_path: Path, row: str, bytes_each: int) -> None:
    """No object a row where all are plain numbers; elsewhere few, and never more of them in a longer file."""
    path = tmp_path / "walker-walk.csv"
    cost(path, row, 1)
    few, less = cost(path, row, 20_000)
    many, more = cost(path, row, 60_000)
    assert many - few <= 2.2 * few
    assert (more - less) / 40_000 <= bytes_each


# The published tables, counted without our code.


@pytest.mark.skipif(not ORACLES.is_dir(), reason="the published score tables are not at ../shared/oracles")
@pytest.mark.parametrize("name", ["tdmpc", "tdmpc2"])
def test_published_files_hold_what_an_independent_count_finds(name: str) -> None:
    folder = ORACLES / "tdmpc2/results" / name
    table = load_table(folder, CSV, duplicates="first")
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                (int(r["seed"]), int(r["step"]), float(r.get("reward") or r["success"]))
                for r in csv.DictReader(file)
            ]
        metric = RETURN if "reward" in path.read_text(encoding="utf-8").split("\n")[0] else SUCCESS
        expected = chosen(rows, "first")
        assert expected is not None
        assert table.seeds(path.stem, metric) == tuple(sorted(expected))
        for seed, points in expected.items():
            assert [(p.step, p.value) for p in table.curve(path.stem, seed, metric)] == points
    assert len(list(folder.glob("*.csv"))) == 104
