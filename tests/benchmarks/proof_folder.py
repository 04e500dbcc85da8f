"""A run directory as a finished proof session leaves it, made by rule: nothing in it is measured.

Requests, lines and the sealed session are written by the code that writes them in a real run; what the
programs would have written (records, logs, heartbeats, outputs of the component match) is made up, of the
size that the programs of this repository write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.execution.chain import HASH_BEFORE
from pytest_worldflux_parity.execution.records import record_line
from pytest_worldflux_parity.execution.store import SuiteStore, write_document
from pytest_worldflux_parity.inputs.context import RunContext
from pytest_worldflux_parity.inputs.golden_data import Golden
from pytest_worldflux_parity.inputs.matches import MatchSpec, match_spec
from pytest_worldflux_parity.inputs.prepare import PreparedFile, PreparedSuite, prepare
from pytest_worldflux_parity.judgement.judge_run import live_folder
from pytest_worldflux_parity.session.seal import seal
from pytest_worldflux_parity.suite import pairs
from pytest_worldflux_parity.suite.pairs import Pair
from pytest_worldflux_parity.wire import file_sha256
from tests.session.proof_lines import steps_of

ROOT = Path(__file__).parents[2]
SUITE = "suites/proof/official_vs_worldflux_full.yaml"
PACKAGES = {"numpy": "2.4.6", "jax": "0.10.2", "torch": "2.13.0", "dm_control": "1.0.34", "mujoco": "3.3.7"}
# Bytes of each log, of which a bundle keeps 4,000; heartbeats.
LOG_BYTES, BEATS = 6000, 60


def context_of(folder: Path) -> RunContext:
    """A session in ``folder`` about this repository's own suite."""
    lock = ROOT / "reports/parity/upstream_lock.json"
    return RunContext(ROOT, "proof", "benchmark", folder / "benchmark", "cuda", lock, (ROOT / "backends",))


def write_run(folder: Path, *, points: int = 40, settings: int = 12, spread: float = 0.02) -> list[str]:
    """Write the run directory; the node ids of its items.

    Args:
        points: of each curve of episodes. settings: further keys of the recipe that each program states.
        spread: standard deviation of a seed's level, relative.
    """
    context, rng = context_of(folder), np.random.default_rng(0)
    seal(context, {SUITE: ROOT / SUITE}, ["--parity=proof", SUITE, f"--parity-output={folder}"])
    _name_checkouts(context.run_dir / "run.json")
    prepared = prepare(ROOT / SUITE, context)
    lines: list[Mapping[str, Any]] = []
    for part in prepared.parts:
        _write_matches(part, context)
        for pair in part.pairs:
            curves = {system: _curve(pair, points, spread, rng) for system in pair.systems}
            lines += [_write_attempt(part, pair, s, context, curves[s], settings) for s in pair.systems]
    log = SuiteStore(context.run_dir, prepared.suite_id).path
    log.write_bytes(b"".join(_chained(lines)))
    return [f"{SUITE}::{name}" for name in _items(prepared)]


def _name_checkouts(path: Path) -> None:
    """Let the session have seen the official checkouts, which need not be here."""
    session = json.loads(path.read_text(encoding="utf-8"))
    [entry] = session["suites"].values()
    for program in entry["programs"].values():
        if program["named"] is None:
            row = {
                "kind": "checkout",
                "name": program["adapter"],
                "repository": None,
                "commit": None,
                "version": None,
                "paths": [],
            }
            named = {f"{program['adapter']}/train.py": wire.content_hash(program["adapter"])}
            program["named"] = {"sources": [row], "files": named}
    write_document(path, session, "session.v1")


def _chained(lines: list[Mapping[str, Any]]) -> Iterator[bytes]:
    """The lines of a log as the store writes them, without a sync of each."""
    digest = hashlib.sha256()
    for line in lines:
        text = wire.canonical_json({**line, HASH_BEFORE: digest.hexdigest()}).encode() + b"\n"
        digest.update(text)
        yield text


