"""``suites/published``: comparisons of published tables, judged by the real plugin."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity.cli import main as cli
from pytest_worldflux_parity.inputs.checkouts import checkout_path
from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.inputs.scores import RETURN, load_table
from pytest_worldflux_parity.release.release_policy import read_policy
from pytest_worldflux_parity.reporting.documents import suite_fields
from pytest_worldflux_parity.suite.suite import ArtifactSide
from pytest_worldflux_parity.suite.suite_file import load
from tests.conftest import Project
from tests.oracles import ORACLES, needs_oracles
from tests.release.judged_runs import changed, earlier, write

CHECKOUT = Path(__file__).resolve().parents[2]
PUBLISHED = CHECKOUT / "suites" / "published"
LOCK = CHECKOUT / "reports" / "parity" / "upstream_lock.json"
# Locked suite -> the folder of the oracles that holds what its checkout holds.
FOLDERS = {"dreamer_atari100k": "dreamerv3", "tdmpc2_dmcontrol39": "tdmpc2"}


@pytest.fixture
def published(project: Project) -> Project:
    """A project with the published suites, the lock and the policy, and no table."""
    for name in ("published", "quick"):
        shutil.copytree(CHECKOUT / "suites" / name, project.root / "suites" / name)
    (project.root / "reports" / "parity").mkdir(parents=True)
    for name in ("upstream_lock.json", "suite_policy.json"):
        shutil.copy(LOCK.with_name(name), project.root / "reports" / "parity" / name)
    return project


@pytest.fixture
def fetched(published: Project) -> Project:
    """The same with the tables where ``fetch-oracles`` puts them."""
    for suite, folder in FOLDERS.items():
        entry = read_lock(LOCK).entry(suite)
        shutil.copytree(ORACLES / folder, checkout_path(published.root, entry.repo, entry.commit))
    return published


def judge(project: Project, suite: str, *more: str) -> dict[str, Any]:
    project.run(f"suites/published/{suite}.yaml", *more, run_id=suite)
    return project.document(f"{suite}/run.json", suite)


@pytest.mark.parametrize("suite", FOLDERS)
def test_the_locked_suites_compare_with_the_locked_table(suite: str) -> None:
    loaded, entry = load(PUBLISHED / f"{suite}.yaml"), read_lock(LOCK).entry(suite)
    official, worldflux = loaded.sides["official"], loaded.sides["worldflux"]
    assert loaded.legacy
    assert loaded.suite_id == suite
    assert len(loaded.tasks) == {"dreamer_atari100k": 26, "tdmpc2_dmcontrol39": 39}[suite]
    assert isinstance(official, ArtifactSide)
    assert isinstance(worldflux, ArtifactSide)
    assert (official.repo, official.commit, official.format) == (
        entry.repo,
        entry.commit,
        entry.oracle_format,
    )
    wanted = checkout_path(CHECKOUT, entry.repo, entry.commit) / entry.oracle_path
    assert official.path.resolve() == wanted.resolve()
    table = CHECKOUT / "reports" / "parity" / "worldflux" / f"{suite}.json"
    assert worldflux.path.resolve() == table.resolve()
    # Tools of the earlier system read them as JSON.
    assert json.loads(loaded.path.read_text())["margin_ratio"] == 0.05


def test_the_policy_names_suites_that_are_there() -> None:
    policy = read_policy(LOCK.with_name("suite_policy.json"))
    assert set(policy.rules) == {
        *(f"suites/quick/{path.name}" for path in (CHECKOUT / "suites" / "quick").glob("*.yaml")),
        *(f"suites/published/{suite}.yaml" for suite in FOLDERS),
    }
    for path, rule in policy.rules.items():
        assert load(CHECKOUT / path).family == rule.family


@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("*.yaml")), ids=lambda p: p.stem)
def test_an_absent_table_says_what_brings_it(published: Project, path: Path) -> None:
    """One line at collection; nothing else runs and no run directory is made."""
    result = published.run(f"suites/published/{path.name}")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    suite = "dreamer_atari100k" if load(path).family == "dreamerv3" else "tdmpc2_dmcontrol39"
    line = f"*cannot be read: *to mend: worldflux-parity fetch-oracles --suite {suite}"
    result.stdout.fnmatch_lines([line])
    assert not (published.root / "reports" / "parity" / "r" / "run.json").exists()


@needs_oracles
def test_a_worldflux_table_that_nobody_wrote_yet(fetched: Project) -> None:
    result = fetched.run("suites/published/dreamer_atari100k.yaml")
    result.stdout.fnmatch_lines(["*reports/parity/worldflux/dreamer_atari100k.json*--parity-worldflux=PATH*"])


@needs_oracles
@pytest.mark.parametrize(
    ("suite", "said", "warnings"),
    [
        (
            "dreamerv3_against_ppo_atari100k",
            "17 of 26 tasks significantly worse",
            [
                "the seeds of the official side are sorted by episode_return in all 26 tasks (of "
                "independent runs with a chance of 8e-50): they are ranks and no seeds, so nothing that "
                "pairs seeds means anything",
                "1 of 26 tasks are judged against the floor of 1, since their scores are below it: "
                "atari_freeway (official mean 0)",
            ],
        ),
        (
            "tdmpc2_against_tdmpc_dmcontrol39",
            "effect -15.14%, 90% interval -20.33% to -9.64%, bound -4.88%",
            ["679 rows of the worldflux table are of second runs of a (task, seed): the first run counts"],
        ),
    ],
)
def test_the_comparisons_that_can_be_made_today(
    fetched: Project, suite: str, said: str, warnings: list[str]
) -> None:
    """Another algorithm must not pass; the verdict is the one that the suite's description expects.

    Curves that end up to 18 % early, on one side more than on the other, are honest and raise nothing.
    """
    run = judge(fetched, suite)
    assert run["verdict"] == "fail"
    assert said in run["verdict_reason"]
    assert {name: gate["verdict"] for name, gate in run["gates"].items()} == dict.fromkeys(
        run["gates"], "pass"
    )
    assert run["counts"]["missing"] == 0
    entry = read_lock(LOCK).entry(suite)
    maker = f"a commit that is not known, and not by {entry.commit[:12]} that is locked"
    assert run["warnings"] == [
        f"the official table was made by {maker}: {entry.oracle_commit_reason}",
        *warnings,
    ]
    assert run["suite_lock_ref"]["oracle_commit"] == "unknown"
    assert "Expected verdict: fail" in " ".join((PUBLISHED / f"{suite}.yaml").read_text().split())


def test_the_lock_says_of_every_published_table_which_commit_made_it() -> None:
    """None of them names one, and all are older than the commit that they were found at."""
    published = [e for e in read_lock(LOCK).suites.values() if e.oracle_in == "source"]
    assert {e.suite_id for e in published} == {path.stem for path in PUBLISHED.glob("*.yaml")}
    assert all(e.oracle_commit == "unknown" and e.maker_doubt for e in published)


@needs_oracles
def test_a_release_with_other_algorithms_is_stopped(
    fetched: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seed documents' release, with another program's tables as the worldflux side: the known numbers."""
    monkeypatch.chdir(fetched.root)
    policy = fetched.root / "reports" / "parity" / "suite_policy.json"
    document = json.loads(policy.read_text(encoding="utf-8"))
    document["suites"] = {
        f"suites/published/{suite}.yaml": {
            "family": load(PUBLISHED / f"{suite}.yaml").family, "stage": "required", "evidence": "documents",
            "admit": ["overrides", "candidate_table"],
        }
        for suite in FOLDERS
    }  # fmt: skip
    policy.write_text(json.dumps(document), encoding="utf-8")
    candidates = {"dreamer_atari100k": "scores/atari100k-ppo_fixhp.json.gz",
                  "tdmpc2_dmcontrol39": "results/tdmpc"}  # fmt: skip
    expected = {
        "dreamer_atari100k": (130, 0.9111965294, 1.189),
        "tdmpc2_dmcontrol39": (117, 0.1804502540, 0.226),
    }
    runs = []
    for suite, path in candidates.items():
        entry = read_lock(LOCK).entry(suite)
        table = checkout_path(Path(), entry.repo, entry.commit) / path
        given = (f"--parity-worldflux={table}", f"--parity-worldflux-format={entry.oracle_format}")
        run = judge(fetched, suite, *given)
        pairs, mean, upper = expected[suite]
        assert run["stats"]["sample_size"] == pairs
        assert run["stats"]["mean_drop_ratio"] == pytest.approx(mean, abs=1e-10)
        assert run["stats"]["ci_upper_ratio"] == pytest.approx(upper, abs=5e-4)
        assert run["suite_lock_ref"]["matches_lock"] is True
        runs.append(f"reports/parity/{suite}/{suite}/run.json")
    aggregate = "reports/parity/aggregate.json"
    assert cli.main(["aggregate", "--runs-glob", "reports/parity/*/*/run.json", "--output", aggregate]) == 0
    capsys.readouterr()
    required = [word for suite in candidates for word in ("--required-suite", suite)]
    assert cli.main(["validate", "--run", *runs, "--aggregate", aggregate, *required]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2] for line in lines] == ["not_passed"] * 2
    assert cli.main(["coverage", "--aggregate", aggregate]) == 0
    capsys.readouterr()
    assert cli.main(["coverage", "--aggregate", aggregate, "--enforce-pass"]) == 1
    assert capsys.readouterr().err.count("not_passed") == 2


