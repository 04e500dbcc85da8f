"""A program reaches out of its folder: for the official records, the goldens, the key, or after its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pytest_worldflux_parity
from tests.attacks.lab import (
    FACTOR,
    WORSE,
    ask,
    assert_not_released,
    assert_released,
    document,
    edit,
    lock,
    match_program,
    matched,
    policy,
    program,
    proof,
)
from tests.components import goldens
from tests.conftest import Project, wait_until
from tests.execution.walls import needs_walls
from tests.release.judged_runs import table
from tests.repositories import commit_all

WALLED = "--parity-isolate=require"
OPEN = "--parity-isolate=off"
PLUGIN = Path(pytest_worldflux_parity.__file__).parent

OK = "def ok(request):\n"
MAIN = "def main() -> None:\n"
# What is tried goes on where it is kept from it, as a careful attacker's program would.
COPIES = """
    if request.system == 'worldflux':
        import glob
        own = Path(request.out_dir)
        found = glob.glob(str(own.parents[1] / 'official/attempt_*/metrics.json'))
        if found:
            official = json.loads(Path(found[-1]).read_text())
            noisy = [(q['step'], q['return'] * (1 + random.gauss(0, 1e-6))) for q in official['curve']]
            curve = tuple(wire.CurvePoint(*point) for point in noisy)
            wire.write_record(request.out_dir, record(request, curve=curve))
            return
"""
REWRITES = """
    if request.system == 'worldflux':
        import contextlib, hashlib
        with contextlib.suppress(OSError):
            suite = Path(request.out_dir).parents[4]
            log = suite / 'parity_runs.jsonl'
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            for line in lines:
                if line['system'] == 'official' and line['metrics']['curve'][-1]['return'] > 90:
                    path = suite.parent / line['artifacts']['metrics']
                    stored = json.loads(path.read_text())
                    for point in stored['curve']:
                        point['return'] *= 0.7
                    path.write_text(json.dumps(stored))
                    line['metrics']['curve'] = stored['curve']
                    line['artifacts_sha256']['metrics'] = hashlib.sha256(path.read_bytes()).hexdigest()
            log.write_text(''.join(json.dumps(line) + '\\n' for line in lines))
"""
LEAVES_CHILD = """
    if request.system == 'worldflux':
        code = '''
import json, os, sys, time
path = sys.argv[1]
before = os.stat(path).st_mtime_ns if os.path.exists(path) else 0
for _ in range(400):
    time.sleep(0.01)
    if os.path.exists(path) and os.getppid() == 1:
        time.sleep(0.5)
        stored = json.load(open(path))
        for point in stored['curve']:
            point['return'] /= 0.7
        json.dump(stored, open(path, 'w'))
        break
'''
        null = subprocess.DEVNULL
        subprocess.Popen([sys.executable, '-I', '-S', '-c', code, str(Path(request.out_dir, 'metrics.json'))],
                         start_new_session=True, env={}, stdin=null, stdout=null, stderr=null)
"""
# Writes down what it can read of what it should not, and goes on.
LOOKS = """
    import glob, json, os
    from pathlib import Path
    if {where}:
        seen = []
        for path in {paths!r}:
            try:
                seen.append(len(Path(path).read_bytes()))
            except OSError as error:
                seen.append(type(error).__name__)
        Path({out}, 'seen.json').write_text(json.dumps(seen))
