"""Documents to start from, and what is done with them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

Document = dict[str, Any]
Command = Callable[..., tuple[int, str, str]]
AGGREGATE = "reports/parity/all.json"
LOCK = "reports/parity/upstream_lock.json"
COMMIT = "c" * 40
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


def earlier(run: Document) -> Document:
    """A document as the earlier system has it: its keys alone."""
    kept = {k: v for k, v in json.loads(json.dumps(run)).items() if k in KEYS_OF_THE_EARLIER_SYSTEM}
    for key in ("expected", "missing", "unused"):
        del kept["counts"][key]
    kept["evaluation_manifest"] = {"runner": "earlier", "seed_policy": "suite"}
    for source in kept["sources"].values():
        for key in ("dropped_rows", "merged_rows"):
            source.pop(key, None)
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
