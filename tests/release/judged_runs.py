"""Documents to start from, and what is done with them."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.conftest import FAKES, SUITE

Document = dict[str, Any]
Command = Callable[..., tuple[int, str, str]]
AGGREGATE = "reports/parity/all.json"
LOCK = "reports/parity/upstream_lock.json"
COMMIT = "c" * 40
POLICY = "reports/parity/suite_policy.json"
RULE: Document = {
    "family": "fake",
    "stage": "required",
    "evidence": "bundle",
    "admit": ["no_isolation", "no_project_commit", "component_match_missing", "oracle_commit_unknown",
              "candidate_table"],
}  # fmt: skip
PLANNED = {"family": "other", "stage": "listed"}
KEYS_OF_THE_EARLIER_SYSTEM = {
    "schema_version", "generated_at_utc", "suite", "sources", "evaluation_manifest", "artifact_integrity",
    "suite_lock_ref", "counts", "stats", "missing", "pairs", "pass", "evidence_bundle",
}  # fmt: skip


def table(path: Path, salt: str, factor: float = 1.0, seeds: int = 4) -> None:
    rng = random.Random(salt)
    rows = [
        {"task": t, "seed": s, "step": 1000, "score": 100 * factor + rng.gauss(0, 0.5)}
        for t in ("alpha", "beta")
        for s in range(seeds)
    ]
    path.write_text(json.dumps({"scores": rows}), encoding="utf-8")


def judged_project(root: Path) -> None:
    """Four quick suites with their backends, tables and lock; ``worse`` has the older format."""
    suites = root / "suites" / "quick"
    suites.mkdir(parents=True)
    shutil.copytree(FAKES, root / "backends")
    (root / "pytest.ini").write_text("[pytest]\nparity_workers = 0\n")
    for name, factor in (("official", 1.0), ("good", 1.0), ("worse", 0.8)):
        table(suites / f"{name}.json", name, factor)

    def side(name: str) -> Document:
        return {"path": f"{name}.json", "format": "canonical_json"}

    official = {**side("official"), "commit": COMMIT}
    one = {**SUITE, "seeds": 4, "official": {"artifact": official}}
    losses = [{"name": "loss.late", "rule": "equivalence", "margin": 0.1}]
    both = [*SUITE["metrics"], *losses]
    documents = {
        "good": {**one, "suite_id": "good", "worldflux": {"artifact": side("good")}},
        "losses": {**SUITE, "tasks": ["alpha"], "seeds": 2, "suite_id": "losses", "metrics": losses},
        "live": {**SUITE, "tasks": ["alpha"], "suite_id": "live", "metrics": both},
        "worse": {
            "suite_id": "worse", "family": "other", "tasks": ["alpha", "beta"], "upstream": official,
            "worldflux": side("worse"),
        },
    }  # fmt: skip
    for name, document in documents.items():
        (suites / f"{name}.yaml").write_text(json.dumps(document), encoding="utf-8")
    official_sha256 = hashlib.sha256((suites / "official.json").read_bytes()).hexdigest()
    lock = {
        "schema_version": "worldflux.parity.lock.v1",
        "generated_at_utc": "2026-01-01T00:00:00+00:00",
        "suites": {name: {"repo": "https://example.invalid/owner/name", "commit": COMMIT,
                          "oracle_format": "canonical_json", "oracle_path": "suites/quick/official.json",
                          "oracle_in": "project",
                          "oracle_files": {"suites/quick/official.json": official_sha256}}
                   for name in documents},
    }  # fmt: skip
    reports = root / "reports" / "parity"
    reports.mkdir(parents=True)
    (reports / "upstream_lock.json").write_text(json.dumps(lock), encoding="utf-8")
    write(root / POLICY, policy_of({"suites/quick/good.yaml": {}, "suites/quick/worse.yaml": PLANNED}))


def policy_of(suites: Mapping[str, Mapping[str, Any]]) -> Document:
    """A policy of these suite files: keys of their rows beside what a project of tables and fakes has."""
    rows = {path: {**RULE, **own} for path, own in suites.items()}
    return {"schema_version": "worldflux.parity.policy.v2", "suites": rows, "signers": []}


def earlier(run: Document) -> Document:
    """A document as the earlier system has it: its keys alone."""
    kept = {k: v for k, v in json.loads(json.dumps(run)).items() if k in KEYS_OF_THE_EARLIER_SYSTEM}
    for key in ("expected", "missing", "unused"):
        del kept["counts"][key]
    kept["evaluation_manifest"] = {"runner": "earlier", "seed_policy": "suite"}
    for source in kept["sources"].values():
        for key in ("dropped_rows", "merged_rows"):
            source.pop(key, None)
    del kept["suite_lock_ref"]["table_pinned"]
    kept["suite_lock_ref"].pop("oracle_commit", None)
    for rows in kept["missing"].values():
        rows[:] = [{"task": m["task"], "seed": m["seed"]} for m in rows]
    kept["pass"] = kept["stats"]["pass_non_inferiority"]
    return kept


def run_path(root: Path, suite: str) -> Path:
    return root / "reports" / "parity" / "r" / suite / "run.json"


def read(path: Path) -> Document:
    document: Document = json.loads(path.read_text(encoding="utf-8"))
    return document


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def aggregate(command: Command, *runs: Path) -> None:
    status, _, err = command("aggregate", "--output", AGGREGATE, "--runs-glob", *runs)
    assert status == 0, err


def changed(path: Path, change: Callable[[Document], object]) -> None:
    document = read(path)
    change(document)
    write(path, document)


def codes(lines: list[str]) -> list[str]:
    return [line.split(": ")[2].split(" (")[0] for line in lines]
