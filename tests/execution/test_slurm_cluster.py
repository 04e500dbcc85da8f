"""Sessions and the engine on a cluster whose commands are fakes, and whose jobs are real processes."""

from __future__ import annotations

import errno
import hashlib
import inspect
import os
import re
import signal
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.errors import ParityError, RunFailed
from pytest_worldflux_parity.execution.launching import Sealed
from pytest_worldflux_parity.inputs.trees import Tree
from pytest_worldflux_parity.suite.suite import Resources
from tests.conftest import Project, alive, wait_until
from tests.execution import fake_slurm
from tests.execution.fake_slurm import FakeSlurm
from tests.fakes.backends import program
from tests.forked import WITHOUT

submitit = pytest.importorskip("submitit", reason="the extra slurm is not installed")

from pytest_worldflux_parity.execution.engine import Execution  # noqa: E402
from pytest_worldflux_parity.execution.slurm import job as slurm_job  # noqa: E402
from pytest_worldflux_parity.execution.slurm import job_files, orphans, submission  # noqa: E402
from pytest_worldflux_parity.execution.slurm import options as slurm_options  # noqa: E402
from pytest_worldflux_parity.execution.slurm import queue as slurm_queue  # noqa: E402

SLURM = ("--parity-engine=slurm", "--device=cpu", "-p", "no:xdist")
ONE = ("--parity-systems=official",)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    folder = tmp_path_factory.mktemp("slurm")
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    cluster = fake_slurm.install(folder)
    monkeypatch.setenv(fake_slurm.VARIABLE, str(cluster.state))
    yield cluster
    # Of a test that failed.
    fake_slurm.signal_marked(f"{fake_slurm.VARIABLE}={cluster.state}", signal.SIGKILL)


def configure(project: Project, *options: str, collect_sec: float = 0.2) -> None:
    quickly = ("poll_sec = 0.6", f"collect_sec = {collect_sec}")
    lines = [f"    {line}" for line in (*quickly, *options)]
    project.ini("filterwarnings = error", "parity_workers = 0", "parity_slurm =", *lines)


def waiting(project: Project, **changes: Any) -> None:
    recipe = {"level": 100.0, "behaviour": "waits", "until": str(project.root / "go")}
    project.suite(tasks=["alpha"], recipe=recipe, deadline_sec=200, **changes)


def running(project: Project, count: int, attempt: int = 1) -> None:
    wait_until(
        lambda: len([*project.root.glob(f"reports/parity/*/*/executions/**/attempt_{attempt}/pid")]) == count,
        "the programs",
    )


