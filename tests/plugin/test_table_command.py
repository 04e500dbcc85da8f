"""``worldflux-parity table``: what it says of what people have, and suites that are pasted from it."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.cli.main import main
from pytest_worldflux_parity.inputs.prepare import table_results
from pytest_worldflux_parity.inputs.scores import load_table
from pytest_worldflux_parity.judgement.stats.measurements import measure
from pytest_worldflux_parity.suite import suite_file
from pytest_worldflux_parity.suite.pairs import expected_seeds
from pytest_worldflux_parity.suite.suite import ArtifactSide
from tests.conftest import Project

HEAD = "schema_version: worldflux.parity.suite.v1\nsuite_id: pasted\nfamily: fake\ntrack: quick\n"
OTHER = "worldflux: {artifact: {path: t.json, format: canonical_json}}\n"
STEPS = (0, 50_000, 100_000)


class Writer:
    """Writes what one side left, in the forms that people have."""

    def __init__(self, folder: Path, salt: str) -> None:
        self.folder = folder
        self._random = random.Random(salt)

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def runs(self, *tasks: str, seeds: range = range(1, 4)) -> Iterator[tuple[str, int, dict[int, float]]]:
        for task in tasks or ("walker-walk", "cup-catch"):
            for seed in seeds:
                yield task, seed, {step: 500 + step / 500 + self._random.gauss(0, 1) for step in STEPS}

    def tdmpc2_logs(self) -> Path:
        for task, seed, curve in self.runs():
            rows = "".join(f"{step:.1f},{score}\n" for step, score in curve.items())
            self.file(f"logs/{task}/{seed}/default/eval.csv", f"step,episode_reward\n{rows}")
        return self.folder / "logs"

    def dreamerv3_logs(self) -> Path:
        for task, seed, curve in self.runs("dmc_walker_walk", "atari100k_pong"):
            lines = [json.dumps({"step": step, "episode/score": score}) for step, score in curve.items()]
            self.file(f"logdir/{task}-{seed}/scores.jsonl", "\n".join(lines) + "\n")
            self.file(f"logdir/{task}-{seed}/config.yaml", f"task: {task}\nseed: {seed}\nmethod: name\n")
        return self.folder / "logdir"

    def chart(self) -> Path:
        runs = list(self.runs())
        names = [f"{task}__td_mpc2__{seed}__1690000000 - charts/episodic_return" for task, seed, _ in runs]
        header = ["Step", *(n + end for n in names for end in ("", "__MIN", "__MAX"))]
        rows = [[str(s), *(f"{c[s]}" for _, _, c in runs for _ in range(3))] for s in STEPS]
        return self.csv("wandb_export.csv", header, rows)

    def seeds(self) -> Path:
        """A chart of runs that are named after tasks with a hyphen."""
        runs = list(self.runs("walker-walk", "cheetah-run"))
        header = ["Step", *(f"{task}-seed{seed} - return" for task, seed, _ in runs)]
        return self.csv("chart.csv", header, [[str(s), *(f"{c[s]}" for _, _, c in runs)] for s in STEPS])

    def plain(self) -> Path:
        rows = [[t, f"{n}", f"{s}", f"{v}"] for t, n, curve in self.runs() for s, v in curve.items()]
        return self.csv("plain.csv", ["task", "seed", "step", "score"], rows)

    def history(self) -> Path:
        """As ``run.history().to_csv`` of the W&B API: a row an event, most of them of no score."""
        for task, seed, curve in self.runs():
            rows = [row for s, v in curve.items() for row in ([str(s), "", "0.5"], [str(s), str(v), ""])]
            self.csv(f"history/{task}_{seed}.csv", ["_step", "eval/episode_reward", "loss"], rows)
        return self.folder / "history"

    def long(self) -> Path:
        rows = [
            [task, agent, str(seed), str(step), str(score if agent == "TD-MPC2" else 1.0)]
            for task, seed, curve in self.runs("ALE/Pong-v5", "on")
            for agent in ("TD-MPC2", "SAC")
            for step, score in curve.items()
        ]
        return self.csv("long.csv", ["env_id", "agent", "seed", "global_step", "eval_return"], rows)

    def lines(self) -> Path:
        rows = [
            {"task": task, "seed": seed, "step": step, "score": score}
            for task, seed, curve in self.runs("a::b", "Läufer")
            for step, score in curve.items()
        ]
        return self.file("scores.jsonl", "\n".join(map(json.dumps, rows)))

    def document(self) -> Path:
        rows = [
            {"task": task, "seed": str(seed), "method": "m", "xs": [*curve], "ys": [*curve.values()]}
            for task, seed, curve in self.runs()
        ]
        return self.file("scores.json", json.dumps(rows))

    def results(self) -> Path:
        """With a second run of one seed."""
        for task in ("walker-walk", "cup-catch"):
            rows = [f"{s},{v},{seed}" for _, seed, curve in self.runs(task) for s, v in curve.items()]
            again = [f"{step},3,2" for step in STEPS if task == "cup-catch"]
            self.file(f"results/{task}.csv", "\n".join(["step,reward,seed", *rows, *again]))
        return self.folder / "results"

    def csv(self, name: str, header: list[str], rows: list[list[str]]) -> Path:
        return self.file(name, "\n".join(",".join(f'"{c}"' for c in row) for row in (header, *rows)) + "\n")


FORMS: dict[str, tuple[Callable[[Writer], Path], str]] = {
    "tdmpc2_logs": (Writer.tdmpc2_logs, "assumed: 2 frames a step"),
    "dreamerv3_logs": (Writer.dreamerv3_logs, "steps are frames, as the program logs them"),
    "chart": (Writer.chart, "assumed: Step counts frames"),
    "seeds": (
        Writer.seeds,
        "assumed: names of runs are {task}-seed{seed}, and so tasks walker-walk, cheetah-run\n",
    ),
    "plain": (Writer.plain, "assumed: step counts frames"),
    "history": (Writer.history, "assumed: an empty score is no row"),
    "long": (Writer.long, "chosen of agent: TD-MPC2; also there: SAC"),
    "lines": (Writer.lines, "Läufer"),
    "document": (Writer.document, "method   m"),
    "results": (Writer.results, "chosen: the first of two runs (a second score 3.0 for cup-catch seed 2"),
}


CHOSEN = {
    "tdmpc2_logs": "; steps of 2 frames",
    "long": "; rows where agent is TD-MPC2",
    "results": "; the first of several runs",
}


def table(project: Project, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["--root", str(project.root), "table", *words])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("form", FORMS)
def test_the_lines_that_are_printed_are_a_suite(
    project: Project, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    write, said = FORMS[form]
    suites = project.root / "suites" / "quick"
    suites.mkdir(parents=True)
    sides = {}
    for side in ("official", "worldflux"):
        path = write(Writer(project.root / "tables" / side, side))
        status, out, err = table(project, capsys, str(path), "--side", side)
        assert (status, err) == (0, "")
        assert said in out
        assert "columns: {}" not in out
        description, _, sides[side] = out.partition("in a suite of suites/quick:\n")
        assert "seeds 1-3" in description
        assert re.search(r"steps 0 to \d+, each (50000|100000)\n", description)
    # All of the one side's, and the other's table.
    other = sides["worldflux"].partition("worldflux:\n")[2]
    own = sides["official"].replace('{official: "a::b"}', '{official: "a::b", worldflux: "a::b"}')
    (suites / "pasted.yaml").write_text(f"{HEAD}{own}worldflux:\n{other}", encoding="utf-8")
    result = project.run()
    run = project.document("pasted/run.json")
    assert result.ret == 0, result.stdout.str()
    assert run["verdict"] == "pass"
    assert run["counts"]["paired"] == 6
    budget = 200_000 if form == "tdmpc2_logs" else 100_000
    assert {pair["upstream_step"] for pair in run["pairs"]} == {budget}
    official = next(line for line in result.outlines if line.startswith("  official "))
    assert CHOSEN.get(form, "sha256") in official, "the card says how the table was read"
    status = main(["--root", str(project.root), "verify", "--allow-unsigned",
                   str(project.run_dir() / "pasted" / "evidence_bundle.zip")])  # fmt: skip
    assert status == 0, capsys.readouterr().out


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(
    lambda name: name.isprintable() and name.strip() != ""
)
RUNS = st.lists(st.integers(0, 2000), min_size=1, max_size=6, unique=True)
CURVES = st.dictionaries(st.integers(0, 5), RUNS, min_size=1, max_size=4)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables=st.dictionaries(NAMES, CURVES, min_size=1, max_size=4))
@example(tables={"{": {0: [1]}, ":{": {0: [1]}, "task": {0: [1]}})
def test_a_suite_of_any_table_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tables: dict[str, dict[int, list[int]]]
) -> None:
    """Whatever tasks are called and wherever runs end: each task and seed of the lines has a score."""
    rows = [
        {"task": task, "seed": seed, "step": step, "score": 1.0}
        for task, curves in tables.items()
        for seed, steps in curves.items()
        for step in steps
    ]
    path = Writer(tmp_path, "x").file("suites/quick/t.json", json.dumps(rows))
    capsys.readouterr()
    status = main(["--root", str(tmp_path), "table", str(path)])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    lines = out.partition("in a suite of suites/quick:\n")[2]
    if not lines:
        assert not any(step for curves in tables.values() for steps in curves.values() for step in steps)
        return
    suite = suite_file.load(Writer(tmp_path, "x").file("suites/quick/s.yaml", f"{HEAD}{lines}{OTHER}"))
    side = suite.sides["official"]
    assert isinstance(side, ArtifactSide)
    found = table_results(suite, load_table(side.path, side.format, **side.reading), "official")
    for task in suite.tasks:
        for seed in expected_seeds(suite, "official", task.id, {}):
            assert measure(found[task.id, seed], "episode_return", task).value == 1.0


def test_of_two_experiments_the_first_is_chosen(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    header = [
        "Step",
        *(f"walker-walk__{exp}__{seed}__17 - return" for exp in ("ppo", "sac") for seed in (1, 2)),
    ]
    path = Writer(project.root, "x").csv("chart.csv", header, [["0", *"1234"], ["100", *"5678"]])
    status, out, _ = table(project, capsys, str(path))
    assert status == 0
    assert "chosen of exp: ppo; also there: sac" in out
    assert 'score: "{task}__{exp}__{seed}__* - return", where: {exp: ppo}}' in out
    for seed in (1, 2):
        eval_csv = f"logs/walker-walk/{seed}/default-{seed}/eval.csv"
        path = Writer(project.root, "x").file(eval_csv, "step,episode_reward\n0,1\n100,2\n")
    _, out, _ = table(project, capsys, str(project.root / "logs"))
    assert "columns: {where: {exp: default-1}}" in out
    assert "seeds: [1]\n" in out


def test_gaps_and_early_ends_are_said(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    steps = {0: (0, 10, 20, 30, 40), 1: (0, 10, 40), 3: (0, 10, 20, 30)}
    rows: list[dict[str, Any]] = [
        {"task": "a", "seed": seed, "step": step, "score": 1} for seed, own in steps.items() for step in own
    ]
    rows.append({**rows[0], "step": 50, "score": None})
    path = Writer(project.root, "x").file("t.json", json.dumps(rows))
    _, out, _ = table(project, capsys, str(path))
    ends = "steps 0 to 40 (the first run to 30)"
    assert f"seeds 0-1, 3  12 points  {ends}, each 10, but a gap of 30 after 10 (seed 1)\n" in out
    assert "1 nulls, which are no points" in out
    # 30 of 40 frames are no 40, and 40 are no 30: a budget tolerates a fifth of itself.
    assert "# left out, with no point near the budget: a, seeds 3\n" in out
    assert "seeds: [0, 1]\nbudget: {step: 40}\n" in out


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("absent.csv", None, "absent.csv: cannot be read: No such file or directory"),
        ("empty.csv", "", "no column of steps is known"),
        ("x.csv", "a,b\n1,2\n", "x.csv: no column of steps is known; valid: a, b"),
        ("x.csv", "step,b\n1,2\n", "x.csv: no column of scores is known; valid: step, b"),
        ("x.csv", 'Step,"run - return"\n1,2\n', "1 runs, and their names do not say which seed each is: run"),
        ("x.json", "{}", "no table that is known"),
        ("d/a/scores.json.txt", "", "no table is in this folder"),
        ("x.json", "[1, 2", "not JSON"),
        ("x.jsonl", "3\n", "x.jsonl:1: 3 is not an object"),
        ("d/notes.txt", "hello", "no table is in this folder; valid: <task>.csv, "),
        ("x.csv", "task,seed,step,score\na,x,1,2\n", "x.csv:2: seed is 'x', not a non-negative integer"),
        ("x.csv", "task,seed,step,score\n\x00\xff,1\n", "x.csv:2"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_one_line(
    project: Project, capsys: pytest.CaptureFixture[str], name: str, text: str | None, said: str
) -> None:
    path = project.root / name
    if text is not None:
        Writer(project.root, "x").file(name, text)
    status, out, err = table(project, capsys, str(path if path.suffix != ".txt" else project.root / "d"))
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert said in err


def test_what_could_never_be_judged_is_said(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"task": "a", "seed": 0, "step": 0, "score": 1}]
    path = Writer(project.root, "x").file("t.json", json.dumps(rows))
    status, out, _ = table(project, capsys, str(path))
    assert status == 0
    assert out.endswith("one point a run\nno suite can judge it: no run has a point after step 0\n")


def test_a_pipe_is_not_waited_for(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(project.root / "p.csv")
    for name in ("p.csv", "/dev/zero"):
        status, _, err = table(project, capsys, str(project.root / name))
        assert (status, err.count("\n")) == (1, 1)
        assert "cannot be read: is no file" in err


def test_the_format_and_the_unit_can_be_said(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    path = Writer(project.root, "x").tdmpc2_logs()
    _, out, _ = table(project, capsys, str(path), "--frames-per-step", "1")
    assert "budget: {step: 100000}" in out
    assert "frames_per_step: 1" in out
    _, _, err = table(project, capsys, str(path), "--format", "tdmpc2_log")
    assert "unknown format; did you mean 'tdmpc2_logs'?" in err
    _, _, err = table(project, capsys, str(path), "--frames-per-step", "0")
    assert "--frames-per-step is a whole number from 1 on" in err


def test_a_task_that_the_table_spells_otherwise_is_named(project: Project) -> None:
    folder = project.root / "suites" / "quick"
    curve = {"task": "dmc_walker_walk", "method": "m", "xs": [1000]}
    official = [{**curve, "seed": s, "ys": [900 + s]} for s in range(3)]
    ours: list[dict[str, Any]] = [
        {"task": "walker-walk", "seed": s, "step": 1000, "score": 901 + s / 3} for s in range(3)
    ]
    Writer(folder, "x").file("official.json", json.dumps(official))
    Writer(folder, "x").file("ours.json", json.dumps(ours))
    sides = {
        "official": {"artifact": {"path": "official.json", "format": "dreamerv3_scores_json_gz"}},
        "worldflux": {"artifact": {"path": "ours.json", "format": "canonical_json"}},
    }
    project.suite(tasks=["walker-walk"], **sides)
    result = project.run()
    result.stdout.fnmatch_lines(["*name the task as it does: `names: {official: dmc_walker_walk}` beside*"])
    # Another task is no other spelling, and a wrong name is told.
    task = {"id": "walker-run", "names": {"official": "walker_run"}}
    project.suite(tasks=[task], **sides)
    result = project.run(run_id="other")
    result.stdout.fnmatch_lines(["*has no task walker_run but task dmc_walker_walk;*"])
    result.stdout.fnmatch_lines(["*name the task as it does: `names: {official: its name there}` beside*"])
    task = {"id": "walker-walk", "names": {"official": "dmc_walker_walk"}}
    project.suite(tasks=[task], **sides)
    assert project.run(run_id="named").ret == 0


def test_what_a_table_says_of_its_runs_is_asked_of_the_other_side(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """A candidate has to state protocol and recipe alike, and a loss has no side that is better."""
    rows = [
        {"task": task, "seed": seed, "step": 500, "score": 1.0 + seed, "metric": metric}
        for task in ("a", "b")
        for metric in ("a_loss.late", "b_loss.late", "episode_return")
        for seed in range(2)
    ]
    protocol = {"eval_interval": 500, "eval_window": None, "windows": {"late": [1, 9]}}
    tasks = {
        task: {"effective_recipe": {"lr": 0.1, "action_dim": size}, "eval_protocol": protocol}
        for task, size in (("a", 1), ("b", 6))
    }
    document = {"scores": rows, "provenance": {"tasks": tasks}}
    path = Writer(project.root, "x").file("table.json", json.dumps(document))
    _, out, _ = table(project, capsys, str(path))
    assert "  a  a_loss.late, b_loss.late, episode_return  seeds 0-1  2 points  steps 500 to 500" in out
    assert "eval_protocol: {eval_interval: 500, windows: {late: [1, 9]}}\n" in out
    assert "# the recipe it states: {lr: 0.1}\n" in out
    assert "metrics: [{name: episode_return, rule: calibrated, margin: 0.05}]\n" in out
    losses = {**document, "scores": [row for row in rows if row["metric"] != "episode_return"]}
    path = Writer(project.root, "x").file("table.json", json.dumps(losses))
    _, out, _ = table(project, capsys, str(path))
    assert "metrics: [{name: a_loss.late, rule: equivalence, margin: 0.05}]\n" in out
