"""A run directory of an invented proof suite, and what makes its documents from its raw records.

The documents are made by the statistics and the integrity checks of the package, so that a bundle of such a
run passes or fails for the reasons for which a real one does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import GoldenError, StoreError
from pytest_worldflux_parity.evidence import BundleInfo, build
from pytest_worldflux_parity.evidence.attempts import PackedAttempts
from pytest_worldflux_parity.execution.attempt_end import clean_attempt, clean_document, clean_texts
from pytest_worldflux_parity.execution.attempt_files import AttemptFiles, AttemptFolders
from pytest_worldflux_parity.execution.cleaning import Cleaner, cleaner
from pytest_worldflux_parity.execution.store import SuiteStore
from pytest_worldflux_parity.inputs.golden import read_arrays
from pytest_worldflux_parity.judgement.proof.decision import judge_proof
from pytest_worldflux_parity.judgement.proof.results import ProofGates
from pytest_worldflux_parity.judgement.proof.stability import stability
from pytest_worldflux_parity.judgement.stats.measurements import Observed, Value
from pytest_worldflux_parity.reporting.proof_documents import (
    coverage_document,
    equivalence_document,
    provenance,
    stability_document,
)
from pytest_worldflux_parity.suite.proof_settings import (
    BayesianRule,
    MetricRule,
    ProofSettings,
    ProofTask,
    SeedPolicy,
)

# Bytes of a bundle and a key -> the exit status and the lines of ``verify``.
Verify = Callable[..., tuple[int, str]]

SUITE_ID, RUN_ID = "example_proof", "r1"
SYSTEMS = ("official", "worldflux")
METRIC = "final_return_mean"
BELOW = f"run/{SUITE_ID}"
PAIRS = [(task, seed) for task in ("task-0", "task-1") for seed in range(4)]
SUITE: dict[str, Any] = {
    "suite_id": SUITE_ID,
    "tasks": ["task-0", "task-1"],
    "seeds": 4,
    "margin": 0.05,
    "claim": "none",
}


@dataclass(frozen=True)
class Example:
    """A judged run and what its bundle is built with."""

    root: Path
    run_dir: Path
    inputs: dict[str, Path | bytes]
    environ: dict[str, str]

    def build(self, name: str = "evidence_bundle.zip", sign_key: Path | None = None) -> BundleInfo:
        return build(
            self.run_dir / SUITE_ID / name,
            run_dir=self.run_dir,
            suite_id=SUITE_ID,
            inputs=self.inputs,
            predicate={"run_id": RUN_ID, "device": "cpu"},
            root=self.root,
            environ=self.environ,
            sign_key=sign_key,
        )


def make_run(home: Path, *, worldflux: float = 1.0, claim: str = "none") -> Example:
    """A run below ``home/project``; ``worldflux``: what that side's scores are multiplied by."""
    root = home / "project"
    run_dir = root / "reports" / "parity" / RUN_ID
    folder = run_dir / SUITE_ID
    clean = cleaner(root, run_dir, {"HOME": str(home)})
    inputs = _inputs(root, claim)
    _seal(run_dir, inputs, clean)
    rng = np.random.default_rng(3)
    store = SuiteStore(run_dir, SUITE_ID)
    for task, seed in PAIRS:
        for system in SYSTEMS:
            score = 100 * float(rng.lognormal(0, 0.003)) * (worldflux if system == "worldflux" else 1)
            if (task, seed, system) == ("task-1", 2, "official"):
                _attempt(run_dir, store, task, seed, system, None, clean)
            _attempt(run_dir, store, task, seed, system, score, clean)
    _match(folder, root, clean)
    write(folder / "seed_plan.json", {"schema_version": "worldflux.parity.seed_plan.v1", "tasks": []})
    example = Example(root, run_dir, inputs, {"HOME": str(home)})
    for name, report in recompute(_unpacked(example, home / "unpacked")).items():
        if isinstance(report, str):
            (folder / Path(name).name).write_text(report, encoding="utf-8")
        else:
            write(folder / Path(name).name, report)
    return example


