"""A quick run beside the plugins that people have installed: each pair runs once, the verdict is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project

# Plugin -> what a person types for it. A pair of the fakes takes longer than the time limit.
OPTIONS: dict[str, tuple[str, ...]] = {
    "pytest_cov": ("--cov=backends", "--cov-report="),
    "pytest_timeout": ("--timeout=0.05",),
    "pytest_randomly": (),
    "pytest_rerunfailures": ("--reruns=2",),
    "pytest_html": ("--html=report.html", "--self-contained-html"),
    "pytest_sugar": (),
    "pytest_split": ("--splits=1", "--group=1"),
    "pytest_asyncio": (),
}
INI = ("asyncio_default_fixture_loop_scope = function",)


def judged(project: Project, run_id: str) -> dict[str, Any]:
    document = project.document(run_id=run_id)
    return {key: document[key] for key in ("verdict", "metrics", "gates")}


def run(project: Project, *arguments: str, run_id: str) -> None:
    """From a shell: each plugin is loaded as it is for a person."""
    status = project.start(*arguments, run_id=run_id).wait(240)
    said = (project.root / "started.log").read_text(encoding="utf-8")
    assert status == pytest.ExitCode.OK, said
    assert "INTERNALERROR" not in said


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("others") / "project"


@pytest.fixture(scope="module")
def alone(root: Path) -> tuple[Project, dict[str, Any]]:
    """A project, and what a run without any of them comes to."""
    root.mkdir()
    project = Project(root)
    project.suite(seeds=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        run(project, "-p", "pytest_worldflux_parity.plugin.hooks", run_id="alone")
    return project, judged(project, "alone")


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_plugin_beside_ours(alone: tuple[Project, dict[str, Any]], name: str, workers: str) -> None:
    pytest.importorskip(name, reason=f"{name.replace('_', '-')} is not installed")
    project, expected = alone
    own = INI if name == "pytest_asyncio" else ()
    project.ini(f"parity_workers = {workers}", *own)
    run_id = f"{name}_{workers}"
    run(project, *OPTIONS[name], run_id=run_id)
    assert judged(project, run_id) == expected
    lines = project.lines(run_id=run_id)
    assert {x["attempt"] for x in lines} == {1}
    assert len(lines) == len({(x["system"], x["task_id"], x["seed"]) for x in lines})