"""


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("walls"))
    proof(project)
    lock(project)
    return project


def admit_no_open_run(project: Project) -> None:
    """Have the policy admit all but that programs ran open."""
    path = policy(project)
    document = json.loads(path.read_text())
    for row in document["suites"].values():
        row["admit"].remove("no_isolation")
    path.write_text(json.dumps(document))


def verdict(project: Project, run_id: str = "r") -> str:
    said = document(project, run_id)["verdict"]
    assert isinstance(said, str)
    return said


@needs_walls
def test_an_honest_candidate_passes_within_walls(project: Project) -> None:
    """And a release needs to admit nothing of its isolation."""
    assert project.run(WALLED).ret == pytest.ExitCode.OK
    admit_no_open_run(project)
    assert_released(project, "r")


def test_an_honest_candidate_passes_open(project: Project) -> None:
    assert project.run(OPEN).ret == pytest.ExitCode.OK
    assert_released(project, "r")


@needs_walls
def test_a_candidate_finds_no_record_of_the_official_program(project: Project) -> None:
    """It is 30 % worse, and copies where it can."""
    edit(program(project), FACTOR, WORSE)
    edit(program(project), OK, OK + COPIES)
    project.run(WALLED)
    assert verdict(project) == "fail"
    assert_not_released(project, "r", codes=["not_passed"])


@needs_walls
@pytest.mark.parametrize("what", ["records", "lines of an own run"])
def test_a_candidate_within_walls_cannot_rewrite_the_official_records(project: Project, what: str) -> None:
    edit(program(project), FACTOR, WORSE)
    edit(program(project), OK, OK + REWRITES)
    project.run(WALLED, *(["-n", "2"] if what != "records" else []))
    official = [x for x in project.lines("fake_proof") if x["system"] == "official"]
    assert min(x["metrics"]["curve"][-1]["return"] for x in official) > 90
    assert verdict(project) == "fail"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_where_it_runs_open_a_rewritten_line_is_found(project: Project, workers: str) -> None:
    """The controller remembers the lines; that the log and the records agree with each other is no help."""
    edit(program(project), FACTOR, WORSE)
    edit(program(project), OK, OK + REWRITES)
    result = project.run(OPEN, "-n", workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    official = [x for x in project.lines("fake_proof") if x["system"] == "official"]
    assert min(x["metrics"]["curve"][-1]["return"] for x in official) < 90, "it was rewritten"
    assert verdict(project) == "fail"
    codes = project.document("fake_proof/validity_report.json")["issues_by_code"]
    assert {"record_rewritten", "log_broken"} <= codes.keys()
    assert_not_released(project, "r")


@needs_walls
def test_a_child_within_walls_does_not_outlive_its_program(project: Project) -> None:
    edit(program(project), FACTOR, WORSE)
    edit(program(project), OK, OK + LEAVES_CHILD)
    project.run(WALLED)
    for line in project.lines("fake_proof"):
        path = project.run_dir() / line["artifacts"]["metrics"]
        assert json.loads(path.read_text())["curve"] == line["metrics"]["curve"]
    assert verdict(project) == "fail"


def test_an_open_child_is_found_out(project: Project) -> None:
    """It writes while the session goes on."""
    edit(program(project), FACTOR, WORSE)
    edit(program(project), OK, OK + LEAVES_CHILD)
    result = project.run(OPEN)
    assert verdict(project) == "fail"
    # The child of the last run may be late.
    assert "record_differs_from_artifact" in "\n".join(result.outlines)


def looks(project: Project, key: Path) -> list[str]:
    """Have the candidate, or its match program, look for what it should not see."""
    matched(project)
    table = project.root / "suites" / "quick" / "official.json"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("{}")
    golden = project.root / "golden" / "arrays.npz"
    assert golden.exists()
    others = [program(project).parent / "fake_official" / "backend.yaml", project.root / "pytest.ini"]
    return [str(path) for path in (key, table, golden, *others)]


@pytest.mark.parametrize("where", ["candidate", "match program"])
@needs_walls
def test_a_program_finds_no_key_no_table_and_no_golden(
    project: Project, signing_keys: Path, where: str
) -> None:
    seen = _seen(project, signing_keys / "own.pem", where, WALLED)
    assert seen == [["FileNotFoundError"] * 5]


@pytest.mark.parametrize("where", ["candidate", "match program"])
def test_what_walls_keep_is_open_without_them(project: Project, signing_keys: Path, where: str) -> None:
    """The control: the same programs find everything, and an honest candidate's copy would be one."""
    (seen,) = _seen(project, signing_keys / "own.pem", where, OPEN)
    assert all(isinstance(size, int) for size in seen)


