"""A program is another one after it was sealed: by hand, by itself, or in the run's own copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.lab import (
    FACTOR,
    WORSE,
    assert_not_released,
    assert_released,
    edit,
    lock,
    program,
    proof,
)
from tests.conftest import Project

OK = "def ok(request):\n"
# What the candidate that first runs does; `run` and `root` are the folders of its run and of the project.
ONCE = """    run = Path(request.out_dir).parents[5]
    root = run.parents[2]
    if request.system == "worldflux" and not (run / "done").exists():
        (run / "done").touch()
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    proof(project)
    lock(project)
    return project


def does(project: Project, *lines: str) -> None:
    """The candidate that runs first does this, before anything else."""
    edit(program(project), OK, OK + ONCE + "".join(f"        {line}\n" for line in lines))


def worse(project: Project, factor: str = WORSE) -> None:
    edit(program(project), FACTOR, factor)


def finals(project: Project, system: str) -> list[float]:
    """The last return of each of its runs, in the order of seeds; 0 where it has none."""
    lines = sorted(
        (x for x in project.lines("fake_proof") if x["system"] == system), key=lambda x: int(x["seed"])
    )
    return [x["metrics"]["curve"][-1]["return"] if x["success"] else 0.0 for x in lines]


def test_a_program_that_nobody_edits_is_accepted(project: Project) -> None:
    """The control: it writes beside itself and into its project, where nothing was sealed."""
    does(
        project,
        '(Path(__file__).with_name("cache.json")).write_text("{}")',
        '(root / "backends" / "notes.txt").write_text("done")',
    )
    result = project.run()
    assert result.ret == pytest.ExitCode.OK, result.outlines
    assert not (project.root / "backends" / "cache.json").exists()
    assert_released(project, "r")


def linked(project: Project, folder: Path) -> Path:
    """The candidate takes its level from a file that a link in its folder leads to; returns the file."""
    folder.mkdir()
    (folder / "level.txt").write_text("0.7", encoding="utf-8")
    (project.root / "backends" / "fake_worldflux" / "lib").symlink_to(folder)
    worse(
        project,
        'level *= float((Path(__file__).parent / "fake_worldflux" / "lib" / "level.txt").read_text())',
    )
    return folder / "level.txt"


def read(project: Project) -> Path:
    """The candidate takes its level from code of the project that it declares to read; returns the file."""
    path = project.root / "src" / "level.py"
    path.parent.mkdir()
    path.write_text("0.7", encoding="utf-8")
    backend = project.root / "backends" / "fake_worldflux" / "backend.yaml"
    backend.write_text(backend.read_text(encoding="utf-8") + "needs: {read: ['{repo_root}/src']}\n")
    worse(project, f"level *= float(Path({str(path)!r}).read_text())")
    return path


@pytest.mark.parametrize("where", ["program", "linked", "read"])
def test_a_program_that_is_edited_between_two_sessions_is_not_resumed(
    project: Project, where: str, tmp_path: Path
) -> None:
    """Two source trees in one run, each right for its own seeds."""
    made = {"linked": lambda: linked(project, tmp_path / "outside"), "read": lambda: read(project)}
    path = made.get(where, lambda: program(project))()
    project.run(*(f"suites/proof/fake_proof.yaml::alpha[seed={seed}]" for seed in (0, 1)))
    assert len(project.lines("fake_proof")) == 4
    path.write_text(path.read_text(encoding="utf-8").replace("0.7", "1.0") + " ", encoding="utf-8")
    resumed = project.run("--parity-resume")
    assert resumed.ret == pytest.ExitCode.USAGE_ERROR
    assert "changed since the run was sealed" in resumed.stderr.str()
    assert len(project.lines("fake_proof")) == 4, "nothing more was run"


def test_data_that_comes_to_what_is_read_is_told_of(project: Project) -> None:
    """The control: what it reads is as it was, and a cache may grow."""
    path = read(project)
    path.write_text("1.0", encoding="utf-8")
    (path.parent / "weights.bin").write_bytes(b"x" * 100)
    project.run(*(f"suites/proof/fake_proof.yaml::alpha[seed={seed}]" for seed in (0, 1)))
    (path.parent / "more.bin").touch()
    resumed = project.run("--parity-resume")
    assert resumed.ret == pytest.ExitCode.OK, resumed.outlines
    assert "src/more.bin, which the worldflux program reads, changed or came" in resumed.stdout.str()
    programs = project.document("run.json")["suites"]["suites/proof/fake_proof.yaml"]["programs"]
    (sealed,) = (x["read"] for x in programs.values() if "read" in x)
    assert {*sealed} == {"src/level.py", "src/weights.bin"}
    assert_released(project, "r")


