"""What is on the disk may be anything: it is a finding about its record, never a pass nor a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Project


def raised(line: dict[str, Any]) -> None:
    line["metrics"]["curve"][-1]["return"] += 1.0


def with_(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda line: line.update(changes)


def without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda line: line.pop(key)


def in_record(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda line: line["metrics"].update(changes)


# suite -> what happens to the line of its worldflux seed 0, and the finding that must be there
EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "value": (raised, "record_differs_from_artifact"),
    "hash": (with_(artifacts_sha256={"metrics": "0" * 64}), "record_differs_from_artifact"),
    "line_seed": (with_(seed=1), "foreign_record"),
    "line_system": (with_(system="official"), "foreign_record"),
    "line_task": (with_(task_id="unknown"), "foreign_record"),
    "line_adapter": (with_(adapter="fake_official"), "foreign_record"),
    "line_device": (with_(device="cuda"), "foreign_record"),
    "record_seed": (in_record(seed=1), "foreign_record"),
    "record_adapter": (in_record(adapter="fake_official"), "foreign_record"),
    "no_key": (without("expected_adapter_id"), "unreadable_record"),
    "task_list": (with_(task_id=["alpha"]), "unreadable_record"),
    "seed_text": (with_(seed="0"), "unreadable_record"),
    "artifacts": (with_(artifacts={"metrics": 3}), "unreadable_record"),
    "untied": (with_(artifacts={}, artifacts_sha256={}), "record_without_artifact"),
    "many_digits": (in_record(scalars={"loss": 10**400}), "unreadable_record"),
}


def edit(project: Project, suite: str, change: Callable[[dict[str, Any]], object]) -> None:
    lines = project.lines(suite)
    [line] = [x for x in lines if (x["system"], x["seed"]) == ("worldflux", 0)]
    change(line)
    path = project.run_dir() / suite / "parity_runs.jsonl"
    path.write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")


def beside_the_log(project: Project) -> list[dict[str, Any]]:
    """What is found but that the log was edited, which its chain says."""
    found = project.document()["gates"]["validity"]["findings"]
    return [finding for finding in found if finding["code"] != "log_broken"]


def test_an_edited_line_is_a_finding_and_no_other_suite_suffers(project: Project) -> None:
    for name in (*EDITS, "untouched"):
        project.suite(name, tasks=["alpha"], seeds=2)
    assert project.run("-n", "2").ret == pytest.ExitCode.OK
    for name, (change, _) in EDITS.items():
        edit(project, name, change)
    result = project.run("--parity-resume", "-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    for stream in (result.stdout.str(), result.stderr.str()):
        assert "Traceback" not in stream
        assert "INTERNALERROR" not in stream
    for name, (_, code) in EDITS.items():
        run = project.document(f"{name}/run.json")
        assert run["verdict"] == "fail", name
        assert code in [f["code"] for f in run["gates"]["validity"]["findings"]], name
    assert project.document("untouched/run.json")["verdict"] == "pass"


def test_a_record_is_compared_with_its_file_which_has_to_be_there(project: Project) -> None:
    """An edited metrics.json is found too, and so is an edited line whose metrics.json was taken away."""
    project.suite(tasks=["alpha"], seeds=2)
    assert project.run().ret == pytest.ExitCode.OK
    [path] = project.out_dir("worldflux", "alpha", 0).glob("attempt_*/metrics.json")
    sealed = project.lines()[1]["artifacts_sha256"]["metrics"]
    assert len(sealed) == 64
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert project.run("--parity-resume").ret == pytest.ExitCode.TESTS_FAILED
    [finding] = beside_the_log(project)
    assert (finding["code"], finding["seed"]) == ("record_differs_from_artifact", 0)
    path.unlink()
    edit(project, "fake_quick", raised)
    assert project.run("--parity-resume").ret == pytest.ExitCode.TESTS_FAILED
    [finding] = beside_the_log(project)
    assert (finding["code"], finding["seed"]) == ("record_without_artifact", 0)
    assert project.document()["verdict"] == "fail"
    # Nor is the line's word for it enough.
    edit(project, "fake_quick", with_(artifacts={}))
    assert project.run("--parity-resume").ret == pytest.ExitCode.TESTS_FAILED
    [finding] = beside_the_log(project)
    assert (finding["code"], finding["seed"]) == ("record_without_artifact", 0)


# Programs that write a record that is none, and what their pair says.
NUMBERS = {
    "1" + "0" * 400: "scalars.loss.late is an integer, not a finite number",
    "1" + "0" * 5000: "metrics.json: not JSON",
    "-2e50": "scalars.loss.late is -2e+50, not a finite number of at most 1e+50",
}
PROGRAM = """
import json, sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent.parent))
import program
from pytest_worldflux_parity import wire