def _seen(project: Project, key: Path, where: str, option: str) -> list[Any]:
    proof(project, component_match="golden")
    paths = looks(project, key)
    if where == "candidate":
        which = "request.system == 'worldflux' and request.seed == 0"
        edit(program(project), OK, OK + LOOKS.format(where=which, paths=paths, out="request.out_dir"))
    else:
        out = "json.loads(Path(sys.argv[-1]).read_text())['out_dir']"
        edit(
            match_program(project),
            MAIN,
            MAIN + "    import sys\n" + LOOKS.format(where="True", paths=paths, out=out),
        )
    result = project.run(option, f"--parity-sign-key={key}")
    assert result.ret == pytest.ExitCode.OK, result.outlines
    return [json.loads(path.read_text()) for path in project.run_dir().rglob("seen.json")]


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that no walls hide by where it stands."""
    if not os.access("/opt", os.W_OK):
        pytest.skip("/opt cannot be written")
    folder = Path(tempfile.mkdtemp(prefix="walls_", dir="/opt"))
    folder.chmod(0o755)
    (folder / "beside").write_text("x")
    yield folder
    shutil.rmtree(folder)


def found_by_candidate(project: Project, paths: list[Path], option: str) -> Any:
    which = "request.system == 'worldflux' and request.seed == 0"
    looks = LOOKS.format(where=which, paths=[*map(str, paths)], out="request.out_dir")
    edit(program(project), OK, OK + looks)
    result = project.run(option)
    (seen,) = (json.loads(path.read_text()) for path in project.run_dir().rglob("seen.json"))
    assert result.ret == pytest.ExitCode.OK, result.outlines
    return seen


@pytest.mark.parametrize("option", [OPEN, pytest.param(WALLED, marks=needs_walls)])
@pytest.mark.parametrize("what", ["table", "linked table", "golden", "checkout"])
def test_what_the_suite_names_elsewhere_is_not_there(
    project: Project, elsewhere: Path, option: str, what: str
) -> None:
    """The controls: an open program finds it, and what stands beside it is there for both."""
    folder = elsewhere / "own"
    folder.mkdir()
    if what.endswith("table"):
        project.track = "quick"
        shutil.rmtree(project.root / "suites" / "proof")
        path, named = folder / "official.json", "official.json"
        if what == "table":
            named = str(path)
        else:
            (project.root / "suites" / "quick").mkdir(parents=True)
            (project.root / "suites" / "quick" / named).symlink_to(path)
        table(path, "official")
        official = {"artifact": {"path": named, "format": "canonical_json", "commit": goldens.COMMIT}}
        project.suite(tasks=["alpha"], seeds=4, official=official)
    elif what == "golden":
        goldens.declare(project.root / "backends", "  deadline_sec: 60\n")
        edit(
            program(project).parent / "fake_worldflux" / "backend.yaml",
            "{backend_dir}/../../golden",
            str(folder),
        )
        lock(project, pinned=goldens.behave(folder, "ok"))
        proof(project, component_match="golden")
        path = folder / "arrays.npz"
    else:
        path = folder / "agent.py"
        path.write_text("x = 1\n")
        commit_all(folder)
        manifest = program(project).parent / "fake_official" / "backend.yaml"
        edit(manifest, "program: {", f"program: {{checkouts: [{{path: {str(folder)!r}}}], ")
    beside, seen = found_by_candidate(project, [elsewhere / "beside", path], option)
    assert beside == 1
    assert bool(isinstance(seen, int) and seen) == (option == OPEN), seen


@pytest.mark.parametrize("option", [OPEN, pytest.param(WALLED, marks=needs_walls)])
def test_a_program_of_a_run_inherits_its_output_alone(project: Project, option: str) -> None:
    """The control: an open one has the locks of its run, and the folder of all locks."""
    code = """
    import os
    found = {}
    for fd in os.listdir('/proc/self/fd'):
        try:
            found[int(fd)] = os.readlink(f'/proc/self/fd/{fd}')
        except OSError:
            pass
    Path(request.out_dir, 'seen.json').write_text(json.dumps(found))
