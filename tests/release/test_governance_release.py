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

from pytest_worldflux_parity.errors import ParityError
from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.release import backing, run_documents
from pytest_worldflux_parity.release.bundle_reports import documents_anew
from pytest_worldflux_parity.release.documents_alone import lock_findings
from pytest_worldflux_parity.release.expectation import of_checkout
from pytest_worldflux_parity.release.judged_anew import judge_expected, records_of
from pytest_worldflux_parity.release.statements import document_findings
from tests.release.judged_runs import (
    AGGREGATE,
    LOCK,
    POLICY,
    RULE,
    Command,
    Document,
    aggregate,
    changed,
    codes,
    earlier,
    policy_of,
    read,
    run_path,
    write,
)
from tests.repositories import git


@pytest.fixture
def good(copied: Path, command: Command) -> Path:
    """The document of the suite that passes; an aggregate of it alone stands at ``AGGREGATE``."""
    path = run_path(copied, "good")
    aggregate(command, path)
    return path


def validate(command: Command, *runs: Path, more: tuple[object, ...] = ()) -> tuple[int, list[str]]:
    status, out, err = command("validate", "--run", *runs, "--aggregate", AGGREGATE, "--lock", LOCK, *more)
    assert ("every suite passes" in out) is (status == 0), err
    return status, err.splitlines()


def admits(root: Path, **row: Any) -> None:
    """The policy's row of the suite ``good`` changed."""
    changed(root / POLICY, lambda d: d["suites"]["suites/quick/good.yaml"].update(row))


def test_a_release_goes_on(good: Path, command: Command) -> None:
    required = ("--required-suite", "good", "--max-missing-pairs", "0")
    assert validate(command, good, more=required) == (0, [])


@pytest.mark.parametrize("without", ["evidence_bundle.zip", "circumstances.json"])
def test_evidence_or_records_are_enough(good: Path, command: Command, without: str) -> None:
    """The bundle alone has to be signed."""
    (good.parent / without).unlink()
    status, lines = validate(command, good)
    assert (status, codes(lines)) == ((0, []) if without == "evidence_bundle.zip" else (1, ["unsigned"]))


def test_records_that_cannot_be_read_are_no_records(good: Path, command: Command) -> None:
    (good.parent / "evidence_bundle.zip").unlink()
    (good.parent / "circumstances.json").write_text("{", encoding="utf-8")
    status, lines = validate(command, good)
    assert (status, codes(lines)) == (1, ["records_unreadable"])


def test_a_row_that_passes_and_does_not_is_found(copied: Path, good: Path, command: Command) -> None:
    """Also where its document is not there, so that nothing else tells."""
    changed(copied / AGGREGATE, lambda d: d["suites"][0].update(verdict="fail"))
    assert codes(validate(command, good)[1]) == ["aggregate_differs"]
    good.rename(copied / "hidden.json")
    status, _, err = command("coverage", "--aggregate", AGGREGATE, "--lock", LOCK)
    assert (status, "verdict_differs" in codes(err.splitlines())) == (1, True), err


def test_a_card_says_what_a_pass_rests_on(good: Path, command: Command) -> None:
    out = command("validate", "--run", good, "--aggregate", AGGREGATE)[1]
    assert f"{good}: judged anew from its evidence" in out
    assert "NONE, the bundle is unsigned: whether someone made the whole bundle anew cannot be told" in out
    assert "chosen" in out


def test_a_document_alone_counts_where_the_policy_says_so(copied: Path, good: Path, command: Command) -> None:
    """Ours, and that of the earlier system: both are judged anew from the tables."""
    for document in (read(good), earlier(read(good))):
        old = write(copied / "reports/parity/runs/good.json", document)
        aggregate(command, old)
        found = validate(command, old)[1]
        assert codes(found) == ["evidence_missing"], found
        admits(copied, evidence="documents")
        assert validate(command, old, more=("--required-suite", "good")) == (0, [])
        out = command("validate", "--run", old, "--aggregate", AGGREGATE)[1]
        assert "documents only, no evidence: judged anew from its two tables" in out
        admits(copied, evidence="bundle")