request = wire.read_request(sys.argv[1])
record = program.record(request)
record.metadata["note"] = record.metadata["recipe_hash"] = "\\ud800"
# A program need not say this of itself.
del record.metadata["adapter_id"], record.metadata["backend_kind"]
data = wire.record_to_dict(record)
data["scalars"] = {"loss.late": 0, "\\ud800": 1.0}
number = request.recipe.get("number", "2.0")
text = json.dumps(data).replace('"loss.late": 0', '"loss.late": ' + number)
Path(request.out_dir, "metrics.json").write_text(text)
"""


def odd_backend(project: Project) -> dict[str, str]:
    folder = project.root / "backends" / "odd"
    folder.mkdir()
    description = {
        "adapter": "odd", "kind": "fake", "family": "fake", "system": "worldflux",
        "argv": ["{python}", "{backend_dir}/odd.py"], "environment": "shared",
        "program": {"files": ["odd.py", "../program.py"]},
    }  # fmt: skip
    (folder / "backend.yaml").write_text(json.dumps(description), encoding="utf-8")
    (folder / "odd.py").write_text(PROGRAM, encoding="utf-8")
    return {"backend": "odd"}


def test_numbers_without_end_fail_their_pair_in_one_line(project: Project) -> None:
    tasks = [{"id": f"t{n}", "recipe": {"number": text}} for n, text in enumerate(NUMBERS)]
    project.suite(tasks=[*tasks, "good"], seeds=1, worldflux=odd_backend(project))
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    failed = {x["task_id"]: x["error"] for x in project.lines() if not x["success"]}
    assert failed.keys() == {t["id"] for t in tasks}
    for task, told in zip(tasks, NUMBERS.values(), strict=True):
        assert told in failed[str(task["id"])]
    before = len(project.lines())
    again = project.run("--parity-resume", "--parity-retry-failed=to see")
    assert len(project.lines()) == before + len(NUMBERS), "what failed is tried again, and nothing else"
    for text in (result.stdout.str(), again.stdout.str(), project.report()):
        assert "Traceback" not in text
        assert "INTERNALERROR" not in text


def test_a_surrogate_in_what_a_program_says_costs_no_report(project: Project) -> None:
    """Nor is what it does not say (its adapter in the metadata) made up for it."""
    project.suite(tasks=["alpha"], worldflux=odd_backend(project), seeds=2)
    assert project.run().ret == pytest.ExitCode.OK
    assert project.document()["verdict"] == "pass"
    assert "fake_quick" in project.report()
    stated = {(x["system"], x["adapter_id"], x["backend_kind"]) for x in project.lines()}
    assert stated == {("official", "fake_official", "fake"), ("worldflux", None, None)}

    # An effective recipe stands in the report once it differs.
    backend = project.root / "backends" / "odd" / "odd.py"
    more = 'record.metadata["effective_recipe"] = {**request.recipe, "\\ud800": "\\ud800"}\n'
    text = backend.read_text(encoding="utf-8").replace("# A program", more + "# A program")
    backend.write_text(text, encoding="utf-8")
    result = project.run(run_id="other")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "INTERNALERROR" not in result.stdout.str()
    assert "recipe_mismatch" in project.report(run_id="other")


def test_a_mistake_in_one_suite_leaves_the_others_their_verdict(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        project.suite(name, tasks=["alpha"], seeds=2)
    plugin = project.root / "mistake.py"
    plugin.write_text(
        "from pytest_worldflux_parity.judgement import judge_run\n"
        "assemble = judge_run.assemble\n"
        "def mistaken(prepared, *rest):\n"
        "    if prepared.suite.suite_id == 'one':\n"
        "        raise KeyError('seed')\n"
        "    return assemble(prepared, *rest)\n"
        "judge_run.assemble = mistaken\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(project.root), prepend=":")
    result = project.run("-p", "mistake")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "INTERNALERROR" not in result.stdout.str()
    assert "KeyError: 'seed'" in result.stdout.str()
    assert "in mistaken" in result.stdout.str(), "the traceback is there"
    assert project.document("two/run.json")["verdict"] == "pass"
    [row] = project.document("aggregate.json")["not_judged"]
    assert (row["suite"].rpartition("/")[2], row["reason"]) == ("one.yaml", "KeyError: 'seed'")
