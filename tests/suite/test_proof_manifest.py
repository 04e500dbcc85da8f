"""Manifests of the earlier system: read as they are, refused where they are wrong, at the line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.errors import SuiteError
from pytest_worldflux_parity.suite.commands import fill
from pytest_worldflux_parity.suite.proof import ProofSuite
from pytest_worldflux_parity.suite.proof_file import load
from pytest_worldflux_parity.suite.seed_plan import SeedPlan, TaskPlan
from tests.judgement.proof_examples import manifest


def read(folder: Path, document: Any, claim: str = "none") -> ProofSuite:
    if isinstance(document, dict) and "defaults" in document:
        document["defaults"]["parity_claim_level"] = claim
    path = folder / "manifest.yaml"
    path.write_text(document if isinstance(document, str) else json.dumps(document, indent=2))
    return load(path)


def test_a_manifest_of_65_tasks(tmp_path: Path) -> None:
    document = manifest()
    document["defaults"]["component_report_required"] = True
    found = read(tmp_path, document, claim="proof_grade")
    tasks = found.tasks()
    assert (len(tasks), len({t.family for t in tasks})) == (65, 2)
    assert sum(len(t.pairs) for t in tasks) == 65 * 20
    assert tasks[0].pairs[19] == ("official", "worldflux")
    assert [r.name for r in tasks[0].rules] == ["final_return_mean", "auc_return"]
    rule = tasks[0].rules[0]
    assert (rule.effect, rule.design, rule.alpha) == ("log_ratio", "paired", 0.05)
    assert found.settings.bayesian.draws == 20_000
    assert found.claim == "proof_grade"
    assert len(found.parts[0].sha256) == 64
    side = found.commands["official", tasks[0].id]
    assert side.command[-1] == "{keep}"
    assert side.artifact_requirements["config_snapshot"] == ("config.yaml",)
    assert any("never shifted" in w for w in found.warnings)


def test_numbers_that_are_texts_are_read_and_told(tmp_path: Path) -> None:
    """YAML 1.1 reads ``1e-08`` as a text, and what wrote a manifest anew kept it."""
    document = manifest()
    document["defaults"].update(eps="1e-08", alpha="0.05")
    document.update(alpha="5e-2", statistical={"bayesian": {"draws": "20000"}})
    found = read(tmp_path, document)
    assert found.tasks()[0].rules[0].alpha == 0.05
    assert found.settings.bayesian.draws == 20_000
    told = [w for w in found.warnings if "is read as" in w]
    assert len(told) == 4
    assert any("defaults.eps is the text '1e-08', and is read as 1e-08" in w for w in told)
    for wrong in ("nan", "inf", "1e400", "5%", "", "0.05 ", "9" * 5000):
        with pytest.raises(SuiteError, match="alpha"):
            read(tmp_path, manifest(alpha=wrong))


def test_a_task_overrides_what_the_suite_says(tmp_path: Path) -> None:
    document = manifest()
    document["tasks"][3].update(
        effect_transform="normalized_difference", equivalence_margin=0.1, alpha=0.01, secondary_metrics=[]
    )
    rules = read(tmp_path, document).tasks()[3].rules
    assert [r.name for r in rules] == ["final_return_mean", "auc_return"], "required_metrics names it still"
    assert {(r.effect, r.design, r.equivalence_margin, r.alpha) for r in rules} == {
        ("normalized_difference", "unpaired", 0.1, 0.01)
    }


def _set(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update(changes)


def _task(at: int, **changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["tasks"][at].update(changes)


def _command(document: dict[str, Any]) -> None:
    document["tasks"][2]["worldflux"]["command"] = "python3 run.py --seed {seed}"


def _misspelt(document: dict[str, Any]) -> None:
    document["tasks"][0]["oficial"] = document["tasks"][0].pop("official")


POLICY = {"mode": "auto_power", "pilot_seeds": 5, "min_seeds": 5, "max_seeds": 20}
WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "unknown key": (_set(suite_idd="x"), "unknown key 'suite_idd'; did you mean 'suite_id'?"),
    "unknown key of a task": (_misspelt, "unknown key 'oficial'; did you mean 'official'?"),
    "a string command": (_command, "the command of worldflux is one string, and there is no shell"),
    "a word for a boolean": (
        _set(higher_is_better="false"),
        'higher_is_better is "false" (str); valid: boolean',
    ),
    "a margin of nothing": (_set(equivalence_margin=0), "equivalence_margin: "),
    "an effect": (_set(effect_transform="log_ratio"), "did you mean 'paired_log_ratio'?"),
    "two alphas": (_set(alpha=0.01), "alpha is 0.01 here and 0.05 in defaults"),
    "two scopes": (
        _task(4, holm_scope="primary"),
        "holm_scope is primary here and all_metrics for the suite",
    ),
    "a task twice": (_task(1, task_id="atari_game_0"), "task 'atari_game_0' is 'atari100k_game_0' again"),
    "no family": (_task(1, family="mixed"), "task 'atari100k_game_1' has no family"),
    "a metric twice": (
        _task(1, secondary_metrics=["final_return_mean"]),
        "'final_return_mean' is the primary metric and a secondary one",
    ),
    "no tasks": (_set(tasks=[]), "tasks: "),
    "seeds that are none": (_set(seed_policy={"mode": "fixed"}), "a fixed seed policy names its seeds"),
    "too few seeds": (
        _set(seed_policy={"mode": "fixed", "values": [0, 1], "min_seeds": 3}),
        "min_seeds is 3 and there are 2 values, so nothing can pass",
    ),
    "a seed twice": (_set(seed_policy={"mode": "fixed", "values": [1, 1]}), "seed_policy.values: "),
    "a pilot above the maximum": (
        _set(seed_policy={**POLICY, "pilot_seeds": 30}),
        "pilot_seeds 30 and min_seeds 5 must not be above max_seeds 20",
    ),
    "values that run out": (_set(seed_policy={**POLICY, "values": [1, 2, 3]}), "3 values are fewer than"),
    "a mode": (_set(seed_policy={"mode": "auto_powr"}), "did you mean 'auto_power'?"),
    "dual pass of nothing": (
        _set(statistical={"bayesian": {"enable": False, "dual_pass_required": True}}),
        "dual_pass_required is true, and the Bayesian check is not enabled",
    ),
    "a version": (_set(schema_version="parity.suite.v3"), "did you mean 'parity.suite.v2'?"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_in_one_line_with_its_place(name: str, tmp_path: Path) -> None:
    change, told = WRONG[name]
    document = manifest()
    change(document)
    with pytest.raises(SuiteError) as caught:
        read(tmp_path, document)
    line = caught.value.line()
    assert told in line
    assert line.startswith(f"{tmp_path / 'manifest.yaml'}:")
    assert "\n" not in line


def test_the_place_is_the_line_of_the_value(tmp_path: Path) -> None:
    text = json.dumps(manifest(alpha=7), indent=2)
    wanted = 1 + next(i for i, row in enumerate(text.splitlines()) if row.startswith('  "alpha": 7'))
    with pytest.raises(SuiteError, match=rf"manifest\.yaml:{wanted}: alpha: "):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "schema_version: parity.suite.v2", "\x00"])
def test_what_is_no_manifest_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(SuiteError):
        read(tmp_path, text)
    with pytest.raises(SuiteError, match="cannot be read"):
        load(tmp_path / "absent.yaml")


OLDER = """\
{"schema_version": "parity.manifest.v1",
 "seed_policy": {"mode": "fixed", "values": [0, 1, 2],},
 "tasks": [{"task_id": "dog-run", "family": "tdmpc2",
   "official": {"adapter": "a", "command": "python3 'run it.py' --seed {seed}"},
   "worldflux": {"adapter": "b", "command": ["x"]},},],}
