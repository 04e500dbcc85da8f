"""``--parity=campaign``: whole sessions with real subprocesses, and the tables that they leave."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import signal
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.cli import main as cli
from pytest_worldflux_parity.errors import SuiteError
from pytest_worldflux_parity.inputs.checkouts import checkout_path
from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.inputs.scores import load_table
from pytest_worldflux_parity.suite.campaign_file import load
from tests.conftest import Project, wait_until
from tests.oracles import ORACLES
from tests.repositories import commit_all

CHECKOUT = Path(__file__).resolve().parents[2]
SHIPPED = CHECKOUT / "suites" / "campaign"
FILE = "suites/campaign/c.yaml"
# A program of somebody else's: writes metrics.json from its arguments alone, and counts its runs.
PROGRAM = """
import json, pathlib, sys
task, seed, device, out, step, adapter = sys.argv[1:]
with open(pathlib.Path(out).parents[9] / "count.txt", "a") as handle:
    handle.write(f"{task} {seed}\\n")
curve = [{"step": s, "return": float(seed) + s / 1000} for s in (0, int(step))]
record = {"schema_version": "parity.v1", "adapter": adapter, "task_id": task, "seed": int(seed),
          "device": device, "curve": curve}
pathlib.Path(out).write_text(json.dumps(record))
"""
COMMAND = [sys.executable, "program.py", "{task}", "{seed}", "{device}", "{metrics_out}", "{step}", "theirs"]

DOCUMENT: dict[str, Any] = {
    "schema_version": "worldflux.parity.campaign.v1",
    "suite_id": "c", "family": "fake", "default_step": 1000, "default_seeds": [0, 1],
    "tasks": ["alpha", "beta"],
    "sources": {
        "oracle": {
            "adapter": "published", "repo": "https://host/owner/name", "commit": "a" * 40,
            "input_path": "in.json", "input_format": "canonical_json",
            "output_path": "../../out/oracle.json",
        },
        "worldflux": {"adapter": "fake_worldflux", "output_path": "../../out/worldflux.json"},
    },
}  # fmt: skip


def campaign(project: Project, **changes: Any) -> Path:
    """A campaign with a table for the oracle and the fake backend for worldflux."""
    project.track = "campaign"
    rows = [
        {"task": t, "seed": s, "step": p, "score": s + p / 1000}
        for t in ("alpha", "beta") for s in (0, 1) for p in (500, 990, 2000)
    ]  # fmt: skip
    path = project.root / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "in.json").write_text(json.dumps(rows))
    document = copy.deepcopy(DOCUMENT)
    for key, value in changes.items():
        name, _, inner = key.partition("__")
        place: Any = document["sources"][name] if inner else document
        place[inner or name] = value
    # JSON is YAML.
    path.write_text(json.dumps(document, indent=1))
    return path


def with_command(project: Project, **changes: Any) -> Path:
    (project.root / "program.py").write_text(PROGRAM)
    return campaign(project, worldflux__command_template=COMMAND, worldflux__adapter="theirs", **changes)


def table(project: Project, name: str = "worldflux") -> dict[str, Any]:
    path = project.root / "out" / f"{name}.json"
    load_table(path, "canonical_json")
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def lasting(document: dict[str, Any]) -> dict[str, Any]:
    """A table without the time at which it was written, and how often its runs were begun."""
    return {**document, "provenance": {**document["provenance"], "generated_at": "", "attempts": {}}}


def test_both_sources_become_tables_and_cases(project: Project) -> None:
    campaign(project)
    head = commit_all(project.root)
    result = project.run("--junitxml=j.xml", "-v")
    assert result.ret == pytest.ExitCode.OK
    names = {c.get("name") for c in ET.parse(project.root / "j.xml").iter("testcase")}
    assert "alpha[source=oracle,seed=0]" in names
    assert "beta[source=worldflux,seed=1]" in names
    assert {"campaign[oracle]", "campaign[worldflux]"} <= names
    assert len(names) == 10
    oracle, worldflux = table(project, "oracle"), table(project)
    # At the step nearest to the default, not the latest.
    assert oracle["scores"][1] == {"task": "alpha", "seed": 1, "step": 990, "score": 1.99}
    assert [(r["task"], r["seed"], r["step"]) for r in worldflux["scores"]] == [
        (t, s, 1000) for t in ("alpha", "beta") for s in (0, 1)
    ]
    stored = {(x["task_id"], x["seed"]): x["metrics"]["curve"][-1]["return"] for x in project.lines("c")}
    assert {(r["task"], r["seed"]): r["score"] for r in worldflux["scores"]} == stored
    said = oracle["provenance"]
    assert (said["kind"], said["commit"], said["complete"], said["missing"]) == ("table", "a" * 40, True, [])
    assert said["inputs"]["input_sha256"]
    assert worldflux["provenance"]["kind"] == "backend"
    assert worldflux["provenance"]["inputs"]["program_sha256"]
    assert worldflux["provenance"]["commit"] == head
    assert not (project.run_dir() / "aggregate.json").exists(), "nothing is judged"


def test_logs_of_a_program_become_a_table_in_frames(project: Project) -> None:
    for task in ("alpha", "beta"):
        for seed in (0, 1):
            run = project.root / "suites" / "campaign" / "logs" / task / str(seed) / "default"
            run.mkdir(parents=True)
            (run / "eval.csv").write_text(
                f"step,episode_reward\n0.0,0.5\n500.0,{seed}.25\n", encoding="utf-8"
            )
    logs = {"input_path": "logs", "input_format": "tdmpc2_logs", "frames_per_step": 2}
    changes = {f"oracle__{key}": value for key, value in logs.items()}
    campaign(project, **changes, oracle__columns={"where": {"exp": "default"}})
    assert project.run("--parity-source", "oracle").ret == 0
    rows = [(r["task"], r["seed"], r["step"], r["score"]) for r in table(project, "oracle")["scores"]]
    assert rows == [(t, s, 1000, s + 0.25) for t in ("alpha", "beta") for s in (0, 1)]


def test_one_source_and_other_seeds(project: Project) -> None:
    """What is not asked for need not be there; option and ini twin say the same."""
    campaign(project, oracle__input_path="absent.json")
    assert project.run("--parity-source", "worldflux", "--parity-seeds", "7").ret == pytest.ExitCode.OK
    assert [r["seed"] for r in table(project)["scores"]] == [7, 7]
    assert not (project.root / "out" / "oracle.json").exists()
    project.ini("filterwarnings = error", "parity_workers = 0", "parity_source = oracle")
    result = project.run(run_id="o")
    assert result.ret != pytest.ExitCode.OK
    assert "absent.json" in result.stdout.str()


def test_a_table_that_is_its_own_input_stays_as_it_is(project: Project) -> None:
    """Files of the earlier system name one path for both; points at other steps are not lost for it."""
    table = campaign(project, oracle__output_path="./in.json").parent / "in.json"
    before = table.read_bytes()
    result = project.run("--parity-source=oracle")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["*4 of 4 (task, seed) have a score; *in.json is the input, too, and stays as it is"]
    )
    result = project.run("--parity-source=oracle", "--parity-seeds=0,7", run_id="more")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*missing: alpha seed 7 (no row in in.json, which has seeds 0, 1 of this task), beta seed 7 (*"]
    )
    assert table.read_bytes() == before
    export = ["campaign", "export", FILE, "--source", "worldflux"]
    campaign(project, worldflux__input_path="in.json", worldflux__input_format="canonical_json")
    assert cli.main(["--root", str(project.root), *export, "--output", str(table)]) == 0
    assert table.read_bytes() == before


def test_a_command_is_run_per_task_and_seed(project: Project) -> None:
    with_command(project)
    assert project.run("--parity-source=worldflux").ret == pytest.ExitCode.OK
    ran = sorted((project.root / "count.txt").read_text().splitlines())
    assert ran == ["alpha 0", "alpha 1", "beta 0", "beta 1"]
    document = table(project)
    assert document["scores"][1] == {"task": "alpha", "seed": 1, "step": 1000, "score": 2.0}
    assert document["provenance"]["command"] == COMMAND
    # A resume runs nothing again, and its table is the same.
    assert project.run("--parity-source=worldflux", "--parity-resume").ret == pytest.ExitCode.OK
    assert len((project.root / "count.txt").read_text().splitlines()) == 4
    assert lasting(table(project)) == lasting(document)


def test_a_command_whose_program_changed_is_not_gone_on_with(project: Project) -> None:
    path = with_command(project)
    project.run("--parity-source=worldflux", "--parity-seeds=0")
    # The other source may come later, and what no command names may change.
    (project.root / "notes.py").write_text("")
    assert project.run("--parity-source=both", "--parity-seeds=0,1", "--parity-resume").ret == 0
    (project.root / "program.py").write_text(PROGRAM + "# another\n")
    result = project.run(str(path), "--parity-resume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "program.py, which the worldflux.worldflux command names, changed since the run was sealed" in text


def test_a_command_that_is_one_string_is_split_with_a_warning(project: Project) -> None:
    with_command(project, worldflux__threads=1)
    path = project.root / FILE
    document = json.loads(path.read_text())
    document["sources"]["worldflux"]["command_template"] = " ".join(COMMAND)
    path.write_text(json.dumps(document))
    result = project.run("--parity-source=worldflux", "--parity-seeds=0")
    assert result.ret == pytest.ExitCode.OK
    assert "the command of worldflux is one string" in result.stdout.str()
    assert "one string" in table(project)["provenance"]["warnings"][0]


def test_a_partial_table_says_so_and_takes_no_complete_ones_place(project: Project) -> None:
    recipe = {"behaviour": "crash", "only": ["worldflux/beta/1"]}
    campaign(project, worldflux__recipe=recipe)
    result = project.run("--parity-source=worldflux", "--junitxml=j.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    said = table(project)["provenance"]
    assert said["complete"] is False
    assert [(m["task"], m["seed"]) for m in said["missing"]] == [("beta", 1)]
    assert "replay buffer is empty" in said["missing"][0]["reason"]
    assert len(table(project)["scores"]) == 3
    case = next(
        c for c in ET.parse(project.root / "j.xml").iter("testcase") if c.get("name") == "campaign[worldflux]"
    )
    failure = case.find("failure")
    assert failure is not None
    assert "beta seed 1" in str(failure.text)
    campaign(project)
    assert project.run("--parity-source=worldflux", run_id="whole").ret == pytest.ExitCode.OK
    whole = table(project)
    assert whole["provenance"]["complete"] is True
    campaign(project, worldflux__recipe=recipe)
    result = project.run("--parity-source=worldflux", run_id="again")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "the complete table that is there stays" in result.stdout.str()
    assert table(project) == whole
    # Nor does a table of fewer seeds.
    campaign(project)
    result = project.run("--parity-source=worldflux", "--parity-seeds=0", run_id="few")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "2 (task, seed) that this one lacks" in result.stdout.str()
    assert table(project) == whole


def test_where_no_table_lists_what_is_missing_the_line_does(project: Project) -> None:
    campaign(project)
    assert project.run("--parity-source=worldflux", run_id="whole").ret == pytest.ExitCode.OK
    campaign(project, default_seeds=list(range(9)), worldflux__recipe={"behaviour": "crash"})
    text = project.run("--parity-source=worldflux", run_id="lost").stdout.str()
    line = next(x for x in text.splitlines() if "0 of 18 (task, seed) have a score" in x)
    assert [n for n in range(9) for t in ("alpha", "beta") if f"{t} seed {n}" not in line] == []


def test_an_oracle_can_be_run_beside_worldflux(project: Project) -> None:
    """Each system has its own runs of one store, also with workers."""
    path = campaign(project)
    document = json.loads(path.read_text())
    document["sources"]["oracle"] = {"adapter": "fake_official", "output_path": "../../out/oracle.json"}
    path.write_text(json.dumps(document))
    assert project.run("-n", "2").ret == pytest.ExitCode.OK
    ran = [(x["system"], x["task_id"], x["seed"]) for x in project.lines("c")]
    assert sorted(ran) == [
        (w, t, s) for w in ("official", "worldflux") for t in ("alpha", "beta") for s in (0, 1)
    ]
    oracle, worldflux = table(project, "oracle"), table(project)
    assert oracle["provenance"]["adapter"] == "fake_official"
    assert [r["score"] for r in oracle["scores"]] != [r["score"] for r in worldflux["scores"]]


def test_what_is_deselected_is_missing(project: Project) -> None:
    campaign(project)
    result = project.run("-k", "alpha")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    for name in ("oracle", "worldflux"):
        missing = table(project, name)["provenance"]["missing"]
        assert missing == [{"task": "beta", "seed": s, "reason": "deselected"} for s in (0, 1)]


def test_a_table_without_a_point_at_the_step_misses_it(project: Project) -> None:
    campaign(project, default_step=1500, step_tolerance=0.1)
    result = project.run("--parity-source=oracle")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "no point within 10% of 1500 frames" in result.stdout.str()
    assert not (project.root / "out" / "oracle.json").exists(), "a table of nothing is none"


def test_a_campaign_goes_on_with_more_sources_and_seeds(project: Project) -> None:
    campaign(project)
    assert project.run("--parity-source=worldflux", "--parity-seeds=0").ret == pytest.ExitCode.OK
    assert project.run("--parity-source=both", "--parity-resume").ret == pytest.ExitCode.OK
    assert len(project.lines("c")) == 4
    assert len(table(project)["scores"]) == len(table(project, "oracle")["scores"]) == 4
    # What changes what is computed is no longer the same run.
    campaign(project, default_step=500)
    result = project.run("--parity-resume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "suite_sha256 changed since the run was sealed" in result.stderr.str()


def test_a_killed_campaign_goes_on_and_ends_in_the_same_table(project: Project) -> None:
    flag = project.root / "go"
    recipe = {"behaviour": "waits", "until": str(flag), "only": ["worldflux/beta/0"]}
    campaign(project, worldflux__recipe=recipe)
    started = project.start("-n", "2", "--parity-source=worldflux")
    wait_until(lambda: len(project.pids()) == 1, "a run that waits")
    wait_until(lambda: len(project.lines("c")) >= 2, "two runs that ended")
    before = {(x["task_id"], x["seed"]): x["attempt"] for x in project.lines("c")}
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert not (project.root / "out" / "worldflux.json").exists()
    flag.touch()
    assert project.run("--parity-source=worldflux", "--parity-resume").ret == pytest.ExitCode.OK
    successes = [(x["task_id"], x["seed"]) for x in project.lines("c") if x["success"]]
    assert sorted(successes) == [("alpha", 0), ("alpha", 1), ("beta", 0), ("beta", 1)]
    assert all((x["task_id"], x["seed"]) not in before or x["attempt"] == 1 for x in project.lines("c"))
    resumed = table(project)
    assert project.run("--parity-source=worldflux", run_id="undisturbed").ret == pytest.ExitCode.OK
    assert lasting(table(project)) == lasting(resumed)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"oracle__input_pth": "x"}, "did you mean 'input_path'?"),
        ({"defaultseeds": [0]}, "did you mean 'default_seeds'?"),
        ({"default_seeds": [0, 0]}, "default_seeds"),
        ({"default_seeds": ["0"]}, "valid: integer"),
        ({"default_step": "1000"}, "valid: integer"),
        ({"tasks": []}, "tasks"),
        ({"sources": {"orcale": {}}}, "did you mean 'oracle'?"),
        ({"oracle__input_format": "canonical_jsn"}, "did you mean 'canonical_json'?"),
        ({"worldflux__input_path": "in.json"}, "input_path is given without input_format"),
        ({"worldflux__output_path": "in.json"}, "is also another table of this campaign"),
        ({"worldflux__output_path": "../campaign"}, "is a folder"),
        ({"worldflux__output_path": "in.txt/t.json"}, "is a file"),
        ({"worldflux__adapter": "fake_worldflax"}, "did you mean 'fake_worldflux'?"),
        ({"worldflux__adapter": "fake_official"}, "cannot stand for worldflux"),
        ({"worldflux__command_template": "python x.py > y"}, "only a shell understands"),
        ({"worldflux__command_template": []}, "command_template"),
        ({"step_unit": "agent_steps"}, "how many frames an agent step"),
        ({"schema_version": "worldflux.parity.campaign.v2"}, "did you mean 'worldflux.parity.campaign.v1'?"),
    ],
)
def test_what_is_wrong_in_a_campaign_is_one_line_with_its_place(
    project: Project, changes: dict[str, Any], words: str
) -> None:
    (campaign(project, **changes).parent / "in.txt").touch()
    result = project.run("--collect-only")
    assert result.ret != pytest.ExitCode.OK
    text = result.stdout.str() + result.stderr.str()
    assert words in text
    assert "c.yaml:" in text
    assert "Traceback" not in text


def test_options_that_are_of_other_tracks_are_refused(project: Project) -> None:
    campaign(project)
    result = project.run("--parity-systems=worldflux")
    assert "to mend: --parity-source" in result.stderr.str()
    result = project.run("--parity-upstream=in.json", "--parity-upstream-format=canonical_json")
    assert result.ret != pytest.ExitCode.OK
    assert "leave --parity-upstream and --parity-worldflux out" in result.stdout.str()
    project.track = "quick"
    result = project.run(FILE)
    assert "this is a campaign suite" in result.stdout.str()
    assert "to mend: --parity-systems" in project.run(FILE, "--parity-source=oracle").stderr.str()


@settings(max_examples=40, deadline=None)
@given(
    place=st.sampled_from([(), ("sources",), ("sources", "oracle"), ("sources", "worldflux")]),
    key=st.sampled_from(
        [*DOCUMENT, *DOCUMENT["sources"]["oracle"], "command_template", "step_unit", "recipe"]
    ),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=4,
    ),
)
@example(place=(), key="suite_id", value="another")
def test_whatever_stands_in_a_file_it_is_a_campaign_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str, ...], key: str, value: Any
) -> None:
    document = copy.deepcopy(DOCUMENT)
    at: Any = document
    for name in place:
        at = at[name]
    at[key] = value
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(json.dumps(document))
    with contextlib.suppress(SuiteError):
        loaded = load(path)
        assert loaded.seeds
        assert loaded.tasks
        assert all(source.adapter for source in loaded.sources.values())
        return
    with pytest.raises(SuiteError, match=r"any\.yaml:\d") as caught:
        load(path)
    assert "\n" not in caught.value.line()


def test_older_files_count_atari_in_agent_steps(project: Project) -> None:
    """And need no schema_version; ours say their unit."""
    path = campaign(project, family="dreamerv3", default_step=110_000)
    assert load(path).step == 440_000
    assert load(campaign(project, family="tdmpc2", default_step=4_000_000)).step == 4_000_000
    document = json.loads(path.read_text())
    del document["schema_version"]
    path.write_text(json.dumps(document))
    assert load(path).suite_id == "c"


@pytest.mark.parametrize(
    ("name", "tasks", "seeds", "folder"),
    [("dreamer_atari100k", 26, 5, "dreamerv3"), ("tdmpc2_dmcontrol39", 39, 3, "tdmpc2")],
)
def test_the_shipped_campaigns_export_the_locked_tables(
    project: Project, name: str, tasks: int, seeds: int, folder: str
) -> None:
    loaded = load(SHIPPED / f"{name}.yaml")
    assert (loaded.suite_id, len(loaded.tasks), len(loaded.seeds)) == (name, tasks, seeds)
    published = json.loads((CHECKOUT / "suites" / "published" / f"{name}.yaml").read_text())
    assert list(loaded.tasks) == published["tasks"]
    wanted = (CHECKOUT / "suites" / "published" / published["worldflux"]["path"]).resolve()
    assert loaded.sources["worldflux"].output_path.resolve() == wanted
    assert loaded.sources["worldflux"].kind == "backend"
    if not ORACLES.is_dir():
        pytest.skip("the published score tables are not at ../shared/oracles")
    entry = read_lock(CHECKOUT / "reports" / "parity" / "upstream_lock.json").entry(name)
    shutil.copytree(ORACLES / folder, checkout_path(project.root, entry.repo, entry.commit))
    path = project.root / "suites" / "campaign" / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    shutil.copy(SHIPPED / path.name, path)
    project.track = "campaign"
    result = project.run("--parity-source=oracle", "-q", str(path))
    assert result.ret == pytest.ExitCode.OK
    made = load_table(project.root / "reports" / "parity" / "oracle" / f"{name}.json", "canonical_json")
    raw = load_table(
        checkout_path(project.root, entry.repo, entry.commit) / entry.oracle_path, entry.oracle_format
    )
    assert len(made.rows) == tasks * seeds
    for row in made.rows:
        points = {p.step: p.value for p in raw.curve(row.task, row.seed)}
        assert points[row.step] == row.score
        nearest = min(points, key=lambda s: abs(s - loaded.step))
        assert abs(row.step - loaded.step) == abs(nearest - loaded.step)
