"""What a person types: words that name something, words that name nothing, and a suite without its track."""

from __future__ import annotations

import shutil

import pytest

from tests.conftest import Project

SUITE = "suites/quick/fake_quick.yaml"
NOTHING = {
    "a path": ("suites/quick/fake.yaml", "file or directory not found: suites/quick/fake.yaml"),
    "a folder": ("suites/quik", "file or directory not found: suites/quik"),
    "a task": (f"{SUITE}::gamma", "no such item; valid: alpha[seed=0], alpha[seed=1]"),
    "a seed": (
        f"{SUITE}::alpha[seed=10]",
        "no such item; did you mean 'alpha[seed=1]'?; valid: alpha[seed=0]",
    ),
}


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("what", NOTHING)
def test_what_is_not_there_is_said(project: Project, what: str, workers: str) -> None:
    """Also where workers collect, of which pytest shows nothing."""
    project.ini("filterwarnings = error", f"parity_workers = {workers}")
    project.suite(tasks=["alpha"], seeds=2)
    argument, words = NOTHING[what]
    result = project.run(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    [line] = [x for x in result.errlines if x.startswith("ERROR: ")]
    assert words in line
    assert not project.run_dir().exists()


def test_what_is_there_runs(project: Project) -> None:
    project.suite(tasks=["alpha", "beta"], seeds=2)
    result = project.run(f"{SUITE}::alpha")
    assert sorted({x["task_id"] for x in project.lines()}) == ["alpha"]
    result.assert_outcomes(passed=4, failed=2)


def test_seeds_are_words_of_k(project: Project) -> None:
    project.suite(tasks=["alpha", "beta"], seeds=3)
    project.run("-k", "seed1 and beta")
    assert {(x["task_id"], x["seed"]) for x in project.lines()} == {("beta", 1)}


@pytest.mark.parametrize("option", ["--setup-plan", "--setup-only", "--collect-only"])
def test_what_is_only_told_of_is_not_judged(project: Project, option: str) -> None:
    project.ini("filterwarnings = error")
    project.suite(tasks=["alpha"], seeds=2)
    result = project.run(option)
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert "alpha[seed=1]" in result.stdout.str()
    assert "verdict" not in result.stdout.str()
    assert not project.run_dir().exists()


@pytest.mark.parametrize("track", ["quick", "proof"])
def test_a_suite_without_its_track_says_what_to_type(project: Project, track: str) -> None:
    path = project.suite() if track == "quick" else project.proof()
    name = path.relative_to(project.root).as_posix()
    result = project.plain(name)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"{name} is a parity suite; to run it: pytest --parity={track} {name}"])


def test_other_files_are_no_concern_of_ours(project: Project) -> None:
    project.suite()
    (project.root / "other.yaml").write_text("a: 1\n", encoding="utf-8")
    (project.root / "test_x.py").write_text("def test_x(): pass\n", encoding="utf-8")
    result = project.plain("other.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "is a parity suite" not in result.stdout.str() + result.stderr.str()
    project.plain().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "text", ["test_name: x\nstages:\n- request: {json: {suite_id: 3}}\n", "a: suite_id\n"]
)
def test_a_file_that_has_our_words_within_is_none_of_ours(project: Project, text: str) -> None:
    """As of tavern, whose bodies of requests may say anything."""
    (project.root / "test_api.tavern.yaml").write_text(text, encoding="utf-8")
    result = project.plain("test_api.tavern.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR, "not found, as pytest says it"
    assert "parity" not in result.stderr.str()


@pytest.mark.parametrize("name", ["x\x1b[31m::error::", "a\u202eb", "##vso[a]"])
def test_a_suite_whose_name_is_more_than_text_is_refused(project: Project, name: str) -> None:
    path = project.suite(tasks=["alpha"], seeds=1)
    shutil.move(path, path.with_name(f"{name}.yaml"))
    for extra in ((), ("-n", "2")):
        result = project.run("--junitxml=junit.xml", *extra)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        shown = result.stdout.str() + result.stderr.str()
        assert "to mend: rename it" in shown
        assert not [word for word in ("\x1b", "\u202e", "##vso[") if word in shown]
    assert not (project.root / "junit.xml").exists()
    assert not project.run_dir().exists()


def test_a_name_in_capitals_is_a_suite(project: Project) -> None:
    path = project.suite(tasks=["alpha"], seeds=2)
    shutil.move(path, path.with_suffix(".YAML"))
    result = project.run()
    assert len(project.lines()) == 4
    assert "fake_quick.YAML::verdict[coverage]" in "".join(project.run("-rA", run_id="s").outlines)
    assert result.ret == pytest.ExitCode.OK
