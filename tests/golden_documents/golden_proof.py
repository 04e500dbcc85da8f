"""Examples of proofs: verdicts, plans of seeds, older manifests, earlier reports, and their evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from golden_stage import Stage

from tests.evidence.fake_proofs import BELOW, SUITE_ID, Proof
from tests.evidence.manipulations import document, edited, forged
from tests.judgement.proof_examples import manifest
from tests.session.test_proof_commands import COMMAND, PROGRAM

FAST = {"bayesian": {"draws": 1000}}
SUITE = f"suites/proof/{SUITE_ID}.yaml"
BUNDLE = f"reports/parity/r/{SUITE_ID}/evidence_bundle.zip"
FLAKY = {"level": 100.0, "spread": 0.1, "behaviour": "flaky", "only": ["worldflux/beta/2"]}


def proof_pass(stage: Stage) -> None:
    """With components, an attempt that failed before, a plan beforehand, and evidence that verifies."""
    Proof(stage.root, recipe=FLAKY)
    stage.session("proof")
    stage.take_bundle(SUITE_ID)
    stage.command("verify", BUNDLE)
    official = [{"task": t, "seed": s, "step": 1000, "score": 100 + 5 * s} for t in ("alpha", "beta")
                for s in range(5)]  # fmt: skip
    stage.write("official.json", {"scores": official})
    stage.command("plan", SUITE, "--official", "official.json")
    stage.command("plan", SUITE)


def proof_verdicts(stage: Stage) -> None:
    """Worse, noisy, not what the suite asks for, the same to the last digit, and a run that is missing."""
    project = stage.project()
    one: dict[str, Any] = {"tasks": ["alpha"], "statistical": FAST}
    project.proof("worse", recipe={"level": 100.0, "worldflux_factor": 0.8}, **one)
    project.proof("noisy", recipe={"level": 100.0, "spread": 10.0}, **one)
    project.proof("profile", validity={"model_profile": "large"}, **one)
    project.proof("same", recipe={"level": 100.0, "spread": 0.0}, **one)
    crash = {"level": 100.0, "behaviour": "crash", "only": ["worldflux/alpha/1"]}
    project.proof("crash", recipe=crash, **one)
    project.proof(
        "paired", metrics=[{"name": "final_return_mean", "margin": 0.05, "design": "paired"}], **one
    )
    stage.session("proof")
    stage.command("verify", "reports/parity/r/worse/evidence_bundle.zip")
    stage.command("verify", "reports/parity/r/noisy/evidence_bundle.zip")


def proof_claim(stage: Stage) -> None:
    """A claim of programs that nobody knows, with components that differ."""
    seeds = {"mode": "fixed", "values": [0, 1, 2, 3, 4]}
    Proof(stage.root, claim="proof_grade", tasks=["alpha"], statistical={}, seed_policy=seeds)
    stage.session("proof")


def proof_deselected(stage: Stage) -> None:
    """Two families in one suite, of which a part is run; the rest is a suite of its own."""
    groups = [{"family": "fake", "tasks": ["alpha", "beta"]}, {"family": "fake", "tasks": ["gamma"]}]
    stage.project().proof(groups=groups, family=None, tasks=None, statistical=FAST)
    stage.session("proof", "-k", "alpha or gamma")


def proof_power(stage: Stage) -> None:
    """A pilot that seals a plan, and its resume."""
    policy = {"mode": "auto_power", "pilot_seeds": 3, "min_seeds": 3, "max_seeds": 5}
    noisy = {"level": 100.0, "spread": 4.0}
    stage.project().proof(tasks=["alpha"], seed_policy=policy, recipe=noisy, statistical=FAST)
    stage.session("proof")
    stage.take("reports/parity/r/fake_proof/*_report.*", "reports/parity/r/fake_proof/missing_pairs.yaml")
    stage.session("proof", "--parity-resume")
    stage.take_bundle(SUITE_ID)
    stage.command("verify", BUNDLE)


def proof_manifests(stage: Stage) -> None:
    """Both manifests of the earlier system, as they are."""
    stage.project().proof()
    stage.write("bin/train.py", PROGRAM)
    second = manifest(
        suite_id="second",
        seed_policy={"mode": "fixed", "values": [0, 1], "min_seeds": 2},
        statistical=FAST,
        defaults={},
    )
    second["tasks"] = second["tasks"][:1]
    sides = {"adapter": "a", "command": COMMAND, "cwd": "../../bin", "env": {"LEVEL": "{seed}"}}
    for system in ("official", "worldflux"):
        second["tasks"][0][system] = {**sides, "adapter": f"the_{system}", "backend_kind": "subprocess"}
    first = {
        "schema_version": "parity.manifest.v1",
        "seed_policy": {"mode": "fixed", "values": [0, 1]},
        "tasks": [{"task_id": "dog-run", "family": "tdmpc2",
                   **{s: {**sides, "adapter": f"the_{s}"} for s in ("official", "worldflux")}}],
    }  # fmt: skip
    stage.write("suites/proof/first.yaml", first)
    stage.write("suites/proof/second.yaml", second)
    (stage.root / "suites/proof/fake_proof.yaml").unlink()
    stage.session("proof")


def proof_history(stage: Stage) -> None:
    """An earlier report that said otherwise, and one of another suite."""
    stage.project().proof(tasks=["alpha"], statistical=FAST)
    stage.session("proof", run_id="before")
    path = stage.root / "reports/parity/before/fake_proof/equivalence_report.json"
    earlier = json.loads(path.read_text(encoding="utf-8"))
    stage.write("earlier/other.json", {**earlier, "suite_id": "another"})
    earlier["global"].update(parity_pass_final=False, verdict="fail")
    stage.write("earlier/flipped.json", earlier)
    stage.session("proof", "--parity-history=earlier/*.json")


def proof_report(stage: Stage) -> None:
    """Records judged again, ours and those that another system wrote; and logs that are none."""
    stage.project().proof(tasks=["alpha"], statistical=FAST)
    stage.session("proof")
    runs = Path("reports/parity/r/fake_proof/parity_runs.jsonl")
    stage.command("proof-report", SUITE, "--runs", runs.as_posix(), "--output", "out/again")
    known = (
        "schema_version", "task_id", "family", "seed", "system", "adapter", "status", "success", "metrics",
        "attempt", "device",
    )  # fmt: skip
    lines = [json.loads(line) for line in (stage.root / runs).read_text("utf-8").splitlines()]
    foreign = "".join(json.dumps({k: line[k] for k in known}) + "\n" for line in lines)
    stage.write("out/away/log.jsonl", foreign + '{"torn')
    stage.command("proof-report", SUITE, "--runs", "out/away/log.jsonl")
    stage.take("out/*/*.json", "out/*/*.md")
    stage.write("out/empty.jsonl", "")
    stage.command("proof-report", SUITE, "--runs", "out/empty.jsonl")
    stage.command("plan", "backends/program.py")


# --- evidence ---


def _keys(stage: Stage) -> None:
    """``own.pem``, ``own.pub`` and ``other.pub``, always the same."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = serialization.Encoding.PEM
    for name, byte in (("own", b"\x01"), ("other", b"\x02")):
        key = Ed25519PrivateKey.from_private_bytes(byte * 32)
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        for suffix, data in (("pem", private), ("pub", public)):
            path = stage.root / f"{name}.{suffix}"
            path.write_bytes(data)
            path.chmod(0o600)