def _items(prepared: PreparedFile) -> Iterator[str]:
    for part in prepared.parts:
        yield from (str(pair.key) for pair in part.pairs)
        yield from (part.component_case(c.name) for c in (part.match.golden.components if part.match else ()))


def _curve(pair: Pair, points: int, spread: float, rng: np.random.Generator) -> list[wire.CurvePoint]:
    level, steps = 500 * rng.lognormal(0, spread), steps_of(pair.task, points)
    values = level * np.linspace(0.1, 1, len(steps)) ** 0.3 * rng.lognormal(0, 0.01, len(steps))
    return [wire.CurvePoint(step, float(value)) for step, value in zip(steps, values, strict=True)]


def _write_attempt(
    part: PreparedSuite,
    pair: Pair,
    system: str,
    context: RunContext,
    curve: list[wire.CurvePoint],
    settings: int,
) -> Mapping[str, Any]:
    store = SuiteStore(context.run_dir, part.suite.suite_id)
    attempt, folder = store.new_attempt(pair.task.id, pair.seed, system)
    program, source = part.backends[system], part.sources[system]
    request = pairs.request(
        part.suite, pair, system, adapter=program.adapter, device=context.device, source=source,
        run_id=context.run_id, out_dir=str(folder.resolve()), attempt=attempt,
    )  # fmt: skip
    python = str(ROOT / f".worldflux/envs/{program.adapter}/bin/python")
    command = [python, "-m", f"backends.{program.adapter}", f"{folder}/request.json"]
    stated = _metadata(part, pair, program.kind, source.get("commit"), request, command, settings)
    record = wire.RunRecord(
        request.request_id, request.adapter, request.task_id, request.seed, request.device, tuple(curve), {},
        True, stated,
    )  # fmt: skip
    (folder / "request.json").write_text(wire.request_to_json(request), encoding="utf-8")
    data = wire.record_to_dict(record)
    (folder / "metrics.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    _write_logs(folder)
    names = {"metrics": "metrics.json", "stdout": "stdout.log", "stderr": "stderr.log"}
    return record_line(
        part.suite, request, wire.record_from_dict(data), adapter_id=program.adapter,
        backend_kind=program.kind, error="", return_code=0, duration_sec=3600.5,
        timestamp="2026-01-01T00:00:00+00:00", command=command,
        artifacts={k: str((folder / n).relative_to(context.run_dir)) for k, n in names.items()},
        artifacts_sha256={"metrics": str(file_sha256(folder / "metrics.json"))}, gpus=["GPU-0"],
    )  # fmt: skip


def _metadata(
    part: PreparedSuite,
    pair: Pair,
    kind: str,
    commit: str | None,
    request: wire.RunRequest,
    command: list[str],
    settings: int,
) -> dict[str, Any]:
    family, task = part.suite.family, pair.task
    recipe = {**task.recipe, **{f"hyperparameter_{i}": 0.5 + i for i in range(settings)}}
    return {
        "mode": "live", "adapter_id": request.adapter, "backend_kind": kind, "effective_recipe": recipe,
        "recipe_hash": wire.content_hash(recipe), "eval_protocol": dict(task.eval_protocol),
        "eval_protocol_hash": wire.eval_protocol_hash(family, task.id, task.eval_protocol),
        "policy_mode": "trained", "policy_impl": "actor", "model_id": family,
        "env_backend": "ale" if family == "dreamerv3" else "dm_control",
        "model_profile": {"dreamerv3": "official_xl", "tdmpc2": "proof_5m"}[family],
        "artifact_manifest": {
            kind: [{"path": f"logs/{kind}", "bytes": 407087, "sha256": wire.content_hash(kind)}]
            for kind in ("checkpoint_paths", "config_snapshot", "score_paths")
        },
        "packages": PACKAGES, "python": "3.11.7", "threads": 1, "command": command,
        "source": {"tree_sha256": wire.content_hash(request.adapter), "commit": commit, "changes": []},
        "timing": {"wall_sec": 3600.25, "train_sec": 3500.125, "peak_rss_mb": 2998.73828125},
    }  # fmt: skip


def _write_logs(folder: Path) -> None:
    """What programs print: few lines name a path."""
    line = " eval   E: 12   I: 24,000   R: 512.3   T: 0:12:31\n"
    text = f"Logs: {folder}/logs\n" + "".join(f"{i}{line}" for i in range(LOG_BYTES // len(line)))
    (folder / "stdout.log").write_text(text + f"Saved {folder}/final.pt\n", encoding="utf-8")
    (folder / "stderr.log").write_text(text[: LOG_BYTES // 4], encoding="utf-8")
    beats = ({"time": 1795330328.5 + i, "step": 1000 * i, "total": 4_000_000} for i in range(BEATS))
    text = "".join(f"{json.dumps(beat)}\n" for beat in beats)
    (folder / "progress.jsonl").write_text(text, encoding="utf-8")


# --- components ---


def _write_matches(part: PreparedSuite, context: RunContext) -> None:
    """The match with the committed golden, and that with a recording of the run's own checkpoint."""
    assert part.match is not None
    suite_folder = SuiteStore(context.run_dir, part.suite.suite_id).folder
    _write_match(part.match, suite_folder / part.match_folder)
    own = live_folder(part, suite_folder) / "golden"
    own.mkdir(parents=True)
    for path in Path(part.match.golden.folder).iterdir():
        if path.name in ("manifest.json", "arrays.npz"):
            (own / path.name).write_bytes(path.read_bytes())
    _write_match(match_spec(part.match.backend, context.lock_path, own), own.parent)


def _write_match(spec: MatchSpec, folder: Path) -> None:
    """What a program leaves whose every component is the official one to the last bits."""
    golden, out = spec.golden, folder / "attempt_1"
    out.mkdir(parents=True)
    ours = {key: _moved(value, 1e-12) for key, value in golden.outputs.items()}
    perturbed = {
        f"planted_{c.name}": {key: _moved(golden.outputs[key], 0.1) for key in c.keys().values()}
        for c in golden.components
    }
    np.savez(out / "outputs.npz", **ours)
    np.savez(out / "perturbed.npz", **{f"{p}/{k}": v for p, own in perturbed.items() for k, v in own.items()})
    wire.write_atomic(out / "match.json", json.dumps(_match(spec, golden)))
    request = {
        "schema_version": wire.MATCH_REQUEST_SCHEMA, "golden": str(out / "golden"), "out_dir": str(out),
        "device": "cpu", "threads": 1,
    }  # fmt: skip
    write_document(out / "match_request.json", request, "match_request.v1")
    names = ("match.json", "outputs.npz", "perturbed.npz")
    run = {
        "schema_version": "worldflux.parity.match_run.v1", "generated_at_utc": "2026-01-01T00:00:00+00:00",
        "request_id": spec.request_id, "adapter": spec.backend.adapter, "command": ["python", str(out)],
        "error": "", "return_code": 0, "duration_sec": 14.0,
        "artifacts_sha256": {name: file_sha256(out / name) for name in names},
    }  # fmt: skip
    write_document(out / "match_run.json", run, "match_run.v1")


def _moved(array: Any, part: float) -> Any:
    """An array that differs by this part of its largest magnitude, of real numbers or by much."""
    if part < 1e-6 or array.dtype.kind == "b":
        return array if part < 1e-6 else ~array
    return array + np.asarray(max(1.0, part * float(np.abs(array).max()))).astype(array.dtype)


def _match(spec: MatchSpec, golden: Golden) -> dict[str, Any]:
    return {
        "schema_version": wire.MATCH_SCHEMA,
        "mapping": {name: f"own.{name}" for name in golden.parameters},
        "parameters": {f"own.{name}": list(shape) for name, shape in golden.parameters.items()},
        "perturbations": [
            {"name": f"planted_{c.name}", "component": c.name, "kind": "weight", "what": "is moved"}
            for c in golden.components
        ],
        "packages": PACKAGES,
        "source": {"tree_sha256": spec.backend.tree_sha256},
    }
