"""Whole sessions on a simulated cluster: three nodes, two GPUs each; they see neither project nor package."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project, alive, wait_until
from tests.core.test_leases import fake_driver
from tests.engines.ray_cluster import CHECKOUT, RayCluster, none_left

pytest.importorskip("ray", reason="ray is not installed")

RAY = ("--parity-engine=ray", "--device=cuda", "-p", "no:cacheprovider")
# What a line says of where, when and as which run something was done.
ELSEWHERE = ("run_id", "timestamp", "duration_sec", "command", "gpus")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    base = Path(tempfile.mkdtemp(prefix="parity-ray-", dir="/tmp"))
    hidden = (tmp_path_factory.getbasetemp(), CHECKOUT / "pytest_worldflux_parity", CHECKOUT / "tests")
    made = RayCluster(base, hidden)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(autouse=True)
def address(cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)


def successes(project: Project) -> Counter[tuple[str, str, int]]:
    return Counter((x["system"], x["task_id"], x["seed"]) for x in project.lines() if x["success"])


def stored(project: Project) -> list[dict[str, Any]]:
    try:
        return project.lines()
    except (OSError, ValueError):
        return []


def files(run_dir: Path) -> dict[str, Path]:
    """What a run leaves, by path within its folder; what begins with a dot is of one session."""
    found = {p.relative_to(run_dir).as_posix(): p for p in run_dir.rglob("*") if p.is_file()}
    return {name: path for name, path in found.items() if not name.startswith(".")}


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a store without what differs between two runs, in the order of their runs."""
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    kept = [{k: v for k, v in line.items() if k not in ELSEWHERE} for line in lines]
    return sorted(kept, key=lambda x: (x["task_id"], x["seed"], x["system"], x["attempt"]))


def request_of(path: Path) -> dict[str, Any]:
    request = json.loads(path.read_text(encoding="utf-8"))
    assert request.pop("out_dir") == str(path.parent), "a request names the folder where it stands"
    return {k: v for k, v in request.items() if k != "run_id"}


def assert_as_local(ours: Path, local: Path) -> None:
    """Two run directories hold the same but for times, hosts and paths."""
    mine, other = files(ours), files(local)
    assert mine.keys() == other.keys()
    compared = Counter[str]()
    for name, path in mine.items():
        compared[path.name] += 1
        if path.name == "parity_runs.jsonl":
            assert lines_of(path) == lines_of(other[name])
        elif path.name == "request.json":
            assert request_of(path) == request_of(other[name])
        elif path.name in ("metrics.json", "stdout.log", "stderr.log"):
            assert path.read_bytes() == other[name].read_bytes(), name
        elif path.name == "progress.jsonl":
            beats = [[json.loads(x)["step"] for x in p.read_text().splitlines()] for p in (path, other[name])]
            assert beats[0] == beats[1]
    assert compared["metrics.json"] == 8
    assert compared["stderr.log"] == 10