def test_without_its_tables_no_number_is_judged(copied: Path, good: Path, command: Command) -> None:
    old = write(copied / "reports/parity/runs/good.json", earlier(read(good)))
    aggregate(command, old)
    admits(copied, evidence="documents")
    (copied / "suites/quick/good.json").unlink()
    assert codes(validate(command, old)[1]) == ["table_missing"]
    admits(copied, stage="listed")
    out = command("validate", "--run", old, "--aggregate", AGGREGATE)[1]
    assert "documents only, no evidence: its tables are not here, so no number was judged anew" in out
    changed(old, lambda d: d["suite"].update(margin_ratio=0.5))
    assert "suite.margin_ratio is 0.5, this checkout has 0.05" in validate(command, old)[1][0]


def test_a_failed_verdict_stops_it(copied: Path, good: Path, command: Command) -> None:
    worse = run_path(copied, "worse")
    aggregate(command, good, worse)
    status, lines = validate(command, good, worse)
    assert (status, codes(lines)) == (1, ["not_passed"])
    old = write(copied / "reports/parity/runs/worse.json", earlier(read(worse)))
    aggregate(command, good, old)
    assert codes(validate(command, good, old)[1]) == ["evidence_missing", "not_passed"]


def test_what_the_policy_requires_has_a_document_or_a_row(copied: Path, good: Path, command: Command) -> None:
    """As ``coverage`` asks; a document that the aggregate alone names is judged as any."""
    worse = run_path(copied, "worse")
    changed(copied / POLICY, lambda d: d["suites"]["suites/quick/worse.yaml"].update(stage="required"))
    status, lines = validate(command, good)
    assert (status, codes(lines)) == (1, ["required_suite_missing"])
    assert "no --run and no row of the aggregate is of 'worse'" in lines[0]
    aggregate(command, good, worse)
    status, lines = validate(command, good)
    assert (status, codes(lines)) == (1, ["not_passed"])
    changed(copied / POLICY, lambda d: d["suites"]["suites/quick/worse.yaml"].update(stage="listed"))
    assert validate(command, good) == (0, [])


def test_where_no_policy_is_a_line_says_so(copied: Path, good: Path, command: Command) -> None:
    words = ("validate", "--run", good, "--aggregate", AGGREGATE)
    said = "suite_policy.json: only what the command line names is required"
    assert said not in command(*words)[1]
    (copied / POLICY).unlink()
    status, out, _ = command(*words)
    assert (status, said in out) == (0, True)


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000, "a\0b"], ids=["long", "deep", "null"])
def test_a_name_that_leads_nowhere_is_no_traceback(
    copied: Path, good: Path, command: Command, name: str
) -> None:
    changed(copied / AGGREGATE, lambda d: d["suites"][0].update(run_path=name))
    status, _, err = command("coverage", "--aggregate", AGGREGATE, "--lock", LOCK)
    assert (status, "dangling_path" in codes(err.splitlines())) == (1, True), err