# --- the release of the seed documents ---


def published_document(suite: str, factor: float = 1.0) -> dict[str, Any]:
    """A document as the earlier system left it: its numbers, and no table or record beside it."""
    loaded, entry = load(PUBLISHED / f"{suite}.yaml"), read_lock(LOCK).entry(suite)
    scores = [100.0 + i for i in range(len(loaded.tasks))]
    rows = [
        {"task": t.id, "seed": 1, "upstream_score": score, "worldflux_score": score * factor,
         "upstream_step": 1000, "worldflux_step": 1000, "drop_ratio": 1 - factor}
        for t, score in zip(loaded.tasks, scores, strict=True)
    ]  # fmt: skip
    stats = {
        "sample_size": len(rows), "mean_upstream_score": sum(scores) / len(rows),
        "mean_worldflux_score": factor * sum(scores) / len(rows), "mean_drop_ratio": 1 - factor,
        "ci_lower_ratio": 1 - factor, "ci_upper_ratio": 1 - factor, "confidence": 0.95, "margin_ratio": 0.05,
        "pass_non_inferiority": factor >= 0.95,
    }  # fmt: skip
    counts = dict.fromkeys(("upstream_points", "worldflux_points", "paired"), len(rows))
    return {
        "schema_version": "worldflux.parity.run.v1",
        "generated_at_utc": "2026-01-01T00:00:00+00:00",
        "suite": suite_fields(loaded),
        "sources": {
            "upstream": {
                "path": "x",
                "format": entry.oracle_format,
                "repo": entry.repo,
                "commit": entry.commit,
            },
            "worldflux": {"path": "y", "format": "canonical_json"},
        },
        "counts": {**counts, "upstream_only": 0, "worldflux_only": 0},
        "stats": stats,
        "missing": {"upstream_only": [], "worldflux_only": []},
        "pairs": rows,
        "pass": factor >= 0.95,
    }