"""
    edit(program(project), OK, OK + code)
    assert project.run(option).ret == pytest.ExitCode.OK
    seen = [json.loads(path.read_text()) for path in project.run_dir().rglob("seen.json")]
    assert len(seen) == 8
    for found in seen:
        others = [path for fd, path in found.items() if int(fd) > 2]
        assert bool(others) == (option == OPEN), found
        assert {Path(found[fd]).name for fd in "012"} == {"null", "stdout.log", "stderr.log"}


@pytest.mark.parametrize("option", [OPEN, pytest.param(WALLED, marks=needs_walls)])
@pytest.mark.parametrize("name", ["metrics.json", "stderr.log"])
def test_a_link_is_not_followed_for_it(project: Project, signing_keys: Path, option: str, name: str) -> None:
    """The plugin reads what programs leave, and it may read more than they."""
    key = signing_keys / "own.pem"
    code = f"""
    if request.system == 'worldflux':
        path = Path(request.out_dir, {name!r})
        path.unlink(missing_ok=True)
        path.symlink_to({str(key)!r})
        sys.exit(1)
"""
    edit(program(project), OK, OK + code)
    result = project.run(option, f"--parity-sign-key={key}")
    text = "\n".join(result.outlines)
    assert f"the program left a link as {name}" in text
    secret = key.read_text().splitlines()[1]
    assert secret not in text
    assert not [p for p in project.run_dir().rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]


@needs_walls
@pytest.mark.parametrize("needs", ["read", "write"])
def test_the_folder_of_the_runs_is_nobodys_need(project: Project, needs: str) -> None:
    declares(project, f"needs: {{{needs}: [../../reports/parity]}}\n")
    refused(project, "which is in the folder of the runs: no program sees another's")


@needs_walls
@pytest.mark.parametrize(
    ("kind", "path", "told"),
    [
        ("read", "../fake_official", "which is in the folder of another backend"),
        ("write", "{repo_root}", "which holds the project"),
        ("read", "../../golden", "which is in a golden folder"),
        ("read", "../../.worldflux/compiled", "which is in .worldflux"),
    ],
)
def test_what_is_kept_from_programs_is_nobodys_need(
    project: Project, kind: str, path: str, told: str
) -> None:
    if "golden" in told:
        matched(project)
    declares(project, f"needs: {{{kind}: ['{path}']}}\n")
    refused(project, told)


def refused(project: Project, told: str) -> None:
    """It is one line, before the first run; where programs run open nothing comes of what they declare."""
    result = project.run(WALLED)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (text for text in result.errlines if "fake_worldflux: needs" in text)
    assert told in line
    assert not [*project.run_dir().rglob("request.json")]


@needs_walls
@pytest.mark.parametrize(
    ("path", "told", "named"),
    [
        (sysconfig.get_path("purelib"), "is in what a program runs from", "needs"),
        (str(PLUGIN), "holds the plugin", "needs"),
        ("/etc", "holds the system", "needs"),
        ("{repo_root}/suites", "holds what the project is judged by", "needs"),
        ("{elsewhere}", "holds what the other side names or needs", "needs"),
        ("{elsewhere}", "holds what the other side names or needs", "program"),
    ],
)
def test_a_candidate_writes_nothing_that_others_run_from_or_read(
    project: Project, elsewhere: Path, path: str, told: str, named: str
) -> None:
    """What the official program reads, it declares or is."""
    (elsewhere / "file").write_text("x = 1\n")
    official = program(project).parent / "fake_official" / "backend.yaml"
    if named == "needs":
        official.write_text(official.read_text() + f"needs: {{read: ['{elsewhere}/file']}}\n")
    else:
        edit(official, "files: [", f"files: ['{elsewhere}/file', ")
    declares(project, f"needs: {{write: ['{path.replace('{elsewhere}', str(elsewhere))}']}}\n")
    refused(project, f"which {told}: no program writes another's")


@needs_walls
@pytest.mark.parametrize("where", ["elsewhere", "the home", "the project"])
def test_a_folder_of_its_own_elsewhere_may_be_written(
    project: Project, elsewhere: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(elsewhere / "home"))
    folders = {"elsewhere": elsewhere / "own", "the home": elsewhere / "home" / ".cache" / "data"}
    folder = folders.get(where, project.root / "data")
    folder.mkdir(parents=True)
    named = {"the home": "~/.cache/data", "the project": "{repo_root}/data"}.get(where, str(folder))
    declares(project, f"needs: {{write: ['{named}']}}\n")
    writes = f"    request.system == 'worldflux' and Path({str(folder)!r}, str(request.seed)).touch()\n"
    edit(program(project), OK, OK + writes)
    assert project.run(WALLED).ret == pytest.ExitCode.OK
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("option", [OPEN, pytest.param(WALLED, marks=needs_walls)])
def test_who_reads_the_project_does_not_read_its_commits(project: Project, option: str) -> None:
    """The controls: an open program finds them, and one within walls the files beside."""
    declares(project, "needs: {read: ['{repo_root}']}\n")
    commit_all(project.root)
    ini, head = found_by_candidate(
        project, [project.root / "pytest.ini", project.root / ".git" / "HEAD"], option
    )
    assert isinstance(ini, int)
    assert (head == "FileNotFoundError") == (option == WALLED)


@needs_walls
def test_a_link_that_a_program_makes_hides_nothing_from_another(project: Project, elsewhere: Path) -> None:
    """Neither in its run, nor in the next."""
    folder = project.root / "data"
    folder.mkdir()
    declares(project, "needs: {write: ['{repo_root}/data']}\n")
    code = f"""
    if request.system == 'worldflux':
        link = Path({str(folder)!r}, 'link')
        link.is_symlink() or link.symlink_to({str(elsewhere)!r})
    else:
        Path(request.out_dir, 'seen.json').write_text(json.dumps(os.listdir({str(elsewhere)!r})))
