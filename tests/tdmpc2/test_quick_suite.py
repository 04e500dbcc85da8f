"""A quick suite on real training: a mistake that is planted does not pass, the faithful program does.

A shorter form of ``tests/studies/quick_study.py``: the least that TD-MPC2 trains, with networks as small as
still learn. Components are not compared: what is shown is that training alone tells.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the extra `tdmpc2` is not installed")
pytest.importorskip("dm_control", reason="the extra `tdmpc2` is not installed")

from tests import forked
from tests.forked import WITHOUT
from tests.studies.quick_study import TDMPC2

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
BACKENDS = HERE.parents[1] / "backends"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """``short_quick.yaml`` and the official numbers, in a project of their own."""
    for name in ("short_quick.yaml", "short_quick_official.json"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return tmp_path / "short_quick.yaml"


def judged(suite: Path, backends: Path, *more: str) -> dict[str, Any]:
    """The document of a run of ``suite`` with these backends."""
    command = ["pytest", *WITHOUT, "--parity=quick", suite.name, "-q"]
    options = ["--parity-run-id", backends.name, "-o", f"parity_backends={backends}"]
    forked.run([*command, *options, *more], suite.parent)
    path = suite.parent / "reports/parity" / backends.name / "tdmpc2_short" / "run.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def test_a_mistake_does_not_pass_where_the_faithful_program_does(suite: Path) -> None:
    faithful = judged(suite, BACKENDS)
    assert faithful["verdict"] == "pass", faithful["verdict_reason"]
    # Two seeds are enough to see this one.
    mistaken = judged(suite, TDMPC2.planted("no_symlog", suite.parent), "--parity-seeds", "0,1")
    assert mistaken["verdict"] == "fail", mistaken["verdict_reason"]
    assert mistaken["gates"]["coverage"]["verdict"] == "pass"
    assert mistaken["metrics"]["value_loss.late"]["verdict"] == "fail"
