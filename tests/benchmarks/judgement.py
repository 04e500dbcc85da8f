"""How long the decision on a full proof suite takes, and how much memory, with all its documents.

    python tests/benchmarks/judgement.py [--tasks 65] [--seeds 20] [--draws 20000] [--repeat 3]

First from values in memory (made up, lognormal, 2 % apart from seed to seed) to documents: tests, Bayesian
draws, Holm, JSON, schema checks, markdown. Then, each in a process of its own:

- ``log``: all of ``proof-report``, of a log that no run of this plugin sealed;
- ``session``: what ``pytest --parity=proof`` does after the last run (:func:`~.conclude.conclude`), of a run
  directory of the published suite with the folders of 2,600 attempts: records and components held against
  their files, all gates, all documents, the evidence bundle;
- ``packing``: of it the attempts and their log, in rows and compressed;
- ``verify``: the whole of that command, of this bundle, under this checkout;
- ``validate``: ``aggregate`` and the whole of that command, of this run.

The interpreter and its imports are not counted. Seconds of processor time do not count a busy machine, of the
wall they do; memory is the highest above what it was after the imports.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pytest_worldflux_parity import schemas
from pytest_worldflux_parity.cli.main import main as main_command
from pytest_worldflux_parity.cli.verify import report_bundle as verify
from pytest_worldflux_parity.evidence.attempts import parts
from pytest_worldflux_parity.evidence.container import write_member
from pytest_worldflux_parity.inputs.prepare import prepare
from pytest_worldflux_parity.judgement.proof.decision import judge_proof
from pytest_worldflux_parity.judgement.proof.results import ProofGates
from pytest_worldflux_parity.judgement.proof.stability import stability
from pytest_worldflux_parity.judgement.stats.measurements import Observed, Value
from pytest_worldflux_parity.release.expectation import of_checkout
from pytest_worldflux_parity.release.verification import Reader, judge_bundle
from pytest_worldflux_parity.reporting.proof_documents import (
    coverage_document,
    equivalence_document,
    provenance,
    stability_document,
)
from pytest_worldflux_parity.reporting.proof_markdown import equivalence_markdown
from pytest_worldflux_parity.session.conclude import conclude
from pytest_worldflux_parity.session.conclude_suite import judge_foreign
from pytest_worldflux_parity.suite import proof_file
from pytest_worldflux_parity.suite.proof_settings import (
    BayesianRule,
    Design,
    MetricRule,
    ProofSettings,
    ProofTask,
    SeedPolicy,
)

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.benchmarks import proof_folder  # noqa: E402  # found from there

# What is imported late, by the functions that need it.
IMPORTS = (
    "jsonschema", "yaml", "scipy.special", "encodings.cp437", "encodings.utf_16_be", "encodings.idna",
    "pytest_worldflux_parity.evidence.checking", "pytest_worldflux_parity.session.live_match",
    "pytest_worldflux_parity.release.backing", "pytest_worldflux_parity.release.run_documents",
)  # fmt: skip
SYSTEMS = ("official", "worldflux")
CASES: tuple[tuple[str, Design, float], ...] = (
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
    parser.add_argument("--part", choices=tuple(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        _measure(args.part, args.folder)
        return
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
    print(f"\npeak memory above the start: {_peak_mb() - before:.0f} MB\n")
    _whole(args.repeat)


def _whole(repeat: int) -> None:
    """The table of everything that is measured in a process of its own."""
    print("| 65 tasks x 20 seeds x 2 sides | CPU s | wall s | MB |")
    print("|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in PARTS:
            runs = []
            for i in range(repeat):
                own = folder / f"{part}{i}"
                (_make_log if part == "log" else _make_session)(own)
                if part in ("verify", "validate"):
                    _measured("session", own)
                runs.append(_measured(part, own))
                shutil.rmtree(own)
            best = min(runs, key=lambda run: run["cpu"])
            print(f"| {part}: {best['said']} | {best['cpu']:.2f} | {best['wall']:.2f} | {best['mb']:.0f} |")


def _make_log(folder: Path) -> None:
    from tests.session.proof_lines import lines_of

    lines = lines_of(proof_file.load(ROOT / proof_folder.SUITE), np.random.default_rng(0), points=40)
    folder.mkdir()
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "parity_runs.jsonl").write_text(text, encoding="utf-8")


def _make_session(folder: Path) -> None:
    node_ids = proof_folder.write_run(folder)
    (folder / "node_ids.json").write_text(json.dumps(node_ids), encoding="utf-8")


def _measured(part: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(part: str, folder: Path) -> None:
    """Do one part in this process, and print what it took."""
    for module in IMPORTS:
        importlib.import_module(module)
    work = PARTS[part]
    if part == "session":
        # As it was when its items were collected.
        prepare(ROOT / proof_folder.SUITE, proof_folder.context_of(folder))
    # From here on the kernel keeps the highest anew.
    Path("/proc/self/clear_refs").write_text("5")
    before, wall, cpu = _memory("VmRSS"), time.perf_counter(), time.process_time()
    said = work(folder)
    took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    print(json.dumps({**took, "mb": _memory("VmHWM") - before, "said": said}))


def _memory(key: str) -> float:
    """MB of this process, as Linux counts them."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def _judge_log(folder: Path) -> str:
    runs = folder / "parity_runs.jsonl"
    judge_foreign(ROOT / proof_folder.SUITE, runs, folder / "out", proof_folder.context_of(folder))
    return f"a log of {runs.stat().st_size / 1e6:.1f} MB, six documents"