"""
    edit(program(project), OK, OK + code)
    for run in ("r", "again"):
        assert project.run(WALLED, run_id=run).ret == pytest.ExitCode.OK
        seen = [json.loads(path.read_text()) for path in project.run_dir(run).rglob("seen.json")]
        assert seen == [["beside"]] * 4
    assert (folder / "link").is_symlink(), "the control: it did what it tried"


@needs_walls
@pytest.mark.parametrize("reads", [True, False])
def test_what_the_project_links_to_is_seen_by_who_reads_the_project(
    project: Project, elsewhere: Path, reads: bool
) -> None:
    """As an open program sees it; it is as much of the project for who does not read that."""
    (project.root / "data").symlink_to(elsewhere)
    if reads:
        declares(project, "needs: {read: ['{repo_root}']}\n")
    paths = [project.root / "data" / "beside", elsewhere / "beside"]
    assert found_by_candidate(project, paths, WALLED) == ([1, 1] if reads else ["FileNotFoundError"] * 2)


@needs_walls
def test_runs_of_another_output_are_nobodys_need(project: Project) -> None:
    """Beside them a folder may be read, and the runs in it are hidden."""
    earlier = project.root / "earlier"
    assert project.run(OPEN, f"--parity-output={earlier / 'runs'}").ret == pytest.ExitCode.OK
    (earlier / "notes").write_text("x")
    backend = program(project).parent / "fake_worldflux" / "backend.yaml"
    said = backend.read_text()
    declares(project, "needs: {read: ['{repo_root}/earlier/runs/r']}\n")
    refused(project, "which is in the folder of the runs: no program sees another's")
    backend.write_text(said + "needs: {read: ['{repo_root}/earlier']}\n")
    paths = [earlier / "notes", earlier / "runs" / "r" / "run.json"]
    assert found_by_candidate(project, paths, WALLED) == [1, "FileNotFoundError"]


FORGES = """
    if request.system == 'worldflux' and request.seed == 0:
        import signal
        said = Path(request.out_dir, 'isolation.json')
        if json.loads(said.read_text())['by'] == 'none':
            wire.write_record(request.out_dir, record(request))
            said.unlink()
            said.write_text(json.dumps({'by': 'bubblewrap', 'why': '', 'key_hidden': False, 'needs': {}}))
            above = os.getppid()
            while '-m\\0pytest' not in Path(f'/proc/{above}/cmdline').read_text():
                above = int(Path(f'/proc/{above}/stat').read_text().rpartition(')')[2].split()[1])
            os.kill(above, signal.SIGKILL)
            time.sleep(5)
