"""Results of earlier runs count where a run would be the same, and nobody chooses which of several does."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.evidence.statement import UNSIGNED
from pytest_worldflux_parity.execution.attempt_files import AttemptFolders
from pytest_worldflux_parity.execution.chain import prefix_of
from pytest_worldflux_parity.execution.records import StoredLine
from pytest_worldflux_parity.execution.store import SuiteStore
from pytest_worldflux_parity.inputs.context import RunContext
from pytest_worldflux_parity.judgement.fingerprint import entry_of, fingerprint, prepare_sealed, read_session
from pytest_worldflux_parity.judgement.reuse import Reuse, judge_reuse
from pytest_worldflux_parity.session.programs import describe_programs
from pytest_worldflux_parity.session.reuse import bring, plan_reuse
from tests import forked
from tests.components import goldens
from tests.conftest import Project
from tests.evidence.manipulations import Members, forged_bundle, packed_members_of

REUSE = ("--parity-reuse", "reports/parity/*")
FACTOR = 'level *= float(request.recipe.get("worldflux_factor", 1.0))'


def suite(project: Project, seeds: int, **changes: Any) -> None:
    project.suite(tasks=["alpha"], seeds=seeds, **changes)


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a run ``early`` of two seeds; its suite asks for four now."""
    project = Project(tmp_path_factory.mktemp("early"))
    suite(project, 2)
    assert project.run(run_id="early").ret == pytest.ExitCode.OK
    suite(project, 4)
    return project