def test_a_session_is_one_job_array_with_the_options_asked_for(
    project: Project, cluster: FakeSlurm, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the cluster is too busy at first to say whether it has taken the jobs."""
    (cluster.state / "busy").touch()
    monkeypatch.setattr(submission, "PAUSE_SEC", 0.0)
    configure(
        project, "partition = gpu", "account = lab", "qos = long", "mem = 8G", "constraint = a100|h100",
        "array_parallelism = 1", "sbatch.nice = 100", "sbatch.reservation = parity run",
        "setup = module load x11", collect_sec=3,
    )  # fmt: skip
    project.suite(tasks=["alpha"], seeds=2, threads=2, deadline_sec=3600)
    # In this process, where the pause is short.
    monkeypatch.chdir(project.root)
    result = pytester.runpytest_inprocess(*WITHOUT, *project.options(*SLURM, *ONE, run_id="r"))
    assert [x["success"] for x in project.lines()] == [True, True], result.stdout.str()
    ended = dict.fromkeys(["101_0", "101_1"], "COMPLETED")
    wait_until(
        lambda: cluster.jobs() == ended, "the jobs' end, which comes after the session has its outcome"
    )
    folder = project.run_dir().resolve() / ".slurm"
    log = f"{folder}/%A_%a_0_log"
    assert (cluster.state / "101.sh").read_text().splitlines() == [
        "#!/bin/bash",
        "",
        "# Parameters",
        "#SBATCH --account=lab",
        "#SBATCH --array=0-1%1",
        "#SBATCH --constraint='a100|h100'",
        "#SBATCH --cpus-per-task=2",
        f"#SBATCH --error={log}.err",
        "#SBATCH --job-name=parity-r",
        "#SBATCH --mem=8G",
        "#SBATCH --nice=100",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --open-mode=append",
        f"#SBATCH --output={log}.out",
        "#SBATCH --partition=gpu",
        "#SBATCH --qos=long",
        "#SBATCH --requeue",
        "#SBATCH --reservation='parity run'",
        "#SBATCH --signal=USR2@90",
        # The deadline of an hour, and five minutes for the signal's delay and what is around a program.
        "#SBATCH --time=65",
        "",
        "# setup",
        "module load x11",
        "",
        "# command",
        "export SUBMITIT_EXECUTOR=slurm",
        f"srun --unbuffered --output {folder}/%A_%a_%t_log.out --error {folder}/%A_%a_%t_log.err "
        f"--cpus-per-task=2 {os.sys.executable} -u -m submitit.core._submit {folder}",
    ]
    assert len(cluster.calls("sbatch")) == 2
    assert {x["attempt"] for x in project.lines()} == {1}


def test_how_slurm_ends_jobs(project: Project, cluster: FakeSlurm) -> None:
    """Each of four in its own way; three are tried again, until the session is stopped and cancels them."""
    configure(project)
    waiting(project, seeds=4, retries=0)
    session = project.start(*SLURM, *ONE)
    running(project, 4)
    folders = [p.parent for p in project.root.glob("reports/parity/*/*/executions/**/pid")]
    states = dict(zip(folders, ("NODE_FAIL", "TIMEOUT", "OUT_OF_MEMORY", "PREEMPTED"), strict=True))
    for folder, state in states.items():
        cluster.end(job_of(folder), state)
    running(project, 3, attempt=2)
    programs, again = project.pids(), {job for job, state in cluster.jobs().items() if state == "RUNNING"}
    session.send_signal(signal.SIGINT)
    assert session.wait(120) == pytest.ExitCode.INTERRUPTED
    assert {job for call in cluster.calls("scancel") for job in call} == again
    assert len(again) == 3
    wait_until(lambda: not [p for p in programs if alive(p)], "the end of the programs")

    lines = {project.run_dir() / Path(x["artifacts"]["stdout"]).parent: x for x in project.lines()}
    assert len(lines) == 4, "what was cancelled is no failed attempt"
    given_up = [job_files.read_job_file(folder, job_files.NODE) for folder in states]
    assert [node and node["revoked"] for node in given_up] == [True] * 4, (
        "who queues them anew starts nothing"
    )
    found = {state: lines[folder] for folder, state in states.items()}
    kinds = {
        "NODE_FAIL": "node_lost",
        "TIMEOUT": "deadline",
        "OUT_OF_MEMORY": "out_of_memory",
        "PREEMPTED": "preempted",
    }
    assert {state: line["error_kind"] for state, line in found.items()} == kinds
    pattern = r"fake_official: Slurm ended the job: {} \(job \d+(_\d)?, started 1 time\).*"
    assert all(re.fullmatch(pattern.format(s), x["error"]) for s, x in found.items()), found
    assert found["OUT_OF_MEMORY"]["error"].endswith("; to mend: raise mem in parity_slurm")
    # What ran out of memory has a node for itself the second time.
    scripts = [p.read_text() for p in cluster.state.glob("1*.sh")]
    assert [("--exclusive\n#" in s, "--mem=0\n" in s) for s in scripts].count((True, True)) == 1


def job_of(folder: Path) -> str:
    said = job_files.read_job_file(folder, job_files.JOB)
    assert said is not None
    return str(said["job_id"])


def test_preempted_and_queued_anew(project: Project, cluster: FakeSlurm) -> None:
    """The same attempt begins again in a clean folder, as often as was asked for."""
    configure(project, "requeues = 2")
    waiting(project, seeds=1, retries=0)
    session = project.start(*SLURM, "--parity-systems=official")
    running(project, 1)
    folder = project.out_dir("official", "alpha", 0) / "attempt_1"
    stale = folder / "metrics.json"
    for start in (1, 2, 3):
        stale.write_text("{}")
        pid, node = int((folder / "pid").read_text()), job_files.read_job_file(folder, job_files.NODE)
        assert node is not None
        assert len(node["starts"]) == start
        job = node["starts"][-1]["pid"]
        if start == 1:
            # As slurmctld does: the job is in the queue again, and every process of it is told to end.
            cluster.say("101", "PENDING")
            fake_slurm.signal_job("101", signal.SIGTERM)
            wait_until(lambda job=job: not alive(job), "the end of the job")  # type: ignore[misc]
            cluster.start("101")
        else:
            # As submitit has it, where PreemptParameters=send_user_signal.
            os.kill(job, signal.SIGUSR2)
        wait_until(lambda pid=pid: not alive(pid), "the end of the program")  # type: ignore[misc]
        if start < 3:
            wait_until(lambda n=start: starts(folder) == n + 1, "the next start")  # type: ignore[misc]
            wait_until(lambda pid=pid: project.pids() not in ([], [pid]), "its program")  # type: ignore[misc]
            assert not stale.exists()
    running(project, 1, attempt=2)
    (project.root / "go").touch()
    session.wait(120)
    first, second = project.lines()
    assert first["error"] == (
        "fake_official: Slurm has started the job 3 times and ended it each time; to mend: raise requeues in "
        "parity_slurm, or name another partition or qos"
    )
    assert (first["error_kind"], second["success"], second["attempt"]) == ("lost", True, 2)


def starts(folder: Path) -> int:
    document = job_files.read_job_file(folder, job_files.NODE)
    return len(document["starts"]) if document else 0


def test_a_session_that_was_killed_is_gone_on_with(project: Project, cluster: FakeSlurm) -> None:
    """What a job left is believed only where the job says that it came to its end."""
    configure(project)
    waiting(project, seeds=3, retries=1)
    session = project.start(*SLURM, *ONE)
    running(project, 3)
    session.kill()
    session.wait()
    gone, broken, queued = (p.parent for p in project.root.glob("reports/parity/*/*/executions/**/pid"))
    for folder in (gone, broken, queued):
        program.ok(wire.read_request(str(folder / "request.json")))
    for folder, state in {gone: "NODE_FAIL", queued: "PENDING"}.items():
        cluster.end(job_of(folder), state)
    os.kill(int((broken / "pid").read_text()), signal.SIGKILL)
    (project.root / "go").touch()
    wait_until(lambda: "RUNNING" not in cluster.jobs().values(), "the end of the jobs")
    resumed = project.start(*SLURM, *ONE, "--parity-resume")
    wait_until(lambda: lines_there(project) == 4, "the end of all but the one that waits for its turn")
    cluster.start(job_of(queued))
    resumed.wait(120)
    kinds: dict[Path, list[str | None]] = {}
    for line in project.lines():
        folder = (project.run_dir() / line["artifacts"]["stdout"]).parents[1]
        kinds.setdefault(folder / "attempt_1", []).append(line["error_kind"])
    assert kinds == {gone: ["node_lost", None], broken: ["killed", None], queued: [None]}
    assert starts(queued) == 2


def lines_there(project: Project) -> int:
    path = project.run_dir() / "fake_quick" / "parity_runs.jsonl"
    return len(project.lines()) if path.exists() else 0


def test_what_sbatch_refuses_is_one_line(project: Project, cluster: FakeSlurm) -> None:
    configure(project, "partition = nowhere")
    project.suite(tasks=["alpha"], seeds=1)
    result = project.run(*SLURM)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    line = (
        "sbatch refuses the job: invalid partition specified: nowhere; Batch job submission failed: Invalid "
        "partition name specified; to mend: change parity_slurm in the ini file; then try it: "
        "sbatch --test-only *"
    )
    result.stdout.fnmatch_lines([f"*{line}"])
    assert "Traceback" not in result.stdout.str()
    assert len(cluster.calls("sbatch")) == 1


def test_a_job_that_never_comes_to_our_program(project: Project, cluster: FakeSlurm) -> None:
    configure(project, "setup = echo 'no such module: python/3.12' >&2; exit 3")
    project.suite(tasks=["alpha"], seeds=1, retries=0)
    project.run(*SLURM, "--parity-systems=official")
    (line,) = project.lines()
    assert (line["error_kind"], line["error"]) == (
        "failed",
        "fake_official: Slurm ended the job: FAILED (job 101, started 0 times): no such module: python/3.12",
    )
    folder = project.out_dir("official", "alpha", 0) / "attempt_1"
    assert slurm_job._enter_attempt(folder, "101") is None, "somebody queues it anew after it was given up"


LOCAL = ("--device=cpu", "-p", "no:xdist", "--parity-resume")


def test_another_engine_asks_slurm_what_became_of_a_job(
    project: Project, cluster: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What still runs or waits is left to it; once it is over, the run is gone on with here."""
    configure(project)
    waiting(project, seeds=2, retries=1)
    session = project.start(*SLURM, *ONE)
    running(project, 2)
    session.kill()
    session.wait()
    folders = [p.parent for p in project.root.glob("reports/parity/*/*/executions/**/pid")]
    cluster.end(job_of(folders[0]), "PENDING")
    result = project.run(*LOCAL, *ONE)
    for folder in folders:
        hint = f"resume with --parity-engine=slurm, or scancel {job_of(folder)}"
        said = f"job {job_of(folder)} still runs or waits to run the attempt; to mend: {hint}"
        assert f"fake_official: {said}" in result.outlines
    with monkeypatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join(os.environ["PATH"].split(os.pathsep)[1:]))
        result = project.run(*LOCAL, *ONE)
    for folder in folders:
        hint = f"or scancel {job_of(folder)} on the cluster and rm -r {folder}"
        assert any("may still run the attempt; to mend: " in x and x.endswith(hint) for x in result.outlines)
    assert not [*project.root.glob("reports/parity/*/*/executions/**/attempt_2")]
    for folder in folders:
        cluster.end(job_of(folder), "CANCELLED by 1000")
    (project.root / "go").touch()
    project.run(*LOCAL, *ONE)
    assert (
        sorted((x["attempt"], x["error_kind"]) for x in project.lines())
        == [(1, "killed")] * 2 + [(2, None)] * 2
    )
    assert [slurm_job._enter_attempt(folder, job_of(folder)) for folder in folders] == [None, None]


