"""Score tables: what is read, what is refused and how the refusal reads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import ScoreTableError
from pytest_worldflux_parity.inputs.scores import (
    RETURN,
    SUCCESS,
    ScoreRow,
    ScoreTable,
    load_table,
    task_key,
)
from pytest_worldflux_parity.inputs.scores.canonical import write_canonical_json
from pytest_worldflux_parity.inputs.scores.curves import point_near
from pytest_worldflux_parity.wire import CurvePoint
from tests.oracles import ORACLES, needs_oracles

# No timing limits; a file that is written again and again may share its folder.
untimed = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

ROW = {"task": "walker-walk", "seed": 1, "step": 1000, "score": 5.5}
CURVE = {"task": "atari_pong", "method": "m", "seed": 0, "xs": [400, 800], "ys": [-21, -20.5]}
CSV = "step,reward,seed\n0,1.5,2\n100000,7,2\n0,2.5,1\n"


def written(path: Path, content: Any) -> Path:
    """``content`` in ``path``: bytes and text as they are, all else as JSON."""
    data = content if isinstance(content, bytes | str) else json.dumps(content)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def canonical(tmp_path: Path, content: Any, **options: Any) -> ScoreTable:
    return load_table(written(tmp_path / "table.json", content), "canonical_json", **options)


def lines(tmp_path: Path, content: Any, **options: Any) -> ScoreTable:
    return load_table(written(tmp_path / "table.jsonl", content), "canonical_jsonl", **options)


def dreamer(tmp_path: Path, content: Any, **options: Any) -> ScoreTable:
    return load_table(written(tmp_path / "table.json.gz", content), "dreamerv3_scores_json_gz", **options)


def comma(tmp_path: Path, content: Any, **options: Any) -> ScoreTable:
    return load_table(written(tmp_path / "walker-walk.csv", content), "tdmpc2_results_csv_dir", **options)


def refusal(load: Any, tmp_path: Path, content: Any, **options: Any) -> str:
    with pytest.raises(ScoreTableError) as caught:
        load(tmp_path, content, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert str(tmp_path) in text
    return text.replace(str(tmp_path) + "/", "")


# What is read.


def test_canonical_json_as_object_and_as_bare_list(tmp_path: Path) -> None:
    for content in ({"scores": [ROW], "provenance": {"commit": "abc"}}, [ROW]):
        table = canonical(tmp_path, content)
        assert table.rows == (ScoreRow("walker-walk", 1, 1000, 5.5, RETURN),)
    assert canonical(tmp_path, {"scores": [ROW], "provenance": {"commit": "abc"}}).provenance == {
        "commit": "abc"
    }


def test_rows_are_sorted_and_numbers_become_floats(tmp_path: Path) -> None:
    rows = [{**ROW, "step": 2000, "score": 7}, {**ROW, "seed": 0, "step": 1e3}, ROW]
    table = canonical(tmp_path, rows)
    assert [(r.seed, r.step, r.score) for r in table.rows] == [(0, 1000, 5.5), (1, 1000, 5.5), (1, 2000, 7.0)]
    assert all(type(r.score) is float and type(r.step) is int for r in table.rows)


def test_jsonl_with_mark_carriage_returns_and_blank_lines(tmp_path: Path) -> None:
    text = "\ufeff" + json.dumps(ROW) + "\r\n\r\n" + json.dumps({**ROW, "seed": 2}) + "\r\n"
    assert lines(tmp_path, text).seeds("walker-walk") == (1, 2)


def test_dreamerv3_gzipped_and_plain_with_nulls_counted(tmp_path: Path) -> None:
    content = json.dumps([{**CURVE, "xs": [0, 400.0, 800], "ys": [None, -21, None], "extra": 1}])
    for data in (content, gzip.compress(content.encode())):
        table = dreamer(tmp_path, data)
        assert table.rows == (ScoreRow("atari_pong", 0, 400, -21.0),)
        assert (table.dropped_rows, table.provenance) == (2, {"method": "m"})


def test_csv_in_any_row_and_column_order(tmp_path: Path) -> None:
    table = comma(tmp_path, "\ufeffseed,extra,step,score\r\n3,x,1e5,7\r\n3,x,0,-.5\r\n1,x,0,\r\n")
    assert table.rows == (ScoreRow("walker-walk", 3, 0, -0.5), ScoreRow("walker-walk", 3, 100000, 7.0))
    assert table.nulls == {("walker-walk", 1, RETURN): (0,)}


def test_success_rates_are_a_metric_of_their_own(tmp_path: Path) -> None:
    written(tmp_path / "mw-reach.csv", "step,success,seed\n0,0.5,1\n")
    written(tmp_path / "walker-walk.csv", CSV)
    written(tmp_path / ".hidden.csv", "rubbish")
    table = load_table(tmp_path, "tdmpc2_results_csv_dir")
    assert (table.tasks(), table.tasks(SUCCESS)) == (("walker-walk",), ("mw-reach",))
    assert (table.seeds("walker-walk"), table.seeds("mw-reach")) == ((1, 2), ())
    assert table.curve("mw-reach", 1, SUCCESS) == (CurvePoint(0, 0.5),)


def test_equal_repetitions_are_merged_and_counted(tmp_path: Path) -> None:
    table = comma(tmp_path, CSV + "0,2.50,1\n")
    assert (len(table.rows), table.merged) == (3, {"walker-walk": 1})


@pytest.mark.parametrize(("rule", "score"), [("first", 2.5), ("last", 9.0)])
def test_the_suite_says_which_of_two_runs_counts(tmp_path: Path, rule: str, score: float) -> None:
    table = comma(tmp_path, CSV + "0,9,1\n", duplicates=rule)
    assert table.curve("walker-walk", 1)[0].value == score
    assert (table.merged_rows, table.duplicates) == (1, rule)


def test_both_names_of_an_atari_task_are_one_task(tmp_path: Path) -> None:
    assert task_key("atari100k_pong") == task_key("atari_pong") == "atari_pong"
    table = dreamer(tmp_path, [{**CURVE, "task": "atari100k_pong"}])
    assert table.tasks() == ("atari100k_pong",)
    assert len(table.curve("atari_pong", 0)) == len(table.curve("atari100k_pong", 0)) == 2
    assert set(table.points) == {("atari_pong", 0, RETURN)}
    assert "a second curve" in refusal(dreamer, tmp_path, [CURVE, {**CURVE, "task": "atari100k_pong"}])


# What is refused, and how it reads.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": "5"}, "scores[1]: score is '5', not a finite number"),
        ({"score": 1e308}, "score is 1e+308, not a finite number of at most 1e+50 in size"),
        ({"score": True}, "scores[1]: score is True, not a finite number"),
        ({"score": 10**400}, "score is an integer of"),
        ({"score": [1]}, "score is [1], not a finite number"),
        ({"seed": True}, "scores[1]: seed is True, not a non-negative integer"),
        ({"seed": 1.5}, "seed is 1.5, not a non-negative integer"),
        ({"seed": " 1"}, "seed is ' 1', not a non-negative integer"),
        ({"seed": "1_0"}, "seed is '1_0', not a non-negative integer"),
        ({"seed": "1.5"}, "seed is '1.5', not a non-negative integer"),
        ({"seed": "\uff11"}, "seed is '\\uff11', not a non-negative integer"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": None}, "seed is None"),
        ({"step": -1}, "step is -1, not a whole, non-negative number of frames"),
        ({"step": 0.5}, "step is 0.5"),
        ({"step": None}, "step is None"),
        ({"task": ""}, "task is '', not a name"),
        ({"task": 3}, "task is 3, not a name"),
        ({"task": "a\nb"}, "task is 'a\\nb', not a name"),
        ({"task": "\ud800"}, "task is '\\ud800', not a name"),
        ({"metric": None}, "metric is None"),
        ({"scor": 1}, "unknown key 'scor'; did you mean 'score'?"),
    ],
)
def test_a_bad_field_is_named_with_its_row(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows = [ROW, {**ROW, "seed": 2, **change}]
    assert message in refusal(canonical, tmp_path, rows)
    assert message.replace("scores[1]: ", "table.jsonl:2: ") in refusal(
        lines, tmp_path, "\n".join(map(json.dumps, rows))
    )


@pytest.mark.parametrize("key", ["task", "seed", "step", "score"])
def test_a_missing_field_is_named_with_its_row(tmp_path: Path, key: str) -> None:
    row = {k: v for k, v in ROW.items() if k != key}
    assert refusal(canonical, tmp_path, [row]) == f"table.json:1: scores[0]: {key} is missing"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("3", "3 is not a list of scores"),
        ("[]", "the table holds no score"),
        ("[[]]", "[] is not an object"),
        ('{"scores": {}}', "scores is {}, not a list"),
        ('{"provenance": {}}', "scores is missing, not a list"),
        ('{"scores": [], "provenance": 1}', "provenance is 1"),
        ('{"scorse": []}', "did you mean 'scores'?"),
        ('[{"task": "a", "task": "b"}]', "the key 'task' stands twice in one object"),
        ('[{"task": "a", "seed": 0, "step": 0, "score": NaN}]', "NaN is not a number"),
        ('[{"task": "a", "seed": 0, "step": 0, "score": -Infinity}]', "-Infinity is not a number"),
        ('[{"task": "a", "seed": 0, "step": 0, "score": 1e400}]', "score is inf, not a finite number"),
        ('[{"task": "a", "seed": 0, "step": 1e400, "score": 1}]', "step is inf"),
        ('[{"task": "a", "seed": 0, "step": 0, "score": null}]', "the table holds no score"),
        ("[" * 100_000, "nested too deeply"),
        ('[{"task": "a", "seed": 0, "step": 0, "score": ' + "9" * 5000 + "}]", "not JSON for scores"),
    ],
)
def test_a_document_that_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(canonical, tmp_path, text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"xs": [400]}, "[1]: 1 xs and 2 ys"),
        ({"xs": [], "ys": []}, "[1]: xs is empty"),
        ({"xs": 5}, "[1]: xs is 5, not a list"),
        ({"ys": None}, "[1]: ys is None, not a list"),
        ({"ys": [1, "2"]}, "[1] point 1: score is '2'"),
        ({"xs": [400, None]}, "[1] point 1: step is None"),
        ({"xs": [400, 400.5]}, "[1] point 1: step is 400.5"),
        ({"xs": [400, 400]}, "[1] point 1: a second score -20.5 for atari_pong seed 1 step 400"),
        ({"seed": "a"}, "[1] point 0: seed is 'a'"),
        ({"task": None}, "[1] point 0: task is None"),
        ({"method": "other"}, "scores of 2 methods in one table"),
        (
            {"seed": 0, "xs": [500, 900]},
            "[1] point 0: a second curve for atari_pong seed 0, after the one at ",
        ),
    ],
)
def test_a_bad_curve_is_named_with_its_entry(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    assert message in refusal(dreamer, tmp_path, [CURVE, {**CURVE, "seed": 1, **change}])


def test_curves_without_their_keys_are_refused(tmp_path: Path) -> None:
    for key in ("task", "seed", "xs", "ys"):
        entry = {k: v for k, v in CURVE.items() if k != key}
        assert f"[0]: {key} is missing" in refusal(dreamer, tmp_path, [entry])
    assert "is not a list of curves" in refusal(dreamer, tmp_path, {"a": 1})
    assert "is not an object" in refusal(dreamer, tmp_path, [3])


def test_a_gzip_that_is_cut_off_or_damaged_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps([CURVE] * 50).encode())
    for end in (2, 11, len(packed) // 2, len(packed) - 1):
        assert "gzip file is cut off" in refusal(dreamer, tmp_path, packed[:end])
    damaged = packed[:20] + bytes([packed[20] ^ 255]) + packed[21:]
    assert "gzip file is" in refusal(dreamer, tmp_path, damaged)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "walker-walk.csv:1: the column step is missing"),
        ("step,reward\n0,1\n", "the column seed is missing"),
        ("step,seed\n0,1\n", "no score column"),
        ("step,reward,score,seed\n0,1,1,1\n", "both reward and score"),
        ("step,seed,seed,reward\n0,1,1,1\n", "a column stands twice"),
        ("step,reward,seed\n", "no row below the header"),
        ("step,reward,seed\n0,1\n", "walker-walk.csv:2: 2 cells under 3 columns"),
        ("step,reward,seed\n0,1,1\n0,nan,2\n", "walker-walk.csv:3: score is 'nan'"),
        ("step,reward,seed\n0,inf,1\n", "score is 'inf'"),
        ("step,reward,seed\n0,1e400,1\n", "score is inf"),
        ("step,reward,seed\n0,1_0,1\n", "score is '1_0'"),
        ("step,reward,seed\n0,\uff11,1\n", "score is "),
        ("step,reward,seed\n0,1,1.5\n", "seed is 1.5, not a non-negative integer"),
        ("step,reward,seed\n0,1,true\n", "seed is 'true'"),
        ("step,reward,seed\n0,1,\n", "seed is None"),
        ("step,reward,seed\n,1,1\n", "step is None"),
        ("step,reward,seed\n-1,1,1\n", "step is -1"),
        ("step,reward,seed\n0.5,1,1\n", "step is 0.5"),
        ('step,reward,seed\n0,"1,1\n', "not CSV"),
        (
            CSV + "0,9,1\n",
            "walker-walk.csv:5: a second score 9.0 for walker-walk seed 1 step 0, which has 2.5",
        ),
    ],
)
def test_a_bad_csv_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(comma, tmp_path, text)


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    assert "not UTF-8" in refusal(comma, tmp_path, CSV.encode("utf-16"))
    assert "not UTF-8" in refusal(canonical, tmp_path, b'[{"task": "caf\xe9"}]')


def test_paths_and_names_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoreTableError, match="cannot be read"):
        load_table(tmp_path / "absent.json", "canonical_json")
    with pytest.raises(ScoreTableError, match="cannot be read"):
        load_table(tmp_path, "canonical_json")
    with pytest.raises(ScoreTableError, match=r"no \.csv file"):
        load_table(tmp_path, "tdmpc2_results_csv_dir")
    with pytest.raises(ScoreTableError, match="did you mean 'canonical_json'"):
        load_table(tmp_path, "canonical_jsn")
    with pytest.raises(ScoreTableError, match="valid: first, last"):
        comma(tmp_path, CSV, duplicates="newest")


# Round trips and mutations.

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
rows = st.lists(
    st.builds(
        ScoreRow,
        names,
        st.integers(0, 2**40),
        st.integers(0, 2**50),
        st.floats(-1e40, 1e40, allow_nan=False),
        st.sampled_from([RETURN, SUCCESS, "reward_loss.late"]),
    ),
    min_size=1,
    max_size=15,
    unique_by=lambda r: (task_key(r.task), r.seed, r.step, r.metric),
)


@untimed
@given(rows)
def test_a_written_table_reads_back_as_it_was(tmp_path: Path, table: list[ScoreRow]) -> None:
    path = tmp_path / "table.json"
    provenance = {"commit": "abc", "versions": {"torch": "2"}}
    back = write_canonical_json(path, table, provenance)
    assert sorted(back.rows) == sorted(table)
    assert back.provenance == provenance
    again = write_canonical_json(path, reversed(table), provenance)
    assert (again.sha256, again.rows) == (back.sha256, back.rows)
    as_lines = "\n".join(json.dumps(row._asdict()) for row in table)
    assert lines(tmp_path, as_lines).rows == back.rows


def test_what_cannot_be_read_back_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_canonical_json(path, [ScoreRow("a", 0, 0, 1.0)])
    before = path.read_bytes()
    nan, inf = float("nan"), float("inf")
    for bad in ([], [ScoreRow("a", 0, 0, nan)], [ScoreRow("a", 0, 0, 1.0), ScoreRow("a", 0, 0, 2.0)]):
        with pytest.raises(ScoreTableError):
            write_canonical_json(path, bad)
    for provenance in ({"x": inf}, {"x": object()}):
        with pytest.raises(ScoreTableError, match="provenance is not JSON"):
            write_canonical_json(path, [ScoreRow("a", 0, 0, 1.0)], provenance)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["table.json"]


VALID = {
    "canonical_json": json.dumps({"provenance": {"a": 1}, "scores": [ROW, {**ROW, "seed": 2}]}).encode(),
    "canonical_jsonl": (json.dumps(ROW) + "\n" + json.dumps({**ROW, "seed": 2}) + "\n").encode(),
    "dreamerv3_scores_json_gz": json.dumps([CURVE, {**CURVE, "seed": 1}]).encode(),
    "tdmpc2_results_csv_dir": CSV.encode(),
}
PIECES = [
    b"",
    b"null",
    b"NaN",
    b"-",
    b"1e999",
    b"true",
    b'"',
    b"{",
    b"]",
    b",",
    b"\n",
    b"\x00",
    b"\xff",
    b"9" * 50,
]


@untimed
@given(st.data())
@pytest.mark.parametrize("format", VALID)
def test_a_damaged_file_gives_a_table_or_a_refusal(tmp_path: Path, format: str, data: st.DataObject) -> None:
    content = VALID[format]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(at, min(len(content), at + 6)))
        content = content[:at] + data.draw(st.sampled_from(PIECES)) + content[end:]
    if data.draw(st.booleans()):
        content = gzip.compress(content, mtime=0)[: data.draw(st.sampled_from([None, -1, 5]))]
    path = written(tmp_path / "table.csv", content)
    table, text = outcome(path, format)
    if table is None:
        assert str(tmp_path) in text
        assert "\n" not in text
    else:
        assert table.rows
        assert all(abs(row.score) < float("inf") and row.seed >= 0 and row.step >= 0 for row in table.rows)


def outcome(path: Path, format: str) -> tuple[ScoreTable | None, str]:
    """The table, or the text of its refusal; any other exception is a defect."""
    try:
        return load_table(path, format), ""
    except ScoreTableError as error:
        return None, str(error)


# The published tables.


@needs_oracles
def test_published_atari_tables_load(tmp_path: Path) -> None:
    folder = ORACLES / "dreamerv3/scores"
    for name, points in (("atari100k-dreamerv3.json.gz", 15293), ("atari100k-ppo_fixhp.json.gz", 21558)):
        table = load_table(folder / name, "dreamerv3_scores_json_gz")
        assert (len(table.rows), len(table.tasks())) == (points, 26)
        assert all(table.seeds(task) == (0, 1, 2, 3, 4) for task in table.tasks())
        assert all(point_near(points, 400_000, 0.2) for points in table.points.values())


@needs_oracles
def test_published_tdmpc2_tables_load_as_the_readme_says() -> None:
    table = load_table(ORACLES / "tdmpc2/results/tdmpc2", "tdmpc2_results_csv_dir")
    assert (len(table.tasks()), len(table.tasks(SUCCESS)), table.merged_rows) == (39, 65, 0)
    assert all(table.seeds(task) == (1, 2, 3) for task in table.tasks())


@needs_oracles
def test_conflicting_runs_in_the_tdmpc_tables_are_refused_or_counted() -> None:
    folder = ORACLES / "tdmpc2/results/tdmpc"
    with pytest.raises(ScoreTableError, match=r"cheetah-run-backwards\.csv:\d+: a second score"):
        load_table(folder, "tdmpc2_results_csv_dir")
    with pytest.raises(ScoreTableError, match=r"pendulum-swingup\.csv:33: .* seed 3 step 0, which has 1\.2"):
        load_table(folder / "pendulum-swingup.csv", "tdmpc2_results_csv_dir")
    table = load_table(folder, "tdmpc2_results_csv_dir", duplicates="last_point")
    changed = set(table.left_out) & set(table.tasks())
    assert (len(changed), sum(table.left_out.values()), table.merged["dog-run"]) == (12, 667, 1)
    assert [p.step for p in table.curve("pendulum-swingup", 3)] == sorted(
        {p.step for p in table.curve("pendulum-swingup", 3)}
    )


@needs_oracles
def test_each_reward_table_of_tdmpc_loads_or_is_refused() -> None:
    refused = 0
    for path in sorted((ORACLES / "tdmpc2/results/tdmpc").glob("*.csv")):
        table, text = outcome(path, "tdmpc2_results_csv_dir")
        if table is None:
            refused += "reward" in path.read_text(encoding="utf-8").splitlines()[0]
            assert path.name in text
    assert refused == 12