@pytest.fixture(scope="module")
def third(early: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With a run ``third`` that took what it could."""
    project = early.copied(tmp_path_factory.mktemp("third") / "project")
    result = project.run(*REUSE, "-v", "--junitxml=junit.xml", run_id="third")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    (project.root / "third.log").write_text("\n".join(result.outlines), encoding="utf-8")
    return project


@pytest.fixture
def project(early: Project, tmp_path: Path) -> Project:
    return early.copied(tmp_path / "project")


def context_of(project: Project, run_id: str, **fields: Any) -> RunContext:
    """What a session asks, in this process."""
    folders, lock = (project.root / "backends",), project.root / "no_lock.json"
    run_dir = project.run_dir(run_id)
    return RunContext(project.root, "quick", run_id, run_dir, "cpu", lock, folders, **fields)


def foretold(project: Project, *arguments: str) -> str:
    """What a session says that it would take, without running anything."""
    result = project.run("--collect-only", "-q", *(arguments or REUSE), run_id="next")
    assert not project.run_dir("next").joinpath("run.json").exists()
    return "\n".join(line for line in result.outlines if line.startswith("parity: "))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, (path, old)
    path.write_text(text.replace(old, new), encoding="utf-8")


# --- only what is new is run ---


def test_more_seeds_cost_only_the_new_ones(third: Project) -> None:
    lines = third.lines(run_id="third")
    reused = {(x["system"], x["seed"]) for x in lines if "reused" in x}
    assert reused == {(s, n) for s in ("official", "worldflux") for n in (0, 1)}
    ran = {(x["system"], x["seed"]) for x in lines} - reused
    assert ran == {(s, n) for s in ("official", "worldflux") for n in (2, 3)}
    folders = third.run_dir("third") / "fake_quick" / "executions" / "alpha"
    assert sorted(path.name for path in folders.iterdir()) == ["seed_2", "seed_3"]
    own = {x["request_id"]: x["metrics"] for x in third.lines(run_id="early")}
    assert all(x["metrics"] == own[x["request_id"]] for x in lines if "reused" in x)


def test_every_output_says_which_results_are_reused(third: Project) -> None:
    terminal = (third.root / "third.log").read_text(encoding="utf-8")
    assert "parity: fake_quick: 4 of 8 runs are reused, 4 of early" in terminal
    assert "alpha[seed=1] PASSED (reused from early)" in terminal
    assert terminal.count("PASSED (reused") == 2
    assert "with results of the earlier runs early (--parity-reuse): " in terminal
    assert "reused                 4 of 8 results are reused from early; runs elsewhere" in terminal
    document = third.document(run_id="third")
    assert "4 of 8 results are reused from early" in json.dumps(document["gates"])
    assert third.document("run.json", "third")["choices"]["reuse"].startswith("results of the earlier runs")
    cases = {case.get("name"): case for case in xml.parse(third.root / "junit.xml").iter("testcase")}
    properties = {p.get("name"): p.get("value") for p in cases["alpha[seed=0]"].iter("property")}
    assert properties["official.reused_from"] == properties["worldflux.reused_from"] == "early"
    assert not [p for p in cases["alpha[seed=3]"].iter("property") if "reused" in str(p.get("name"))]


def test_collecting_alone_tells_and_writes_nothing(project: Project) -> None:
    assert foretold(project) == "parity: fake_quick: 4 of 8 runs are reused, 4 of early"


def test_a_resume_goes_on_with_what_was_reused_and_takes_what_nobody_began(project: Project) -> None:
    project.run("suites/quick/fake_quick.yaml::alpha[seed=0]", run_id="third")
    own = project.lines(run_id="third")
    result = project.run("--parity-resume", *REUSE, run_id="third")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    lines = project.lines(run_id="third")
    assert lines[: len(own)] == own
    assert {x["seed"] for x in lines if "reused" in x} == {1}
    assert project.document("run.json", "third")["choices"]["reuse"]
    again = project.run("--parity-resume", run_id="third")
    assert again.ret == pytest.ExitCode.OK, again.outlines
    assert project.lines(run_id="third") == lines


@pytest.mark.long
def test_no_job_is_submitted_for_what_is_reused(project: Project) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    project.ini("parity_workers = 0", "parity_slurm_cluster = local")
    engine = ("--parity-engine=slurm", "--device=cpu", "-p", "no:xdist")
    assert project.run(*REUSE, *engine, run_id="third").ret == pytest.ExitCode.OK
    jobs = (project.run_dir("third") / "fake_quick").rglob("slurm_job.json")
    assert sorted(path.parents[2].name for path in jobs) == ["seed_2", "seed_2", "seed_3", "seed_3"]


def test_what_was_reused_is_not_passed_on(third: Project, tmp_path: Path) -> None:
    """A result is taken from the run that made it: with that run gone, it is made anew."""
    project = third.copied(tmp_path / "project")
    shutil.rmtree(project.run_dir("early"))
    assert foretold(project) == "parity: fake_quick: 4 of 8 runs are reused, 4 of third"


def test_an_ini_file_may_name_runs_before_there_are_any_and_a_command_may_not(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    suite(project, 2)
    result = project.run("--parity-reuse", "reports/none/*", "--collect-only", run_id="next")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--parity-reuse 'reports/none/*' names no run" in "\n".join(result.errlines)
    project.ini("parity_workers = 0", "parity_reuse = reports/parity/*")
    assert "0 of 4 runs are reused" in "\n".join(project.run("--collect-only", run_id="next").outlines)


# --- what is not the same is not taken ---


def other_program(project: Project) -> None:
    edit(project.root / "backends" / "program.py", "import json\n", "import json  # another\n")


def other_recipe(project: Project) -> None:
    suite(project, 4, recipe={"level": 101.0})


def other_session(change: Callable[[dict[str, Any]], object]) -> Callable[[Project], None]:
    """As if the earlier run had been sealed with something else."""

    def edit_session(project: Project) -> None:
        path = project.run_dir("early") / "run.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        change(document)
        path.write_text(json.dumps(document), encoding="utf-8")

    return edit_session


def _entry(document: dict[str, Any]) -> dict[str, Any]:
    (entry,) = document["suites"].values()
    return dict(entry)


def other_packages(document: dict[str, Any]) -> None:
    for program in _entry(document)["programs"].values():
        program["environment"]["packages"]["numpy"] = "1.0"
        program["environment"]["sha256"] = "0" * 64


def edited_record(project: Project) -> None:
    edit(project.out_dir("official", "alpha", 0, run_id="early") / "attempt_1" / "metrics.json", "100", "101")


def edited_log(project: Project) -> None:
    edit(project.run_dir("early") / "fake_quick" / "parity_runs.jsonl", '"attempt":1', '"attempt":2')


def shorter_log(project: Project) -> None:
    path = project.run_dir("early") / "fake_quick" / "parity_runs.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def no_sessions(project: Project) -> None:
    (project.run_dir("early") / "fake_quick" / "sessions.jsonl").unlink()


def no_request(project: Project) -> None:
    (project.out_dir("official", "alpha", 0, run_id="early") / "attempt_1" / "request.json").unlink()


REFUSED: dict[str, tuple[Callable[[Project], None], int, str]] = {
    "a changed program": (other_program, 0, "it ran other files"),
    "another recipe": (other_recipe, 0, ""),
    "another device": (other_session(lambda d: _set(d, "device", "cuda")), 0, "it ran on cuda"),
    "another version of a package": (other_session(other_packages), 0, "it ran another program or packages"),
    "another plugin": (other_session(lambda d: d.update(plugin_sha256="0" * 64)), 0, "version of the plugin"),
    "an earlier plugin": (other_session(lambda d: d.pop("plugin_sha256")), 0, "version of the plugin"),
    "an edited record": (edited_record, 3, "metrics.json is not the file that was stored"),
    "an edited log": (edited_log, 0, "a line was changed, taken away or put in"),
    "a log that lost its end": (shorter_log, 0, "lines are gone or changed"),
    "a log without sessions": (no_sessions, 0, "sessions.jsonl is gone"),
    "a record without its request": (no_request, 0, "attempt_1 has no readable request"),
}


def _set(document: dict[str, Any], key: str, value: object) -> None:
    for entry in document["suites"].values():
        entry[key] = value


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_the_same_or_not_whole_is_run_again(what: str, project: Project) -> None:
    change, count, words = REFUSED[what]
    change(project)
    told = foretold(project)
    assert f"fake_quick: {count} of 8 runs are reused" in told
    assert words in told
    assert ("of early not reused: " in told) is bool(words)


def change_a_byte(data: st.DataObject, folder: Path) -> None:
    """Of any file that an earlier run left: one byte is another, or all from there on is gone."""
    files = [p for p in sorted(folder.rglob("*")) if p.suffix in (".json", ".jsonl") and p.stat().st_size]
    path = data.draw(st.sampled_from([p for p in files if p.name != "aggregate.json"]))
    held = path.read_bytes()
    at = data.draw(st.integers(0, len(held) - 1))
    after = data.draw(st.sampled_from([held[at + 1 :], None]))
    byte = bytes([held[at] ^ data.draw(st.integers(1, 255))])
    path.write_bytes(held[:at] if after is None else held[:at] + byte + after)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_whatever_is_changed_of_an_earlier_run_no_other_number_is_taken(
    early: Project, data: st.DataObject
) -> None:
    told = {x["request_id"]: x["metrics"] for x in early.lines(run_id="early")}
    with tempfile.TemporaryDirectory() as folder:
        project = early.copied(Path(folder) / "project")
        change_a_byte(data, project.run_dir("early"))
        context = context_of(project, "next", reuse=("reports/parity/*",))
        file = prepare_sealed(project.root / "suites" / "quick" / "fake_quick.yaml", context)
        entry = describe_programs(fingerprint(file, context), file, context)
        plan = plan_reuse(file, entry, context)
        assert all(one.line["metrics"] == told[one.line["request_id"]] for one in plan.found)
        bring(plan, context)
        kept = [line for line in SuiteStore(context.run_dir, "fake_quick").read().lines if "reused" in line]
        assert len(kept) == len(plan.found)


# --- which of several ---


def with_luck(project: Project) -> Path:
    """A candidate that reaches less until a file is there."""
    lucky = project.root / "lucky"
    edit(
        project.root / "backends" / "program.py",
        FACTOR,
        f"level *= 1.0 if Path({str(lucky)!r}).exists() else 0.7",
    )
    return lucky


@pytest.mark.parametrize(
    ("name", "first"), [pytest.param("*", "bad", marks=pytest.mark.long), ("good", "good")]
)
def test_two_successes_with_other_numbers_are_a_finding_whichever_is_named(
    name: str, first: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project")
    lucky = with_luck(project)
    suite(project, 2)
    project.run(run_id="bad")
    lucky.touch()
    project.run(run_id="good")
    # With several pairs at a time, too.
    result = project.run("--parity-reuse", f"reports/parity/{name}", "-o", "parity_workers=2", run_id="next")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    document, text = project.document(run_id="next"), "\n".join(result.outlines)
    assert document["verdict"] != "pass"
    assert "conflicting_success (worldflux, alpha, seed 0): attempt 1 of the run " in json.dumps(document)
    assert {x["reused"]["run_id"] for x in project.lines(run_id="next")} == {first}
    assert "4 further successes of the same requests, not used" in text
    assert "| attempts of worldflux | 2 ok, 2 repeated |" in project.report("next")
    assert ("not named, and beside: bad" in text) is (first == "good")
    assert ("bad stands beside and answered 4 of these requests" in text) is (first == "good")


def test_a_run_that_is_left_out_is_told_of_where_its_results_are_made_anew(project: Project) -> None:
    """The good seeds of one run, and new tries of the others'."""
    project.run("suites/quick/fake_quick.yaml::alpha[seed=3]", run_id="late")
    result = project.run("--parity-reuse", "reports/parity/early", run_id="next")
    text = "\n".join(result.outlines)
    assert "late stands beside and answered 2 of these requests, and --parity-reuse does not name it" in text
    assert "with results of the earlier runs early and not of late (--parity-reuse): " in text


@pytest.mark.long
def test_the_folder_of_a_run_that_was_copied_is_that_run(project: Project) -> None:
    shutil.copytree(project.run_dir("early"), project.run_dir("again"))
    assert project.run(*REUSE, run_id="next").ret == pytest.ExitCode.OK
    assert "4 of 8 results are reused from early;" in project.report("next").replace(" |", ";")


@pytest.mark.parametrize("option", [pytest.param((), marks=pytest.mark.long), REUSE])
def test_a_session_that_was_killed_while_it_took_results_is_gone_on_with(
    option: tuple[str, ...], third: Project, tmp_path: Path
) -> None:
    project = third.copied(tmp_path / "project")
    folder = project.run_dir("third") / "fake_quick"
    for path in folder.iterdir():
        if path.name not in ("reused", "parity_runs.jsonl", "sessions.jsonl"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, count in (("parity_runs.jsonl", 1), ("sessions.jsonl", 1)):
        kept = (folder / name).read_bytes().splitlines(keepends=True)[:count]
        (folder / name).write_bytes(b"".join(kept))
    result = project.run("--parity-resume", *option, run_id="third")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    lines = project.lines(run_id="third")
    assert (len(lines), sum("reused" in line for line in lines)) == (8, 4 if option else 1)


def test_a_run_beside_whose_log_is_broken_has_its_requests_run_again(project: Project) -> None:
    """Else the earlier of two would only have to be broken."""
    suite(project, 2)
    project.run(run_id="late")
    assert "4 of 4 runs are reused, 4 of early" in foretold(project)
    edited_log(project)
    told = foretold(project, "--parity-reuse", "reports/parity/late")
    assert "0 of 4 runs are reused" in told
    assert "4 results of early not reused: line 2 of parity_runs.jsonl" in told


# --- who may not ---


@pytest.mark.parametrize("claim", ["proof_grade", "none"])
def test_a_claim_takes_no_results(claim: str, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    policy = {"mode": "fixed", "values": [0, 1, 2, 3, 4]}
    match = None if claim != "none" else "none"
    project.proof(claim=claim, tasks=["alpha"], seed_policy=policy, component_match=match)
    goldens.declare(project.root / "backends", "  deadline_sec: 60\n")
    goldens.behave(project.root / "golden", "ok")
    project.ini("parity_workers = 0", "parity_reuse = reports/parity/*")
    result = project.run("--collect-only", run_id="next")
    text = "\n".join(result.outlines)
    assert ("a claim counts its looks" in text) is (claim != "none"), text
    assert ("0 of 10 runs are reused" in text) is (claim == "none")


# --- what is kept is held against what counts ---


@pytest.fixture(scope="module")
def judged(third: Project) -> tuple[Project, RunContext]:
    context = replace(context_of(third, "third"), resume=True, choices={"reuse": "said"})
    return third, context


def judge(project: Project, context: RunContext, change: Callable[[dict[str, Any]], object]) -> Reuse:
    """What is said of the lines of ``third`` once one of them was changed."""
    file = prepare_sealed(project.root / "suites" / "quick" / "fake_quick.yaml", context)
    lines = [dict(line) for line in SuiteStore(context.run_dir, "fake_quick").read().lines]
    change(lines[0])
    used = {(x["system"], x["task_id"], x["seed"]): StoredLine(x) for x in lines}
    entry = entry_of(read_session(context.run_dir), "fake_quick", "run.json")
    return judge_reuse(file.parts[0], context, used, entry, AttemptFolders(context.run_dir))


_VALUES = st.one_of(st.none(), st.integers(), st.text(max_size=8), st.lists(st.text(max_size=4), max_size=2))


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_whatever_is_changed_of_a_reused_line_is_a_finding(
    judged: tuple[Project, RunContext], data: st.DataObject
) -> None:
    """But for the path, which is a word for people, and the hash of what stands before it."""
    found: list[bool] = []

    def change(line: dict[str, Any]) -> None:
        before = json.dumps(line, sort_keys=True)
        told = [("reused", key) for key in line["reused"] if key != "path"]
        of_line = [("", k) for k in line if k not in ("sha256_before", "task_id", "seed", "system")]
        place, key = data.draw(st.sampled_from([*told, *of_line]))
        changed = line
        if place:
            line[place] = changed = dict(line[place])
        if data.draw(st.booleans()):
            changed[key] = data.draw(_VALUES)
        else:
            del changed[key]
        found.append(json.dumps(line, sort_keys=True) != before and (place, key) != ("", "reused"))

    reuse = judge(*judged, change)
    if found[0]:
        assert {f.code for f in reuse.findings} == {"reuse_not_shown"}


def test_what_is_whole_is_no_finding(judged: tuple[Project, RunContext]) -> None:
    reuse = judge(*judged, lambda line: None)
    assert (reuse.findings, reuse.sentence) == ((), "4 of 8 results are reused from early")


def verified(project: Project, data: bytes) -> tuple[int, str]:
    path = project.root / "forged.zip"
    path.write_bytes(data)
    # From where no checkout expects anything else.
    done = forked.run(["worldflux-parity", "verify", path], "/")
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def _bundle(project: Project) -> bytes:
    return (project.run_dir("third") / "fake_quick" / "evidence_bundle.zip").read_bytes()


def _kept(members: Members, name: str) -> str:
    return next(m for m in members if "/reused/" in m and m.endswith(name))


def forge_record(members: Members) -> None:
    name = _kept(members, "0001.jsonl")
    members[name] = members[name].replace(b"100", b"101", 1)


def forge_log(members: Members) -> None:
    name = _kept(members, "parity_runs.jsonl")
    members[name] = members[name].replace(b'"attempt":1', b'"attempt":3', 1)


def forge_session(members: Members) -> None:
    name = _kept(members, "run.json")
    members[name] = members[name].replace(b'"retention"', b' "retention"', 1)


def lose_sessions(members: Members) -> None:
    del members[_kept(members, "sessions.jsonl")]


def add_another(members: Members) -> None:
    name = _kept(members, "run.json")
    members[name.replace("run.json", "notes.json")] = b"{}"


FORGED = {
    forge_record: "metrics.json is not the file that was stored",
    forge_log: "does not follow from what stands before it",
    forge_session: "run.json is not that of early when it was counted",
    lose_sessions: "sessions.jsonl is gone",
    add_another: "is no member that this plugin writes",
}


@pytest.mark.parametrize("forge", [None, *FORGED])
def test_a_bundle_holds_what_it_took_and_follows_from_it(
    forge: Callable[[Members], None] | None, third: Project
) -> None:
    members = packed_members_of(_bundle(third))
    if forge is None:
        status, text = verified(third, _bundle(third))
        assert (status, "recomputed: 1 reports from the raw records, all equal" in text) == (5, True), text
        return
    said = json.loads(members[UNSIGNED])["predicate"]
    forge(members)
    forged = forged_bundle(members, lambda made: made.update({**said, "bundle": made["bundle"]}))
    status, text = verified(third, forged)
    assert (status, FORGED[forge] in text) == (2, True), text


# --- the prefix of a log ---


def _heads(data: bytes) -> Iterator[bytes]:
    for end in range(len(data) + 1):
        if end in (0, len(data)) or data[end - 1 : end] == b"\n" or data[end : end + 1] == b"\n":
            yield data[:end]


@given(st.lists(st.binary(max_size=4).map(lambda b: b.replace(b"\n", b"")), max_size=4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_log_that_grew_is_kept_as_it_was(lines: list[bytes], ends: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ends else b"")
    for before in _heads(data):
        assert prefix_of(data, hashlib.sha256(before).hexdigest()) == before
    assert prefix_of(data, "0" * 64) is None
