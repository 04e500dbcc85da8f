"""A checkout that a program reads where it stands: what comes, goes or is written there while it runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import pytest_worldflux_parity
from tests.conftest import Project
from tests.repositories import git
from tests.session.test_honest_programs import (
    FROM_CHECKOUT,
    TELLS,
    describe,
    editable,
    environment,
    passes,
    refuses_resume,
    repository,
    write,
)

PACKAGE = Path(pytest_worldflux_parity.__file__).parent
# What a candidate does to its checkout, ``c``, before it trains.
DOES = "from pathlib import Path\nc = Path({checkout!r})\n{text}\n"
FILES = {"train.py": TELLS, "helper.py": "", "notes.md": "1\n", ".gitignore": "build/\n"}


@pytest.fixture
def project(project: Project) -> Project:
    project.suite(tasks=["alpha"])
    return project


def does(project: Project, text: str, ignore: Sequence[str] = ()) -> Path:
    """The candidate is a checkout, and does this to it whenever it starts; returns the checkout."""
    checkout = project.root / "vendor" / "agent"
    repository(checkout, FILES)
    named = {"checkouts": [{"path": "../../vendor/agent"}], **({"ignore": list(ignore)} if ignore else {})}
    folder = describe(project, "worldflux", ["{python}", "{backend_dir}/run.py"], named)
    write(folder / "run.py", DOES.format(checkout=str(checkout), text=text) + FROM_CHECKOUT)
    return checkout


CHANGED = {
    "a file of it changes": ('(c / "helper.py").write_text("x = 1")', "agent/helper.py"),
    "a file of it goes": ('(c / "helper.py").unlink(missing_ok=True)', "agent/helper.py"),
    "code comes": ('(c / "new.py").write_text("x = 1")', "agent/new.py"),
    "code comes that git ignores": (
        '(c / "build").mkdir(exist_ok=True); (c / "build" / "new.py").write_text("x = 1")',
        "agent/build/new.py",
    ),
    "it changes and is as it was": (
        'f = c / "helper.py"; f.write_text("x = 1"); f.write_text("")',
        "agent/helper.py), written to meanwhile",
    ),
}


@pytest.mark.parametrize("how", CHANGED)
def test_a_checkout_that_does_not_stay_what_was_sealed(project: Project, how: str) -> None:
    text, words = CHANGED[how]
    if "as it was" in how:
        text = f"import time; time.sleep(2)\n{text}"
        project.suite(tasks=["alpha"], seeds=1)
    does(project, text)
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    [finding] = [
        f for f in project.document()["gates"]["validity"]["findings"] if f["code"] == "changed_since_sealed"
    ]
    assert words in finding["detail"]


UNCHANGED = {
    "nothing": ("", ()),
    "code comes that is none of it": (
        '(c / "build").mkdir(exist_ok=True); (c / "build" / "new.py").write_text("x = 1")',
        ("build/*",),
    ),
    "what is no code comes": ('(c / "weights.bin").write_bytes(b"0")', ()),
    "bytecode comes": (
        'd = c / "__pycache__"; d.mkdir(exist_ok=True); (d / "helper.cpython-311.pyc").write_bytes(b"0")',
        (),
    ),
}


@pytest.mark.parametrize("how", UNCHANGED)
def test_a_checkout_that_stays_what_was_sealed(project: Project, how: str) -> None:
    does(project, *UNCHANGED[how])
    result = project.run()
    assert result.ret == pytest.ExitCode.OK, result.outlines
    assert not project.document()["gates"]["validity"]["findings"]


def test_what_a_repository_names_for_git_is_not_run(project: Project) -> None:
    """Git starts a program of the repository's own settings to say what changed."""
    marker = project.root / "ran"
    monitor = write(project.root / "monitor.sh", f"#!/bin/sh\necho $0 >> {marker}\n")
    monitor.chmod(0o755)
    checkout = does(project, "")
    repository(project.root, {".gitignore": "reports\n"})
    for folder in (checkout, project.root):
        git(folder, "config", "core.fsmonitor", str(monitor))
    git(project.root, "status")
    assert marker.exists(), "git of this version starts it"
    marker.unlink()
    passes(project)
    assert not marker.exists()


