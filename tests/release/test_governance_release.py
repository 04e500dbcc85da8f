"""``validate`` and ``coverage``: what stops a release, and that nothing that should stop it does not."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_worldflux_parity.release.audit import run_findings

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.errors import ParityError
from tests.release.judged_runs import (
    AGGREGATE,
    LOCK,
    Command,
    Document,
    aggregate,
    changed,
    codes,
    earlier,
    read,
    run_path,
    write,
)


@pytest.fixture
def good(copied: Path, command: Command) -> Path:
    """The document of the suite that passes; an aggregate of it alone stands at ``AGGREGATE``."""
    path = run_path(copied, "good")
    aggregate(command, path)
    return path


def validate(command: Command, *runs: Path, more: tuple[object, ...] = ()) -> tuple[int, list[str]]:
    status, out, err = command("validate", "--run", *runs, "--aggregate", AGGREGATE, "--lock", LOCK, *more)
    assert bool(out) is (status == 0), err
    return status, err.splitlines()


def test_a_release_goes_on(good: Path, command: Command) -> None:
    required = ("--required-suite", "good", "--max-missing-pairs", "0")
    assert validate(command, good, more=required) == (0, [])


def test_so_it_does_with_a_document_of_the_earlier_system(copied: Path, good: Path, command: Command) -> None:
    old = write(copied / "reports/parity/runs/good.json", earlier(read(good)))
    aggregate(command, old)
    assert validate(command, old, more=("--required-suite", "good")) == (0, [])


def test_a_failed_verdict_stops_it(copied: Path, good: Path, command: Command) -> None:
    worse = run_path(copied, "worse")
    aggregate(command, good, worse)
    status, lines = validate(command, good, worse)
    assert (status, codes(lines)) == (1, ["not_passed"])
    old = write(copied / "reports/parity/runs/worse.json", earlier(read(worse)))
    aggregate(command, good, old)
    assert codes(validate(command, good, old)[1]) == ["not_passed"]


def test_a_required_suite_that_is_not_there(good: Path, command: Command) -> None:
    status, lines = validate(command, good, more=("--required-suite", "good", "absent"))
    assert (status, codes(lines)) == (1, ["required_suite_missing"] * 2)
    assert "'absent'" in lines[0]


def test_the_lock_is_held_against_it(copied: Path, good: Path, command: Command) -> None:
    changed(copied / LOCK, lambda d: d["suites"]["good"].update(commit="d" * 40))
    assert set(codes(validate(command, good)[1])) == {"lock_mismatch"}
    changed(copied / LOCK, lambda d: d["suites"].pop("good"))
    assert codes(validate(command, good)[1]) == ["not_in_lock"]


def test_the_locked_table_is_the_one_that_was_judged(copied: Path, good: Path, command: Command) -> None:
    table = "suites/quick/official.json"
    sha256 = read(good)["artifact_integrity"]["upstream_input_sha256"]
    changed(copied / LOCK, lambda d: d["suites"]["good"].update(oracle_files={table: sha256}))
    assert validate(command, good)[0] == 0
    changed(copied / LOCK, lambda d: d["suites"]["good"].update(oracle_files={table: "0" * 64}))
    assert codes(validate(command, good)[1]) == ["input_not_locked"]


@pytest.mark.parametrize("side", ["official", "good"])
def test_a_table_that_changed(copied: Path, good: Path, command: Command, side: str) -> None:
    path = copied / "suites" / "quick" / f"{side}.json"
    before = path.read_text()
    path.write_text(before + "\n")
    assert codes(validate(command, good)[1]) == ["input_differs"]
    path.write_text("{")
    assert codes(validate(command, good)[1]) == ["input_differs"]
    # Documents travel without their tables.
    path.unlink()
    assert validate(command, good)[0] == 0


def test_a_suite_file_that_changed(copied: Path, good: Path, command: Command) -> None:
    changed(copied / "suites/quick/good.yaml", lambda d: d["metrics"][0].update(margin=0.06))
    assert codes(validate(command, good)[1]) == ["suite_changed"]


def test_a_score_that_no_table_has(copied: Path, good: Path, command: Command) -> None:
    """A score invented with everything that follows from it is still not in the table."""
    document = earlier(read(good))
    pair = document["pairs"][0]
    pair["upstream_score"] += 0.001
    pair["drop_ratio"] = (pair["upstream_score"] - pair["worldflux_score"]) / pair["upstream_score"]
    old = write(good, document)
    assert "score_differs" in codes(validate(command, old)[1])


def test_a_seed_left_out_of_a_document_of_the_earlier_system(good: Path, command: Command) -> None:
    document = earlier(read(good))
    document["pairs"].pop()
    for key in ("upstream_points", "worldflux_points", "paired"):
        document["counts"][key] -= 1
    write(good, document)
    assert codes(validate(command, good)[1]).count("omitted") == 2


def test_missing_pairs(good: Path, command: Command) -> None:
    document = earlier(read(good))
    document["missing"]["upstream_only"].append({"task": "beta", "seed": 9})
    document["counts"]["upstream_only"] += 1
    document["counts"]["upstream_points"] += 1
    write(good, document)
    aggregate(command, good)
    assert codes(validate(command, good)[1]) == ["missing_pairs"]
    assert validate(command, good, more=("--max-missing-pairs", "1"))[0] == 0
    for text in ("-1", "1.5", "x", "1_0", "٣"):
        with pytest.raises(SystemExit):
            validate(command, good, more=(f"--max-missing-pairs={text}",))


def test_a_task_without_a_pair_is_missing(good: Path, command: Command) -> None:
    document = earlier(read(good))
    document["suite"]["tasks"].append("gamma")
    write(good, document)
    assert codes(validate(command, good)[1]) == ["missing_pairs"]


AGGREGATE_EDITS: dict[str, Callable[[Document], object]] = {
    "aggregate_differs": lambda d: d["suites"][0].update(ci_upper_ratio=0.0),
    "aggregate_differs count": lambda d: d.update(suite_pass_count=2, run_count=2),
    "aggregate_differs family": lambda d: d["families"][0].update({"pass": 0}),
    "aggregate_differs verdict": lambda d: d["suites"][0].update(verdict="inconclusive"),
    "aggregate_differs global": lambda d: d["global_non_inferiority"].update(max_ci_upper_ratio=-1.0),
    "aggregate_differs paths": lambda d: d.update(run_paths=["x.json"]),
    "not_judged": lambda d: d["not_judged"].append({"suite": "x", "reason": "why"}),
    "suite_twice": lambda d: d["suites"].append(d["suites"][0]),
    "dangling_path": lambda d: d["suites"][0].update(run_path="nowhere/run.json"),
    "dangling_path report": lambda d: d["evidence_bundle"]["artifacts"].update(report_md="none.md"),
}


@pytest.mark.parametrize("name", AGGREGATE_EDITS)
def test_an_aggregate_that_is_not_that_of_its_runs(
    copied: Path, good: Path, command: Command, name: str
) -> None:
    changed(copied / AGGREGATE, AGGREGATE_EDITS[name])
    status, lines = validate(command, good)
    assert status == 1
    assert name.split(maxsplit=1)[0] in codes(lines)


def test_an_aggregate_of_another_run_of_the_suite(copied: Path, good: Path, command: Command) -> None:
    other = copied / "reports" / "parity" / "s" / "good" / "run.json"
    other.parent.mkdir(parents=True)
    shutil.copy(good, other)
    assert validate(command, other)[0] == 0
    changed(other, lambda d: d.update(generated_at_utc="2099-01-01T00:00:00+00:00"))
    assert codes(validate(command, other)[1]) == ["aggregate_differs"]


def test_two_documents_of_one_suite(copied: Path, good: Path, command: Command) -> None:
    other = copied / "reports" / "parity" / "s" / "good" / "run.json"
    other.parent.mkdir(parents=True)
    shutil.copy(good, other)
    assert "suite_twice" in codes(validate(command, good, other)[1])


@pytest.mark.parametrize("absent", ["run", "aggregate", "lock"])
def test_bad_input_is_one_line(copied: Path, good: Path, command: Command, absent: str) -> None:
    {"run": good, "aggregate": copied / AGGREGATE, "lock": copied / LOCK}[absent].write_text("{")
    status, lines = validate(command, good)
    assert (status, len(lines)) == (1, 1)
    assert "not JSON" in lines[0]


# --- coverage ---


@pytest.fixture
def policy(copied: Path) -> Path:
    families = {"fake": {"stage": "required", "suites": ["good"]},
                "other": {"stage": "planned", "suites": ["worse"]}}  # fmt: skip
    document = {"schema_version": "worldflux.parity.policy.v1", "families": families}
    return write(copied / "reports" / "parity" / "suite_policy.json", document)


def coverage(command: Command, *more: object) -> tuple[int, list[str]]:
    status, _, err = command("coverage", "--aggregate", AGGREGATE, *more)
    return status, err.splitlines()


@pytest.fixture
def both(copied: Path, policy: Path, command: Command) -> None:
    aggregate(command, run_path(copied, "good"), run_path(copied, "worse"))


@pytest.mark.usefixtures("both")
def test_every_suite_of_the_policy_is_covered(policy: Path, command: Command) -> None:
    assert coverage(command, "--policy", policy, "--lock", LOCK) == (0, [])
    # Nobody requires the family of the suite that failed.
    assert coverage(command, "--enforce-pass") == (0, [])
    changed(policy, lambda d: d["families"]["other"].update(stage="required"))
    assert coverage(command) == (0, [])
    status, lines = coverage(command, "--enforce-pass")
    assert (status, codes(lines)) == (1, ["not_passed"])
    assert "worse, which other requires" in lines[0]


@pytest.mark.usefixtures("both")
def test_what_is_not_covered(copied: Path, policy: Path, command: Command) -> None:
    changed(policy, lambda d: d["families"]["fake"]["suites"].append("absent"))
    assert codes(coverage(command)[1]) == ["not_in_lock", "not_in_aggregate"]
    changed(policy, lambda d: d["families"]["fake"]["suites"].remove("absent"))
    changed(copied / LOCK, lambda d: d["suites"].pop("worse"))
    assert codes(coverage(command)[1]) == ["not_in_lock"]


@pytest.mark.usefixtures("both")
def test_a_policy_that_requires_nothing_enforces_nothing(policy: Path, command: Command) -> None:
    changed(policy, lambda d: d["families"]["fake"].update(stage="planned"))
    assert coverage(command)[0] == 0
    assert codes(coverage(command, "--enforce-pass")[1]) == ["nothing_required"]


@pytest.mark.usefixtures("both")
def test_a_suite_of_another_family(policy: Path, command: Command) -> None:
    changed(policy, lambda d: d["families"].update(tdmpc2=d["families"].pop("fake")))
    assert codes(coverage(command)[1]) == ["family_differs"]


@pytest.mark.usefixtures("both")
def test_an_edited_row_does_not_pass(copied: Path, policy: Path, command: Command) -> None:
    changed(policy, lambda d: d["families"]["other"].update(stage="required"))
    for change in ({"pass": True}, {"pass": True, "verdict": "pass"}):
        changed(copied / AGGREGATE, lambda d, change=change: d["suites"][1].update(change))
        for there in (True, False):
            if not there:
                run_path(copied, "worse").rename(copied / "hidden.json")
            assert coverage(command, "--enforce-pass")[0] == 1, (change, there)
            if not there:
                (copied / "hidden.json").rename(run_path(copied, "worse"))


def test_an_aggregate_of_the_earlier_system(copied: Path, policy: Path, both: None, command: Command) -> None:
    made = read(copied / AGGREGATE)
    old = {k: made[k] for k in ("schema_version", "run_count", "suite_pass_count", "suite_fail_count",
                                "all_suites_pass", "run_paths")}  # fmt: skip
    old["suites"] = [{k: v for k, v in row.items() if k not in ("verdict", "pass")} for row in made["suites"]]
    write(copied / AGGREGATE, old)
    assert coverage(command, "--enforce-pass") == (0, [])
    good, worse = run_path(copied, "good"), run_path(copied, "worse")
    assert codes(validate(command, good, worse)[1]) == ["not_passed"]
    changed(copied / AGGREGATE, lambda d: d["suites"][1].update(pass_non_inferiority=True))
    assert coverage(command)[0] == 1


# --- documents that contradict themselves ---


def paths_of(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all numbers, booleans and verdicts of a document."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in paths_of(v, (*at, k))]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in paths_of(v, (*at, i))]
    return [at] if isinstance(value, (int, float)) or at[-1] == "verdict" else []


def replaced(document: Document, at: tuple[Any, ...], change: Callable[[Any], Any]) -> Document:
    edited = copy.deepcopy(document)
    inner: Any = edited
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = change(inner[at[-1]])
    return edited


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return "pass" if value != "pass" else "fail"
    return value + 1 if isinstance(value, int) else value * 1.0001 + 1e-6


# What no other part of the document says: where scores were read, what ran, what a table held beside.
NOT_RECOMPUTED = {"runs", "evaluation_manifest", "sources", "suite_lock_ref", "component_match"}
LOOSE = {"upstream_step", "worldflux_step", "unused", "higher_is_better"}
# An equivalence needs no floor.
UNUSED = [("metrics", "loss.late", "floor")]


@pytest.mark.parametrize("suite", ["good", "losses"])
def test_every_number_that_follows_from_others_is_checked(judged: Path, suite: str) -> None:
    document = read(run_path(judged, suite))
    assert run_findings(document) == []
    unseen = []
    for at in paths_of(document):
        if at[0] in NOT_RECOMPUTED or LOOSE & set(at):
            continue
        edited = replaced(document, at, another)
        try:
            schemas.check(edited, "run.v1", str)
        except ParityError:
            continue
        if not run_findings(edited):
            unseen.append(at)
    assert [at for at in unseen if at not in UNUSED] == []


@pytest.mark.parametrize("suite", ["good", "worse"])
def test_so_it_is_in_documents_of_the_earlier_system(judged: Path, suite: str) -> None:
    document = earlier(read(run_path(judged, suite)))
    assert run_findings(document) == []
    # Which seed it was is in the table only.
    loose = {*LOOSE, "ci_lower_ratio", "seed"}
    unseen = [
        at
        for at in paths_of(document)
        if at[0] not in NOT_RECOMPUTED and not loose & set(at)
        if not run_findings(replaced(document, at, another))
    ]
    assert unseen == []


def test_a_gate_on_components_is_not_left_out(judged: Path) -> None:
    document = read(run_path(judged, "live"))
    gate = {"verdict": "pass", "reason": "all match", "findings": [], "warnings": []}
    matched = {"required": True, "path": None, "present": False, "pass": True, "family": "fake",
               "result_count": 0}  # fmt: skip
    whole = {**document, "component_match": matched, "gates": {"components": gate, **document["gates"]}}
    assert run_findings(whole) == []
    assert run_findings({**document, "component_match": matched})
    assert run_findings({**whole, "component_match": None})
    assert run_findings({**whole, "component_match": {**matched, "pass": False}})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suite=st.sampled_from(["good", "live"]))
def test_leaving_out_results_never_keeps_a_pass(judged: Path, data: st.DataObject, suite: str) -> None:
    """Values dropped on any side, with the pairs that they make, are found or are no pass."""
    document = read(run_path(judged, suite))
    cells = [
        (name, task, system, seed)
        for name, own in document["metrics"].items()
        for task, sides in own["values"].items()
        for system, values in sides.items()
        for seed in values
    ]
    for name, task, system, seed in data.draw(st.sets(st.sampled_from(cells), min_size=1, max_size=6)):
        del document["metrics"][name]["values"][task][system][seed]
        if name == document["suite"]["metric"]:
            side = {"official": "upstream"}.get(system, system)
            document["counts"][f"{side}_points"] -= 1
            document["pairs"] = [
                p for p in document["pairs"] if (p["task"], str(p["seed"])) != (task, seed)
            ]  # fmt: skip
    document["counts"]["paired"] = len(document["pairs"])
    assert run_findings(document)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=st.sampled_from([None, -1, 0, 1e308, "x", [], {}, True, "1", 2**70]))
def test_anything_in_any_place_is_refused_or_computed(
    judged: Path, tmp_path: Path, data: st.DataObject, value: Any
) -> None:
    """No value at any place gives a traceback."""
    from pytest_worldflux_parity.release import run_documents

    document = read(run_path(judged, data.draw(st.sampled_from(["good", "live", "losses"]))))
    document = (
        earlier(document) if document["stats"]["sample_size"] and data.draw(st.booleans()) else document
    )
    at = data.draw(st.sampled_from(paths_of(document)))
    path = write(tmp_path / "run.json", replaced(document, at, lambda _: value))
    try:
        run = run_documents.read_run(path)
    except ParityError as error:
        assert "\n" not in error.line(), json.dumps(error.line())  # noqa: PT017
        return
    run_findings(run.document)