def write(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _inputs(root: Path, claim: str) -> dict[str, Path | bytes]:
    golden = root / "golden"
    write(root / "suite.yaml", {**SUITE, "claim": claim})
    write(root / "lock.json", {"suites": {SUITE_ID: {"commit": "0" * 40}}})
    write(root / "policy.json", {"families": {"fake": {"stage": "required", "suites": [SUITE_ID]}}})
    write(golden / "manifest.json", {"family": "fake"})
    np.savez(golden / "arrays.npz", z=np.arange(12.0).reshape(3, 4))
    return {
        "inputs/suite.yaml": root / "suite.yaml",
        "inputs/upstream_lock.json": root / "lock.json",
        "inputs/suite_policy.json": root / "policy.json",
        "inputs/backends/fake/backend.yaml": b"adapter: fake_official\n",
        "inputs/golden/fake/manifest.json": golden / "manifest.json",
        "inputs/golden/fake/arrays.npz": golden / "arrays.npz",
    }


def _seal(run_dir: Path, inputs: Mapping[str, Path | bytes], clean: Cleaner) -> None:
    sealed = {n: sha256(s if isinstance(s, bytes) else s.read_bytes()) for n, s in inputs.items()}
    write(
        run_dir / "run.json",
        {"run_id": RUN_ID, "sealed": sealed, "arguments": [clean.text(f"--rootdir={run_dir}")]},
    )


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _attempt(
    run_dir: Path, store: SuiteStore, task: str, seed: int, system: str, score: float | None, clean: Cleaner
) -> None:
    number, folder = store.new_attempt(task, seed, system)
    command = [f"{run_dir.parents[2]}/.worldflux/envs/{system}/bin/python", f"{folder}/request.json"]
    write(folder / "request.json", {"out_dir": str(folder), "seed": seed, "task_id": task})
    (folder / "stderr.log").write_text(f"Traceback in {folder}/x.py\n", encoding="utf-8")
    (folder / "progress.jsonl").write_text('{"step": 1000}\n', encoding="utf-8")
    line: dict[str, Any] = {
        "request_id": f"{task}-{seed}-{system}",
        "task_id": task, "seed": seed, "system": system, "attempt": number,
        "status": "success" if score else "failed", "adapter": f"fake_{system}", "device": "cpu",
        "command": command, "metrics": None, "artifacts": {}, "artifacts_sha256": {},
        "error": None if score else f"exit status 1: no file {folder}/data",
        "source_commit": "0" * 40,
    }  # fmt: skip
    if score:
        metrics = _metrics(task, seed, system, score, command)
        write(folder / "metrics.json", metrics)
        record, error = clean_attempt(folder, wire.record_from_dict(metrics), f"fake_{system}", clean)
        assert record is not None, error
        line["metrics"] = wire.record_to_dict(record)
        line["artifacts"] = {"metrics": str((folder / "metrics.json").relative_to(run_dir))}
        line["artifacts_sha256"] = {"metrics": sha256((folder / "metrics.json").read_bytes())}
    clean_attempt(folder, None, f"fake_{system}", clean)
    store.append(clean.document(line))


def _metrics(task: str, seed: int, system: str, score: float, command: list[str]) -> dict[str, Any]:
    return {
        "schema_version": "parity.v1",
        "adapter": f"fake_{system}",
        "task_id": task,
        "seed": seed,
        "device": "cpu",
        "curve": [{"step": 500, "return": score / 2}, {"step": 1000, "return": score}],
        "metadata": {"command": command, "packages": {"numpy": "2"}, "python": "3.11.7", "note": "a/b/c"},
    }


def _match(folder: Path, root: Path, clean: Cleaner) -> None:
    attempt = folder / "component_match" / "attempt_1"
    write(attempt / "match_request.json", {"golden": str(root / "golden")})
    write(attempt / "match.json", {"golden": str(root / "golden")})
    for name in ("outputs.npz", "perturbed.npz"):
        np.savez(attempt / name, z=np.arange(12.0).reshape(3, 4))
    clean_document(attempt / "match.json", "fake", clean)
    clean_texts(attempt, clean)
    names = ("match.json", "outputs.npz", "perturbed.npz")
    write(
        attempt / "match_run.json",
        {"artifacts_sha256": {name: sha256((attempt / name).read_bytes()) for name in names}},
    )


def _unpacked(example: Example, folder: Path) -> Path:
    """The run as a bundle has it."""
    folder.mkdir(parents=True)
    (folder / "run").symlink_to(example.run_dir)
    for name, source in example.inputs.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source if isinstance(source, bytes) else source.read_bytes())
    return folder


