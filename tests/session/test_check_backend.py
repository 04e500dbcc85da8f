"""``worldflux-parity check-backend``: what a verdict would say of a record is said before any session."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
from typing import Any

import pytest

from pytest_worldflux_parity.cli.main import main
from pytest_worldflux_parity.execution.store import latest_run
from pytest_worldflux_parity.session.trial_findings import TRIAL_RUNS
from tests.conftest import SUITE, Project

# A program that makes the mistakes that its recipe lists; without any its record has all that a claim asks.
PROGRAM = """
import json, os, random, subprocess, sys, time
from pathlib import Path
from pytest_worldflux_parity import wire

request = wire.read_request(sys.argv[1])
out, mistakes = Path(request.out_dir), request.recipe.get("mistakes", [])
rng = random.Random(0 if "one_seed" in mistakes else request.seed)
if "other_numbers" in mistakes:
    rng = random.SystemRandom()
if "finds_itself" in mistakes:
    mark = Path(request.recipe["project"]) / "begun"
    if mark.exists():
        sys.exit("ValueError: somebody has begun already")
    if "ended" in out.parts:
        mark.write_text("x")
time.sleep(request.recipe.get("seconds", 0))
(out / "config.yaml").write_text("lr: 1")
record = {
    "schema_version": "parity.v1", "request_id": request.request_id, "adapter": request.adapter,
    "task_id": request.task_id, "seed": request.seed, "device": request.device,
    "curve": [{"step": step, "return": 100 + rng.random()} for step in (500, 1000)],
    "scalars": {"loss.late": 2 + rng.random()},
    "metadata": {
        "mode": "live", "policy_mode": "trained", "env_backend": "gymnasium", "adapter_id": request.adapter,
        "backend_kind": "fake", "model_profile": "tiny", "effective_recipe": request.recipe,
        "recipe_hash": wire.content_hash(request.recipe), "eval_protocol": request.eval_protocol,
        "eval_protocol_hash": wire.eval_protocol_hash("fake", request.task_id, request.eval_protocol),
        "artifact_manifest": {"config_snapshot": [{"path": "config.yaml"}]},
        "source": {"tree_sha256": wire.content_hash("x"), "commit": "a" * 40},
    },
}
said = record["metadata"]
for mistake in mistakes:
    kind, _, rest = mistake.partition(":")
    if kind == "without":
        said.pop(rest)
    elif kind == "says":
        key, _, value = rest.partition("=")
        said[key] = json.loads(value)
    elif kind == "record":
        key, _, value = rest.partition("=")
        record[key] = json.loads(value)
    elif mistake == "no_file":
        (out / "config.yaml").unlink()
    elif mistake == "crash":
        sys.exit("ValueError: the replay buffer is empty")
    elif mistake == "elsewhere":
        for path in (Path.home() / "cache", Path(request.recipe["project"]) / "notes"):
            path.write_text("x")
    elif mistake == "stays":
        subprocess.Popen(["sleep", "600"], env={}, start_new_session=True, stdout=subprocess.DEVNULL)
text = json.dumps(record)
if "half" in mistakes:
    text = text[:40]
if "no_record" not in mistakes:
    (out / "metrics.json").write_text(text)
