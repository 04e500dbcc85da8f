"""The two programs of the page that import nothing of ours: what they need not state is filled in."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SUITE, Project

PAGE = Path(__file__).parents[2] / "backends" / "README.md"
FILLED = {"adapter_id", "backend_kind", "recipe_hash", "eval_protocol_hash", "artifact_manifest", "source"}
# What a proof asks beside, as the page says.
OF_A_PROOF = {"mode": "live", "policy_mode": "trained", "env_backend": "gymnasium"}
PLAIN = {
    "tasks": ["alpha"],
    "official": {"backend": "plain_official"},
    "worldflux": {"backend": "plain_worldflux"},
}


def example(fence: str, word: str) -> str:
    blocks = re.findall(rf"```{fence}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (text,) = (block for block in blocks if word in block)
    return str(text)


def write_backend(project: Project, system: str, argv: list[str], name: str, text: str) -> Path:
    folder = project.root / "backends" / f"plain_{system}"
    folder.mkdir()
    (folder / name).write_text(text, encoding="utf-8")
    own = {"adapter": folder.name, "kind": "plain", "family": SUITE["family"], "system": system}
    rest = {"argv": [*argv, f"{{backend_dir}}/{name}"], "environment": "shared", "program": {"files": ["."]}}
    (folder / "backend.yaml").write_text(json.dumps({**own, **rest}), encoding="utf-8")
    return folder / name


@pytest.fixture
def plain(project: Project) -> Project:
    """A project whose sides are the page's programs, with scores that a seed changes."""
    text = example("python", "json.load(open(sys.argv[1]")
    assert len(text.splitlines()) <= 9
    write_backend(
        project, "official", ["{python}"], "main.py", text.replace("99.8", '99.8 + request["seed"] / 10')
    )
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    text = example("sh", "jq -r .out_dir")
    write_backend(project, "worldflux", ["bash"], "main.sh", text.replace("99.8", "(99.75 + .seed * 0.12)"))
    return project


def filled(lines: list[dict[str, Any]]) -> set[str]:
    return set().union(*(line["filled_in"]["metadata"] for line in lines))


def test_a_quick_run_of_plain_programs_passes_and_says_what_was_filled_in(plain: Project) -> None:
    plain.suite(**PLAIN, seeds=4)
    result = plain.run()
    assert result.ret == pytest.ExitCode.OK, result.outlines
    lines = plain.lines()
    assert filled(lines) == FILLED
    for line in lines:
        assert line["filled_in"]["by"] == "pytest_worldflux_parity"
        own = line["filled_in"]["metadata"]
        assert (own["adapter_id"], own["backend_kind"]) == (line["adapter"], "plain")
        assert own["source"] == {"tree_sha256": line["source"]["backend_tree_sha256"]}
        written = plain.out_dir(line["system"], "alpha", line["seed"]) / "attempt_1" / "metrics.json"
        assert json.loads(written.read_text(encoding="utf-8"))["metadata"].keys() == {
            "effective_recipe",
            "eval_protocol",
        }, "the record is as its program wrote it"


def test_a_proof_asks_for_three_words_more(plain: Project) -> None:
    plain.proof(
        **PLAIN,
        statistical={"bayesian": {"draws": 1000}},
        seed_policy={"mode": "fixed", "values": [0, 1, 2, 3]},
    )
    assert plain.run().ret == pytest.ExitCode.TESTS_FAILED
    report = plain.document("fake_proof/validity_report.json")
    assert report["issues_by_code"].keys() == {
        "missing_mode",
        "missing_policy_mode",
        "missing_env_backend",
        "policy_mode_mismatch",
    }
    for path, end in (
        ("plain_official/main.py", '["eval_protocol"]}'),
        ("plain_worldflux/main.sh", "eval_protocol}"),
    ):
        main = plain.root / "backends" / path
        words = "".join(f', "{key}": "{word}"' for key, word in OF_A_PROOF.items())
        text = main.read_text(encoding="utf-8")
        assert text.count(end) == 1
        main.write_text(text.replace(end, f"{end[:-1]}{words}}}"), encoding="utf-8")
    result = plain.run(run_id="whole")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    whole = plain.document("fake_proof/equivalence_report.json", "whole")["provenance"]["worldflux"]
    assert (whole["adapter_ids"], whole["single_recipe_hash"]) == (["plain_worldflux"], True)


@pytest.mark.parametrize(
    "edited",
    [
        {"by": "somebody", "metadata": {}},
        {"by": "pytest_worldflux_parity", "metadata": {"mode": "live"}},
        {"metadata": 3},
        "all of it",
    ],
)
def test_what_a_line_says_was_filled_in_is_held_against_what_is(plain: Project, edited: object) -> None:
    plain.suite(**PLAIN, seeds=1)
    plain.run()
    path = plain.run_dir() / "fake_quick" / "parity_runs.jsonl"
    lines = [json.dumps({**line, "filled_in": edited}) for line in plain.lines()]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    plain.run("--parity-resume")
    found = plain.document()["gates"]["validity"]["findings"]
    assert any("filled_in is not what the plugin fills in" in f["detail"] for f in found)
