"""A candidate with a recipe of its own: sessions whose suite says which keys mean the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.lab import edit, program
from tests.conftest import Project

REASON = "both compute in float32"
TERMS: dict[str, Any] = {
    "tasks": ["alpha"],
    "recipe": {"level": 100.0, "lr": 0.1, "frames": 1000},
    "recipe_map": {"lr": "learning_rate", "frames": {"worldflux": "agent_steps", "times": 0.5}},
    "recipe_ignore": {"compile": REASON, "jit": REASON},
}
# Each program has a key that the other has not.
OWN = '{**request.recipe, "compile" if request.system == "official" else "jit": True}'
EFFECTIVE = '{**request.recipe, **({"odd": 1} if behaves(request, "other_recipe") else {})}'


@pytest.fixture
def third_party(project: Project) -> Project:
    edit(program(project), EFFECTIVE, OWN)
    return project


def test_a_quick_run_passes_and_says_on_what_terms(third_party: Project) -> None:
    third_party.suite(**TERMS, seeds=4)
    result = third_party.run()
    assert result.ret == pytest.ExitCode.OK, result.outlines
    run = third_party.document()
    assert run["recipe"] == {
        "compared": [3, 3],
        "ignored": {"compile": REASON, "jit": REASON},
        "mapped": {
            "lr": {"worldflux": "learning_rate", "times": 1},
            "frames": {"worldflux": "agent_steps", "times": 0.5},
        },
    }
    warning = f"2 keys of the recipe not compared, as the suite says: compile, jit ({REASON})"
    card = (
        f"3 keys compared, 2 ignored: compile, jit ({REASON}), "
        "2 mapped: lr as learning_rate, frames as agent_steps times 0.5"
    )
    assert warning in run["warnings"]
    assert run["verdict_reason"].startswith("with 2 keys of the recipe ignored: ")
    for text in (result.stdout.str(), third_party.report()):
        assert warning in text
        assert card in text
    page = (third_party.run_dir() / "dashboard.html").read_text(encoding="utf-8")
    assert warning in page
    asked = {line["system"]: line["recipe"] for line in third_party.lines()}
    assert asked["official"] == TERMS["recipe"]
    assert asked["worldflux"] == {"level": 100.0, "learning_rate": 0.1, "agent_steps": 500}


def test_a_term_less_or_a_number_more_and_its_pair_fails(third_party: Project) -> None:
    third_party.suite("without", **{**TERMS, "recipe_ignore": {"compile": REASON}}, seeds=1)
    edit(program(third_party), OWN, f'{{**{OWN}, **({{"learning_rate": 0.2}} if BEYOND else {{}})}}')
    edit(program(third_party), "import json\n", 'import json\n\nBEYOND = "beyond" in sys.argv[1]\n')
    edit(program(third_party), "import json\n\nBEYOND", "import json\nimport sys\n\nBEYOND")
    third_party.suite("beyond", **TERMS, seeds=1)
    result = third_party.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    out = result.stdout.str()
    assert "official and worldflux recipe differ: jit: 'absent' != True" in out
    assert "recipe differ: learning_rate: 0.1 != 0.2" in out


def test_a_proof_names_its_terms_in_each_report(third_party: Project) -> None:
    third_party.proof(**TERMS, statistical={"bayesian": {"draws": 1000}})
    result = third_party.run()
    assert result.ret == pytest.ExitCode.OK, result.outlines
    report = third_party.document("fake_proof/validity_report.json")
    assert report["recipes"][""]["compared"] == [3, 3]
    assert report["recipes"][""]["ignored"] == {"compile": REASON, "jit": REASON}
    whole = third_party.document("fake_proof/equivalence_report.json")["global"]
    assert whole["verdict_reason"].startswith("with 2 keys of the recipe ignored: ")
    markdown = (third_party.run_dir() / "fake_proof" / "equivalence_report.md").read_text(encoding="utf-8")
    assert "2 mapped: lr as learning" in markdown.replace("\\", "")
