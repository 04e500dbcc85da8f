"""Projects to attack, edits by hand, and the release that is to refuse what came of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tests import forked
from tests.components import goldens
from tests.conftest import SUITE, Project
from tests.release.judged_runs import AGGREGATE, LOCK, table, write

REPO = "https://example.org/fake"
FACTOR = 'level *= float(request.recipe.get("worldflux_factor", 1.0))'
WORSE = "level *= 0.7"
POLICY = "reports/parity/suite_policy.json"
TABLE = "suites/quick/official.json"
ADMITTED = ("no_isolation", "no_project_commit", "component_match_missing", "oracle_commit_unknown")
# One task and four seeds a side: the fewest runs with which both tracks pass.
SMALL: Mapping[str, Any] = {
    "tasks": ["alpha"],
    "statistical": {"bayesian": {"draws": 1000}},
}


class AcceptedError(AssertionError):
    """What should have been refused was accepted; ``raises`` of an xfail, so that nothing else is excused."""


# --- projects ---


def quick(project: Project, name: str = "fake_quick", **changes: Any) -> None:
    """A quick suite whose official side is a table that the lock file knows."""
    path = project.suite(name, tasks=SMALL["tasks"], seeds=4, official=OFFICIAL, **changes)
    table(path.with_name("official.json"), "official")


TABLE = "suites/quick/official.json"
OFFICIAL = {"artifact": {"path": "official.json", "format": "canonical_json", "commit": goldens.COMMIT}}


def proof(project: Project, **changes: Any) -> None:
    """A proof suite both sides of which run."""
    project.proof(**{**SMALL, **changes})


def lock(project: Project, name: str = LOCK, *, pinned: Path | None = None) -> Path:
    """The lock file of the project's suites and their table, and the policy that requires them.

    Args:
        pinned: the golden folder that the lock file pins.
    """
    policy(project)
    entry: dict[str, Any] = {
        "repo": REPO, "commit": goldens.COMMIT, "oracle_format": "canonical_json", "oracle_path": TABLE,
        "oracle_in": "project",
    }  # fmt: skip
    if (project.root / TABLE).exists():
        entry["oracle_files"] = {TABLE: hashlib.sha256((project.root / TABLE).read_bytes()).hexdigest()}
    document: dict[str, Any] = {
        "schema_version": "worldflux.parity.lock.v1",
        "generated_at_utc": "2026-01-01T00:00:00Z",
        "suites": dict.fromkeys((SUITE["suite_id"], "fake_equivalence", "fake_proof"), entry),
    }
    if pinned:
        sha256 = sha256_of(pinned / "manifest.json")
        row = {"suite": suite_of(project), "manifest_sha256": sha256, "holds": ["encoder/z", "loss/value"]}
        document["goldens"] = {"fake": row}
    return write(project.root / name, document)


def policy(project: Project, *admit: object, **bounds: Any) -> Path:
    """The policy: every suite of the project is required, with evidence.

    Args:
        admit: beside what a project without git, isolation and components cannot have.
        bounds: keys of each suite.
    """
    rule = {"family": "fake", "stage": "required", "evidence": "bundle", "admit": [*ADMITTED, *admit]}
    suites = sorted(
        path.relative_to(project.root).as_posix() for path in project.root.glob("suites/*/*.yaml")
    )
    document = {
        "schema_version": "worldflux.parity.policy.v2",
        "suites": {path: {**rule, **bounds} for path in suites},
        "signers": [],
    }
    return write(project.root / POLICY, document)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def matched(project: Project) -> None:
    """The true golden folder, pinned, and a match program that is compared with it."""
    goldens.declare(project.root / "backends", "  deadline_sec: 60\n")
    lock(project, pinned=goldens.behave(project.root / "golden", "ok"))


def suite_of(project: Project) -> str:
    return f"fake_{project.track}"


# --- by hand ---


def edit(path: Path, old: str, new: str) -> None:
    """Replace in a file what must stand there."""
    text = path.read_text(encoding="utf-8")
    assert old in text, (path, old)
    path.write_text(text.replace(old, new), encoding="utf-8")


def program(project: Project) -> Path:
    """The program of both sides."""
    return project.root / "backends" / "program.py"


def match_program(project: Project) -> Path:
    return project.root / "backends" / "match_program.py"


# --- the release ---


@dataclass(frozen=True)
class Answer:
    """What the command said, and its exit status."""

    status: int
    text: str


def ask(place: Project | Path, *arguments: object) -> Answer:
    """``worldflux-parity`` in a project, or in a folder."""
    done = forked.run(["worldflux-parity", *arguments], place if isinstance(place, Path) else place.root)
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    return Answer(done.returncode, text)


def released(project: Project, run_id: str, suite: str | None = None) -> Answer:
    """What a release says that requires the suite and is shown this run of it; 0: it goes on."""
    suite = suite or suite_of(project)
    name = "run.json" if project.track == "quick" else "equivalence_report.json"
    path = project.run_dir(run_id) / suite / name
    if not path.exists():
        return Answer(1, f"{path} is not there")
    joined = ask(project, "aggregate", "--runs-glob", path, "--output", AGGREGATE)
    if joined.status:
        assert joined.status == 1, joined.text
        return joined
    words = ("--aggregate", AGGREGATE, "--required-suite", suite, *_of_one(project, suite))
    answer = ask(project, "validate", "--run", path, *words)
    # 2 is a mistake in the arguments: that is no refusal.
    assert answer.status in (0, 1), answer.text
    return answer


def _of_one(project: Project, suite: str) -> tuple[str, ...]:
    """The project's policy where this suite alone is required: of the others no run is shown."""
    path = project.root / POLICY
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if not isinstance(document.get("suites"), dict):
        return ()
    for name, row in document["suites"].items():
        row["stage"] = row["stage"] if Path(name).stem == suite else "listed"
    own = write(path.with_name("policy_of_one.json"), document)
    return "--policy", str(own)


def assert_released(project: Project, run_id: str, suite: str | None = None) -> None:
    answer = released(project, run_id, suite)
    assert answer.status == 0, answer.text


def assert_not_released(
    project: Project, run_id: str, suite: str | None = None, *, codes: Sequence[str] = ()
) -> None:
    """A release that requires the suite stops at this run.

    Args:
        codes: of findings that it has to say.
    """
    answer = released(project, run_id, suite)
    if answer.status == 0:
        raise AcceptedError(answer.text)
    assert [code for code in codes if f": {code}" not in answer.text] == [], answer.text


def document(project: Project, run_id: str, suite: str | None = None) -> dict[str, Any]:
    """What the run says of its verdict: ``run.json``, or what an equivalence report says of all."""
    path = project.run_dir(run_id) / (suite or suite_of(project))
    if project.track == "quick":
        return cast(dict[str, Any], json.loads((path / "run.json").read_text(encoding="utf-8")))
    report = json.loads((path / "equivalence_report.json").read_text(encoding="utf-8"))
    return cast(dict[str, Any], report["global"])