"""


def test_the_predecessor_is_read_with_a_warning(tmp_path: Path) -> None:
    found = read(tmp_path, OLDER)
    assert found.suite_id == "manifest", "the name of its file"
    assert found.commands["official", "dog-run"].command == ("python3", "run it.py", "--seed", "{seed}")
    assert [r.name for r in found.tasks()[0].rules] == ["final_return_mean", "auc_return"]
    assert found.warnings[0].startswith("parity.manifest.v1 is the predecessor")
    assert any("manifest.yaml:4: the command of official is one string" in w for w in found.warnings)


@pytest.mark.parametrize("mark", ["$(id)", "; rm -rf .", "a && b", "a | b", "`id`", "> f"])
def test_what_only_a_shell_understands_is_refused(mark: str, tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="which only a shell understands"):
        read(tmp_path, OLDER.replace("--seed", mark))


def test_placeholders_are_filled_and_other_braces_stay() -> None:
    values = {"seed": "3", "task_id": "{seed}", "device": "cpu"}
    text = "{task_id}/{seed} {{seed}} {x} { {seed {device}}"
    assert fill(text, values) == "{seed}/3 {3} {x} { {seed cpu}"
    with pytest.raises(SuiteError, match=r"the placeholder \{run_root\} has no value"):
        fill("{run_root}", values)


def test_a_task_may_have_a_fixed_policy_of_its_own(tmp_path: Path) -> None:
    fixed = {"mode": "fixed", "values": [0, 1, 2], "min_seeds": 2}
    document = manifest(seed_policy=fixed)
    document["tasks"][1]["seed_policy"] = {"mode": "fixed", "values": [9, 5]}
    tasks = read(tmp_path, document).tasks()
    assert [t.seeds["official"] for t in tasks[:3]] == [(0, 1, 2), (5, 9), (0, 1, 2)]
    document["seed_policy"] = POLICY
    with pytest.raises(SuiteError, match="auto_power gives every task its seeds"):
        read(tmp_path, document)


def test_a_pilot_expects_its_seeds_and_a_plan_its_own(tmp_path: Path) -> None:
    proof = read(tmp_path, manifest(seed_policy={**POLICY, "values": list(range(100, 120))}))
    assert proof.tasks()[0].seeds["official"] == (100, 101, 102, 103, 104)
    rows = tuple(TaskPlan(t.id, tuple(range(100, 107)), 7, "auc_return") for t in proof.tasks())
    plan = SeedPlan(rows)
    assert proof.tasks(plan)[64].seeds["worldflux"] == tuple(range(100, 107))
    assert SeedPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