def _end_session(folder: Path) -> str:
    node_ids = json.loads((folder / "node_ids.json").read_text(encoding="utf-8"))
    conclusion = conclude(proof_folder.context_of(folder), node_ids, {}, suites=(), arguments=())[-1]
    failed = [case for case in conclusion.cases if case.outcome != "passed"]
    assert not failed, failed
    bundle = next(folder.glob("*/*/evidence_bundle.zip"))
    log = next(folder.glob("*/*/parity_runs.jsonl")).stat().st_size / 1e6
    with zipfile.ZipFile(bundle) as archive:
        sizes = [info.file_size for info in archive.infolist()]
    return (
        f"a log of {log:.1f} MB, seven documents; the bundle has {bundle.stat().st_size / 1e6:.1f} MB, "
        f"{len(sizes)} members of {sum(sizes) / 1e6:.1f} MB"
    )


def _pack(folder: Path) -> str:
    run_dir = next(folder.glob("*/run.json")).parent
    suite_id = next(run_dir.glob("*/parity_runs.jsonl")).parent.name
    with zipfile.ZipFile(folder / "packed.zip", "w") as archive:
        for part in parts(run_dir, suite_id):
            write_member(archive, part.name, part.data)
        write_member(archive, "log", (run_dir / suite_id / "parity_runs.jsonl").read_bytes())
    return "attempts and log, in rows and compressed"


def _verify(folder: Path) -> str:
    bundle = next(folder.glob("*/*/evidence_bundle.zip"))
    code = verify(bundle, lambda: Reader(checkout=of_checkout(ROOT), allow_unsigned=True), judge_bundle)
    assert code == 0, code
    return "the bundle opened, every document made again, and judged under the checkout"


def _validate(folder: Path) -> str:
    run = next(folder.glob("*/*/equivalence_report.json"))
    aggregate = folder / "all.json"
    assert main_command(["aggregate", "--runs-glob", str(run), "--output", str(aggregate)]) == 0
    code = main_command(["--root", str(ROOT), "validate", "--run", str(run), "--aggregate", str(aggregate)])
    return f"its aggregate and the run judged anew beside its records, exit {code}"


PARTS = {
    "log": _judge_log, "session": _end_session, "packing": _pack, "verify": _verify, "validate": _validate,
}  # fmt: skip


def _run(tasks: int, seeds: int, draws: int, case: tuple[str, Design, float]) -> tuple[float, float, str]:
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
    tasks: int, seeds: int, draws: int, case: tuple[str, Design, float]
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
