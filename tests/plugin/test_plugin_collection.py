"""Every mistake in what the user wrote shows at collection, as one line that says how to mend it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project

ROW = {"task": "alpha", "seed": 0, "step": 1000, "score": 1.0}
LEGACY_SIDE = {"format": "canonical_json", "path": "good.json"}


def artifact(path: str, format: str = "canonical_json", **keys: str) -> dict[str, Any]:
    return {"artifact": {"path": path, "format": format, **keys}}


def write_tables(folder: Path) -> None:
    """Tables that no loader may take."""

    def rows(name: str, *found: object) -> None:
        (folder / name).write_text(json.dumps({"scores": found}), encoding="utf-8")

    rows("good.json", ROW, {**ROW, "seed": 1})
    rows("nan.json", ROW, {**ROW, "seed": 1, "score": float("nan")})
    rows("seed.json", {**ROW, "seed": 0.5})
    rows("no_step.json", {k: v for k, v in ROW.items() if k != "step"})
    rows("two.json", ROW, {**ROW, "score": 2.0})
    rows("empty.json")
    (folder / "cut.json.gz").write_bytes(gzip.compress(b"[]" * 100)[:-12])
    curve = {"task": "alpha", "method": "m", "seed": 0, "xs": [1, 2], "ys": [1.0]}
    (folder / "curve.json").write_text(json.dumps([curve]), encoding="utf-8")
    (folder / "csv").mkdir()
    (folder / "csv" / "alpha.csv").write_text("step,seed\n1,1\n", encoding="utf-8")


# suite -> what its collection says
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "typo": ({"trak": "quick"}, "typo.yaml:35: unknown key 'trak'; did you mean 'track'?; valid: "),
    "adapter": (
        {"worldflux": {"backend": "fake_worldflx"}},
        "adapter.yaml:15: no backend has the adapter id 'fake_worldflx'; did you mean 'fake_worldflux'?; "
        "valid: fake_official, fake_worldflux, locked, lonely; to mend: name one of these, or add a folder",
    ),
    "family": (
        {"family": "other"},
        "family.yaml:4: fake_official is of the family 'fake', the suite of 'other'",
    ),
    "absent": ({"official": artifact("none.json")}, "none.json: cannot be read: "),
    "nan": (
        {"official": artifact("nan.json")},
        "nan.json:1: scores[1].score: not JSON for scores: NaN is not a number",
    ),
    "seed": ({"official": artifact("seed.json")}, "seed.json:1: scores[0]: seed is 0.5, not a non-negative"),
    "no_step": ({"official": artifact("no_step.json")}, "no_step.json:1: scores[0]: step is missing"),
    "two": (
        {"official": artifact("two.json")},
        "two.json:1: scores[1]: a second score 2.0 for alpha seed 0 step 1000, which has 1.0; to mend: say",
    ),
    "empty": ({"official": artifact("empty.json")}, "empty.json: the table holds no score"),
    "cut": (
        {"official": artifact("cut.json.gz", "dreamerv3_scores_json_gz")},
        "cut.json.gz: the gzip file is cut off; to mend: fetch it again",
    ),
    "curve": (
        {"official": artifact("curve.json", "dreamerv3_scores_json_gz")},
        "curve.json:1: [0]: 2 xs and 1 ys",
    ),
    "column": (
        {"official": artifact("csv", "tdmpc2_results_csv_dir")},
        "alpha.csv:1: no score column in ['step', 'seed']; valid: reward, score, success",
    ),
    "own_environment": (
        {"worldflux": {"backend": "lonely"}},
        "the environment of backend lonely is absent; to mend: worldflux-parity env create lonely",
    ),
    "lock": (
        {"worldflux": {"backend": "locked"}},
        "upstream_lock.json: the lock file cannot be read: ",
    ),
}


def add_backend(project: Project, name: str, **keys: Any) -> None:
    folder = project.root / "backends" / name
    folder.mkdir()
    description = {
        "adapter": name, "kind": "fake", "family": "fake", "system": "worldflux",
        "argv": ["{python}"], "environment": "shared", **keys,
    }  # fmt: skip
    (folder / "backend.yaml").write_text(json.dumps(description), encoding="utf-8")


def test_every_bad_suite_says_what_where_and_how_to_mend_it(project: Project) -> None:
    project.suite("good", tasks=["alpha"])
    for name, (changes, _) in BAD.items():
        project.suite(name, **changes)
    folder = project.root / "suites" / "quick"
    write_tables(folder)
    (folder / "broken.yaml").write_text("a: [", encoding="utf-8")
    (folder / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    legacy = {"suite_id": "old", "family": "f", "tasks": ["alpha"], "upstream": LEGACY_SIDE, "worldflux": 3}
    (folder / "old.yaml").write_text(json.dumps(legacy), encoding="utf-8")
    add_backend(project, "lonely", environment="own")
    add_backend(project, "locked", source={"lock": "some_suite"})

    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    text = result.stdout.str()
    assert "Traceback" not in text
    assert "Error:" not in text
    for name, (_, told) in BAD.items():
        assert any(told in line for line in result.outlines), name
    assert "broken.yaml:2: not YAML: " in text
    assert "bytes.yaml" in text
    assert "worldflux is 3 (int); valid: object" in text
    assert result.parseoutcomes()["errors"] == len(BAD) + 3
    assert not (project.root / "reports").exists(), "nothing ran"


def test_a_broken_backend_description_names_its_line(project: Project) -> None:
    project.suite(tasks=["alpha"])
    path = project.root / "backends" / "fake_worldflux" / "backend.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("system: worldflux", "system: wordflux"), encoding="utf-8")
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        ["*backend.yaml:4: system is 'wordflux'; did you mean 'worldflux'?; valid: official, worldflux"]
    )


def test_a_suite_outside_the_project_is_refused(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "suite.yaml"
    elsewhere.write_text(project.suite().read_text(encoding="utf-8"), encoding="utf-8")
    result = project.run("-n0", f"--rootdir={project.root}", str(elsewhere))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*suite.yaml: a suite lies in the project, *"])


def test_a_suite_needs_no_environment_to_be_listed(project: Project) -> None:
    """--collect-only shows the pairs of a suite whose backend is not there yet."""
    add_backend(project, "lonely", environment="own")
    project.suite(tasks=["alpha"], worldflux={"backend": "lonely"})
    assert project.run("--collect-only", "-q").ret == pytest.ExitCode.OK
    # Nor to be run on its other side.
    result = project.run("--parity-systems", "official")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.document()["verdict"] == "inconclusive"
    assert {line["system"] for line in project.lines()} == {"official"}