def test_a_session_leaves_what_a_local_one_leaves(
    project: Project, cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no two runs were on one GPU at a time; a run that fails says the same; nothing of Ray is said."""
    recipe = {"level": 100.0, "behaviour": "tells", "project": str(project.root)}
    project.suite(tasks=["alpha", "beta"], seeds=2, recipe=recipe)
    project.suite("fails", tasks=["gamma"], seeds=1, recipe={"behaviour": "crash"})
    result = project.run(*RAY)
    text = result.stdout.str()
    assert result.ret == pytest.ExitCode.TESTS_FAILED, text
    result.stdout.fnmatch_lines(["*fake_worldflux: exit status 3: ValueError: the replay buffer is empty*"])
    result.stdout.fnmatch_lines(["*program: crash for gamma seed 0*"])
    assert not [
        word for word in ("raylet", "Ray", "ray::") if word in text.replace("--parity-engine=ray", "")
    ]
    assert not result.stderr.str().strip()

    seen = [json.loads(p.read_text()) for p in project.run_dir().rglob("deeper/seen.json")]
    assert len(seen) == 8
    intervals: dict[tuple[str, str], list[list[float]]] = {}
    for one in seen:
        assert all(file.startswith(f"{one['node']}/") for file in one["files"]), one
        assert len(one["gpus"]) == 1
        assert one["sees"] != cluster.hides, "whether the node sees the project's own folder"
        intervals.setdefault((one["node"], one["gpus"][0]), []).append(one["interval"])
    for times in intervals.values():
        assert all(before[1] <= after[0] for before, after in pairwise(sorted(times))), times
    assert len(intervals) > 1
    assert all(len(x["gpus"]) == 1 and ":" in x["gpus"][0] for x in project.lines())

    driver = project.root / "driver"
    driver.mkdir()
    fake_driver(driver, "GPU-aaa, 24000")
    monkeypatch.setenv("PATH", f"{driver}:/usr/bin:/bin")
    monkeypatch.setenv("WORLDFLUX_PARITY_LOCKS", str(project.root / "locks"))
    assert project.run("--device=cuda", run_id="local").ret == pytest.ExitCode.TESTS_FAILED
    assert_as_local(project.run_dir(), project.run_dir("local"))


def test_a_driver_that_is_killed_and_one_that_is_interrupted(project: Project, cluster: RayCluster) -> None:
    """Nothing is left on any node, and what was stored is not run again."""
    go = cluster.base / "go_on"
    recipe = {"behaviour": "family", "until": str(go), "only": ["worldflux/alpha/1"]}
    project.suite(tasks=["alpha"], recipe={"level": 100.0, **recipe}, deadline_sec=200)
    session = project.start(*RAY)
    wait_until(
        lambda: len(stored(project)) == 5 and len(cluster.pids()) == 3, "five runs and the waiting one"
    )
    session.kill()
    session.wait()
    none_left(cluster.pids())
    before = project.lines()

    session = project.start(*RAY, "--parity-resume")
    wait_until(lambda: len([p for p in cluster.pids() if alive(p)]) == 3, "the second attempt")
    waiting = cluster.pids()
    session.send_signal(signal.SIGINT)
    assert session.wait(60) == pytest.ExitCode.INTERRUPTED
    none_left(waiting)
    assert project.document()["verdict"] == "inconclusive"

    go.touch()
    result = project.run(*RAY, "--parity-resume")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert project.lines()[:5] == before
    assert set(successes(project).values()) == {1}
    assert len(successes(project)) == 6
    kinds = [(x["attempt"], x["error_kind"]) for x in project.lines()[5:]]
    assert kinds == [(1, "lost"), (2, "lost"), (3, None)]


def test_a_node_that_is_lost(project: Project, cluster: RayCluster) -> None:
    """Its runs are tried again elsewhere; what a run tells is in the run directory while it goes on."""
    go = cluster.base / "go"
    recipe = {"level": 100.0, "behaviour": "tells", "until": str(go)}
    project.suite(tasks=["alpha"], recipe=recipe, deadline_sec=200)
    session = project.start(*RAY)
    wait_until(lambda: len(cluster.pids()) == 6, "six runs on six GPUs")
    logs = "fake_quick/executions/alpha/seed_*/*/attempt_1"

    def told() -> list[str]:
        texts = [p.read_text() for p in project.run_dir().glob(f"{logs}/stdout.log")]
        return [t for t in texts if t == "a line of its log\n"]

    wait_until(lambda: len(told()) == 6, "the logs of runs that still go on")
    assert len(list(project.run_dir().glob(f"{logs}/progress.jsonl"))) == 6
    assert not stored(project)

    victim = cluster.nodes[0]
    on_it = victim.pids()
    assert len(on_it) == 2
    victim.kill()
    none_left(on_it)
    go.touch()
    assert session.wait(120) == pytest.ExitCode.OK, (project.root / "started.log").read_text()
    assert len(successes(project)) == 6
    assert set(successes(project).values()) == {1}
    lost = [x for x in project.lines() if not x["success"]]
    assert [(x["attempt"], x["error_kind"]) for x in lost] == [(1, "lost")] * 2
    assert all("its node was lost" in x["error"] or "was ended" in x["error"] for x in lost), lost
    gone = {gpu.partition(":")[0] for x in lost for gpu in x["gpus"]}
    assert len(gone) == 1
    again = [x for x in project.lines() if x["attempt"] == 2]
    assert len(again) == 2
    assert not gone & {gpu.partition(":")[0] for x in again for gpu in x["gpus"]}


def test_no_cluster(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.suite()
    for address, said in (("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1"), ("ray://h:1", "Ray's client")):
        monkeypatch.setenv("RAY_ADDRESS", address)
        result = project.run(*RAY)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert said in result.stderr.str()
        assert "Traceback" not in result.stderr.str() + result.stdout.str()