def test_a_job_that_was_never_submitted_is_no_other_engine_s_either(tmp_path: Path) -> None:
    job_files.write_job(tmp_path, "slurm", "fake", None, "1" * 64)
    found = orphans.settle_job(tmp_path, tmp_path)
    assert found is not None
    assert (found.outcome.kind, found.outcome.success) == ("lost", False)
    assert slurm_job._enter_attempt(tmp_path, "101") is None, "sbatch has taken it after all"


def work(**changes: Any) -> slurm_job.Work:
    request = wire.RunRequest(
        request_id="0" * 64,
        run_id="r",
        suite_id="s",
        family="fake",
        task_id="t",
        seed=0,
        system="official",
        adapter="fake",
        device="cuda",
        recipe={},
        eval_protocol={},
        out_dir="/shared/attempt_1",
        deadline_sec=100.0,
        threads=4,
    )
    program: Any = None
    fields = {"resources": Resources(2), "alone": "", "requeues": 1, **changes}
    sealed = Sealed(Tree({}), Path("/shared/.program/0"), Path("/shared/.program"))
    return slurm_job.Work(request, program, Path("/shared"), sealed, **fields)


@pytest.mark.parametrize(
    ("options", "changes", "there", "absent"),
    [
        ([], {}, {"gpus-per-node=2", "cpus-per-task=4", "requeue", "time=7"}, {"mem", "exclusive", "wckey"}),
        (["gpu_type=a100", "requeues=0"], {}, {"gpus-per-node=a100:2", "no-requeue"}, {"requeue"}),
        (["mem_per_cpu=2G"], {"alone": "machine"}, {"exclusive", "mem=0"}, {"mem-per-cpu"}),
        (["signal_delay_s=600", "job_name=mine"], {}, {"time=16", "signal=USR2@600", "job-name=mine"}, set()),
    ],
)
def test_what_a_script_asks_for(
    cluster: FakeSlurm, options: list[str], changes: Any, there: set[str], absent: set[str]
) -> None:
    executor = submitit.SlurmExecutor(cluster.state)
    said = slurm_options.parse_options("slurm", "200", options)
    executor.update_parameters(**submission.sbatch_parameters(said, work(**changes)))
    text = executor._make_submission_file_text("true", "uid")
    asked = set(re.findall(r"^#SBATCH --(.*)$", text, re.MULTILINE))
    assert there <= asked
    assert not absent & {option.partition("=")[0] for option in asked}