"""
BACKEND = """
adapter: mine
kind: fake
family: fake
system: worldflux
argv: ["{python}", "{backend_dir}/main.py"]
environment: shared
requirements: []
"""
ASKED: dict[str, Any] = {
    "claim": "none",
    "official": {"backend": "fake_official"},
    "worldflux": {"backend": "mine"},
    "tasks": ["alpha"],
    "validity": {
        "environment_backend": "gymnasium",
        "model_profile": "tiny",
        "forbidden_shortcuts": ["warm_start=true"],
        "artifacts": {"worldflux": ["config_snapshot"]},
    },
    "metrics": [{"name": "final_return_mean", "margin": 0.05}, {"name": "loss.late", "margin": 0.05}],
}
QUICK: dict[str, Any] = {"worldflux": {"backend": "mine"}, "tasks": ["alpha"], "recipe": {}}
# What is wrong, in records that are looked at once each -> the code by which it is found.
WRONG: tuple[dict[str, str], ...] = (
    {
        "without:effective_recipe": "missing_recipe_metadata",
        "without:recipe_hash": "missing_recipe_hash",
        "without:env_backend": "missing_env_backend",
        "without:eval_protocol": "eval_protocol_mismatch",
        "without:mode": "missing_mode",
        "without:policy_mode": "missing_policy_mode",
        "without:model_profile": "canonical_profile_missing",
    },
    {
        'says:effective_recipe={"steps": 3}': "recipe_mismatch",
        'says:eval_protocol={"eval_interval": 7}': "eval_protocol_mismatch",
        'says:eval_protocol_hash="0123"': "eval_protocol_hash_mismatch",
        'says:source={"tree_sha256": "unknown", "dirty": true}': "missing_source_provenance",
        'says:mode="life"': "unknown_mode",
        'says:policy_mode="greedy"': "unknown_policy_mode",
        'says:env_backend="stub"': "env_backend_forbidden",
        'says:adapter_id="theirs"': "adapter_id_mismatch",
        'says:backend_kind="other"': "backend_kind_mismatch",
        'says:model_profile="large"': "model_profile_mismatch",
        "says:warm_start=true": "forbidden_shortcut_detected",
        "no_file": "missing_artifact",
        'record:curve=[{"step": 500, "return": 1.0}]': "no_point_at_budget",
        "record:scalars={}": "metric_absent",
    },
    {
        'says:mode="fixture"': "fixture_forbidden",
        'says:policy_mode="training"': "policy_mode_mismatch",
        'says:env_backend="own"': "environment_backend_mismatch",
        'says:source={"commit": "a1b2c3d", "dirty": true}': "source_tree_dirty",
        'record:curve=[{"step": 1000, "return": 1.0}]': "points_missing",
    },
    {
        'says:mode="mock"': "mock_mode_forbidden",
        'says:policy_mode="random"': "random_policy_forbidden",
        'record:curve=[{"step": 500, "return": 1.0}, {"step": 700, "return": 1.0}]': "budget_not_reached",
    },
    *({mistake: "failed"} for mistake in (
        'record:curve=[{"step": 1000, "return": NaN}]',
        'record:curve=[{"step": 1000, "return": 1.0}, {"step": 500, "return": 1.0}]',
        'record:curve=[{"step": 1000}]',
        'record:scalars={"loss.late": "2"}',
        "record:seed=77",
        'record:task_id="beta"',
        "record:success=false",
        "half",
        "no_record",
        "crash",
    )),
)  # fmt: skip


@pytest.fixture
def mine(project: Project) -> Project:
    """A project with one program more."""
    folder = project.root / "backends" / "mine"
    folder.mkdir()
    (folder / "main.py").write_text(PROGRAM, encoding="utf-8")
    (folder / "backend.yaml").write_text(BACKEND + 'program: {files: ["."]}\n', encoding="utf-8")
    return project


def check(*words: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status and the rows of the command, in the current folder."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = main(["check-backend", *words, "--json"])
    document: dict[str, Any] = json.loads(out.getvalue())
    assert document["clean"] == (status == 0) == (document["folder"] is None)
    return status, document["rows"]


def found_by(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Code -> who asks, of the findings."""
    return {row["name"]: row["asked_by"] for row in rows if row["status"] == "finding"}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{len(wrong)} {next(iter(wrong.values()))}")
def test_whatever_is_wrong_with_a_record_is_found_in_one_go(mine: Project, wrong: dict[str, str]) -> None:
    suite = mine.proof("asked", **ASKED, recipe={"mistakes": [*wrong]})
    status, rows = check("mine", "--suite", str(suite), "--once")
    assert status == 1
    assert {*wrong.values()} <= found_by(rows).keys()
    for row in rows:
        assert (row["to_mend"] is not None) == (row["status"] == "finding")