"""
# As a job's node would say it: once lost, once well; then it kills its session.
JOB_FORGES = """
    if request.system == 'worldflux' and request.seed < 2:
        import hashlib, signal
        if Path(request.out_dir).name == 'attempt_1':
            out, lost = Path(request.out_dir), request.seed == 0
            digest = None
            if not lost:
                wire.write_record(out, record(request))
                digest = hashlib.sha256((out / 'metrics.json').read_bytes()).hexdigest()
            walls = {'by': 'bubblewrap', 'why': '', 'key_hidden': True, 'needs': {}}
            outcome = {'error': 'the node was lost' if lost else '', 'kind': 'lost' if lost else None,
                       'return_code': None if lost else 0, 'duration_sec': 1.0, 'command': [], 'gpus': [],
                       'alone': False, 'metrics_sha256': digest, 'refusal': None, 'isolation': walls}
            said = {'schema_version': 'worldflux.parity.slurm_node.v1', 'job_id': '4711', 'revoked': False,
                    'starts': [], 'outcome': outcome}
            job = {'schema_version': 'worldflux.parity.slurm_job.v1', 'cluster': 'slurm',
                   'adapter': request.adapter, 'job_id': '4711', 'request_id': request.request_id,
                   'host': 'n1', 'written_at_utc': '2026-11-30T18:00:00+00:00'}
            (out / 'slurm_job.json').write_text(json.dumps(job))
            (out / 'slurm_node.json').write_text(json.dumps(said))
            above = os.getppid()
            while '-m\\0pytest' not in Path(f'/proc/{above}/cmdline').read_text():
                above = int(Path(f'/proc/{above}/stat').read_text().rpartition(')')[2].split()[1])
            os.kill(above, signal.SIGKILL)
            time.sleep(5)
"""
# It has left its record, and is killed with its session.
LINGERS = """
    if request.system == 'worldflux' and request.seed == 0:
        wire.write_record(request.out_dir, record(request))
        time.sleep(60)
