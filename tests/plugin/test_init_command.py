"""``worldflux-parity init``: what it makes runs at once, and what it refuses is one line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.cli.main import main
from pytest_worldflux_parity.inputs.backends import load_backends
from pytest_worldflux_parity.inputs.lock import read_lock
from pytest_worldflux_parity.release.release_policy import read_policy
from pytest_worldflux_parity.suite import suite_file
from tests import forked
from tests.forked import WITHOUT

NAMES = ["--reference", "sb3_ppo", "--candidate", "sbx_ppo", "--family", "ppo"]
SCHEMAS = Path(__file__).parents[2] / "pytest_worldflux_parity" / "schemas"


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project as it was made, and what its first session said."""
    folder = tmp_path_factory.mktemp("made")
    told = forked.run(["worldflux-parity", "init", "mine", *NAMES, "--release"], folder)
    assert (told.returncode, told.stderr) == (0, "")
    root = folder / "mine"
    assert {f"wrote mine/{name}" for name in files_below(root)} < set(told.stdout.splitlines())
    assert "  pytest --parity=quick" in told.stdout.splitlines()
    done = forked.run(["pytest", *WITHOUT, "--parity=quick", "--parity-run-id=ci"], root)
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    return root, done.stdout


def test_what_it_makes_passes_at_once_and_nothing_is_warned_of(made: tuple[Path, str]) -> None:
    root, told = made
    assert "two programs that share no file" in told
    assert "arning" not in told
    assert "the `official` side is sb3_ppo, the `worldflux` side is sbx_ppo" in told
    run = json.loads((root / "reports/parity/ci/ppo/run.json").read_text(encoding="utf-8"))
    assert run["verdict"] == "pass"
    stored = lines(root / "reports/parity/ci/ppo/parity_runs.jsonl")
    assert len({json.dumps(line["metrics"]["curve"]) for line in stored}) == len(stored) == 10


def test_its_programs_are_found_whole_and_started_by_hand(made: tuple[Path, str]) -> None:
    root, _ = made
    for name in ("sb3_ppo", "sbx_ppo"):
        words = ["worldflux-parity", "check-backend", name, "--suite", "suites/quick/ppo.yaml"]
        done = forked.run(words, root)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "nothing was found"), done.stdout
    program = [sys.executable, "backends/sbx_ppo/main.py", "--task=bandit", "--seed=0", "--out=by_hand"]
    asked = ["--eval=eval_interval=2000", "--eval=eval_episodes=1"]
    subprocess.run([*program, *asked], cwd=root, timeout=60, check=True)
    record = json.loads((root / "by_hand" / "metrics.json").read_text(encoding="utf-8"))
    assert [point["step"] for point in record["curve"]] == [2000, 4000]


def test_a_program_that_does_not_heed_its_seed_does_not_pass(tmp_path: Path) -> None:
    """Its four scores are of three digits, so that equal runs are no proof of one run."""
    assert main(["init", str(tmp_path)]) == 0
    program = tmp_path / "backends/own_toy/main.py"
    text = program.read_text(encoding="utf-8")
    assert "request.seed" in text
    program.write_text(text.replace("request.seed", "7"), encoding="utf-8")
    done = forked.run(["pytest", *WITHOUT, "--parity=quick"], tmp_path)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "parity toy: INCONCLUSIVE" in done.stdout
    assert "5 seeds are equal, of 4 values, and no two of the other side" in done.stdout


@pytest.mark.parametrize(
    ("said", "slip", "told"),
    [
        ("epsilon:", "epsilonn:", "recipe.epsilonn is not a known key; did you mean 'epsilon'?"),
        ("epsilon: 0.1", "epsilon: much", "recipe.epsilon is 'much'; valid: a float"),
        ("[bandit]", "[bandti]", "there is no task 'bandti'; valid: bandit"),
    ],
)  # fmt: skip
def test_a_slip_in_its_suite_is_told_before_anything_runs(
    made: tuple[Path, str], said: str, slip: str, told: str
) -> None:
    """The toys are what people copy: one that takes what it does not know trains what nobody asked for."""
    root, _ = made
    text = (root / "suites/quick/ppo.yaml").read_text(encoding="utf-8")
    assert said in text
    suite = root / "slip.yaml"
    suite.write_text(text.replace(said, slip), encoding="utf-8")
    done = forked.run(["pytest", *WITHOUT, "--parity=quick", "slip.yaml"], root)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout
    assert told in done.stdout


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_file_is_one_that_its_reader_takes(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path), *NAMES, "--release"]) == 0
    backends = load_backends([tmp_path / "backends"])
    assert {b.adapter: (b.system, b.family) for b in backends.values()} == {
        "sb3_ppo": ("official", "ppo"),
        "sbx_ppo": ("worldflux", "ppo"),
    }
    assert set(read_lock(tmp_path / "reports/parity/upstream_lock.json").suites) == {"ppo"}
    policy = read_policy(tmp_path / "reports/parity/suite_policy.json")
    assert list(policy.rules) == ["suites/quick/ppo.yaml"]
    workflow = yaml.safe_load((tmp_path / ".github/workflows/parity.yml").read_text(encoding="utf-8"))
    commands = [step["run"] for step in workflow["jobs"]["parity"]["steps"] if "run" in step]
    assert [re.search(r"--parity=quick| (aggregate|report|validate|coverage) ", c) for c in commands[1:]]
    for path in [*tmp_path.glob("suites/*/*.yaml"), *tmp_path.glob("backends/*/backend.yaml")]:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        schema = path.parent / first.removeprefix("# yaml-language-server: $schema=")
        assert json.loads(schema.read_text("utf-8")) == json.loads((SCHEMAS / schema.name).read_text("utf-8"))