def test_a_right_program_is_clean_and_leaves_nothing(
    mine: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = mine.proof("asked", **ASKED, recipe={"seconds": 0.2})
    before = {path for path in mine.root.rglob("*") if ".worldflux" not in path.parts}
    assert main(["check-backend", "mine", "--suite", str(suite)]) == 0
    told = capsys.readouterr().out
    assert told.count("  ok ") == 8, told
    assert told.endswith("nothing was found\n")
    assert re.search(r"^five more starts, about [1-9]\d* s, say how it behaves; --once leaves", told, re.M)
    after = {path for path in mine.root.rglob("*") if ".worldflux" not in path.parts}
    assert after - before <= {mine.root / "reports", mine.root / "reports" / "parity"}


def test_what_the_plugin_fills_in_need_not_be_stated(mine: Project) -> None:
    known = ("source", "recipe_hash", "eval_protocol_hash", "adapter_id", "backend_kind", "artifact_manifest")
    asked = {**ASKED, "validity": {k: v for k, v in ASKED["validity"].items() if k != "artifacts"}}
    suite = mine.proof("asked", **asked, recipe={"mistakes": [f"without:{key}" for key in known]})
    status, rows = check("mine", "--suite", str(suite), "--once")
    assert (status, found_by(rows)) == (0, {})


def test_how_a_careless_program_behaves_is_found(mine: Project) -> None:
    careless = ["other_numbers", "elsewhere", "stays", "finds_itself"]
    recipe = {"mistakes": careless, "project": str(mine.root), "seconds": 0.6}
    suite = mine.proof("asked", **ASKED, recipe=recipe)
    _, rows = check("mine", "--suite", str(suite), "--isolate=off")
    details = {row["name"]: row["detail"] for row in rows if row["status"] == "finding"}
    left = [int(number) for number in re.findall(r"\d+", details["leaves_processes"].rpartition(":")[2])]
    try:
        assert left
        assert details.keys() == {"deterministic", "leaves_processes", "survives_end", "writes_elsewhere"}
        assert "the first at step 500: 10" in details["deterministic"]
        assert "loss.late: 2." in details["deterministic"]
        assert "somebody has begun already" in details["survives_end"]
    finally:
        for pid in left:
            os.kill(pid, signal.SIGKILL)


def test_a_program_that_does_not_heed_its_seed_is_found(mine: Project) -> None:
    suite = mine.suite("asked", **QUICK, seeds=[3, 4])
    status, rows = check("mine", "--suite", str(suite), "--quick", "--set", 'mistakes=["one_seed"]')
    assert (status, found_by(rows)) == (1, {"heeds_seed": "program"})


def test_one_run_compiles_for_all(mine: Project, capsys: pytest.CaptureFixture[str]) -> None:
    program = mine.root / "backends/mine/main.py"
    large = "\n".join(f"def f{i}(): return {i}" for i in range(3000))
    program.with_name("large.py").write_text(large, encoding="utf-8")
    program.write_text(f"import large\n{program.read_text(encoding='utf-8')}", encoding="utf-8")
    suite = mine.suite("asked", **QUICK)
    assert main(["check-backend", "mine", "--suite", str(suite), "--set", 'mistakes=["one_seed"]']) == 1
    [folder] = mine.root.glob("reports/parity/check_backend_*")
    assert f"the runs: {folder}" in capsys.readouterr().out
    assert len([*folder.iterdir()]) == TRIAL_RUNS
    [layer] = folder.glob("*/.program/bytecode/*/*")
    assert [*layer.rglob("large*.pyc")]


def test_without_a_suite_the_options_say_what_is_asked(mine: Project) -> None:
    status, rows = check("mine", "--task", "alpha", "--once", "--eval", "eval_interval=500", "--set", "lr=1")
    assert (status, found_by(rows)) == (0, {})


def test_a_run_that_was_made_shorter_is_not_blamed_for_it(mine: Project) -> None:
    suite = mine.proof("asked", **ASKED, recipe={})
    short = 'mistakes=["record:curve=[{\\"step\\": 500, \\"return\\": 1.0}]"]'
    status, rows = check("mine", "--suite", str(suite), "--once", "--set", short)
    assert (status, found_by(rows)) == (0, {})
    left_out = {row["name"] for row in rows if row["status"] == "not tried"}
    assert {"budget_not_reached", "no_point_at_budget"} <= left_out


def test_a_program_that_names_no_files_is_told_so(mine: Project) -> None:
    (mine.root / "backends" / "mine" / "backend.yaml").write_text(BACKEND, encoding="utf-8")
    _, rows = check("mine", "--task", "alpha", "--once", "--set", "lr=1")
    assert found_by(rows) == {"program_not_shown": "proof"}


def test_its_folder_is_no_run(mine: Project) -> None:
    """What it keeps is neither resumed, nor joined, nor asked how long runs take."""
    suite = mine.suite("asked", **QUICK)
    status, _ = check("mine", "--suite", str(suite), "--once", "--set", 'mistakes=["crash"]')
    assert status == 1
    kept = list(mine.root.glob("reports/parity/check_backend_*"))
    assert len(kept) == 1
    assert not list(mine.root.glob("reports/parity/*/run.json"))
    assert not list(mine.root.glob("reports/parity/*/*/parity_runs.jsonl"))
    stored = next(kept[0].glob("*/*/parity_runs.jsonl"))
    taken = mine.run(run_id=json.loads(stored.read_text(encoding="utf-8"))["run_id"])
    assert taken.ret == pytest.ExitCode.USAGE_ERROR, "no session can have the id that its lines have"
    assert latest_run(mine.root / "reports" / "parity", "quick") is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nobody"], "there is no backend 'nobody'; valid:"),
        (["mine"], "--task: without a suite"),
        (["mine", "--task", "alpha", "--seed=-1"], "--seed"),
        (["mine", "--suite", "SUITE", "--seed=-1"], "--seed"),
        (["mine", "--task", "alpha", "--set", "lr"], "--set lr: wanted KEY=VALUE"),
        (["mine", "--task", "alpha", "--set", "lr=NaN"], "--set: "),
        (["mine", "--task", "alpha", "--set", "lr=1e999"], "--set: "),
        (["mine", "--suite", "."], "cannot be read"),
        (["mine", "--task", "alpha", "--eval", "interval=5"], "--eval: unknown key 'interval'"),
        (["mine", "--task", "a\nb"], "--task"),
        (["mine", "--suite", "absent.yaml"], "absent.yaml: cannot be read"),
        (["mine", "--suite", "SUITE", "--task", "alpah"], "did you mean 'alpha'?"),
        (["fake_worldflux", "--suite", "SUITE"], "no side of it is 'fake_worldflux'"),
    ],
)
def test_what_cannot_be_tried_is_one_line_and_status_2(
    mine: Project, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    suite = mine.suite("asked", **QUICK)
    given = [str(suite) if word == "SUITE" else word for word in words]
    assert main(["check-backend", *given]) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert (said.err.count("\n"), said.out) == (1, "")
    assert not list(mine.root.glob("reports/parity/*"))


def test_what_a_table_beside_it_states_is_compared(mine: Project) -> None:
    """As its pairs would be: the keys that are to be stated are known before anything is trained."""
    rows = [{"task": "alpha", "seed": 0, "step": step, "score": 100.0} for step in (0, 1000)]
    stated = {
        "tasks": {
            "alpha": {"effective_recipe": {"lr": 1, "gamma": 0.99}, "eval_protocol": SUITE["eval_protocol"]}
        }
    }
    table = mine.root / "table.json"
    table.write_text(json.dumps({"scores": rows, "provenance": stated}), encoding="utf-8")
    official = {"artifact": {"path": str(table), "format": "canonical_json"}}
    suite = mine.suite("asked", **{**QUICK, "recipe": {"lr": 1}}, official=official, seeds=[0])
    _, found = check("mine", "--suite", str(suite), "--once", "--quick")
    details = [row["detail"] for row in found if row["status"] == "finding"]
    assert "official and worldflux recipe differ: gamma: 0.99 != 'absent'" in details
    assert "other_side" not in {row["name"] for row in found}
    given = ["--set", "lr=2", "--set", "gamma=0.99"]
    status, found = check("mine", "--suite", str(suite), "--once", "--quick", *given)
    assert (status, found_by(found)) == (0, {}), "the table was not asked what the command line asks"
