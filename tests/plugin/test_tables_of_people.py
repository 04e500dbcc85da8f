"""Tables as people hand them in: the right verdict or a refusal that says what is there, through pytest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project

STEPS = [100_000, 200_000, 300_000, 398_000]
DREAMER = "dreamerv3_scores_json_gz"
CSV = "tdmpc2_results_csv_dir"


@pytest.fixture
def folder(project: Project) -> Path:
    path = project.root / "suites" / "quick"
    path.mkdir(parents=True)
    return path


def side(path: str, format: str, **more: Any) -> dict[str, Any]:
    return {"artifact": {"path": path, "format": format, **more}}


def curve(seed: Any, ys: list[float], task: str = "atari_pong", xs: list[int] = STEPS) -> dict[str, Any]:
    return {"task": task, "method": "dreamerv3", "seed": seed, "xs": xs, "ys": ys}


def judged(project: Project, official: dict[str, Any], worldflux: dict[str, Any], **more: Any) -> str:
    """Judge one suite of two tables in a run of its own; the verdict and the output."""
    atari = {"budget": {"step": 400_000, "tolerance": 0.01}, "eval_protocol": {"eval_interval": 100_000}}
    keys = {"tasks": ["atari_pong"], "seeds": 3, **(atari if "budget" not in more else {}), **more}
    project.suite(official=official, worldflux=worldflux, **keys)
    run_id = f"r{len(list(project.root.glob('reports/parity/*')))}"
    said = project.run(run_id=run_id).stdout.str()
    judged = project.run_dir(run_id) / "fake_quick" / "run.json"
    return f"{json.loads(judged.read_text('utf-8'))['verdict'] if judged.exists() else 'none'}: {said}"


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def test_a_second_run_under_the_same_seeds_is_never_mixed_with_the_first(
    project: Project, folder: Path
) -> None:
    """A broken run of zeros ends a little nearer to the budget than the good one that was appended."""
    write(folder / "official.json", [curve(n, [10, 50, 90, 100 + n / 2]) for n in range(3)])
    broken = [curve(n, [0, 0, 0, 0], xs=[*STEPS[:3], 399_990]) for n in range(3)]
    good = [curve(n, [10, 50, 90, 100.2 + n / 3]) for n in range(3)]
    write(folder / "ours.json", broken + good)
    official = side("official.json", DREAMER)
    for rule, expected in (("last", "pass"), ("first", "fail")):
        said = judged(project, official, side("ours.json", DREAMER, duplicates=rule))
        assert said.startswith(f"{expected}: "), said
        what = f"12 rows of the worldflux table are of second runs of a (task, seed): the {rule} run counts"
        assert what in said
    assert "say which run counts" in judged(project, official, side("ours.json", DREAMER))


def test_a_second_run_at_steps_of_its_own_lifts_no_curve(project: Project, folder: Path) -> None:
    """A good run whose points stand between those of a broken one, behind it in the file."""
    official = [curve(n, [10, 50, 90, 100 + n / 2]) for n in range(3)]
    write(folder / "official.json", official)
    good = [
        (n, step, score + n / 3)
        for n in range(3)
        for step, score in zip(STEPS, [10, 50, 90, 100.2], strict=True)
    ]
    broken = [(n, step - 1000, 0) for n, step, _ in good]
    for rows, rule, said in (
        (good, {}, "pass: "),
        (sorted(good, key=lambda row: row[2]), {}, "pass: "),
        (broken + good, {}, "a second curve for atari_pong seed 0"),
        (broken + good, {"duplicates": "first"}, "fail: "),
        (broken + good, {"duplicates": "last"}, "pass: "),
        (good[::2] + good[1::2], {"duplicates": "one_run"}, "pass: "),
    ):
        names = ("seed", "step", "score")
        lines = [json.dumps({"task": "atari_pong", **dict(zip(names, row, strict=True))}) for row in rows]
        write(folder / "ours.jsonl", "\n".join(lines))
        ours = side("ours.jsonl", "canonical_jsonl", **rule)
        assert said in judged(project, side("official.json", DREAMER), ours), (rule, rows)


def test_two_agents_in_one_file_are_refused_by_name(project: Project, folder: Path) -> None:
    runs = [(1, 700, "TD-MPC2"), (2, 701, "TD-MPC2"), (3, 702, "TD-MPC2"), (4, 300, "SAC"), (5, 301, "SAC")]
    lines = [f"1000,{score},{seed},{agent}" for seed, score, agent in runs]
    write(folder / "t/cheetah-run.csv", "\n".join(["step,reward,seed,agent", *lines]))
    said = judged(project, side("t", CSV), side("t", CSV), tasks=["cheetah-run"])
    assert (
        "cheetah-run.csv:5: the column agent says 'SAC' in a table of 'TD-MPC2'; to mend: say whose" in said
    )
    # As it is told.
    where = {"files": "{task}.csv", "score": "reward", "where": {"agent": "TD-MPC2"}}
    chosen = side("t", "columns", columns=where)
    keys: dict[str, Any] = {"tasks": ["cheetah-run"], "seeds": [1, 2, 3], "budget": {"step": 1000}}
    assert "701 (n=3)" in judged(project, chosen, chosen, **keys)


def test_success_beside_an_empty_reward_is_judged_and_no_return(project: Project, folder: Path) -> None:
    for name, header, cells in (("t", "step,success,seed,reward", ","), ("u", "step,success,seed", "")):
        rows = [f"1000,{0.9 + seed / 100 - 0.01 * (name == 'u')},{seed}{cells}" for seed in range(3)]
        write(folder / name / "mw-hammer.csv", "\n".join([header, *rows]))
    keys: dict[str, Any] = {"tasks": ["mw-hammer"], "budget": {"step": 1000}}
    metric = {"name": "episode_success", "rule": "calibrated", "margin": 0.05, "floor": 0.01}
    said = judged(project, side("t", CSV), side("u", CSV), metrics=[metric], **keys)
    assert said.startswith("pass: "), said
    said = judged(project, side("t", CSV), side("u", CSV), **keys)
    assert "no row of episode_return, and there are rows of episode_success" in said
    assert said.startswith("fail: ")


def test_seeds_as_the_official_plot_tool_writes_them_are_read(project: Project, folder: Path) -> None:
    for name, above in (("official", 0.0), ("ours", 0.7)):
        write(folder / f"{name}.json", [curve(str(n), [10, 50, 90, 100 + above + n]) for n in range(3)])
    said = judged(project, side("official.json", DREAMER), side("ours.json", DREAMER))
    assert said.startswith("pass: "), said


def test_rows_that_are_absent_say_what_is_there(project: Project, folder: Path) -> None:
    write(folder / "official.json", [curve(n, [900.0], "dmc_walker_walk", [1000]) for n in range(3)])
    rows = [{"task": "walker-walk", "seed": n, "step": 1000, "score": 900 + n} for n in range(2)]
    write(folder / "ours.json", rows)
    official, ours = side("official.json", DREAMER), side("ours.json", "canonical_json")
    said = judged(project, official, ours, tasks=["walker-walk"], budget={"step": 1000})
    assert (
        "official.json: walker-walk seed 0: no row in official.json, which has no task walker-walk but task "
        "dmc_walker_walk; to mend: "
    ) in said
    said = judged(project, ours, ours, tasks=["walker-walk"], budget={"step": 1000})
    assert "ours.json: walker-walk seed 2: no row in ours.json, which has seeds 0, 1 of this task" in said


def test_equal_repeats_are_counted_and_change_nothing(project: Project, folder: Path) -> None:
    rows = [{"task": "alpha", "seed": n, "step": 1000, "score": 100 + n} for n in range(3)]
    write(folder / "official.json", [*rows, rows[0]])
    write(folder / "ours.json", [{**row, "score": row["score"] + 0.3} for row in rows])
    sides = [side(name, "canonical_json") for name in ("official.json", "ours.json")]
    said = judged(project, *sides, tasks=["alpha"], budget={"step": 1000})
    assert said.startswith("pass: "), said
    assert "1 rows of the official table repeat another with its score, and count once" in said


def test_an_empty_list_of_curves_is_one_line(project: Project, folder: Path) -> None:
    write(folder / "empty.json", [])
    said = judged(project, side("empty.json", DREAMER), side("empty.json", DREAMER))
    assert "empty.json: the table holds no score" in said
    assert "Traceback" not in said