def test_a_program_that_edits_itself_stays_what_was_sealed(project: Project) -> None:
    worse(project)
    does(
        project,
        'source = root / "backends" / "program.py"',
        'source.write_text(source.read_text().replace("level *= 0.7", "level *= 1.0"))',
    )
    project.run()
    assert "level *= 1.0" in program(project).read_text(encoding="utf-8")
    assert max(finals(project, "worldflux")) < 80, "no run is of the edited program"
    assert_not_released(project, "r")
    assert "changed_since_sealed" in project.document("fake_proof/validity_report.json")["issues_by_code"]


def test_what_a_link_leads_to_stays_what_was_sealed(project: Project, tmp_path: Path) -> None:
    path = linked(project, tmp_path / "outside")
    does(project, f"Path({str(path)!r}).write_text('1.0')")
    project.run()
    assert path.read_text(encoding="utf-8") == "1.0"
    assert max(finals(project, "worldflux")) < 80
    assert_not_released(project, "r")
    assert "changed_since_sealed" in project.document("fake_proof/validity_report.json")["issues_by_code"]


COPIES = 'copies = [p for p in (run / ".program").glob("*") if (p / "backends").is_dir()]'
EDITS = {
    "edited": (
        'files = [c / "backends" / "program.py" for c in copies]',
        "[f.chmod(0o644) for f in files]",
        '[f.write_text(f.read_text().replace("level *= 0.7", "level *= 1.0")) for f in files]',
    ),
    "replaced": (
        '(root / "better.py").write_text(Path(__file__).read_text().replace("level *= 0.7", ""))',
        '[(c / "backends" / "program.py").unlink() for c in copies]',
        '[(c / "backends" / "program.py").symlink_to(root / "better.py") for c in copies]',
    ),
    "a link": (
        "import shutil",
        '[shutil.copytree(c, root / "other" / c.name) for c in copies]',
        '[f.chmod(0o644) for f in (root / "other").rglob("*.py")]',
        '[f.write_text("raise SystemExit") for f in (root / "other").rglob("*.py")]',
        "[shutil.rmtree(c) for c in copies]",
        '[c.symlink_to(root / "other" / c.name) for c in copies]',
    ),
    "removed": ("import shutil", "[shutil.rmtree(c) for c in copies]"),
}


@pytest.mark.parametrize("how", EDITS)
def test_a_copy_that_is_no_longer_what_was_sealed_is_not_run(project: Project, how: str) -> None:
    worse(project)
    does(project, COPIES, *EDITS[how])
    result = project.run()
    text = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in text
    assert ("the copy of the program is gone" if how == "removed" else "is no longer what was sealed") in text
    # The first pair ran; of the later ones nothing does.
    assert [x["seed"] for x in project.lines("fake_proof") if x["success"]] == [0, 0]
    assert_not_released(project, "r")


# Good where it can import what was not sealed.
IMPORTS = """
        try:
            from backends import better
        except ImportError:
            level *= 0.7
"""


def test_what_is_added_to_a_copy_is_not_run(project: Project) -> None:
    worse(project, IMPORTS)
    does(
        project,
        COPIES,
        '[(c / "backends" / "better.py").write_text("") for c in copies]',
        '[(c / "backends" / "json.py").write_text("raise SystemExit") for c in copies]',
        '[(c / "sitecustomize.py").write_text("raise SystemExit") for c in copies]',
    )
    project.run()
    assert min(finals(project, "official")) > 90
    assert min(finals(project, "worldflux")) > 0
    assert max(finals(project, "worldflux")) < 80
    assert_not_released(project, "r", codes=["not_passed"])


def test_a_seal_that_is_edited_does_not_vouch_for_what_ran(project: Project) -> None:
    """The run's copy with a new name, and its hash in `run.json`."""
    worse(project)
    does(
        project,
        "import shutil",
        COPIES,
        'document = json.loads((run / "run.json").read_text())',
        "[entry] = document['suites'].values()",
        "for key, files in entry['trees'].items():",
        "    old = run / '.program' / wire.files_sha256(dict(sorted(files.items())))[:16]",
        "    text = (old / 'backends' / 'program.py').read_text().replace('level *= 0.7', 'level *= 1.0')",
        "    (root / 'b.py').write_text(text)",
        "    files['backends/program.py'] = wire.file_sha256(root / 'b.py')",
        "    new = run / '.program' / wire.files_sha256(dict(sorted(files.items())))[:16]",
        "    shutil.copytree(old, new)",
        "    (new / 'backends' / 'program.py').chmod(0o644)",
        "    (new / 'backends' / 'program.py').write_text(text)",
        '(run / "run.json").write_text(json.dumps(document))',
    )
    project.run()
    assert_not_released(project, "r")
    assert "changed_since_sealed" in project.document("fake_proof/validity_report.json")["issues_by_code"]
