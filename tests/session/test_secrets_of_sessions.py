"""Secrets that stand elsewhere than in this session's environment: in another's, or in a manifest."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.session.test_honest_programs import describe, editable, environment, passes, write
from tests.session.test_leaks import PLACES, SECRET, everything, saying, statement
from tests.session.test_proof_commands import SUITE, commands

ONE = "suites/quick/fake_quick.yaml::alpha[seed=0]"


def left_behind(project: Project) -> Path:
    """The folder of an attempt whose session was killed, with secrets in all of its logs."""
    folder = project.run_dir() / "fake_quick" / "executions" / "alpha" / "seed_1" / "worldflux" / "attempt_1"
    first = folder.parents[2] / "seed_0" / "worldflux" / "attempt_1"
    folder.mkdir(parents=True)
    request = json.loads((first / "request.json").read_text(encoding="utf-8"))
    (folder / "request.json").write_text(json.dumps({**request, "out_dir": str(folder)}), encoding="utf-8")
    for name in ("stdout.log", "stderr.log", "progress.jsonl"):
        (folder / name).write_text(f"login {SECRET}\n", encoding="utf-8")
    return folder


def test_logs_of_a_session_with_other_secrets_are_no_evidence(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(project, PLACES, monkeypatch)
    project.suite(tasks=["alpha"])
    project.run(ONE)
    names = json.loads((project.run_dir() / "secret_names.json").read_text(encoding="utf-8"))
    assert {"MY_COUNT_SECRET", "MY_PASSWORD", "MY_TOKEN"} <= set(names)
    folder = left_behind(project)
    for name in ("MY_TOKEN", "MY_PASSWORD", "MY_COUNT_SECRET"):
        monkeypatch.delenv(name)
    assert project.run("--parity-resume").ret == pytest.ExitCode.OK
    said = (folder / "stdout.log").read_text(encoding="utf-8")
    assert said.startswith(
        "<redacted:log> left by an earlier session, of whose MY_COUNT_SECRET, MY_PASSWORD, MY_TOKEN"
    )
    assert SECRET in (folder / "stderr.log.withheld").read_text(encoding="utf-8"), "nothing is lost"
    for path in (*project.run_dir().rglob("*.json*"), *project.run_dir().rglob("*.md")):
        assert path.name.endswith(".withheld") or SECRET not in path.read_text(encoding="utf-8"), path
    bundle = project.run_dir() / "fake_quick" / "evidence_bundle.zip"
    with zipfile.ZipFile(bundle) as archive:
        assert not [n for n in archive.namelist() if SECRET.encode() in archive.read(n)]
    assert "<redacted:log>" in json.dumps(statement(bundle)["predicate"]), "the statement says so"


def test_logs_of_a_session_with_the_same_secrets_are_cleaned(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(project, PLACES, monkeypatch)
    project.suite(tasks=["alpha"])
    project.run(ONE)
    folder = left_behind(project)
    # One more is no reason.
    monkeypatch.setenv("ANOTHER_TOKEN", "something-else-entirely")
    assert project.run("--parity-resume").ret == pytest.ExitCode.OK
    assert (folder / "stderr.log").read_text(encoding="utf-8") == "login <redacted:MY_TOKEN>\n"
    assert SECRET not in everything(project.run_dir())


# --- in a manifest ---


def given(project: Project, **env: str) -> str:
    """A manifest whose candidate is given these variables, and prints them; its suite id."""
    suite_id = commands(project, defaults={})
    path = project.root / SUITE
    document = json.loads(path.read_text(encoding="utf-8"))
    for task in document["tasks"]:
        task["worldflux"]["env"].update(env)
    path.write_text(json.dumps(document), encoding="utf-8")
    program = project.root / "bin" / "train.py"
    told = f"import os\nprint('told', *(os.environ.get(n, '-') for n in {sorted(env)!r}), flush=True)\n"
    program.write_text(told + program.read_text(encoding="utf-8"), encoding="utf-8")
    return suite_id


@pytest.mark.parametrize("name", ["DB_PASS", "WANDB_AUTH", "SESSION_COOKIE", "PGPWD", "WANDB_API_KEY"])
def test_a_manifest_that_hands_a_secret_on_is_refused(project: Project, name: str) -> None:
    given(project, **{name: SECRET})
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stderr.str()
    assert f"the worldflux command is given {name} with a value" in text
    assert f"set {name} where pytest is started" in text
    assert SECRET not in text + result.stdout.str()
    assert not (project.run_dir() / "run.json").exists(), "before anything ran"


def test_what_only_has_such_a_name_is_no_secret(project: Project) -> None:
    plain = {"TOKENIZERS_PARALLELISM": "false", "KEY_FILE": "{repo_root}/keys.json", "METRIC_KEY": "return",
             "API_KEY": "{task_id}", "GROUP_KEY": "12345678"}  # fmt: skip
    suite_id = given(project, **plain)
    project.run()
    assert all(line["success"] for line in project.lines(suite_id)), "it ran"
    assert (project.run_dir() / suite_id / "evidence_bundle.zip").exists()


def test_a_short_secret_of_a_manifest_is_taken_out_of_logs(project: Project) -> None:
    suite_id = given(project, DB_PASS="ab-12", LEVEL_KEY="loss")
    project.run()
    folder = project.out_dir("worldflux", "atari100k_game_0", 0, suite_id) / "attempt_1"
    assert (folder / "stdout.log").read_text(encoding="utf-8").startswith("told <redacted:DB_PASS> loss\n")


# --- in what is said of packages ---


def test_sentences_on_packages_name_no_place(project: Project, tmp_path: Path) -> None:
    """An editable project that pins leave no room for, and a line of a path that leads nowhere."""
    project.suite(tasks=["alpha"])
    source = tmp_path / "away" / "agent"
    write(source / "src" / "agent" / "__init__.py", "")
    write(source / "src" / "agent" / "train.py")
    describe(
        project, "worldflux", ["{python}", "-m", "agent.train"], {"packages": [{"name": "agent"}]},
        environment="own", requirements=["agent==1.0"],
    )  # fmt: skip
    made = environment(project, "worldflux")
    editable(made, source, "path")
    made.write("nowhere.pth", f"{tmp_path}/two/module.py\n")
    write(tmp_path / "two" / "module.py", "")
    passes(project)
    text = (project.run_dir() / "run.json").read_text(encoding="utf-8")
    assert '"nowhere.pth"' in text
    assert str(tmp_path) not in text
    assert str(project.root) not in text
    assert os.path.realpath(made.folder) not in text
    passes(project, "--parity-resume")