def test_a_document_alone_that_breaks_a_reader_is_no_traceback(
    copied: Path, good: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write(copied / "reports/parity/runs/good.json", earlier(read(good)))
    aggregate(command, old)
    admits(copied, evidence="documents")

    def broken(*arguments: object) -> None:
        raise KeyError("tables")

    monkeypatch.setattr(backing, "table_judgement", broken)
    status, lines = validate(command, old)
    assert (status, codes(lines)) == (1, ["records_unreadable"])


def test_a_key_that_is_not_there_is_named(good: Path, command: Command) -> None:
    for words in (("validate", "--run", good), ("coverage",)):
        status, _, err = command(*words, "--aggregate", AGGREGATE, "--key", "/nope.pub")
        assert (status, "/nope.pub" in err, "evidence" in err) == (1, True, False), err
        assert len(err.splitlines()) == 1


def test_a_required_suite_that_is_not_there(good: Path, command: Command) -> None:
    status, lines = validate(command, good, more=("--required-suite", "good", "absent"))
    assert (status, codes(lines)) == (1, ["required_suite_missing"] * 2)
    assert "'absent'" in lines[0]


def test_the_lock_is_held_against_it(copied: Path, good: Path, command: Command) -> None:
    changed(copied / LOCK, lambda d: d["suites"]["good"].update(commit="d" * 40))
    lines = validate(command, good)[1]
    assert {"not_passed", "document_differs"} == set(codes(lines))
    assert "lock_mismatch" in lines[0]
    changed(copied / LOCK, lambda d: d["suites"].pop("good"))
    assert {"not_in_lock", "table_not_pinned"} <= set(codes(validate(command, good)[1]))


def test_the_locked_table_is_the_one_that_was_judged(copied: Path, good: Path, command: Command) -> None:
    table = "suites/quick/official.json"
    changed(copied / LOCK, lambda d: d["suites"]["good"].update(oracle_files={table: "0" * 64}))
    assert set(codes(validate(command, good)[1])) == {"document_differs", "not_passed", "table_not_pinned"}


@pytest.mark.parametrize("side", ["official", "good"])
def test_a_table_that_changed(copied: Path, good: Path, command: Command, side: str) -> None:
    path = copied / "suites" / "quick" / f"{side}.json"
    path.write_text(path.read_text() + "\n")
    found = codes(validate(command, good)[1])
    assert {"not_as_expected", "document_differs"} <= set(found)
    path.write_text("{")
    assert codes(validate(command, good)[1]) == ["cannot_be_expected"]
    path.unlink()
    assert codes(validate(command, good)[1]) == ["cannot_be_expected"]


def test_a_suite_file_that_changed(copied: Path, good: Path, command: Command) -> None:
    """What changes nothing in the verdict, as a comment does, is no other suite."""
    path = copied / "suites/quick/good.yaml"
    path.write_text(f"# as before\n{path.read_text()}")
    assert validate(command, good) == (0, [])
    path.write_text(path.read_text().replace('"margin": 0.05', '"margin": 0.06'))
    _, lines = validate(command, good)
    assert set(codes(lines)) == {"document_differs"}
    assert "suite.margin_ratio is 0.05, the data give 0.06" in lines[0]


def test_a_score_that_no_table_has(copied: Path, good: Path, command: Command) -> None:
    """A score invented with everything that follows from it is still not in the table."""
    document = earlier(read(good))
    pair = document["pairs"][0]
    pair["upstream_score"] += 0.001
    pair["drop_ratio"] = (pair["upstream_score"] - pair["worldflux_score"]) / pair["upstream_score"]
    assert "document_differs" in codes(validate(command, write(good, document))[1])


def test_a_seed_left_out_of_a_document_of_the_earlier_system(good: Path, command: Command) -> None:
    document = earlier(read(good))
    document["pairs"].pop()
    for key in ("upstream_points", "worldflux_points", "paired"):
        document["counts"][key] -= 1
    assert "document_differs" in codes(validate(command, write(good, document))[1])


def test_missing_pairs(copied: Path, good: Path, command: Command) -> None:
    document = earlier(read(good))
    document["missing"]["upstream_only"].append({"task": "beta", "seed": 9})
    document["counts"]["upstream_only"] += 1
    document["counts"]["upstream_points"] += 1
    document["suite"]["tasks"].append("gamma")
    old = write(copied / "reports/parity/runs/good.json", document)
    aggregate(command, old)
    assert "missing_pairs" in codes(validate(command, old)[1])
    assert "missing_pairs" not in codes(validate(command, old, more=("--max-missing-pairs", "1"))[1])
    for text in ("-1", "1.5", "x", "1_0", "٣"):
        with pytest.raises(SystemExit):
            validate(command, old, more=(f"--max-missing-pairs={text}",))


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
    shutil.copytree(good.parents[1], other.parents[1])
    assert validate(command, other)[0] == 0
    changed(other, lambda d: d.update(generated_at_utc="2099-01-01T00:00:00+00:00"))
    assert codes(validate(command, other)[1]) == ["evidence_differs", "aggregate_differs"]


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
    return copied / POLICY


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
    changed(policy, lambda d: d["suites"]["suites/quick/worse.yaml"].update(stage="required"))
    assert coverage(command) == (0, [])
    status, lines = coverage(command, "--enforce-pass")
    assert (status, codes(lines)) == (1, ["not_passed"])
    assert "worse, which is required" in lines[0]


@pytest.mark.usefixtures("both")
def test_what_is_not_covered(copied: Path, policy: Path, command: Command) -> None:
    changed(copied / LOCK, lambda d: d["suites"].pop("live"))
    row = read(policy)["suites"]["suites/quick/worse.yaml"]
    changed(
        policy, lambda d: d["suites"].update({"suites/quick/live.yaml": row, "suites/quick/none.yaml": row})
    )
    assert codes(coverage(command)[1]) == ["unknown_suite", "not_in_lock", "not_in_aggregate"]
    changed(policy, lambda d: [d["suites"].pop(f"suites/quick/{name}.yaml") for name in ("live", "none")])
    run_path(copied, "worse").unlink()
    assert codes(coverage(command)[1]) == ["dangling_path"]


@pytest.mark.usefixtures("both")
def test_a_policy_that_requires_nothing_enforces_nothing(policy: Path, command: Command) -> None:
    changed(policy, lambda d: d["suites"]["suites/quick/good.yaml"].update(stage="listed"))
    assert coverage(command)[0] == 0
    assert codes(coverage(command, "--enforce-pass")[1]) == ["nothing_required"]


@pytest.mark.usefixtures("both")
def test_a_suite_of_another_family(policy: Path, command: Command) -> None:
    changed(policy, lambda d: d["suites"]["suites/quick/good.yaml"].update(family="tdmpc2"))
    assert codes(coverage(command)[1]) == ["family_differs"]


@pytest.mark.usefixtures("both")
def test_an_edited_row_does_not_pass(copied: Path, policy: Path, command: Command) -> None:
    changed(policy, lambda d: d["suites"]["suites/quick/worse.yaml"].update(stage="required"))
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


# --- where the expectation comes from ---


def test_the_expectation_of_another_commit(copied: Path, good: Path, command: Command) -> None:
    """A suite that the branch made easier is judged as it stood; the candidate's table is the branch's."""
    git(copied, "init", "-q")
    git(copied, "add", "suites", "backends", "reports/parity/upstream_lock.json", POLICY)
    git(copied, "rm", "-q", "--cached", "suites/quick/good.json")
    git(copied, "commit", "-qm", "one")
    expected = ("--expect-from", "HEAD", "--policy", copied / POLICY)
    assert validate(command, good, more=expected) == (0, [])
    changed(copied / "suites/quick/good.yaml", lambda d: d["metrics"][0].update(margin=0.5))
    assert set(codes(validate(command, good)[1])) == {"document_differs"}
    assert validate(command, good, more=expected) == (0, [])
    status, lines = validate(command, good, more=("--expect-from", "nowhere"))
    assert (status, len(lines)) == (1, 1)
    assert "git fetch, then --expect-from origin/main" in lines[0]


@pytest.fixture
def three(copied: Path, command: Command) -> tuple[Path, ...]:
    """Three quick suites of one run that passed, two of them live, required by a policy and locked."""
    names = ("good", "live", "losses")
    write(copied / POLICY, policy_of({f"suites/quick/{name}.yaml": {} for name in names}))
    paths = tuple(run_path(copied, name) for name in names)
    aggregate(command, *paths)
    return paths


def test_honest_suites_pass_to_the_end(three: tuple[Path, ...], command: Command) -> None:
    assert validate(command, *three, more=("--required-suite", "good", "live", "losses")) == (0, [])
    assert coverage(command, "--enforce-pass", "--max-missing-pairs", "0") == (0, [])


@pytest.mark.parametrize("side", ["official", "worldflux"])
def test_the_candidate_is_that_of_the_checkout_and_the_official_program_that_of_the_commit(
    copied: Path, three: tuple[Path, ...], command: Command, side: str
) -> None:
    git(copied, "init", "-q")
    git(copied, "add", "suites", "backends", "reports/parity/upstream_lock.json", POLICY)
    git(copied, "commit", "-qm", "one")
    name = f"backends/fake_{side}/more.py"
    (copied / name).write_text("more = True\n")
    live = three[1]
    status, lines = validate(command, live)
    assert (status, f"program_differs ({side}): {name} is new in this checkout" in lines[0]) == (1, True)
    status, lines = validate(command, live, more=("--expect-from", "HEAD"))
    assert [line for line in lines if f"program_differs ({side})" in line][:1] == (
        lines[:1] if side == "worldflux" else []
    )
    assert status == int(side == "worldflux"), lines


def test_the_commit_that_is_asked_for(good: Path, command: Command) -> None:
    """This run is of no project under git, and its document alone says nothing at all."""
    asked = ("--commit", "c" * 40)
    assert codes(validate(command, good, more=asked)[1]) == ["other_commit"]
    (good.parent / "evidence_bundle.zip").unlink()
    (good.parent / "circumstances.json").unlink()
    assert codes(validate(command, good, more=asked)[1]) == ["evidence_missing", "other_commit"]


def test_two_files_of_one_suite(copied: Path, good: Path, command: Command) -> None:
    """Which of them is expected cannot be told, unless they are one."""
    folder = copied / "suites" / "quick"
    shutil.copy(folder / "good.yaml", folder / "again.yaml")
    assert validate(command, good) == (0, [])
    changed(folder / "again.yaml", lambda d: d["metrics"][0].update(margin=0.5))
    status, lines = validate(command, good)
    assert codes(lines) == ["cannot_be_expected"]
    assert "suites/quick/again.yaml and suites/quick/good.yaml have the id 'good', and differ" in lines[0]
    changed(copied / POLICY, lambda d: d["suites"].update({"suites/quick/again.yaml": RULE}))
    status, lines = validate(command, good)
    assert (status, len(lines)) == (1, 1)
    assert "suites/quick/good.yaml and suites/quick/again.yaml are one suite" in lines[0]


# --- what the policy admits and bounds ---

BOUNDS: dict[str, tuple[dict[str, Any], str]] = {
    "seeds": ({"least_seeds": 5}, "too_few_seeds"),
    "margin": ({"largest_margin": 0.01}, "margin_too_wide"),
    "age": ({"largest_age_days": 1e-9}, "too_old"),
    "a table that nothing says the runs of": ({"admit": []}, "table_without_runs"),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_of_the_policy(copied: Path, good: Path, command: Command, name: str) -> None:
    row, code = BOUNDS[name]
    admits(copied, **row)
    found = {c.split(" (")[0] for c in codes(validate(command, good)[1])}
    assert found == {code}
    admits(copied, stage="listed")
    assert validate(command, good) == (0, [])


# --- documents that were edited ---


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


@pytest.mark.parametrize("suite", ["good", "live", "losses"])
def test_no_number_of_a_document_can_be_edited(judged: Path, suite: str) -> None:
    """Every number, boolean and verdict is what the records give, or is another."""
    path = run_path(judged, suite)
    records = records_of(path.parents[1], suite)
    anew = judge_expected(records, of_checkout(judged))
    assert anew.judged is not None
    made = documents_anew(anew.judged, {})["run.json"]
    document = read(path)
    assert list(document_findings(document, made, "run.json")) == []
    unseen = [
        at
        for at in paths_of(document)
        if not list(document_findings(replaced(document, at, another), made, "run.json"))
    ]
    assert unseen == []


@pytest.mark.parametrize("suite", ["good", "worse"])
def test_so_it_is_in_documents_of_the_earlier_system(judged: Path, suite: str) -> None:
    document = earlier(read(run_path(judged, suite)))
    made = read(run_path(judged, suite))
    assert list(document_findings(document, made, "run.json")) == []
    unseen = [
        at
        for at in paths_of(document)
        if at[0] in ("suite", "counts", "stats", "pairs", "pass", "missing") and "ci_lower_ratio" not in at
        if not list(document_findings(replaced(document, at, another), made, "run.json"))
    ]
    assert unseen == []


EDITS: dict[str, Callable[[Document], object]] = {
    "a pair left out": lambda d: d["pairs"].pop(),
    "a pair twice": lambda d: d["pairs"].append(d["pairs"][0]),
    "a score": lambda d: d["pairs"][0].update(worldflux_score=99.0),
    "a statistic": lambda d: d["stats"].update(ci_upper_ratio=0.0),
    "a metric's verdict": lambda d: d["metrics"]["episode_return"].update(verdict="fail"),
    "a gate": lambda d: d["gates"]["coverage"].update(reason="all is well"),
    "a count": lambda d: d["counts"].update(expected=1),
    "a task left out": lambda d: d["suite"]["tasks"].pop(),
    "a value": lambda d: d["metrics"]["episode_return"]["values"]["alpha"]["official"].pop("0"),
    "another table": lambda d: d["sources"]["worldflux"].update(path="suites/quick/better.json"),
    "another warning": lambda d: d["warnings"].append("none"),
    "another commit": lambda d: d["suite_lock_ref"].update(resolved_upstream_commit="d" * 40),
    "components that nobody compared": lambda d: d.update(component_match={
        "required": True, "path": None, "present": False, "pass": True, "family": "fake", "result_count": 0,
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("beside", ["evidence", "records"])
def test_an_edited_document_is_found_by_what_stands_beside_it(
    good: Path, command: Command, name: str, beside: str
) -> None:
    (good.parent / {"evidence": "circumstances.json", "records": "evidence_bundle.zip"}[beside]).unlink()
    changed(good, EDITS[name])
    aggregate(command, good)
    wanted = "evidence_differs" if beside == "evidence" else "document_differs"
    status, lines = validate(command, good)
    assert (status, wanted in codes(lines)) == (1, True)


BROKEN_RECORDS: dict[str, tuple[str, Callable[[Document], object]]] = {
    "no names": ("good/circumstances.json", lambda d: d.pop("names")),
    "other names": ("good/circumstances.json", lambda d: d.update(names={"lock": 1, "tables": {}})),
    "an unknown key": ("good/circumstances.json", lambda d: d.update(extra=1)),
    "no such suite": ("run.json", lambda d: d["suites"].pop("suites/quick/good.yaml")),
    "another table": (
        "run.json",
        lambda d: d["suites"]["suites/quick/good.yaml"]["tables"].update(worldflux="0" * 64),
    ),
}


@pytest.mark.parametrize("name", BROKEN_RECORDS)
def test_records_that_were_broken_by_hand_are_a_finding(good: Path, command: Command, name: str) -> None:
    (good.parent / "evidence_bundle.zip").unlink()
    place, change = BROKEN_RECORDS[name]
    changed(good.parents[1] / place, change)
    status, lines = validate(command, good)
    found = set(codes(lines))
    assert status == 1
    assert found <= {"records_unreadable", "document_differs", "not_as_expected"}, lines


def test_the_document_of_another_suite(copied: Path, good: Path, command: Command) -> None:
    shutil.copy(run_path(copied, "worse"), good)
    found = codes(validate(command, good)[1])
    assert "evidence_differs" in found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=st.sampled_from([None, -1, 0, 1e308, "x", [], {}, True, "1", 2**70]))
def test_anything_in_any_place_is_refused_or_compared(
    judged: Path, tmp_path: Path, data: st.DataObject, value: Any
) -> None:
    """No value at any place gives a traceback."""
    original = read(run_path(judged, data.draw(st.sampled_from(["good", "live", "losses"]))))
    document = (
        earlier(original) if original["stats"]["sample_size"] and data.draw(st.booleans()) else original
    )
    at = data.draw(st.sampled_from(paths_of(document)))
    path = write(tmp_path / "run.json", replaced(document, at, lambda _: value))
    try:
        run = run_documents.read_any(path)
    except ParityError as error:
        assert "\n" not in error.line(), json.dumps(error.line())  # noqa: PT017
        return
    assert run.missing >= 0
    list(document_findings(run.document, original, "run.json"))
    list(lock_findings(run.document, read_lock(judged / LOCK)))
