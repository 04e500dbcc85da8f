"""The quick suite on real training: a mistake that is planted does not pass, the faithful program does.

A shorter form of ``tests/studies/quick_study.py``: one task, two seeds, and the metrics that are sharp on it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch", reason="the extra `tdmpc2` is not installed")

from tests.studies.quick_study import TDMPC2

ROOT = Path(__file__).parents[2]
METRICS = ("value_loss.first", "value_loss.late", "value_loss.online", "reward_loss.late")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The committed suite, cut to cartpole-balance and two live seeds."""
    committed = yaml.safe_load((ROOT / TDMPC2.suite).read_text(encoding="utf-8"))
    oracle = ROOT / "suites/quick" / committed["official"]["artifact"]["path"]
    short = {
        **committed,
        "suite_id": "tdmpc2_short",
        "tasks": ["cartpole-balance"],
        "seeds": {**committed["seeds"], "worldflux": 2},
        "official": {"artifact": {"path": str(oracle), "format": "canonical_json"}},
        "metrics": [m for m in committed["metrics"] if m["name"] in METRICS],
    }
    for metric in short["metrics"]:
        # Two seeds show less than four.
        metric["margin"] *= 3
    path = tmp_path / "tdmpc2_short.yaml"
    path.write_text(json.dumps(short), encoding="utf-8")
    return path


def judged(suite: Path, backends: Path) -> dict[str, Any]:
    """The document of a run of ``suite`` with these backends, in a project of its own."""
    (suite.parent / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--parity=quick",
        suite.name,
        "-q",
        "--parity-run-id",
        backends.name,
    ]
    subprocess.run(
        [*command, "-o", f"parity_backends={backends}"], cwd=suite.parent, capture_output=True, check=False
    )
    path = suite.parent / "reports/parity" / backends.name / "tdmpc2_short" / "run.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def test_a_mistake_does_not_pass_where_the_faithful_program_does(suite: Path) -> None:
    faithful = judged(suite, ROOT / "backends")
    assert faithful["verdict"] == "pass", faithful["verdict_reason"]
    mistaken = judged(suite, TDMPC2.planted("two_hot_bins_shifted", suite.parent))
    assert mistaken["verdict"] != "pass"
    assert mistaken["gates"]["coverage"]["verdict"] == "pass"
    assert mistaken["metrics"]["value_loss.late"]["verdict"] != "pass"
    assert mistaken["metrics"]["value_loss.online"]["verdict"] != "pass"
