"""A sealed run's lines are tied to the files that they were made of; without the tie nothing passes."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.execution.store import SuiteStore
from pytest_worldflux_parity.inputs.context import RunContext
from pytest_worldflux_parity.inputs.prepare import PreparedFile, prepare
from pytest_worldflux_parity.judgement.fingerprint import entry_of, read_session
from pytest_worldflux_parity.judgement.judge_run import Circumstances, judge_run
from pytest_worldflux_parity.judgement.proof_verdict import ProofJudgement
from tests.conftest import Project

Line = dict[str, Any]
At = tuple[str, ...]
TIES: tuple[At, ...] = (
    ("artifacts",), ("artifacts", "metrics"), ("artifacts_sha256",), ("artifacts_sha256", "metrics"),
)  # fmt: skip


@dataclass
class Judged:
    """A run of ours that is there, judged with other lines."""

    prepared: PreparedFile
    context: RunContext
    lines: list[Line]

    def judgement(self, lines: list[Line]) -> ProofJudgement:
        store = SuiteStore(self.context.run_dir, self.prepared.suite_id)
        store.path.write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
        entry = entry_of(read_session(self.context.run_dir), self.prepared.suite_id, "run.json")
        return judge_run(self.prepared, self.context, store.read(), Circumstances(resumed=True), entry)


def ran(project: Project, name: str, **changes: Any) -> Judged:
    path = project.proof(name, tasks=["alpha"], statistical={"bayesian": {"draws": 1000}}, **changes)
    project.run(str(path), run_id=name)
    folder = project.run_dir(name)
    unchain(folder, name)
    lock = project.root / "reports" / "parity" / "upstream_lock.json"
    context = RunContext(
        project.root, "proof", name, folder, "cpu", lock, (project.root / "backends",), resume=True
    )
    return Judged(prepare(path, context), context, project.lines(name, name))


def unchain(folder: Path, name: str) -> None:
    """Make it a run of a version whose logs had no chain: lines are edited here."""
    for document in ("sessions.jsonl", "circumstances.json", "equivalence_report.json"):
        (folder / name / document).unlink()
    session = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for entry in session["suites"].values():
        del entry["sessions_sha256"]
    (folder / "run.json").write_text(json.dumps(session), encoding="utf-8")
    log = folder / name / "parity_runs.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        del line["sha256_before"]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def places(value: Any, at: At = ()) -> Iterator[At]:
    """The places of all keys of a line."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield (*at, key)
        yield from places(inner, (*at, key))


def without(line: Line, at: At) -> Line:
    kept = copy.deepcopy(line)
    inner = kept
    for key in at[:-1]:
        inner = inner.get(key, {})
    inner.pop(at[-1], None)
    return kept


def test_a_line_without_its_tie_is_a_finding_and_no_omission_helps(project: Project) -> None:
    good, worse = (
        ran(project, "good"),
        ran(project, "worse", recipe={"level": 100.0, "worldflux_factor": 0.8}),
    )
    assert good.judgement(good.lines).verdict == "pass"
    assert worse.judgement(worse.lines).verdict == "fail"
    at = [*places(good.lines[0])]
    assert set(TIES) < set(at)

    # Both dropped: what passed before.
    untied = without(without(good.lines[0], TIES[1]), TIES[3])
    found = good.judgement([untied, *good.lines[1:]])
    assert [f.code for f in found.findings] == ["record_without_artifact"]
    assert "its path and its sha256" in found.findings[0].detail

    drops = st.sets(
        st.tuples(st.integers(0, len(good.lines) - 1), st.one_of(st.sampled_from(at), st.sampled_from(TIES))),
        min_size=1,
        max_size=4,
    )

    @settings(max_examples=60, deadline=None)
    @given(drops)
    def dropped(omissions: set[tuple[int, At]]) -> None:
        for run in (good, worse):
            lines = [*run.lines]
            for index, place in omissions:
                lines[index] = without(lines[index], place)
            verdict = run.judgement(lines).verdict
            assert verdict != "pass" or run is good
            if any(place in TIES for _, place in omissions):
                assert verdict != "pass"

    dropped()


def test_each_part_of_the_tie_is_needed_in_each_line(project: Project) -> None:
    run = ran(project, "good")
    for tie, index in itertools.product(TIES, range(len(run.lines))):
        lines = [without(x, tie) if i == index else x for i, x in enumerate(run.lines)]
        judgement = run.judgement(lines)
        assert judgement.verdict != "pass"
        assert {f.code for f in judgement.findings} & {"record_without_artifact", "unreadable_record"}


def test_a_line_is_tied_to_its_own_attempt(project: Project) -> None:
    """A record elsewhere in the run directory, with its right sha256, is not what the attempt wrote."""
    run = ran(project, "good")
    own = Path(run.lines[0]["artifacts"]["metrics"])
    forged = run.context.run_dir / own.parent.parent / "attempt_x" / "metrics.json"
    forged.parent.mkdir()
    forged.write_bytes((run.context.run_dir / own).read_bytes())
    lines = copy.deepcopy(run.lines)
    lines[0]["artifacts"]["metrics"] = str(forged.relative_to(run.context.run_dir))
    found = run.judgement(lines).findings
    assert "record_differs_from_artifact" in {f.code for f in found}