def test_what_a_shell_says_to_sbatch_over_our_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only whose a job is and where it runs may come from there, where the settings do not say it."""
    said = {
        "SBATCH_TIMELIMIT": "1", "SBATCH_ACCOUNT": "lab", "SBATCH_PARTITION": "cpu", "SLURM_JOB_ID": "5",
        "SLURM_CONF": "/etc/slurm.conf", "SUBMITIT_EXECUTOR": "slurm",
    }  # fmt: skip
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    with submission._plain_environment(slurm_options.parse_options("slurm", "9", ["partition=gpu"])):
        assert {n for n in said if n in os.environ} == {"SBATCH_ACCOUNT", "SLURM_CONF"}
    assert {n: os.environ[n] for n in said} == said


def test_a_gpu_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_of(tmp_path, monkeypatch, "GPU-aa, 15300")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    work(resources=Resources(1, 16.0))._check_memory()
    with pytest.raises(
        RunFailed, match=r"given a GPU of 16 GB, and the suite asks for 40; to mend: name gpu_type"
    ):
        work(resources=Resources(1, 40.0))._check_memory()


def gpu_of(folder: Path, monkeypatch: pytest.MonkeyPatch, *rows: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{row}'\n" for row in rows))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


def test_no_cluster_here(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    project.suite()
    result = project.run(*SLURM)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--parity-engine=slurm: sbatch, srun, squeue, scancel not found on the PATH; to mend: *"]
    )


def test_states_of_jobs(cluster: FakeSlurm) -> None:
    """squeue tells what waits and runs, sacct what it has forgotten; without an answer nothing is known."""
    said = {"7": "RUNNING", "8_0": "PENDING", "8_1": "CANCELLED by 1000", "9": "RUNNING", "10": "TIMEOUT"}
    for job, state in said.items():
        cluster.say(job, state)
    (cluster.state / "forgotten").write_text("9 10")
    known = {"7": "RUNNING", "8_0": "PENDING", "8_1": "CANCELLED", "9": "", "10": "TIMEOUT", "11": ""}
    assert slurm_queue.ask_states([*known]) == known
    assert slurm_queue.ask_states(["11"]) == {"11": ""}
    (cluster.state / "down").touch()
    with pytest.raises(slurm_queue.Unreachable, match="Unable to contact"):
        slurm_queue.ask_states(["7"])


@pytest.mark.parametrize("links", [True, False])
def test_an_attempt_belongs_to_whom_it_was_claimed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr("os.link", refused)
    job_files.write_job(tmp_path, "slurm", "fake", None)
    first = slurm_job._enter_attempt(tmp_path, "101")
    assert first is not None
    assert not job_files.revoke_attempt(tmp_path)
    assert slurm_job._enter_attempt(tmp_path, "102") is None, "another job, which sbatch said it had refused"
    again = slurm_job._enter_attempt(tmp_path, "101")
    assert again is not None
    assert len(again["starts"]) == 2
    assert {p.name for p in tmp_path.iterdir()} == {job_files.JOB, job_files.NODE}


def test_a_revoked_attempt_is_never_run(tmp_path: Path) -> None:
    job_files.write_job(tmp_path, "slurm", "fake", None)
    assert job_files.revoke_attempt(tmp_path)
    assert slurm_job._enter_attempt(tmp_path, "101") is None


def said(**changes: Any) -> dict[str, Any]:
    """What a node says of an attempt that succeeded."""
    outcome = {
        "error": "",
        "kind": None,
        "return_code": 0,
        "duration_sec": 1.5,
        "command": ["x"],
        "gpus": ["u"],
    }
    return {**outcome, "alone": False, "metrics_sha256": None, "refusal": None, **changes}


def outcome_of(folder: Path, said: Any, *, late: bool = False, own: bool = False) -> Execution | None:
    return orphans.read_execution(folder, "fake", said, late=late, own=own)


def test_a_record_counts_once_it_is_the_one_that_the_job_has_read(tmp_path: Path) -> None:
    """A file of another node may be late, and an old one in its place."""
    request = replace(work().request, out_dir=str(tmp_path))
    (tmp_path / "request.json").write_text(wire.request_to_json(request), encoding="utf-8")
    program.ok(request)
    digest = hashlib.sha256((tmp_path / "metrics.json").read_bytes()).hexdigest()
    found = outcome_of(tmp_path, said(metrics_sha256=digest), late=False)
    assert found is not None
    assert (found.outcome.success, found.outcome.duration_sec, found.gpus) == (True, 1.5, ("u",))
    for absent in (False, True):
        if absent:
            (tmp_path / "metrics.json").unlink()
        assert outcome_of(tmp_path, said(metrics_sha256="0" * 64), late=False) is None
        late = outcome_of(tmp_path, said(metrics_sha256="0" * 64), late=True)
        assert late is not None
        assert late.outcome.error == "fake: metrics.json is not what its job has read"
        assert (late.outcome.success, late.outcome.kind) == (False, "failed")


def test_what_a_node_refused_ends_the_run_and_not_that_of_a_later_session(tmp_path: Path) -> None:
    refusal = {"what": "the disk is full", "where": "/shared", "hint": "free some space"}
    with pytest.raises(ParityError, match="/shared: the disk is full; to mend: free some space"):
        outcome_of(tmp_path, said(refusal=refusal), own=True)
    adopted = outcome_of(tmp_path, said(refusal=refusal))
    assert adopted is not None
    assert adopted.outcome.kind == "lost"


def test_gpus_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "node7")
    monkeypatch.setenv("PATH", str(tmp_path))
    seen = {"SLURM_JOB_GPUS": "2,3", "CUDA_VISIBLE_DEVICES": "0,1"}
    assert slurm_job.visible_gpus("cuda", seen) == ("node7:2", "node7:3")
    assert slurm_job.visible_gpus("cuda", {"CUDA_VISIBLE_DEVICES": "1"}) == ("node7:1",)
    assert slurm_job.visible_gpus("cuda", {}) == slurm_job.visible_gpus("cpu", seen) == ()
    gpu_of(tmp_path, monkeypatch, "GPU-aa, 81920", "GPU-bb, 81920")
    assert slurm_job.visible_gpus("cuda", {"CUDA_VISIBLE_DEVICES": "1"}) == ("GPU-bb",)


def test_every_option_of_submitit_has_its_place() -> None:
    """Somebody decides each of them: the user, or the suite."""
    from submitit.slurm.slurm import _make_sbatch_string

    theirs = {
        n for n, p in inspect.signature(_make_sbatch_string).parameters.items() if p.default is not p.empty
    }
    ours = slurm_options.TEXT_KEYS | slurm_options.WHOLE_KEYS | slurm_options.LINE_KEYS
    assert theirs == (ours | set(slurm_options.DECIDED)) | {"map_count"}
    assert not ours & set(slurm_options.DECIDED)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("partiton = gpu", "parity_slurm: unknown key 'partiton'; did you mean 'partition'?"),
        ("time = 60", "parity_slurm: 'time' is said by deadline_sec of the suite; to mend: leave it out"),
        ("gres = gpu:2", "parity_slurm: gres: the number of GPUs is said by resources of the suite"),
        ("gres = lscratch:1,gres/gpu:a100:1", "parity_slurm: gres: the number of GPUs is said by"),
        ("sbatch.reservatoin = x", "unknown option 'reservatoin' of sbatch; did you mean 'reservation'?"),
        ("sbatch.time-min = 5", "unknown option 'time-min' of sbatch"),
        ("sbatch.array = 0-9", "unknown option 'array' of sbatch"),
        (
            "sbatch.partition = gpu",
            "'sbatch.partition' has a name of its own; to mend: write partition=value",
        ),
        ("partition", "'partition' has no value; to mend: write partition=value"),
        ("array_parallelism = 0", "array_parallelism is '0': a whole number from 1 to 65535 is wanted"),
        ("poll_sec = soon", "poll_sec is 'soon': seconds from 0 to 3600 are wanted"),
        ("poll_sec = nan", "poll_sec is 'nan'"),
    ],
)
def test_what_settings_may_not_say(line: str, message: str) -> None:
    with pytest.raises(ParityError, match=re.escape(message)):
        slurm_options.parse_options("slurm", "200", [line])


KEYS = sorted(
    slurm_options.TEXT_KEYS | slurm_options.WHOLE_KEYS | slurm_options.LINE_KEYS | slurm_options.OUR_KEYS
)
SETTINGS = st.one_of(
    st.text(),
    st.tuples(
        st.sampled_from([*KEYS, "sbatch.nice", "sbatch.hold"]), st.text() | st.from_regex("[0-9]+")
    ).map("=".join),
)


@settings(max_examples=40, deadline=None)
@given(lines=st.lists(SETTINGS, max_size=4), jobs=st.text(max_size=3) | st.integers().map(str))
def test_settings_are_taken_or_refused_in_one_line(lines: list[str], jobs: str) -> None:
    options, refused = None, ""
    try:
        options = slurm_options.parse_options("slurm", jobs, lines)
    except ParityError as error:
        refused = error.line()
    assert "\n" not in refused
    if options is not None:
        asked = submission.sbatch_parameters(options, work())
        assert (asked["time"] - 2) * 60 > options.parameters["signal_delay_s"] + slurm_options.EARLY_SEC
        assert (asked["cpus_per_task"], asked["nodes"]) == (4, 1)
        # No value begins a line of its own in the script.
        assert not [v for v in [*asked.values(), *options.extra.values()] if isinstance(v, str) and "\n" in v]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema_version": "worldflux.parity.slurm_node.v1"}', "[" * 9999]
)
def test_a_file_that_we_did_not_write_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / job_files.NODE).write_text(text)
    assert job_files.read_job_file(tmp_path, job_files.NODE) is None


def test_a_key_stands_once() -> None:
    with pytest.raises(ParityError, match="'mem' stands twice"):
        slurm_options.parse_options("slurm", "200", ["mem=1G", "mem=2G"])
    options = slurm_options.parse_options(
        "slurm", "200", ["setup = module load a", "setup = export X=1", "sbatch.reboot"]
    )
    assert options.parameters["setup"] == ["module load a", "export X=1"]
    assert options.extra == {"reboot": True}