def test_a_release_of_the_toy_says_what_is_still_to_be_decided(made: tuple[Path, str]) -> None:
    """The commands are the workflow's own: nothing is admitted that nobody has admitted by name."""
    root, _ = made
    workflow = yaml.safe_load((root / ".github/workflows/parity.yml").read_text(encoding="utf-8"))
    commands = [step["run"] for step in workflow["jobs"]["parity"]["steps"] if "run" in step][2:]
    ended = {}
    for command in commands:
        words = [word.strip('"') for word in command.split()]
        ended[words[1]] = forked.run(words, root)
    assert {name: done.returncode for name, done in ended.items()} == {
        "aggregate": 0, "report": 0, "validate": 1, "coverage": 1,
    }  # fmt: skip
    told = re.findall(r": (\w+): ", ended["coverage"].stderr)
    assert sorted(told) == ["no_isolation", "oracle_commit_unknown"]


@pytest.mark.parametrize("option", ["--reference", "--candidate", "--family"])
@pytest.mark.parametrize(
    "name",
    ["my program", "a/b", "../up", "class", "null", "yes", "1e3", "é", "Upper", "_x", "x" * 62, "y\udcff"],
)  # fmt: skip
def test_a_name_that_is_none_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, name: str
) -> None:
    assert main(["init", str(tmp_path / "new"), f"{option}={name}"]) == 1
    told = capsys.readouterr()
    assert told.err.startswith(f"worldflux-parity: {option}: ")
    assert (told.err.count("\n"), told.out) == (1, "")
    assert not (tmp_path / "new").exists()


@given(
    st.text(st.characters(codec="utf-8"), min_size=1) | st.from_regex(r"[a-z][a-z0-9_]{0,60}", fullmatch=True)
)
@example("on")
@example("y")
@settings(max_examples=60, deadline=None)
def test_whatever_a_name_is_it_is_refused_or_read_back(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            status = main(["init", folder, f"--candidate={name}", f"--family={name}"])
        if status == 0:
            backends = load_backends([Path(folder, "backends")])
            assert backends[name].family == name
            assert suite_file.load(Path(folder, "suites", "quick", f"{name}.yaml")).family == name
        else:
            assert errors.getvalue().count("\n") == 1


def test_two_programs_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path), "--reference=one", "--candidate=one"]) == 1
    assert capsys.readouterr().err == (
        "worldflux-parity: --candidate: is 'one', as --reference is; to mend: --candidate own_one\n"
    )


@pytest.mark.parametrize("name", ["suites/quick/toy.yaml", "backends/own_toy/main.py", "pytest.ini"])
def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine\n", encoding="utf-8")
    assert main(["init", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert f"{tmp_path / name}: is there already" in told
    assert told.count("\n") == 1
    assert files_below(tmp_path) == {name}
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine\n"


def test_settings_of_a_project_that_is_there_are_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ``pytest.ini`` would take the place of what a ``pyproject.toml`` says."""
    for name in ("pyproject.toml", ".gitignore"):
        (tmp_path / name).write_text("", encoding="utf-8")
    assert main(["init", str(tmp_path)]) == 0
    assert not (tmp_path / "pytest.ini").exists()
    assert (tmp_path / ".gitignore").read_text(encoding="utf-8") == ""
    assert "left as it is: .gitignore" in capsys.readouterr().out


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["init", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_terminal_is_asked(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, b"\nmine\nppo\n")
    command = [sys.executable, "-m", "pytest_worldflux_parity.cli", "init", str(tmp_path)]
    done = subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs, timeout=60, check=False)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 0
    assert {"suites/quick/ppo.yaml", "backends/official_toy/main.py", "backends/mine/main.py"} < files_below(
        tmp_path
    )
