"""Tables of others: any long CSV or JSONL by a mapping, exports of W&B, and logs of the official programs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import ScoreTableError
from pytest_worldflux_parity.inputs.scores import ScoreTable, load_table
from pytest_worldflux_parity.inputs.scores.guessing import guess
from pytest_worldflux_parity.inputs.scores.templates import Template
from pytest_worldflux_parity.wire import CurvePoint

LONG = "env,agent,seed,global_step,eval/return\n" + "".join(
    f"{env},{agent},{seed},{step},{step / 100 + seed}\n"
    for env in ("walker-walk", "ALE/Pong-v5")
    for agent in ("TD-MPC2", "SAC")
    for seed in (0, 1)
    for step in (0, 500, 1000)
)
MAPPING = {"task": "env", "step": "global_step", "score": "eval/return", "where": {"agent": "TD-MPC2"}}
# As W&B exports a chart of two runs that ended at different steps.
CHART = """"Step","walker-walk__ppo__1__17 - charts/return","walker-walk__ppo__1__17 - charts/return__MIN",\
"walker-walk__ppo__1__17 - charts/return__MAX","walker-walk__ppo__2__18 - charts/return",\
"walker-walk__ppo__2__18 - charts/return__MIN","walker-walk__ppo__2__18 - charts/return__MAX"
"0","1.5","1.5","1.5","2","2","2"
"500","","","","12.5","12.5","12.5"
"1000","21","21","21","","",""
"""
RUNS = {"step": "Step", "score": "{task}__{exp}__{seed}__* - charts/return"}


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def mapped(path: Path, columns: dict[str, Any], **more: Any) -> ScoreTable:
    return load_table(path, "columns", columns=columns, **more)


def refusal(path: Path, format: str = "columns", **keywords: Any) -> str:
    with pytest.raises(ScoreTableError) as caught:
        load_table(path, format, **keywords)
    line = caught.value.line()
    assert "\n" not in line
    return line.replace(f"{path.parent}/", "")


def eval_csv(logs: Path, task: str, seed: int, *, exp: str = "default", level: float = 100.0) -> Path:
    """As ``common/logger.py`` of TD-MPC2 writes it."""
    rows = "".join(f"{step:.1f},{level + seed + step / 1000}\n" for step in (0, 50000, 100000))
    return written(logs / task / str(seed) / exp / "eval.csv", f"step,episode_reward\n{rows}")


def scores_jsonl(logdir: Path, task: str, seed: int, method: str = "name") -> Path:
    """As ``main.py`` of DreamerV3 leaves a run: configuration and scores."""
    config = f"logdir: x\nmethod: {method}\ntask: {task}\nseed: {seed}\nagent: {{dyn: {{typ: rssm}}}}\n"
    written(
        logdir / "config.yaml",
        config + "run: {steps: 1e10, envs: 16, debug: off, limit: .inf}\nclock_addr: ''\n",
    )
    lines = [{"step": step, "episode/score": step / 100 + seed} for step in (212, 1008, 2000)]
    return written(logdir / "scores.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


# Long tables.


def test_a_long_table_is_read_by_the_names_that_it_has(tmp_path: Path) -> None:
    table = mapped(written(tmp_path / "runs.csv", LONG), MAPPING)
    assert table.tasks() == ("ALE/Pong-v5", "walker-walk")
    assert table.seeds("walker-walk") == (0, 1)
    assert table.curve("ALE/Pong-v5", 1) == tuple(CurvePoint(s, s / 100 + 1) for s in (0, 500, 1000))


def test_lines_of_json_and_gzip_are_read_alike(tmp_path: Path) -> None:
    names, *rows = (line.split(",") for line in LONG.splitlines())
    objects = [{**dict(zip(names, row, strict=True)), "seed": int(row[2])} for row in rows]
    objects = [{**row, "global_step": int(row["global_step"]), "eval/return": float(row["eval/return"])}
               for row in objects]  # fmt: skip
    # A log of events: what has no score is another event.
    text = "\n".join(map(json.dumps, [{"loss": 3}, *objects, {"done": True}]))
    path = tmp_path / "runs.jsonl.gz"
    path.write_bytes(gzip.compress(text.encode()))
    mapping = {**MAPPING, "where": {"agent": "TD-MPC2"}}
    assert mapped(path, mapping).rows == mapped(written(tmp_path / "runs.csv", LONG), MAPPING).rows


def test_steps_of_several_frames_are_frames(tmp_path: Path) -> None:
    path = written(tmp_path / "runs.csv", LONG)
    table = mapped(path, MAPPING, frames_per_step=4)
    assert [p.step for p in table.curve("walker-walk", 0)] == [0, 2000, 4000]
    far = written(tmp_path / "far.csv", f"task,seed,step,score\na,0,{2**61},1\n")
    assert "is no number of frames" in refusal(far, columns={"step": "step"}, frames_per_step=8)


def test_two_agents_are_never_one_side(tmp_path: Path) -> None:
    path = written(tmp_path / "runs.csv", LONG)
    line = refusal(path, columns={k: v for k, v in MAPPING.items() if k != "where"})
    said = "runs.csv: scores of 2 values of agent in one table; valid: TD-MPC2, SAC"
    assert line == f"{said}; to mend: choose one in columns: `where: {{agent: TD-MPC2}}`"
    line = refusal(path, columns={**MAPPING, "where": {"agent": "TDMPC2"}})
    assert "no row has 'TDMPC2' in agent; did you mean 'TD-MPC2'?" in line


def test_two_environments_are_never_one_task(tmp_path: Path) -> None:
    """A column that names the task otherwise says the same of all rows of a task, or is refused."""
    text = "task,env_id,seed,step,score\na,A-v4,0,0,1\na,A-v4,1,0,2\nb,B-v4,0,0,3\n"
    path = written(tmp_path / "t.csv", text)
    assert mapped(path, {"step": "step"}).tasks() == ("a", "b")
    path = written(tmp_path / "t.csv", text.replace("a,A-v4,1", "a,A-v5,1"))
    line = refusal(path, columns={"step": "step"})
    assert "scores of 2 values of env_id for the task a in one table; valid: A-v4, A-v5" in line
    line = refusal(path, columns={"constants": {"agent": "x"}, "task": "agent"})
    assert "scores of 2 values of task for the task x" in line


RETURNS = {5000: 1.0, 15000: 3.0}
LENGTHS = {10000: 500.0, 20000: 400.0}


def melted(path: Path, column: str, first: str, second: str) -> Path:
    """A row of each measurement, whose steps lie between each other's; of two tasks and seeds."""
    rows = [
        {"task": task, "seed": seed, "step": step, column: kind, "value": value}
        for task in ("a", "b")
        for seed in (0, 1)
        for kind, curve in ((first, RETURNS), (second, LENGTHS))
        for step, value in curve.items()
    ]
    header = ",".join(rows[0])
    lines = (
        map(json.dumps, rows) if path.suffix == ".jsonl" else [",".join(map(str, r.values())) for r in rows]
    )
    return written(path, "\n".join(lines if path.suffix == ".jsonl" else [header, *lines]) + "\n")


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
@pytest.mark.parametrize("column", ["metric", "variable", "mode", "split", "phase", "tag", "Metric Name"])
def test_two_measurements_are_never_one_curve(tmp_path: Path, name: str, column: str) -> None:
    path = melted(tmp_path / name, column, "eval_return", "episode_length")
    line = refusal(path, columns={"score": "value"})
    assert f"scores of 2 values of {column} in one table; valid: eval_return, episode_length" in line
    assert f"`where: {{{column}: eval_return}}`, or read each as a metric: `metric: {column}`" in line
    own = tuple(CurvePoint(step, value) for step, value in RETURNS.items())
    assert mapped(path, {"score": "value", "where": {column: "eval_return"}}).curve("b", 1) == own
    assert mapped(path, {"score": "value", "metric": column}).curve("b", 1, "eval_return") == own
    keywords = guess(path).keywords
    assert keywords["columns"]["where"] == {column: "eval_return"}
    assert load_table(path, "columns", **keywords).curve("a", 0) == own


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
@pytest.mark.parametrize("column", ["run", "run_id", "group", "name", "key"])
def test_two_runs_of_a_seed_are_never_one_curve(tmp_path: Path, name: str, column: str) -> None:
    path = melted(tmp_path / name, column, "one", "two")
    line = refusal(path, columns={"score": "value"})
    assert f"scores of 2 values of {column} for the task a and seed 0 in one table; valid: one, two" in line
    assert len(mapped(path, {"score": "value", "where": {column: "two"}}).curve("a", 0)) == 2


