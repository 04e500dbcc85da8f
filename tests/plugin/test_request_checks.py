"""What a program would refuse is refused at collection, by its own check, at the line of the suite."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_worldflux_parity import wire
from tests.conftest import Project

PYTHON = '["{python}", "{backend_dir}/check.py"]'
CHECK = """
import sys
from pytest_worldflux_parity import wire

class Refused(ValueError):
    pass

def check(request):
    if request.recipe["level"] < 0:
        raise Refused(f"recipe.level is {request.recipe['level']}; valid: 0 or more")
    if request.recipe.get("name", "") != "":
        raise Refused("recipe.name is no key")

sys.exit(wire.check_main("fake", check, (Refused,), sys.argv[1:]))
"""
SHELL = """
if grep -l '"level": -' "$@" > /dev/null; then
    echo 'warning: looked at' $# >&2
    echo 'recipe.level is below 0' >&2
    exit 3
fi
"""


def with_check(project: Project, argv: str = PYTHON, system: str = "worldflux", **more: Any) -> None:
    folder = project.root / "backends" / f"fake_{system}"
    (folder / "check.py").write_text(CHECK)
    (folder / "check.sh").write_text(SHELL)
    with open(folder / "backend.yaml", "a") as handle:
        handle.write(f'check: {json.dumps(more)[:-1]}{", " if more else ""}"argv": {argv}}}\n')


def collected(project: Project, *args: str, run_id: str | None = "r") -> tuple[pytest.ExitCode | int, str]:
    result = project.run(*args, run_id=run_id)
    return result.ret, result.stdout.str()


@pytest.mark.parametrize("argv", [PYTHON, '["/bin/sh", "{backend_dir}/check.sh"]'], ids=["python", "shell"])
@pytest.mark.parametrize("options", [(), ("--collect-only",)], ids=["run", "collect-only"])
def test_a_recipe_that_the_program_refuses_is_refused_at_its_line(
    project: Project, argv: str, options: tuple[str, ...]
) -> None:
    with_check(project, argv)
    path = project.suite(recipe={"other": 1, "level": -1.0})
    line = 1 + next(i for i, row in enumerate(path.read_text().splitlines()) if '"level"' in row)
    status, text = collected(project, *options)
    assert status == pytest.ExitCode.INTERRUPTED
    assert f"fake_quick.yaml:{line}: " in text
    assert "recipe.level is " in text
    assert "Traceback" not in text
    assert not (project.root / "reports" / "parity" / "r").exists(), "nothing was begun"


def test_a_slip_in_a_program_is_told_with_its_name_before_anything_runs(project: Project) -> None:
    with_check(project)
    project.suite()
    folder = project.root / "backends" / "fake_worldflux"
    (folder / "check.py").write_text("import numpyy")
    status, text = collected(project)
    assert status == pytest.ExitCode.INTERRUPTED
    assert "fake_worldflux: ModuleNotFoundError: No module named 'numpyy'" in text
    (folder / "check.py").rename(folder / "chekc.py")
    status, text = collected(project)
    assert status == pytest.ExitCode.INTERRUPTED
    told = "argv names '{backend_dir}/check.py', and there is no such file; did you mean 'chekc.py'?"
    assert f"backend.yaml: {told}" in text


def test_what_the_program_takes_is_run(project: Project) -> None:
    """An honest control: each side has a check, every task and both programs are asked."""
    with_check(project)
    with_check(project, system="official")
    project.suite()
    status, text = collected(project)
    assert status == pytest.ExitCode.OK, text


def test_the_recipe_of_one_task_alone_is_told_with_its_task(project: Project) -> None:
    with_check(project)
    path = project.suite(tasks=["alpha", {"id": "beta", "recipe": {"name": "x"}}])
    line = 1 + next(i for i, row in enumerate(path.read_text().splitlines()) if '"name": "x"' in row)
    status, text = collected(project, "--collect-only")
    assert status == pytest.ExitCode.INTERRUPTED
    assert f"fake_quick.yaml:{line}: fake, beta: recipe.name is no key" in text


def test_a_part_of_a_proof_is_asked_of_its_own_program(project: Project) -> None:
    with_check(project, system="official")
    project.proof(recipe={"level": -5.0})
    status, text = collected(project, "--collect-only")
    assert status == pytest.ExitCode.INTERRUPTED
    assert "fake, alpha: recipe.level is -5.0; valid: 0 or more" in text


def test_a_side_that_is_not_run_is_not_asked(project: Project) -> None:
    with_check(project)
    project.suite(recipe={"level": -1.0})
    status, _ = collected(project, "--collect-only", "--parity-systems=official")
    assert status == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("argv", "more", "told"),
    [
        ('["/bin/sh", "-c", "sleep 60"]', {"deadline_sec": 0.5}, "its check: deadline of 0.5 s passed"),
        ('["/nowhere/check"]', {}, "its check: /nowhere/check cannot be started"),
        ('["/bin/sh", "-c", "exit 7"]', {}, "its check ended with status 7"),
        ('["{python}", "-c", "raise OSError(3)"]', {}, "OSError: 3"),
        ('"check.py"', {}, "argv is a string, and no shell is ever started"),
    ],
)
def test_a_check_that_says_nothing_is_told_in_one_line(
    project: Project, argv: str, more: dict[str, Any], told: str
) -> None:
    with_check(project, argv, **more)
    project.suite()
    status, text = collected(project, "--collect-only")
    assert status == pytest.ExitCode.INTERRUPTED
    assert told in text
    assert "Traceback" not in text


@pytest.mark.parametrize("mode", ["require", "auto", "off"])
def test_a_check_is_kept_within_walls_where_they_can_be_had(project: Project, mode: str) -> None:
    """It sees neither the project nor the other side, and what it writes is gone: nothing is sealed yet."""
    from pytest_worldflux_parity.execution.isolation import why_no_walls

    if why_no_walls() is not None:
        pytest.skip("programs cannot be isolated here")
    look = f"touch {project.root}/seen; test ! -e {project.root}/suites/quick"
    with_check(project, json.dumps(["/bin/sh", "-c", look]))
    project.suite()
    status, text = collected(project, "--collect-only", f"--parity-isolate={mode}")
    assert status == pytest.ExitCode.OK, text
    assert not (project.root / "seen").exists()


def test_what_a_check_needs_is_declared_as_for_its_program(project: Project, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "limits").write_text("1")
    with_check(project, json.dumps(["/bin/sh", "-c", f"test -e {data}/limits"]))
    with open(project.root / "backends" / "fake_worldflux" / "backend.yaml", "a") as handle:
        handle.write(f"needs: {{read: [{data}]}}\n")
    project.suite()
    status, text = collected(project, "--collect-only")
    assert status == pytest.ExitCode.OK, text


@pytest.mark.parametrize(
    ("backend", "family", "task", "recipe", "told"),
    [
        ("worldflux_tdmpc2", "tdmpc2", "dog-run", {"num_elites": 900}, "num_elites (900) must not"),
        ("worldflux_tdmpc2", "tdmpc2", "dog-run", {"lrr": 1}, "recipe.lrr is not a known key"),
        (
            "worldflux_dreamerv3",
            "dreamerv3",
            "dmc_walker_walk",
            {"size": "size2m"},
            "recipe.size is 'size2m'",
        ),
        ("worldflux_dreamerv3", "dreamerv3", "dmc_walker_walk", {"agent.dyn.rssm.detr": 8}, "did you mean"),
        (
            "official_tdmpc2",
            "tdmpc2",
            "dog-run",
            {"model_profile": "size_2m"},
            "model_profile is 'size_2m'; supported here: size_1m",
        ),
        ("official_tdmpc2", "tdmpc2", "dog-run", {"lr": "high"}, "recipe.lr is 'high'; valid: a float"),
    ],
)
def test_our_own_programs_are_asked(
    project: Project, backend: str, family: str, task: str, recipe: dict[str, Any], told: str
) -> None:
    """Without their libraries: what is refused is known from the recipe."""
    system = backend.partition("_")[0]
    adapter = {
        "worldflux_tdmpc2": "worldflux_tdmpc2_native",
        "official_tdmpc2": "official_tdmpc2_torch_subprocess",
        "worldflux_dreamerv3": "worldflux_dreamerv3_jax_subprocess",
    }[backend]  # fmt: skip
    request = wire.RunRequest(
        "1" * 64, "r", "s", family, task, 0, system, adapter, "cpu", recipe, {}, str(project.root), 1.0,
        source={"checkout": "x", "commit": "y"},
    )  # fmt: skip
    path = project.root / "request.json"
    path.write_text(wire.request_to_json(request))
    good = project.root / "good.json"
    good.write_text(
        wire.request_to_json(wire.request_from_dict({**json.loads(path.read_text()), "recipe": {}}))
    )
    program = [sys.executable, "-m", f"backends.{backend}", "--check"]
    for paths, status in (([good], 0), ([good, path], 1)):
        done = subprocess.run(
            [*program, *map(str, paths)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert (told in done.stderr) == bool(status)
        assert len(done.stderr.splitlines()) == status