# --- what makes the documents again ---


def recompute(folder: Path) -> dict[str, dict[str, Any] | str]:
    """Folder of an unpacked bundle -> name of each report -> the report, from the raw records."""
    suite = wire.load_object(folder / "inputs/suite.yaml")
    stored = SuiteStore(folder / "run", SUITE_ID).read()
    packed = (folder / BELOW / "attempts").is_dir()
    files = PackedAttempts(folder / "run") if packed else AttemptFolders(folder / "run")
    findings = [*_line_findings(files, stored.lines), *_sealed_findings(folder)]
    components = _components(folder)
    decision = judge_proof(
        ProofSettings(
            suite_id=SUITE_ID,
            bayesian=BayesianRule(draws=200),
            seed_policy=SeedPolicy("fixed", tuple(range(suite["seeds"]))),
            component_match_required=True,
        ),
        [_task(name, suite) for name in suite["tasks"]],
        Observed(_values(stored.successes)),
        ProofGates(validity=not findings, component_match=components["all_pass"]),
    )
    about = {"time": "2026-01-01T00:00:00Z", "input": "parity_runs.jsonl"}
    equivalence = equivalence_document(
        decision,
        **about,
        validity={"pass": not findings},
        component_match={"pass": components["all_pass"]},
        provenance=provenance(stored.lines),
        claim=suite["claim"],
    )
    documents: dict[str, dict[str, Any] | str] = {
        "equivalence_report.md": f"# Equivalence report\n\nVerdict: {decision.verdict}\n",
        "coverage_report.json": coverage_document(decision, **about),
        "validity_report.json": {"pass": not findings, "findings": findings},
        "component_match_report.json": components,
        "equivalence_report.json": equivalence,
        "stability_report.json": stability_document(stability(equivalence, {}), **about),
    }
    return {f"{BELOW}/{name}": document for name, document in documents.items()}


def _task(name: str, suite: Mapping[str, Any]) -> ProofTask:
    seeds = dict.fromkeys(SYSTEMS, tuple(range(suite["seeds"])))
    return ProofTask(name, "fake", seeds, (MetricRule(METRIC, equivalence_margin=suite["margin"]),))


def _values(successes: Mapping[str, dict[str, Any]]) -> dict[tuple[str, str, str], dict[int, Value]]:
    values: dict[tuple[str, str, str], dict[int, Value]] = {}
    for line in successes.values():
        key = (line["system"], METRIC, line["task_id"])
        values.setdefault(key, {})[line["seed"]] = Value(line["metrics"]["curve"][-1]["return"])
    return values


def _line_findings(files: AttemptFiles, lines: tuple[dict[str, Any], ...]) -> Iterator[str]:
    for line in lines:
        path = line["artifacts"].get("metrics")
        if path is None:
            continue
        data = files.read(path)
        if sha256(data) != line["artifacts_sha256"]["metrics"]:
            yield f"{path} is not the file that was stored"
        elif wire.record_to_dict(wire.record_from_dict(wire.object_in(data, path))) != line["metrics"]:
            yield f"{path} is not what the line says"


def _sealed_findings(folder: Path) -> Iterator[str]:
    for name, own in wire.load_object(folder / "run/run.json")["sealed"].items():
        if sha256((folder / name).read_bytes()) != own:
            yield f"{name} changed since the run was sealed"
    if wire.load_object(folder / BELOW / "seed_plan.json")["tasks"]:
        yield "the plan is not that of the pilot"


def _components(folder: Path) -> dict[str, Any]:
    attempt = folder / BELOW / "component_match" / "attempt_1"
    for name, own in wire.load_object(attempt / "match_run.json")["artifacts_sha256"].items():
        if sha256((attempt / name).read_bytes()) != own:
            raise StoreError("is not the file that the match program left", where=str(attempt / name))
    golden = read_arrays(folder / "inputs/golden/fake/arrays.npz", GoldenError)
    ours = read_arrays(attempt / "outputs.npz", GoldenError)
    return {"all_pass": all(np.array_equal(golden[k], ours[k]) for k in golden), "results": sorted(golden)}