def test_a_column_that_says_the_same_of_a_curve_is_no_matter(tmp_path: Path) -> None:
    """A metric that is one, an empty column, and a run of each seed; a log's lines without a score."""
    rows = "".join(f"a,{s},{t},eval,run-{s},,{t + s}\n" for s in (0, 1) for t in (0, 10))
    path = written(tmp_path / "t.csv", f"task,seed,step,mode,run_id,group,score\n{rows}")
    assert [p.value for p in mapped(path, {"step": "step"}).curve("a", 1)] == [1, 11]
    log = [{"step": s, "mode": mode, **({"score": s} if mode == "eval" else {"loss": 1})}
           for s in (0, 10) for mode in ("train", "eval")]  # fmt: skip
    path = written(tmp_path / "t.jsonl", "\n".join(map(json.dumps, log)))
    assert len(mapped(path, {"constants": {"task": "a", "seed": 0}}).curve("a", 0)) == 2
    path = written(tmp_path / "u.csv", "task,seed,step,metric\na,0,0,1\na,0,10,2\n")
    assert len(mapped(path, {"score": "metric"}).curve("a", 0)) == 2


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {**MAPPING, "score": "eval/returns"},
            "no column 'eval/returns', which columns.score names; did",
        ),
        (
            {**MAPPING, "where": {"agnt": 1}},
            "no column 'agnt', which columns.where.agnt names; did you mean 'agent'?",
        ),
        ({**MAPPING, "task": "name"}, "no column 'name', which columns.task names"),
        ({**MAPPING, "score": "{task} - return"}, "no column of the form {task} - return; valid: env, agent"),
        ({**MAPPING, "score": "{ta sk} - return"}, "in which '{ta sk}' is no place for a word"),
        ({**MAPPING, "score": "{task - return"}, "in which '{' is no place for a word"),
    ],
)
def test_what_columns_say_and_a_file_has_not_is_one_line(
    tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    assert said in refusal(written(tmp_path / "runs.csv", LONG), columns=columns)


def test_an_empty_score_is_a_null_unless_the_suite_says_that_it_is_no_row(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "task,seed,step,score\na,0,0,1\na,0,10,\na,0,20,3\n")
    table = mapped(path, {"step": "step"})
    assert table.nulls == {("a", 0, "episode_return"): (10,)}
    assert mapped(path, {"empty": "absent"}).nulls == {}


def test_constants_and_the_name_of_a_file_say_what_no_column_does(tmp_path: Path) -> None:
    path = written(tmp_path / "walker-walk_3.csv", "step,score\n0,1\n10,2\n")
    table = mapped(path, {"files": "{task}_{seed}.csv"})
    assert (table.tasks(), table.seeds("walker-walk")) == (("walker-walk",), (3,))
    assert mapped(path, {"constants": {"task": "b", "seed": 7}}).seeds("b") == (7,)
    both = written(tmp_path / "x" / "a_1.csv", "task,step,score\na,0,1\nb,10,2\n")
    line = refusal(both, columns={"files": "{task}_{seed}.csv"})
    assert line.startswith("a_1.csv:3: task is 'b', and 'a' by the name of file or column")


def test_a_second_run_of_one_seed_is_refused_or_chosen(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "step,score\n0,1\n10,2\n20,3\n0,5\n10,6\n")
    said = {"constants": {"task": "a", "seed": 0}}
    assert "a second score 5.0 for a seed 0 step 0" in refusal(path, columns=said)
    assert [p.value for p in mapped(path, said, duplicates="last").curve("a", 0)] == [5, 6]


@pytest.mark.parametrize(
    ("names", "files", "columns"),
    [
        (("a/0/one.csv", "a/0/two.csv"), "{task}/{seed}/*.csv", ""),
        (("a/eval_0.csv", "a/train_0.csv"), "{task}/*.csv", "seed"),
        (("x.csv", "y.csv"), "*.csv", "task,seed"),
        (("2024-01-01/a/run.csv", "2024-01-02/a/run.csv"), "{date}/{task}/run.csv", "seed"),
    ],
)
def test_rows_of_two_files_are_two_runs(
    tmp_path: Path, names: tuple[str, str], files: str, columns: str
) -> None:
    """Whatever says the task and the seed, and however their steps interleave, in order or not."""
    own = {"": "", "seed": "0,", "task,seed": "a,0,"}[columns]
    for name, steps in zip(names, ((0, 20), (10, 30)), strict=True):
        rows = "".join(f"{own}{step},{score}\n" for score, step in enumerate(steps))
        written(tmp_path / "d" / name, f"{columns},step,score\n".lstrip(",") + rows)
    line = refusal(tmp_path / "d", columns={"files": files})
    assert "a second curve for a seed 0, after the one at " in line
    last = mapped(tmp_path / "d", {"files": files}, duplicates="last")
    assert [p.step for p in last.curve("a", 0)] == [10, 30]


def test_files_that_hold_other_seeds_are_one_table(tmp_path: Path) -> None:
    for seed in (0, 1):
        written(tmp_path / f"{seed}.csv", f"task,seed,step,score\na,{seed},0,1\na,{seed},10,2\n")
    assert mapped(tmp_path, {"files": "*.csv"}).seeds("a") == (0, 1)


def test_a_line_of_a_log_that_was_written_twice_counts_once(tmp_path: Path) -> None:
    log = tmp_path / "walker-walk" / "1" / "exp" / "eval.csv"
    written(log, "step,episode_reward\n0,1\n50,2\n50,2\n100,3\n")
    table = load_table(tmp_path, "tdmpc2_logs", frames_per_step=2)
    assert [p.step for p in table.curve("walker-walk", 1)] == [0, 100, 200]
    assert table.merged == {"walker-walk": 1}
    written(log, "step,episode_reward\n100,1\n1000,2\n500,90\n1500,91\n")
    with pytest.raises(ScoreTableError, match=r"eval\.csv:4: a second curve for walker-walk seed 1"):
        load_table(tmp_path, "tdmpc2_logs", frames_per_step=2)


FAULTS = {
    "NaN": ("NaN is not a number", "NaN"),
    "twice": ("the key 'x' stands twice in one object", '1, "x": 2'),
    "digits": ("a number of 5000 digits", "9" * 5000),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_no_score_is_made_of_may_be_no_json_for_scores(tmp_path: Path, fault: str) -> None:
    """A log of metrics with one loss that is NaN holds its scores all the same."""
    said, value = FAULTS[fault]
    rows = [f'{{"step": {s}, "score": {s}, "x": {value if s else 0}}}' for s in (0, 10, 20)]
    path = written(tmp_path / "metrics.jsonl", "\n".join(rows))
    columns = {"constants": {"task": "a", "seed": 0}}
    assert len(mapped(path, columns).curve("a", 0)) == 3
    line = refusal(path, columns={**columns, "score": "x"})
    assert line == f"metrics.jsonl:2: x: not JSON for scores: {said}"
    assert f"metrics.jsonl:2: x: not JSON for scores: {said}" in refusal(
        path, columns={**columns, "where": {"x": 1}}
    )
    cut = written(tmp_path / "cut.jsonl", "\n".join([*rows, rows[1][:-1]]))
    assert "cut.jsonl:4" in refusal(cut, columns=columns)


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_another_separator_is_the_reason(tmp_path: Path, sign: str) -> None:
    path = written(
        tmp_path / "t.csv", f'"task"{sign}"seed"{sign}"step"{sign}"score"\na{sign}0{sign}0{sign}1\n'
    )
    line = refusal(path, columns={"step": "step"})
    assert line.startswith(f"t.csv:1: not CSV: cells are parted by {sign!r}, and not by commas; to mend: ")
    path = written(tmp_path / "u.csv", f"task,seed,step,score,a{sign}b\na,0,0,1,x\n")
    assert mapped(path, {"step": "step"}).tasks() == ("a",)


@pytest.mark.parametrize("tail", ["  \n", "\t\n\n", ",,,\n", ",,,", " ", "\r\n  \r\n"])
@pytest.mark.parametrize("task", ["a", "0"])
def test_lines_that_say_nothing_are_passed_over(tmp_path: Path, tail: str, task: str) -> None:
    rows = f"task,seed,step,score\n{task},0,0,1\n{task},0,10,2\n"
    path = written(tmp_path / "t.csv", rows + tail)
    columns = {} if task == "a" else {"task": "x", "constants": {"x": "a"}}
    assert [p.value for p in mapped(path, {"step": "step", **columns}).curve("a", 0)] == [1, 2]
    path = written(tmp_path / "u.csv", rows + f",,,\n{task},0,x,1\n")
    assert "u.csv:5: step is 'x'" in refusal(path, columns={"step": "step", **columns})


@pytest.mark.parametrize(
    ("kind", "begun"), [("csv", ""), ("csv", "step,score\n"), ("jsonl", ""), ("jsonl", "\n")]
)
def test_a_run_that_has_just_begun_keeps_no_other_from_being_read(
    tmp_path: Path, kind: str, begun: str
) -> None:
    row = "step,score\n0,1\n10,2\n" if kind == "csv" else '{"step": 0, "score": 1}\n'
    logs = tmp_path / "logs"
    written(logs / "a" / f"0.{kind}", begun)
    written(logs / "a" / f"1.{kind}", row)
    (logs / "a" / f"._1.{kind}").write_bytes(b"\x00\x05\x16\x07")
    for columns in ({"files": f"{{task}}/{{seed}}.{kind}"}, guess(logs).keywords["columns"]):
        table = mapped(logs, columns)
        assert table.seeds("a") == (1,)
        assert table.provenance == {"files_without_rows": f"a/0.{kind}"}
        assert set(table.files) == {f"a/0.{kind}", f"a/1.{kind}"}
    # A table that is one file, or of no row at all, is none; nor is one of another header.
    assert "no " in refusal(written(tmp_path / f"one.{kind}", begun), columns={"step": "step"})
    written(logs / "a" / f"1.{kind}", begun)
    assert "no score" in refusal(logs, columns={"files": f"{{task}}/{{seed}}.{kind}"})


# Exports of W&B.


def test_a_chart_of_wandb_is_read_as_it_is_exported(tmp_path: Path) -> None:
    table = mapped(written(tmp_path / "wandb_export.csv", CHART), RUNS)
    assert table.curve("walker-walk", 1) == (CurvePoint(0, 1.5), CurvePoint(1000, 21.0))
    assert table.curve("walker-walk", 2) == (CurvePoint(0, 2.0), CurvePoint(500, 12.5))
    assert table.nulls == {}, "a cell is empty where another run has a point"


def test_the_runs_of_a_chart_are_chosen_by_their_names(tmp_path: Path) -> None:
    other = CHART.replace("walker-walk__ppo__2__18", "walker-walk__sac__2__18")
    path = written(tmp_path / "w.csv", other)
    assert "scores of 2 values of exp in one table; valid: ppo, sac" in refusal(path, columns=RUNS)
    assert mapped(path, {**RUNS, "where": {"exp": "sac"}}).seeds("walker-walk") == (2,)
    line = refusal(path, columns={**RUNS, "where": {"exp": "sak"}})
    assert "no row has 'sak' in exp; did you mean 'sac'?; valid: ppo, sac" in line


def test_a_mean_over_runs_is_no_run(tmp_path: Path) -> None:
    path = written(tmp_path / "w.csv", CHART.replace('"12.5","12.5","12.5"', '"12.5","10","15"'))
    line = refusal(path, columns=RUNS)
    assert "w.csv:3: walker-walk__ppo__2__18 - charts/return is a mean of scores from 10.0 to 15.0" in line
    assert "to mend: export the runs without grouping" in line


# Logs of the official programs.


def test_a_tree_of_tdmpc2_is_read_in_frames(tmp_path: Path) -> None:
    for task in ("walker-walk", "dog-run"):
        for seed in (1, 2):
            eval_csv(tmp_path / "logs", task, seed)
    written(tmp_path / "logs" / "walker-walk" / "1" / "default" / "models" / "note.txt", "x")
    for path in (tmp_path / "logs", tmp_path):
        table = load_table(path, "tdmpc2_logs", frames_per_step=2)
        assert table.tasks() == ("dog-run", "walker-walk")
        assert [p.step for p in table.curve("dog-run", 2)] == [0, 100000, 200000]
        assert len(table.files) == 4
    line = refusal(tmp_path / "logs", "tdmpc2_logs")
    assert "nothing says how many frames each is; to mend: add `frames_per_step: n`" in line


def test_two_experiments_are_told_apart(tmp_path: Path) -> None:
    eval_csv(tmp_path, "walker-walk", 1)
    eval_csv(tmp_path, "walker-walk", 2, exp="ablation", level=5.0)
    line = refusal(tmp_path, "tdmpc2_logs", frames_per_step=2)
    assert "scores of 2 values of exp in one table; valid: default, ablation; to mend: choose one" in line
    chosen = {"where": {"exp": "default"}}
    table = load_table(tmp_path, "tdmpc2_logs", frames_per_step=2, columns=chosen)
    assert table.seeds("walker-walk") == (1,)
    # What is not chosen is no part of the table: another experiment may go on.
    assert set(table.files) == {"walker-walk/1/default/eval.csv"}


def test_a_tree_of_dreamerv3_is_read_by_its_configurations(tmp_path: Path) -> None:
    for seed in (0, 1):
        scores_jsonl(tmp_path / f"20260101T{seed}", "atari100k_pong", seed)
    table = load_table(tmp_path, "dreamerv3_logs")
    assert (table.tasks(), table.seeds("atari_pong")) == (("atari100k_pong",), (0, 1))
    assert table.curve("atari_pong", 1)[0] == CurvePoint(212, 3.12)
    assert set(table.files) == {f"20260101T{s}/{n}" for s in (0, 1) for n in ("scores.jsonl", "config.yaml")}
    scores_jsonl(tmp_path / "other", "atari100k_pong", 2, method="ablation")
    assert "scores of 2 values of method in one table" in refusal(tmp_path, "dreamerv3_logs")
    (tmp_path / "other" / "config.yaml").unlink()
    assert "other/config.yaml: cannot be read: No such file" in refusal(tmp_path, "dreamerv3_logs")


def test_a_log_that_was_cut_off_names_the_line(tmp_path: Path) -> None:
    path = scores_jsonl(tmp_path / "run", "dmc_walker_walk", 0)
    path.write_text(path.read_text()[:-9], encoding="utf-8")
    assert "scores.jsonl:3" in refusal(tmp_path, "dreamerv3_logs")


def test_a_changed_file_is_another_table(tmp_path: Path) -> None:
    for seed in (0, 1):
        scores_jsonl(tmp_path / str(seed), "dmc_walker_walk", seed)
    before = load_table(tmp_path, "dreamerv3_logs").sha256
    config = tmp_path / "1" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 1", "seed: 5"), encoding="utf-8")
    after = load_table(tmp_path, "dreamerv3_logs")
    assert after.sha256 != before
    assert after.seeds("dmc_walker_walk") == (0, 5)


# Templates.


@pytest.mark.parametrize(
    ("text", "is_path", "name", "found"),
    [
        ("{task}-{seed}", False, "walker-walk-2", {"task": "walker-walk", "seed": "2"}),
        ("{task}-{seed}", False, "walker-walk-b", None),
        ("**/{task}/{seed}/eval.csv", True, "a/b/c/1/eval.csv", {"task": "c", "seed": "1"}),
        ("**/{task}/{seed}/eval.csv", True, "c/1/eval.csv", {"task": "c", "seed": "1"}),
        ("{task}/eval.csv", True, "a/b/eval.csv", None),
        ("{task}/{task}_{seed}.csv", True, "a/a_1.csv", {"task": "a", "seed": "1"}),
        ("{task}/{task}_{seed}.csv", True, "a/b_1.csv", None),
        ("{task} - a.b(c)", False, "x - a.b(c)", {"task": "x"}),
        ("{task} - a.b(c)", False, "x - a+b(c)", None),
        ("{task} - *", False, "x - charts/return", {"task": "x"}),
    ],
)
def test_names_of_files_and_columns(text: str, is_path: bool, name: str, found: Any) -> None:
    assert Template.of(text, "files", is_path=is_path).match(name) == found


PIECES = [
    b"",
    b"nan",
    b"-",
    b"1e999",
    b'"',
    b"{",
    b"]",
    b",",
    b"\n",
    b"\x00",
    b"\xff",
    b"9" * 50,
    b" - ",
    b"__MIN",
]


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip
@given(st.data())
@pytest.mark.parametrize("kind", ["long", "chart", "lines"])
def test_a_damaged_file_is_a_table_or_one_line(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    rows = [{"env": "a", "agent": "TD-MPC2", "seed": s, "global_step": 1, "eval/return": 2} for s in (0, 1)]
    lines = "\n".join(map(json.dumps, rows))
    texts = {"long": (LONG, MAPPING), "chart": (CHART, RUNS), "lines": (lines, MAPPING)}
    text, mapping = texts[kind]
    content = text.encode()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(at, min(len(content), at + 6)))
        content = content[:at] + data.draw(st.sampled_from(PIECES)) + content[end:]
    path = tmp_path / ("t.jsonl" if kind == "lines" else "t.csv")
    path.write_bytes(content)
    text = outcome(path, mapping)
    assert "\n" not in text
    assert not text or str(tmp_path) in text


def outcome(path: Path, columns: dict[str, Any]) -> str:
    """The line of a refusal, empty of a table; any other exception is a defect."""
    try:
        return "" if len(mapped(path, columns)) else "an empty table"
    except ScoreTableError as error:
        return error.line()
