"""Sessions whose suite names its two sides: every text has the labels, and every document its own words."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests import forked
from tests.conftest import Project

LABELS = {"official": "SB3", "worldflux": "SBX"}
# A side's own word in prose, however it was escaped; names, paths, options and quotations have it too.
SIDE = re.compile(r"(?<![\w./\\=:;,'\"`-])(official|worldflux|upstream)(?![\w`=/-]|\.\w)", re.IGNORECASE)


def prose(text: str) -> str:
    """A text that calls the sides by their labels, and says once more which is which."""
    assert not SIDE.search(text), SIDE.search(text)
    assert re.search("[Tt]he [`']official[`'] side is SB3", text)
    for label in LABELS.values():
        assert label in text
    return text


def command(project: Project, *words: object) -> str:
    done = forked.run(["worldflux-parity", *map(str, words)], project.root)
    assert done.returncode in (0, 1), done.stderr
    return str(done.stdout)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_a_quick_run_that_lacks_a_result(project: Project) -> None:
    recipe = {"behaviour": "crash", "only": ["worldflux/alpha/0"]}
    project.suite("lacking", tasks=["alpha"], labels=LABELS, recipe=recipe)
    result = project.run("--junitxml=junit.xml", "-v")
    folder = project.run_dir()
    told = prose(result.stdout.str())
    assert "SBX: fake_worldflux: exit status 3" in told
    assert re.search("Captured SBX log", told)
    assert "  effect: (SBX - SB3) / |SB3|" in told
    header = next(line for line in told.splitlines() if line.startswith("  metric"))
    row = next(line for line in told.splitlines() if line.startswith("  episode_return"))
    assert header.index("SBX") + len("SBX") == row.index("(n=2)") + len("(n=2)")
    assert "| rule | SB3 | SBX | effect |" in prose(read(folder / "report.md"))
    prose(read(folder / "dashboard.html"))
    cases = ElementTree.parse(project.root / "junit.xml").iter("testcase")
    failures = [
        node.get("message", "") + (node.text or "") for case in cases for node in case.iter("failure")
    ]
    assert len(failures) == 3
    assert not any(SIDE.search(text) for text in failures)
    assert sum("SBX" in text for text in failures) == 3
    # What machines read has the words of its format, and says the labels once.
    run = project.document("lacking/run.json")
    assert run["suite"]["labels"] == LABELS
    assert "SBX" not in json.dumps({**run, "suite": {}})
    assert "worldflux" in run["verdict_reason"]
    assert project.document("aggregate.json")["suites"][0]["labels"] == LABELS
    assert '"official": "SB3"' in read(folder / "lacking/missing_pairs.yaml")
    # Documents alone are enough.
    for name in ("aggregate", "report"):
        words = {"aggregate": ("--runs-glob", folder / "lacking/run.json", "--output", "all.json")}
        words["report"] = ("--aggregate", "all.json", "--output", "all.md", "--dashboard", "all.html")
        command(project, name, *words[name])
    run["suite"]["labels"] = {"official": "SBX", "worldflux": "official"}
    (project.root / "swapped.json").write_text(json.dumps(run), encoding="utf-8")
    words = ["aggregate", "--runs-glob", "swapped.json", "--output", "none.json"]
    refused = forked.run(["worldflux-parity", *words], project.root)
    assert refused.returncode != 0
    assert "suite.labels.worldflux is 'official', not a label" in refused.stderr
    prose(read(project.root / "all.md"))
    prose(read(project.root / "all.html"))
    verified = prose(command(project, "verify", folder / "lacking/evidence_bundle.zip"))
    assert "verdict as stated: fail: coverage: failed (SBX, alpha, seed 0)" in verified


def test_a_proof_whose_recipes_differ(project: Project) -> None:
    recipe = {"level": 100.0, "behaviour": "other_recipe"}
    draws = {"bayesian": {"draws": 1000}}
    path = project.proof(tasks=["alpha"], labels=LABELS, recipe=recipe, statistical=draws)
    told = prose(project.run().stdout.str())
    assert "fail: recipe_mismatch (alpha, seed 0): SB3 and SBX recipe differ" in told
    folder = project.run_dir()
    report = prose(read(folder / "fake_proof" / "equivalence_report.md"))
    assert "| rule | SB3 | SBX | effect |" in report
    for page in ("report.md", "dashboard.html"):
        prose(read(folder / page))
    document = project.document("fake_proof/equivalence_report.json")
    assert document["config"]["labels"] == LABELS
    assert "SBX" not in json.dumps({**document, "config": {}})
    runs = folder / "fake_proof" / "parity_runs.jsonl"
    prose(command(project, "proof-report", path, "--runs", runs, "--output", "other"))
    assert prose(read(project.root / "other" / "equivalence_report.md"))
    verified = prose(command(project, "verify", folder / "fake_proof" / "evidence_bundle.zip"))
    assert "recomputed: 6 reports from the raw records, all equal" in verified


def test_what_stands_against_a_pass_and_a_program_alone(project: Project) -> None:
    backends = project.root / "backends"
    shutil.copy(backends / "fake_official" / "side.py", backends / "fake_worldflux" / "side.py")
    project.suite(tasks=["alpha"], seeds=1, labels=LABELS)
    told = prose(project.run().stdout.str())
    assert "fake_quick cannot pass: same_program" in told
    suite = "suites/quick/fake_quick.yaml"
    alone = command(project, "check-backend", "fake_worldflux", "--suite", suite, "--once")
    assert not SIDE.search(alone)


def test_compare_and_the_suite_that_it_prints(project: Project) -> None:
    for name in ("a", "b"):
        rows = [
            {"task": "t", "seed": s, "step": 1000, "score": 100.0 + s / 9 + (name == "b") / 7}
            for s in range(5)
        ]
        (project.root / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    told = prose(
        command(project, "compare", "a.json", "b.json", "--labels", "SB3, SBX").split("the suite that")[0]
    )
    assert "  SB3: a.json\n  SBX: b.json\n" in told
    command(
        project, "compare", "a.json", "b.json", "--labels", "SB3,SBX", "--suite-out", "suites/quick/c.yaml"
    )
    assert "labels: {official: SB3, worldflux: SBX}\n" in read(project.root / "suites/quick/c.yaml")
    prose(project.run().stdout.str())


@pytest.mark.parametrize(
    "text", ["SB3", "SB3,SB3", "SB3,sb3", "SB3,", "SB3,SBX,x", "SB3,official", "SB3,PASS", "SB3,<b>"]
)
def test_compare_refuses_labels_that_mislead(project: Project, text: str) -> None:
    done = forked.run(["worldflux-parity", "compare", "a", "b", "--labels", text], project.root)
    assert done.returncode == 2
    assert "argument --labels: " in done.stderr.splitlines()[-1]
