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

from pytest_worldflux_parity.execution.ray.node import LIVE
from tests.conftest import Project, alive, wait_until
from tests.execution.ray_cluster import CHECKOUT, RayCluster, none_left
from tests.execution.test_leases import fake_driver
from tests.execution.walls import needs_walls

pytest.importorskip("ray", reason="ray is not installed")

# The oldest Ray that is allowed for leaves files open where it starts a cluster, which is here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
RAY = ("--parity-engine=ray", "--device=cuda", "-p", "no:cacheprovider")
# What a line says of where, when and as which run something was done.
ELSEWHERE = ("run_id", "timestamp", "duration_sec", "command", "gpus", "sha256_before")


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


def successes(project: Project, suite: str = "fake_quick") -> Counter[tuple[str, str, int]]:
    return Counter((x["system"], x["task_id"], x["seed"]) for x in project.lines(suite) if x["success"])


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
    own = "/".join(path.parent.parts[-6:])
    assert request.pop("out_dir") == f"<run>/{own}", "a request names the folder where it stands"
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
        assert one["beside"] == ["backends"]
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


@needs_walls
def test_programs_on_nodes_are_isolated_there(project: Project, cluster: RayCluster) -> None:
    """They see nothing of what else is in the node's cache: other attempts, what others run from."""
    project.suite(tasks=["alpha"], seeds=1, recipe={"level": 100.0, "behaviour": "tells"})
    result = project.run(*RAY, "--parity-isolate=require")
    assert all(x["success"] for x in project.lines()), result.stdout.str()
    assert {x["isolation"]["by"] for x in project.lines()} == {"bubblewrap"}
    seen = [json.loads(p.read_text()) for p in project.run_dir().rglob("deeper/seen.json")]
    assert len(seen) == 2
    assert all(one["beside"] == ["backends"] for one in seen)


def assert_quiet(text: str) -> None:
    """Ray has a word for every node and worker that dies, and for much else."""
    words = ("raylet", "Ray", "ray::", "core_worker", "WARNING", "INFO")
    assert not [w for w in words if w in text.replace("--parity-engine=ray", "")], text


def test_a_node_that_can_run_nothing_is_left_out(project: Project, cluster: RayCluster) -> None:
    """Said by one line, of which no run is a victim; what fits that node only fails without an attempt."""
    (project.root / "conftest.py").write_text(
        "from pytest_worldflux_parity.execution.ray import engine\nengine.NODE_WAIT_SEC = 1.0\n",
        encoding="utf-8",
    )
    large = {"resources": {"gpus": 3}}
    project.suite("anywhere", tasks=["alpha", "beta"], seeds=2, retries=0)
    project.suite("large", tasks=[{"id": "alpha", **large}], seeds=2, retries=0)
    with cluster.one_more(3, WORLDFLUX_PARITY_CACHE="/dev/null/cache"):
        result = project.run(*RAY)
    text = result.stdout.str()
    assert "Traceback" not in text
    assert result.parseoutcomes()["passed"] >= 4, text
    assert len(successes(project, "anywhere")) == 8
    stores = project.run_dir().glob("*/parity_runs.jsonl")
    lines = [json.loads(line) for path in stores for line in path.read_text(encoding="utf-8").splitlines()]
    failed = [x for x in lines if not x["success"]]
    assert [x["error_kind"] for x in failed] == ["node_lost"], failed
    assert "what was shipped cannot be used: " in failed[0]["error"]
    assert "no other run of this session goes there" in failed[0]["error"]
    result.stdout.fnmatch_lines(["*3 GPU(s) are asked for on one node*nodes that cannot be used: 1 (node*"])


def waiting(project: Project, attempts: str) -> list[Path]:
    """Folders of attempts whose program's words and progress are there, and no end of it."""
    found = project.run_dir().glob(f"fake_quick/executions/alpha/seed_*/worldflux/{attempts}")
    return [
        folder
        for folder in found
        if (folder / "stdout.log").read_text() == "a line of its log\n"
        and (folder / "progress.jsonl").exists()
        and not (folder / "metrics.json").exists()
    ]


def told(project: Project, name: str) -> bool:
    """Whether some attempt has told anything of a file."""
    return any(path.stat().st_size for path in project.run_dir().glob(f"**/attempt_1/{name}"))


