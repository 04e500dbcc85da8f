"""A list in a sentence may be cut only where a document has all of it."""

from __future__ import annotations

import pytest

from pytest_worldflux_parity.judgement.all_gates import Gate
from pytest_worldflux_parity.judgement.gates.recipes import recipe_findings
from pytest_worldflux_parity.judgement.proof_verdict import merge_gates
from pytest_worldflux_parity.suite.pairs import Pair
from pytest_worldflux_parity.suite.suite import SYSTEMS, Task
from tests.conftest import Project


def test_every_key_on_which_two_recipes_differ_is_in_the_finding() -> None:
    pair = Pair(Task("alpha"), 0, SYSTEMS)
    sides = {s: {f"key{i}": f"{s}{i}" for i in range(12)} for s in SYSTEMS}
    stated = {(s, "alpha", 0): sides[s] for s in SYSTEMS}
    (finding,) = recipe_findings([pair], stated, "effective_recipe")
    assert all(f"key{i}: 'official{i}' != 'worldflux{i}'" in finding.detail for i in range(12))
    assert not list(recipe_findings([pair], dict.fromkeys(stated, sides["official"]), "effective_recipe"))


def test_the_reason_of_each_family_is_in_that_of_the_gate() -> None:
    families = ("dreamerv3", "tdmpc2", "fake")
    one = merge_gates(
        "components", [Gate("components", "inconclusive", f"{f}: not compared") for f in families]
    )
    assert one.reason == "dreamerv3: not compared; tdmpc2: not compared; fake: not compared"


@pytest.mark.parametrize("tasks", [2, 9])
def test_every_pair_at_other_steps_is_in_a_document(project: Project, tasks: int) -> None:
    """The warning names the first of them."""
    names = [f"task{i}" for i in range(tasks)]
    path = project.root / "backends" / "program.py"
    curve = "for s in (0, 500, 1000))"
    text = path.read_text(encoding="utf-8")
    assert curve in text
    late = "for s in (0, 500, 850 if request.system == 'official' else 1150))"
    path.write_text(text.replace(curve, late), encoding="utf-8")
    asked = {"tasks": names, "budget": {"step": 1000, "tolerance": 0.15}}
    project.suite(**asked, seeds=2)
    project.proof(**asked, seed_policy={"mode": "fixed", "values": [0, 1]})
    project.track = "quick"
    project.run()
    document = project.document()
    (warning,) = [w for w in document["warnings"] if "further apart" in w]
    assert f" and {2 * tasks - 1} more" in warning
    listed = [(p["task"], p["seed"]) for p in document["steps_apart"]["pairs"]]
    assert listed == [(name, seed) for name in names for seed in range(2)]
    project.track = "proof"
    project.run(run_id="p")
    apart = project.document("fake_proof/coverage_report.json", run_id="p")["steps_apart"]
    assert [(p["task"], p["seed"]) for p in apart["pairs"]] == [(n, s) for n in names for s in range(2)]