RELEASE = "reports/parity/aggregate.json"
VALIDATE = (
    "validate",
    *(word for suite in FOLDERS for word in ("--run", f"reports/parity/runs/{suite}.json")),
    "--aggregate", RELEASE, "--lock", "reports/parity/upstream_lock.json",
    *(word for suite in FOLDERS for word in ("--required-suite", suite)),
    "--max-missing-pairs", "0",
)  # fmt: skip
COVERAGE = (
    "coverage", "--policy", "reports/parity/suite_policy.json", "--lock", "reports/parity/upstream_lock.json",
    "--aggregate", RELEASE, "--enforce-pass",
)  # fmt: skip


def joined() -> None:
    assert cli.main(["aggregate", "--runs-glob", "reports/parity/runs/*.json", "--output", RELEASE]) == 0


@pytest.fixture
def released(published: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project with documents of both published suites and their aggregate, and no table."""
    monkeypatch.chdir(published.root)
    for suite in FOLDERS:
        write(published.root / "reports/parity/runs" / f"{suite}.json", published_document(suite))
    joined()
    return published


def without_quick(project: Project) -> None:
    """The policy as it was for the seed documents: of published suites alone."""
    changed(
        project.root / "reports/parity/suite_policy.json",
        lambda d: [d["suites"].pop(path) for path in list(d["suites"]) if "/quick/" in path],
    )


def candidate(project: Project, suite: str) -> None:
    """A candidate's table as a campaign would have made it: a little better, of its own noise."""
    side = load(project.root / "suites" / "published" / f"{suite}.yaml").sides["official"]
    assert isinstance(side, ArtifactSide)
    ends: dict[str, dict[int, Any]] = {}
    for (task, seed, metric), points in load_table(side.path, side.format).points.items():
        if metric == RETURN:
            ends.setdefault(task, {})[seed] = points[-1]
    rng = random.Random(suite)
    rows = [
        {"task": task, "seed": seed, "step": point.step,
         "score": rng.gauss(1.2, 0.01) * sum(p.value for p in own.values()) / len(own)}
        for task, own in ends.items()
        for seed, point in own.items()
    ]  # fmt: skip
    provenance = {"schema_version": "worldflux.parity.campaign_table.v1", "adapter": "worldflux",
                  "commit": "c" * 40, "command": "pytest --parity=campaign"}  # fmt: skip
    path = project.root / "reports/parity/worldflux" / f"{suite}.json"
    write(path, {"provenance": provenance, "scores": rows})


@needs_oracles
def test_the_release_commands_of_the_seed_documents(
    fetched: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go on working where the tables are here, which are judged, and say that there is no evidence."""
    monkeypatch.chdir(fetched.root)
    without_quick(fetched)
    for suite in FOLDERS:
        candidate(fetched, suite)
        write(fetched.root / "reports/parity/runs" / f"{suite}.json", earlier(judge(fetched, suite)))
    joined()
    for command in (VALIDATE, COVERAGE):
        capsys.readouterr()
        assert cli.main(list(command)) == 0, capsys.readouterr().err
        out = capsys.readouterr().out
        assert out.count("documents only, no evidence: judged anew from its two tables") == 2


def test_documents_of_tables_that_are_not_here_are_no_release(
    released: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written by hand, they say what they like; ``coverage`` does not require what waits for its table."""
    without_quick(released)
    capsys.readouterr()
    assert cli.main(list(VALIDATE)) == 1
    err = capsys.readouterr().err
    assert [line.split(": ")[2].split(" (")[0] for line in err.splitlines()] == ["table_missing"] * 4
    for suite in FOLDERS:
        assert f"worldflux-parity fetch-oracles --suite {suite}\n" in err
    assert cli.main(list(COVERAGE)) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert out.count("documents only, no evidence: its tables are not here") == 2
    assert out.count("its worldflux table is not here, so it is not required") == 2


def test_they_stop_where_a_suite_fails(released: Project, capsys: pytest.CaptureFixture[str]) -> None:
    without_quick(released)
    path = "reports/parity/runs/dreamer_atari100k.json"
    write(released.root / path, published_document("dreamer_atari100k", 0.9))
    joined()
    capsys.readouterr()
    assert cli.main(list(VALIDATE)) == 1
    assert capsys.readouterr().err.count("not_passed") == 1


def test_the_shipped_policy_asks_for_quick_suites_too(
    released: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(list(COVERAGE)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2] for line in lines] == ["not_in_aggregate"] * 2