def test_nodes_and_drivers_that_are_lost(project: Project, cluster: RayCluster) -> None:
    """A node dies, then the driver, then Ctrl-C: each run is stored once, and none is left on any node."""
    go = cluster.base / "go"
    only = [f"worldflux/alpha/{seed}" for seed in range(3)]
    recipe = {"level": 100.0, "behaviour": "tells", "until": str(go), "only": only}
    project.suite(tasks=["alpha"], recipe=recipe, deadline_sec=200)
    session = project.start(*RAY)
    wait_until(lambda: len(stored(project)) == 3, "what does not wait")
    wait_until(lambda: len(waiting(project, "attempt_1")) == 3, "what runs that still go on have told")

    victim = next(node for node in cluster.nodes if node.pids())
    on_it = victim.pids()
    victim.kill()
    none_left(on_it)
    count = len(on_it) // 2
    wait_until(lambda: len(stored(project)) == 3 + count, "the lines of what was lost")
    wait_until(lambda: len(waiting(project, "attempt_2")) == count, "their second attempts")
    lost = stored(project)[3:]
    # The worker may be seen to end before its node is.
    assert {(x["attempt"], x["error_kind"]) for x in lost} <= {(1, "lost"), (1, "node_lost")}
    assert all("node was lost" in x["error"] or "on its node was ended" in x["error"] for x in lost), lost
    assert len({gpu.partition(":")[0] for x in lost for gpu in x["gpus"]}) == 1

    alive_now = [p for p in cluster.pids() if alive(p)]
    assert len(alive_now) == 6, "three programs with a child each"
    session.kill()
    session.wait()
    none_left(alive_now)
    before = project.lines()
    assert_quiet((project.root / "started.log").read_text())

    session = project.start(*RAY, "--parity-resume")
    wait_until(lambda: len([p for p in cluster.pids() if alive(p)]) == 6, "the next attempts")
    alive_now = [p for p in cluster.pids() if alive(p)]
    session.send_signal(signal.SIGINT)
    assert session.wait(150) == pytest.ExitCode.INTERRUPTED
    none_left(alive_now)
    assert project.document()["verdict"] == "inconclusive"
    assert_quiet((project.root / "started.log").read_text())

    go.touch()
    result = project.run(*RAY, "--parity-resume")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert project.lines()[: len(before)] == before, "what was stored is left as it is"
    assert len(successes(project)) == 6
    assert set(successes(project).values()) == {1}
    gone = {gpu.partition(":")[0] for x in lost for gpu in x["gpus"]}
    later = project.lines()[3 + len(lost) :]
    assert not gone & {gpu.partition(":")[0] for x in later for gpu in x["gpus"]}


def test_ctrl_c_ends_what_runs_on_a_node_that_ignores_it(project: Project, cluster: RayCluster) -> None:
    """As a node does that a script left in the background; no worker has to be killed for it.

    A program that has no more to tell: what still tells something is ended by Ray when it does.
    """
    (project.root / "conftest.py").write_text(
        "from pytest_worldflux_parity.execution.ray import engine\nengine.CANCEL_SEC = 600.0\n",
        encoding="utf-8",
    )
    recipe = {"level": 100.0, "behaviour": "tells", "until": "never"}
    large = {"id": "alpha", "resources": {"gpus": 3}}
    project.suite(tasks=[large], seeds=1, recipe=recipe, deadline_sec=200)
    with cluster.one_more(3, signal.SIGINT) as node:
        session = project.start(*RAY)
        wait_until(lambda: len(node.pids()) == 2, "a program with a child")
        on_it = node.pids()
        wait_until(lambda: all(told(project, name) for name in LIVE), "all that it has to tell")
        session.send_signal(signal.SIGINT)
        assert session.wait(60) == pytest.ExitCode.INTERRUPTED
        none_left(on_it)
    assert not stored(project), "what was ended is no failed attempt"


def test_what_cannot_be_begun(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.suite()
    for address, said in (("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1"), ("ray://h:1", "Ray's client")):
        monkeypatch.setenv("RAY_ADDRESS", address)
        result = project.run(*RAY)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert said in result.stderr.str()
        assert "Traceback" not in result.stderr.str() + result.stdout.str()