def test_a_script_of_a_checkout_runs_where_it_stands(project: Project) -> None:
    """Its program may look for data beside itself, and git has what the run's copy would not."""
    checkout = project.root / "vendor" / "agent"
    repository(checkout, FILES)
    named = {"checkouts": [{"path": "../../vendor/agent"}]}
    describe(project, "worldflux", ["{python}", "{backend_dir}/../../vendor/agent/train.py"], named)
    passes(project)
    write(checkout / "train.py", TELLS + "# another\n")
    refuses_resume(project, "agent/train.py")


def test_a_script_outside_of_the_project(project: Project, tmp_path: Path) -> None:
    script = write(tmp_path / "away" / "train.py")
    away = os.path.relpath(script, project.root / "backends" / "fake_worldflux")
    describe(project, "worldflux", ["{python}", f"{{backend_dir}}/{away}"], {"files": [away]})
    passes(project)
    write(script, TELLS + "# another\n")
    refuses_resume(project, "train.py")


def test_a_package_that_is_not_pinned_is_told_of(project: Project) -> None:
    describe(project, "worldflux", ["{python}", "{backend_dir}/run.py"], {"files": ["."]}, environment="own")
    write(project.root / "backends" / "fake_worldflux" / "run.py", TELLS)
    env = environment(project, "worldflux")
    env.install("tiny", "1.0", {"tiny.py": ""})
    passes(project)
    [entry] = project.document("run.json")["suites"].values()
    assert entry["programs"]["fake.worldflux"]["environment"]["packages"]["tiny"] == "1.0"
    env.install("other", "2.0", {"other.py": ""})
    result = project.run("--parity-resume")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    [warning] = [w for w in project.document()["warnings"] if "environment" in w]
    assert "of the worldflux program's environment there changed other None -> 2.0" in warning


def test_a_file_outside_that_is_changed_and_is_as_it_was(project: Project, tmp_path: Path) -> None:
    """It is read where it stands, so it may have been another one in between."""
    level = write(tmp_path / "away" / "level.txt", "1.0")
    away = os.path.relpath(level, project.root / "backends" / "fake_worldflux")
    folder = describe(project, "worldflux", ["{python}", "{backend_dir}/run.py"], {"files": [".", away]})
    text = f"import time; time.sleep(2)\nopen({str(level)!r}, 'w').write('1.0')\n"
    write(folder / "run.py", text + TELLS)
    project.suite(tasks=["alpha"], seeds=1)
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    [finding] = project.document()["gates"]["validity"]["findings"]
    assert "level.txt), written to meanwhile" in finding["detail"]


def test_what_the_plugin_gives_to_programs_stays_as_it_was(project: Project) -> None:
    """A copy of the plugin, whose contract a candidate edits while it runs."""
    copied = project.root / "site"
    shutil.copytree(PACKAGE, copied / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    path = copied / PACKAGE.name / "wire" / "record.py"
    folder = describe(project, "worldflux", ["{python}", "{backend_dir}/run.py"], {"files": ["."]})
    write(folder / "run.py", f"open({str(path)!r}, 'a').write('# another')\n" + TELLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(copied))
        # From a shell: what is forked has imported the plugin from here.
        assert project.start().wait(120) == pytest.ExitCode.TESTS_FAILED
    [finding] = project.document()["gates"]["validity"]["findings"]
    assert "what the plugin gives to programs (wire, boot) changed after the first run" in finding["detail"]


def test_an_editable_package_that_nothing_pins_is_sealed(project: Project, tmp_path: Path) -> None:
    """Nobody names it or pins it, and a program imports it from outside of the project."""
    source = tmp_path / "away" / "agent"
    helper = write(source / "src" / "agent" / "__init__.py", "LEVEL = 1.0\n")
    folder = describe(
        project, "worldflux", ["{python}", "{backend_dir}/run.py"], {"files": ["."]}, environment="own"
    )
    write(folder / "run.py", "import agent\n" + TELLS)
    editable(environment(project, "worldflux"), source, "path")
    passes(project)
    passes(project, "--parity-resume")
    write(helper, "LEVEL = 2.0\n")
    refuses_resume(project, "the editable projects of the worldflux program (src)")


def test_a_module_that_is_nowhere_is_told_of_with_what_mends_it(project: Project) -> None:
    folder = describe(project, "worldflux", ["{python}", "{backend_dir}/run.py"], {"files": ["."]})
    write(folder / "run.py", "import algo\n")
    result = project.run()
    assert "No module named 'algo'; to mend: a program imports from its own folder" in result.stdout.str()