def evidence(stage: Stage) -> None:
    """A signed bundle, and what ``verify`` says to it, to others of it, and to what is none."""
    Proof(stage.root, tasks=["alpha"])
    _keys(stage)
    stage.session("proof", "--parity-sign-key=own.pem")
    stage.take_bundle(SUITE_ID)
    stage.command("verify", BUNDLE)
    stage.command("verify", BUNDLE, "--key", "own.pub")
    stage.command("verify", BUNDLE, "--key", "other.pub")
    data = (stage.root / BUNDLE).read_bytes()
    report = f"{BELOW}/equivalence_report.json"

    def failed(found: dict[str, Any]) -> None:
        found["global"].update(verdict="fail", parity_pass_final=False)

    others = {
        "unsigned": forged(lambda members: None)(data),
        "forged": forged(document(report, failed))(data),
        "edited": edited(document(report, failed))(data),
        "damaged": data[:1000] + bytes([data[1000] ^ 1]) + data[1001:],
        "torn": data[: len(data) // 2],
    }
    (stage.root / "out").mkdir()
    for name, content in others.items():
        (stage.root / "out" / f"{name}.zip").write_bytes(content)
        stage.command("verify", f"out/{name}.zip")
    stage.command("verify", "out/absent.zip")


PROOF = (
    proof_pass,
    proof_verdicts,
    proof_claim,
    proof_deselected,
    proof_power,
    proof_manifests,
    proof_history,
    proof_report,
    evidence,
)