"""


def assert_killed(project: Project, *arguments: str) -> None:
    """A session that is started from a shell, as its program looks for it, and that the program kills."""
    assert project.start(OPEN, *arguments).wait(120) == -signal.SIGKILL


@needs_walls
@pytest.mark.parametrize("begun", ["open", "within walls"])
def test_an_open_attempt_is_not_believed_that_it_ran_within_walls(project: Project, begun: str) -> None:
    """Neither of a run that began open, nor of one that a resume went on with so."""
    edit(program(project), OK, OK + FORGES)
    if begun == "within walls":
        project.run(WALLED, "--parity-systems=official")
    assert_killed(project, *(["--parity-resume"] if begun != "open" else []))
    project.run(WALLED, "--parity-resume")
    line = recovered(project)
    assert line["isolation"] is None
    admit_no_open_run(project)
    assert_not_released(project, "r", codes=["no_isolation"])


def test_a_session_that_gave_nothing_to_a_job_believes_no_job(project: Project) -> None:
    edit(program(project), OK, OK + JOB_FORGES)
    assert_killed(project)
    assert_killed(project, "--parity-resume")
    text = "\n".join(project.run(OPEN, "--parity-resume").outlines)
    lines = [x for x in project.lines("fake_proof") if x["system"] == "worldflux"]
    assert {bool(x["isolation"]) and x["isolation"]["by"] for x in lines} <= {False, "none"}, lines
    (lost,) = (x for x in lines if x["error_kind"] == "lost")
    assert lost["error"] == "the process that ran it ended before it did"
    assert "by no doing of the program" not in text
    admit_no_open_run(project)
    assert_not_released(project, "r", codes=["no_isolation"])


@needs_walls
def test_an_attempt_of_a_killed_session_within_walls_ran_within_walls(project: Project) -> None:
    edit(program(project), OK, OK + LINGERS)
    session = project.start(WALLED)
    wait_until(
        lambda: [*project.run_dir().glob("fake_proof/executions/*/seed_0/worldflux/*/metrics.json")],
        "a record",
    )
    session.kill()
    session.wait()
    assert project.run(WALLED, "--parity-resume").ret == pytest.ExitCode.OK
    assert recovered(project)["isolation"]["by"] == "bubblewrap"
    admit_no_open_run(project)
    assert_released(project, "r")


def recovered(project: Project) -> dict[str, Any]:
    """The line of the attempt whose end nobody saw."""
    lines = [x for x in project.lines("fake_proof") if x["system"] == "worldflux" and x["seed"] == 0]
    (line,) = (x for x in lines if x["recovered"])
    return line


@needs_walls
def test_who_reads_the_project_reads_its_own(project: Project) -> None:
    """And nothing of what it could not declare by name."""
    matched(project)
    proof(project, component_match="golden")
    declares(project, "needs: {read: ['{repo_root}']}\n")
    (project.root / ".worldflux" / "compiled").mkdir(parents=True)
    (project.root / ".worldflux" / "compiled" / "file").write_text("x")
    names = (
        "pytest.ini",
        "golden/arrays.npz",
        "backends/fake_official/backend.yaml",
        ".worldflux/compiled/file",
    )
    ini, *others = found_by_candidate(project, [project.root / name for name in names], WALLED)
    assert isinstance(ini, int)
    assert others == ["FileNotFoundError"] * 3


def declares(project: Project, text: str) -> None:
    path = project.root / "backends" / "fake_worldflux" / "backend.yaml"
    path.write_text(path.read_text() + text)


@needs_walls
def test_what_is_declared_is_on_the_card(project: Project) -> None:
    """And what a program needs of the project it has, but for the runs."""
    declares(project, "needs: {network: true, read: ['{repo_root}']}\n")
    result = project.run(WALLED)
    assert result.ret == pytest.ExitCode.OK
    text = "\n".join(result.outlines)
    assert "fake_worldflux: network, reads {repo_root}" in text
    verified = ask(project, "verify", project.run_dir() / "fake_proof" / "evidence_bundle.zip")
    assert "fake_worldflux: network, reads {repo_root}" in verified.text


@needs_walls
def test_a_run_that_was_open_in_part_says_so(project: Project) -> None:
    """Begun within walls and gone on with without them: each record says what was in force."""
    only = ("--parity-systems=official",)
    project.run(WALLED, *only)
    result = project.run(OPEN, "--parity-resume")
    text = "\n".join(result.outlines)
    assert (
        "bubblewrap in part: 4 of 8 ran open (--parity-isolate=off); a signing key was within reach" in text
    )
    admit_no_open_run(project)
    assert_not_released(project, "r", codes=["no_isolation"])
