"""How long the decision on a full proof suite takes, and how much memory, with all its documents.

    python tests/benchmarks/judgement.py [--tasks 65] [--seeds 20] [--draws 20000] [--repeat 3]

Values are made up (lognormal, 2 % apart from seed to seed). Counted is everything from values in memory to
documents on disk: tests, Bayesian draws, Holm, JSON, schema checks, markdown. The interpreter and its imports
are not. Seconds are of processor time, so that a busy machine does not count; memory is above what it was
before.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pytest_worldflux_parity import proof_file, schemas
from pytest_worldflux_parity.conclude_proof import judge_foreign
from pytest_worldflux_parity.observations import Observed, Value
from pytest_worldflux_parity.prepare import RunContext
from pytest_worldflux_parity.proof.decision import judge_proof
from pytest_worldflux_parity.proof.results import ProofGates
from pytest_worldflux_parity.proof.settings import (
    BayesianRule,
    MetricRule,
    ProofSettings,
    ProofTask,
    SeedPolicy,
)
from pytest_worldflux_parity.proof.stability import stability
from pytest_worldflux_parity.render.proof_documents import (
    coverage_document,
    equivalence_document,
    provenance,
    stability_document,
)
from pytest_worldflux_parity.render.proof_markdown import equivalence_markdown
from pytest_worldflux_parity.stats.tost import Design, Effect

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
SYSTEMS = ("official", "worldflux")
CASES: tuple[tuple[Effect, Design, float], ...] = (
    ("log_ratio", "unpaired", 0.02),
    ("log_ratio", "paired", 0.02),
    ("normalized_difference", "unpaired", 0.02),
    ("log_ratio", "unpaired", 0.3),
    ("normalized_difference", "unpaired", 0.3),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("tasks", 65), ("seeds", 20), ("draws", 20_000), ("repeat", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    for schema in ("equivalence.v1", "coverage.v1", "stability.v1"):
        schemas.load(schema)
    import jsonschema  # noqa: F401  # an import, and so not counted

    before = _peak_mb()
    print(f"{args.tasks} tasks x {args.seeds} seeds x 2 metrics x 2 systems, {args.draws} draws\n")
    print("| effect | design | deviation | verdict | judged, CPU s | documents, CPU s | together |")
    print("|---|---|---:|---|---:|---:|---:|")
    for case in CASES:
        runs = [_run(args.tasks, args.seeds, args.draws, case) for _ in range(args.repeat)]
        judged, written, verdict = min(runs, key=lambda r: r[0] + r[1])
        effect, design, deviation = case
        print(
            f"| {effect} | {design} | {deviation:.0%} | {verdict} "
            f"| {judged:.2f} | {written:.2f} | {judged + written:.2f} |"
        )
    print(f"\npeak memory above the start: {_peak_mb() - before:.0f} MB")
    _from_a_log(args.repeat)


def _from_a_log(repeat: int) -> None:
    """The whole of ``proof-report``: a log of the published suite read, every gate, all documents."""
    from tests.proof_runs.proof_lines import lines_of

    suite = ROOT / "suites/proof/official_vs_worldflux_full.yaml"
    with tempfile.TemporaryDirectory() as name:
        runs = Path(name) / "parity_runs.jsonl"
        lines = lines_of(proof_file.load(suite), np.random.default_rng(0), points=40)
        runs.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        lock = ROOT / "reports/parity/upstream_lock.json"
        context = RunContext(ROOT, "proof", "x", Path(name), "cpu", lock, (ROOT / "backends",), resume=True)
        seconds = []
        # The first time what is imported late is counted too, and so not kept.
        for _ in range(1 + repeat):
            start = time.process_time()
            judge_foreign(suite, runs, Path(name) / "out", context)
            seconds.append(time.process_time() - start)
        size = runs.stat().st_size / 1e6
    print(f"from a log of {size:.1f} MB (65 tasks x 20 seeds), everything: {min(seconds[1:]):.2f} CPU s")


def _run(tasks: int, seeds: int, draws: int, case: tuple[Effect, Design, float]) -> tuple[float, float, str]:
    settings, suite, observed = _suite(tasks, seeds, draws, case)
    start = time.process_time()
    decision = judge_proof(settings, suite, observed, ProofGates(validity=True))
    judged = time.process_time()
    document = equivalence_document(
        decision,
        time="-",
        input="parity_runs.jsonl",
        validity={"pass": True},
        component_match={"required": False, "present": False, "pass": None},
        provenance=provenance([]),
    )
    documents = {
        "equivalence.v1": document,
        "coverage.v1": coverage_document(decision, time="-", input="parity_runs.jsonl"),
        "stability.v1": stability_document(
            stability(document, {}), time="-", input="equivalence_report.json"
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, content in documents.items():
            schemas.check(content, name, str)
            (Path(folder) / f"{name}.json").write_text(json.dumps(content, indent=2, allow_nan=False))
        (Path(folder) / "equivalence_report.md").write_text(equivalence_markdown(decision, time="-"))
    return judged - start, time.process_time() - judged, decision.verdict


def _suite(
    tasks: int, seeds: int, draws: int, case: tuple[Effect, Design, float]
) -> tuple[ProofSettings, list[ProofTask], Observed]:
    effect, design, deviation = case
    rng, numbers = np.random.default_rng(0), tuple(range(seeds))
    rules = tuple(MetricRule(m, effect, design) for m in ("final_return_mean", "auc_return"))
    suite = [ProofTask(f"task-{i}", "f", dict.fromkeys(SYSTEMS, numbers), rules) for i in range(tasks)]
    values = {
        (s, r.name, t.id): {n: Value(float(rng.lognormal(5, deviation))) for n in numbers}
        for t in suite
        for r in rules
        for s in SYSTEMS
    }
    settings = ProofSettings(
        "benchmark", bayesian=BayesianRule(draws=draws), seed_policy=SeedPolicy("fixed", numbers)
    )
    return settings, suite, Observed(values)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
