"""What is installed for an interpreter: in real virtual environments, with distributions written by hand."""

from __future__ import annotations

import base64
import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import BackendError
from pytest_worldflux_parity.inputs.installed import (
    Installed,
    against_pins,
    contents,
    document,
    interpreter_at,
    look,
    package_files,
)
from pytest_worldflux_parity.inputs.installed import files as installed_files
from pytest_worldflux_parity.inputs.installed.import_path import finder_in, parse_pth
from pytest_worldflux_parity.inputs.installed.packages import is_aside, parse_record

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


class Environment:
    """A virtual environment without pip."""

    def __init__(self, folder: Path, *options: str) -> None:
        made = [sys.executable, "-I", "-m", "venv", "--without-pip", *options, str(folder)]
        subprocess.run(made, check=True)
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.site = folder / "lib" / VERSION / "site-packages"

    def look(self, *leave_out: Path) -> Installed:
        return look(interpreter_at(self.python), leave_out)

    def write(self, name: str, text: str = "") -> Path:
        path = self.site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def install(self, name: str, version: str, files: Mapping[str, str], site: Path | None = None) -> Path:
        """A distribution as pip would leave it; returns its dist-info."""
        site = site or self.site
        info = f"{name}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: not this\n"
        out = io.StringIO()
        rows = csv.writer(out, lineterminator="\n")
        for path, text in {**files, f"{info}/METADATA": metadata, f"{info}/INSTALLER": "pip\n"}.items():
            target = site / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            rows.writerow([path, hash_of(text.encode()), len(text.encode())])
        for path in files:
            if path.endswith(".py"):
                cached = target_of_cache(path)
                (site / cached).parent.mkdir(parents=True, exist_ok=True)
                (site / cached).write_bytes(b"compiled")
                rows.writerow([cached, "", ""])
        rows.writerow([f"{info}/RECORD", "", ""])
        (site / info / "RECORD").write_text(out.getvalue(), encoding="utf-8")
        return site / info

    def runs(self, code: str) -> str:
        done = subprocess.run([self.python, "-c", code], capture_output=True, encoding="utf-8", check=True)
        return done.stdout.strip()


def hash_of(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"


def target_of_cache(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name[:-3]}.cpython-311.pyc".lstrip("/")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Environment]:
    return lambda *options: Environment(tmp_path / "env", *options)


@pytest.fixture
def env(make: Callable[..., Environment]) -> Environment:
    return make()


# The interpreter.


def test_an_interpreter_says_where_it_looks(env: Environment) -> None:
    found = interpreter_at(env.python)
    assert found.python == env.python, "the link of a virtual environment is not resolved"
    assert found.version == sys.version_info[:2]
    assert found.virtual
    assert not found.system_site
    assert found.prefix == env.folder
    assert found.site_packages[0] == env.site
    assert len(found.site_packages) == 1
    assert interpreter_at(env.python) is found, "it is asked once"
    said = env.runs("import sys; print(*sys.path, sep='\\n')").splitlines()
    assert [*map(str, found.stdlib), *env.look().where.path] == [p for p in said if p]


def test_a_rebuilt_environment_is_asked_again(tmp_path: Path) -> None:
    first = Environment(tmp_path / "env")
    assert not interpreter_at(first.python).system_site
    shutil.rmtree(first.folder)
    again = Environment(tmp_path / "env", "--system-site-packages")
    assert interpreter_at(again.python).system_site


def test_the_base_is_behind_where_it_is_on_the_path(make: Callable[..., Environment]) -> None:
    env = make("--system-site-packages")
    found = env.look()
    assert found.where.sites[0] == str(env.site)
    assert len(found.where.sites) > 1
    said = env.runs(
        "import site, sys; print(*[p for p in sys.path if p != site.getusersitepackages()][4:], sep='\\n')"
    )
    assert found.where.path == said.splitlines()


def test_the_user_site_is_never_part_of_it(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUSERBASE", str(env.folder / "user"))
    monkeypatch.setenv("PYTHONPATH", str(env.folder / "elsewhere"))
    assert env.look().where.path == [str(env.site)]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (None, "cannot be started"),
        ("#!/bin/sh\necho not a Python >&2\nexit 3\n", "is no Python 3: it said 'not a Python'"),
        ("#!/bin/sh\necho '[]'\n", "is no Python 3"),
        ("#!/bin/sh\necho hello\n", "is no Python 3: it said 'hello'"),
        ("#!/bin/sh\n", "is no Python 3: it said 'nothing'"),
    ],
)
def test_what_is_no_interpreter_is_an_error_of_one_line(
    tmp_path: Path, script: str | None, says: str
) -> None:
    python = tmp_path / "python"
    if script is not None:
        python.write_text(script)
        python.chmod(0o755)
    with pytest.raises(BackendError, match="python") as error:
        interpreter_at(python)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


# Packages.


def test_packages_and_their_files_are_read_by_record(env: Environment) -> None:
    env.install("Some_Package", "1.2", {"some_package/__init__.py": "A = 1\n", "../../../bin/some": "#!\n"})
    found = env.look()
    package = found.packages["some-package"]
    assert (package.version, package.editable) == ("1.2", "")
    assert not found.unlisted
    assert not found.altered
    assert not found.oddities
    assert set(found.listed) == {
        f"{env.site}/some_package/__init__.py",
        f"{env.folder}/bin/some",
        f"{env.site}/Some_Package-1.2.dist-info/METADATA",
    }
    assert not contents(found)


def test_the_same_wheel_is_the_same_in_every_environment(tmp_path: Path) -> None:
    files = {"a/__init__.py": "A = 1\n", "a/data.bin": "data"}
    one, other = Environment(tmp_path / "one"), Environment(tmp_path / "other")
    one.install("a", "1.0", {**files, "../../../bin/a": "#!one\n"})
    info = other.install("a", "1.0", {**dict(reversed(files.items())), "../../../bin/a": "#!other\n"})
    (info / "INSTALLER").write_text("uv\n")
    assert one.look().packages["a"].record_sha256 == other.look().packages["a"].record_sha256
    assert document(one.look()) == document(other.look())
    other.write("stray.py")
    assert document(one.look())["sha256"] != document(other.look())["sha256"]


def test_files_that_no_record_lists_are_seen(env: Environment) -> None:
    env.install("a", "1.0", {"a/__init__.py": ""})
    stray = {
        name: env.write(name, f"# {name}\n")
        for name in (
            *("a/more.py", "sitecustomize.py", "bytes.pyc", "a/__pycache__/odd.py", "a/__pycache__/odd.pyc"),
            *("a/native.so", "x.pth", ".hidden.pth", "a-1.0.dist-info/entry_points.txt", "data.txt"),
        )
    }
    env.write("a/__pycache__/more.cpython-311.pyc", "of more.py")
    env.write("a-1.0.dist-info/REQUESTED")
    assert env.look().unlisted == {str(path): sha256(path) for path in stray.values()}


def test_listed_files_that_are_absent_or_of_another_size_are_seen(env: Environment) -> None:
    env.install(
        "a", "1.0", {"a/__init__.py": "1\n", "a/b.py": "22\n", "a/c.py": "3\n", "../../../bin/a": "a"}
    )
    (env.site / "a" / "__init__.py").unlink()
    (env.site / "a" / "b.py").write_text("4444\n")
    (env.site / "a" / "c.py").write_text("5\n")
    (env.folder / "bin" / "a").unlink()
    found = env.look()
    assert {found.shown(p): how for p, how in found.altered.items()} == {
        "a/__init__.py": "is absent",
        "a/b.py": "has 5 bytes, listed are 3",
        "bin/a": "is absent",
    }
    assert contents(found) == {
        **found.altered,
        str(env.site / "a" / "c.py"): "has other bytes than its RECORD says",
    }
    assert document(found)["altered"] == [
        "bin/a is absent",
        "a/__init__.py is absent",
        "a/b.py has 5 bytes, listed are 3",
    ]


def test_two_packages_may_bring_one_file(env: Environment) -> None:
    env.install("a", "1.0", {"tests/__init__.py": "a\n"})
    env.install("b", "1.0", {"tests/__init__.py": "of b\n"})
    found = env.look()
    assert not found.altered
    assert not contents(found)


def test_of_two_of_one_name_the_first_counts(env: Environment, tmp_path: Path) -> None:
    env.install("a", "1.0", {"a.py": "1\n"})
    env.install("a", "1.1", {"a.py": "1\n"})
    further = tmp_path / "further"
    env.install("a", "0.9", {"a.py": "0\n"}, further)
    env.install("other", "2", {"other.py": ""}, further)
    env.write("more.pth", f"{further}\n")
    found = env.look()
    assert found.packages["a"].version == "1.0"
    assert found.where.sites == [str(env.site), str(further)], "what has distributions is taken by RECORDs"
    assert found.where.path == found.where.sites
    assert not found.where.projects
    assert list(found.unlisted) == [str(env.site / "more.pth")]
    assert not found.folder_files


@pytest.mark.parametrize(
    "record",
    [
        'a/__init__.py,sha256=x,1\n"broken',
        "a/__init__.py\n",
        "a/__init__.py,sha256=x,many\n",
        "\0,,\n",
        "a/__init__.py,,\n",
        "",
        "\udcff\n",
    ],
)
def test_what_a_broken_record_does_not_say_is_looked_at(env: Environment, record: str) -> None:
    info = env.install("a", "1.0", {"a/__init__.py": "1\n"})
    (info / "RECORD").write_text(record, encoding="utf-8", errors="surrogateescape")
    found = env.look()
    module = str(env.site / "a" / "__init__.py")
    assert (module in found.listed) != (module in found.unlisted)
    assert contents(found).keys() >= found.altered.keys()
    before = document(found)["sha256"]
    if "sha256=" not in record:
        env.write("a/__init__.py", "2\n")
        assert document(env.look())["sha256"] != before


def test_what_has_no_record_is_taken_as_it_is(env: Environment) -> None:
    info = env.install("Odd-Name", "1.0", {"odd_name/__init__.py": "1\n", "more.py": "2\n"})
    (info / "RECORD").unlink()
    (info / "top_level.txt").write_text("more\nodd_name\n")
    env.write("old-2.0-py3.11.egg-info/PKG-INFO", "Name: old\nVersion: 2.0\n")
    env.write("old.py", "3\n")
    env.write("single-3.egg-info", "Name: single\nVersion: 3\n")
    first = env.look()
    assert not first.unlisted
    assert {n: p.version for n, p in first.packages.items()} == {
        "odd-name": "1.0",
        "old": "2.0",
        "single": "3",
    }
    assert not contents(first)
    env.write("more.py", "4\n")
    assert list(contents(first)) == [str(env.site / "more.py")]
    assert env.look().packages["odd-name"].record_sha256 != first.packages["odd-name"].record_sha256


def test_of_metadata_that_say_little_the_name_of_the_folder_does(env: Environment) -> None:
    (env.install("a", "1.0", {}) / "METADATA").write_text("no header\n")
    (env.install("b", "1.0", {}) / "METADATA").write_text("Name: c\nVersion: 2\n")
    (env.install("d", "1.0", {}) / "direct_url.json").write_text("[" * 100_000)
    found = env.look()
    assert {n: p.version for n, p in found.packages.items()} == {"a": "1.0", "c": "2", "d": "1.0"}


def test_links_pipes_and_what_cannot_be_read_do_no_harm(env: Environment, tmp_path: Path) -> None:
    env.install("a", "1.0", {"a/__init__.py": "1\n"})
    (env.site / "around").symlink_to(env.site)
    (env.site / "root").symlink_to("/")
    (env.site / "memory.py").symlink_to("/proc/kcore")
    (env.site / "nowhere.py").symlink_to("not there")
    os.mkfifo(env.site / "pipe.py")
    (tmp_path / "behind").mkdir()
    (tmp_path / "behind" / "module.py").write_text("1\n")
    (env.site / "linked").symlink_to(tmp_path / "behind")
    found = env.look()
    unlisted = {found.shown(path): sha for path, sha in found.unlisted.items()}
    nothing = ("around", "memory.py", "nowhere.py", "pipe.py", "root")
    assert unlisted == {
        "linked/module.py": sha256(tmp_path / "behind" / "module.py"),
        **dict.fromkeys(nothing, "unreadable"),
    }
    (env.site / "a" / "__init__.py").unlink()
    os.mkfifo(env.site / "a" / "__init__.py")
    assert list(env.look().altered.values()) == ["is no file"]


def test_a_link_that_leads_to_other_code_is_seen(tmp_path: Path) -> None:
    """By the link's own name, whatever of the project was looked at before."""
    for version in ("v1", "v2"):
        (tmp_path / "a_impl" / version).mkdir(parents=True)
        (tmp_path / "a_impl" / version / "model.py").write_text(f"LEVEL = {version!r}\n")
    (tmp_path / "z").mkdir()
    link = tmp_path / "z" / "pkg"
    found = []
    for version in ("v1", "v2"):
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / "a_impl" / version)
        found.append(installed_files.sha256_of_all(installed_files.project_files(str(tmp_path))[0]))
        assert str(link / "model.py") in found[-1]
    assert found[0] != found[1]


# The import path.


def test_pth_files_are_read_and_nothing_of_them_is_run(env: Environment, tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    write = f"open({str(marker)!r}, 'a').write('x')\n"
    env.write("sitecustomize.py", write)
    env.write("usercustomize.py", write)
    for name in ("one", "two", "within"):
        (tmp_path / name).mkdir()
    (tmp_path / "two" / "module.py").write_text(write)
    (env.site / "inside").mkdir()
    env.write("b.pth", f"import os; {write}# comment\n\n{tmp_path}/one\n{tmp_path}/absent\ninside\n")
    env.write("a.pth", f"{tmp_path}/two\r\n{tmp_path}/one\nimport\tos\n")
    env.write("c.pth", f"{tmp_path}/two/module.py\n")
    env.write(".d.pth", f"{tmp_path}/within\n")
    found = env.look()
    assert found.where.projects == [f"{tmp_path}/two", f"{tmp_path}/one", f"{env.site}/inside"]
    assert found.where.path == [str(env.site), *found.where.projects]
    assert found.where.import_lines == ["a.pth: import\tos", f"b.pth: import os; {write.strip()}"]
    assert found.folder_files == {str(tmp_path / "two" / "module.py"): sha256(tmp_path / "two" / "module.py")}
    assert not marker.exists()
    env.runs("")
    assert marker.exists(), "the same environment runs them when it starts"


def test_what_is_left_out_is_left_out_whole(env: Environment, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (tmp_path / "link").symlink_to(project / "src")
    (tmp_path / "beside").mkdir()
    env.write("a.pth", f"{project}\n{project}/src\n{tmp_path}\n{tmp_path}/link\n{tmp_path}/beside\n")
    found = env.look(project)
    assert found.where.projects == [f"{tmp_path}/beside"]
    assert found.oddities == [
        f"{path}, which a.pth names, is left out"
        for path in (project, project / "src", tmp_path, tmp_path / "link")
    ]
    kept = [str(path) for path in (project, project / "src", tmp_path / "link")]
    assert env.look(tmp_path / "beside").where.projects == kept


def test_a_folder_with_too_much_in_it_is_said(
    env: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed_files, "MOST_FILES", 3)
    (tmp_path / "much").mkdir()
    for number in range(5):
        (tmp_path / "much" / f"m{number}.py").write_text("")
    env.write("a.pth", f"{tmp_path}/much\n")
    found = env.look()
    assert len(found.folder_files) == 3
    assert any("holds too much, and after 3 files nothing" in oddity for oddity in found.oddities)


def test_of_a_work_tree_what_git_ignores_is_left_out_unless_it_is_code(
    env: Environment, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    for name in (
        ".gitignore",
        "a.py",
        "new.txt",
        "out/run.log",
        "made.so",
        "sub/venv/pyvenv.cfg",
        "sub/venv/b.py",
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("out/\n*.so\n")
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    subprocess.run(["git", "-C", str(tree), "add", "a.py"], check=True)
    env.write("a.pth", f"{tree}\n")
    names = {os.path.relpath(path, tree) for path in env.look().folder_files}
    assert names == {".gitignore", "a.py", "new.txt", "made.so"}


FINDER = """\
from __future__ import annotations
import sys
MAPPING: dict[str, str] = {
    'pkg': '%(folder)s/lib/pkg', 'single': '%(folder)s/lib/single', 'ns.part': '%(folder)s/part'
}
NAMESPACES: dict[str, list[str]] = {'ns': ['%(folder)s/ns'], 'virtual': []}
open('%(folder)s/was-run', 'w')
def install(): ...
"""


def editable(env: Environment, folder: Path, finder: str) -> Path:
    for name in (
        "lib/pkg/__init__.py",
        "lib/pkg/sub/deep.py",
        "lib/single.py",
        "part/__init__.py",
        "ns/x.py",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    info = env.install(
        "pkg",
        "1.0",
        {
            "__editable___pkg_1_0_finder.py": finder,
            "__editable__.pkg-1.0.pth": "import {0}; {0}.install()".format("__editable___pkg_1_0_finder"),
        },
    )
    url = {"url": f"file://{folder}", "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(url))
    return info


def test_the_finder_of_an_editable_project_is_read(env: Environment, tmp_path: Path) -> None:
    folder = tmp_path / "a project"
    editable(env, folder, FINDER % {"folder": folder})
    found = env.look()
    assert found.packages["pkg"].editable == str(folder)
    assert found.where.mapped == {
        "pkg": f"{folder}/lib/pkg",
        "single": f"{folder}/lib/single",
        "ns.part": f"{folder}/part",
    }
    assert found.where.namespaces == {"ns": (f"{folder}/ns",), "virtual": ()}
    assert {os.path.relpath(p, folder) for p in found.folder_files} == {
        *("lib/pkg/__init__.py", "lib/pkg/sub/deep.py", "lib/single.py", "part/__init__.py", "ns/x.py")
    }
    assert not found.oddities
    assert not (folder / "was-run").exists()
    assert {n: os.path.relpath(p, folder) for n, p in package_files(found, "pkg").items()} == {
        "pkg/pkg/__init__.py": "lib/pkg/__init__.py",
        "pkg/pkg/sub/deep.py": "lib/pkg/sub/deep.py",
        "pkg/single.py": "lib/single.py",
        "pkg/ns/part/__init__.py": "part/__init__.py",
    }
    assert list(package_files(found, "pkg", "pkg.sub.deep")) == ["pkg/pkg/sub/deep.py"]
    assert against_pins(found, ["pkg==1.0"]) == ["pkg is 1.0 as an editable project, pinned ==1.0"]


def test_an_editable_project_that_is_left_out_has_no_files(env: Environment, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    editable(env, folder, FINDER % {"folder": folder})
    found = env.look(folder)
    assert not found.where.mapped
    assert found.where.namespaces == {"virtual": ()}
    assert not found.folder_files
    assert all("left out" in oddity for oddity in found.oddities)
    with pytest.raises(BackendError, match="the files of pkg cannot be told: its folder is left out"):
        package_files(found, "pkg")


def test_a_finder_that_says_no_literals_is_said(env: Environment, tmp_path: Path) -> None:
    editable(env, tmp_path / "project", "MAPPING = dict(pkg='/x')\n")
    assert env.look().oddities == [
        "pkg is editable through a loader that is not read: its modules are not found"
    ]


@pytest.mark.parametrize("module", ["_pkg_editable_loader", "_pkg_editable"])
def test_a_loader_that_is_not_supported_is_said(env: Environment, module: str) -> None:
    info = env.install("pkg", "1.0", {f"{module}.py": "print(1)\n", "pkg-editable.pth": f"import {module}\n"})
    (info / "direct_url.json").write_text('{"url": "file:///project", "dir_info": {"editable": true}}')
    says = "pkg is editable through a loader that is not read: its modules are not found"
    assert env.look().oddities == [says]


def test_an_old_editable_project_is_known_by_its_egg_info(env: Environment, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    (folder / "old.egg-info").mkdir(parents=True)
    (folder / "old.egg-info" / "PKG-INFO").write_text("Name: old\nVersion: 4\n")
    (folder / "old.py").write_text("1\n")
    env.write("easy-install.pth", f"{folder}\n")
    found = env.look()
    assert (found.packages["old"].version, found.packages["old"].editable) == ("4", str(folder))
    assert "old/old.py" in package_files(found, "old")


def test_an_egg_on_the_path_is_known_by_its_metadata(env: Environment) -> None:
    env.write("one-2.0-py3.11.egg/EGG-INFO/PKG-INFO", "Name: one\nVersion: 2.0\n")
    module = env.write("one-2.0-py3.11.egg/one.py", "1\n")
    env.write("easy-install.pth", "./one-2.0-py3.11.egg\n")
    found = env.look()
    assert against_pins(found, ["one==2.0", "one==2.1"]) == ["one is 2.0, pinned ==2.1"]
    assert str(module) in found.unlisted


def test_one_folder_under_two_names_is_looked_at_once(env: Environment) -> None:
    env.install("a", "1.0", {"a.py": ""})
    (env.folder / "lib64").unlink(missing_ok=True)
    (env.folder / "lib64").symlink_to("lib")
    other = env.folder / "lib64" / VERSION / "site-packages"
    found = look(dataclasses.replace(interpreter_at(env.python), site_packages=(env.site, other)))
    assert found.where.path == [str(env.site)]
    assert not found.oddities


# Changes.


@pytest.mark.parametrize("row", ["shake_128=unreadable", "x=unreadable", "sha256=unreadable"])
def test_a_record_that_says_nothing_vouches_for_nothing(env: Environment, row: str) -> None:
    record = env.install("a", "1.0", {"a/__init__.py": "1\n"}) / "RECORD"
    others = [line for line in record.read_text().splitlines() if not line.startswith("a/__init__")]
    record.write_text("\n".join([f"a/__init__.py,{row},2", *others]))
    assert list(contents(env.look())) == [str(env.site / "a" / "__init__.py")]


def test_bytes_that_are_not_those_of_a_record_are_found(env: Environment) -> None:
    env.install("a", "1.0", {f"a/m{i}.py": f"{i}\n" for i in range(9)})
    before = document(env.look())["sha256"]
    assert not contents(env.look())
    env.install("a", "1.0", {f"a/m{i}.py": f"{i}\n" for i in range(9)})
    assert document(env.look())["sha256"] == before, "the same bytes were written again"

    env.write("a/m1.py", "x\n")
    stamp = (env.site / "a" / "m2.py").stat()
    env.write("a/m2.py", "y\n")
    os.utime(env.site / "a" / "m2.py", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (env.site / "a" / "m3.py").unlink()
    env.write("a/__pycache__/m1.cpython-311.pyc", "other")
    written = [str(env.site / "a" / f"m{i}.py") for i in (1, 2, 3)]
    assert list(contents(env.look())) == written


def test_what_comes_or_changes_beside_records_is_seen_in_the_sum(env: Environment, tmp_path: Path) -> None:
    beside = tmp_path / "folder" / "beside.py"
    beside.parent.mkdir()
    beside.write_text("1\n")
    env.write("b.pth", f"{tmp_path}/folder\n")
    stray = env.write("stray.py", "1\n")
    sums = [document(env.look())["sha256"]]
    for path in (stray, beside, env.site / "new.py", beside.with_name("new.py")):
        path.write_text("2\n")
        sums.append(document(env.look())["sha256"])
    assert len(set(sums)) == 5


# Reports.


def test_a_document_is_small_and_names_no_place(env: Environment) -> None:
    env.install("a", "1.0", {"a/__init__.py": ""})
    for number in range(30):
        env.write(f"stray{number:02}.py")
    said = document(env.look())
    assert said["packages"] == {"a": "1.0"}
    assert said["python"].startswith("3.")
    assert said["counts"] == {"listed": 2, "unlisted": 30, "in_folders": 0, "altered": 0, "oddities": 0}
    assert said["unlisted"] == [f"stray{number:02}.py" for number in range(20)]
    assert str(env.folder) not in json.dumps(said)


def test_what_differs_from_the_pins_is_a_sentence_each(env: Environment) -> None:
    for name, version in (
        ("numpy", "2.4.5"),
        ("jax", "0.10.2"),
        ("torch", "2.13.0+cpu"),
        ("odd", "as it is"),
    ):
        env.install(name, version, {f"{name}.py": ""})
    info = env.install("git_one", "1", {"git_one.py": ""})
    url = {"url": "https://host/o/n", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    (info / "direct_url.json").write_text(json.dumps(url))
    said = against_pins(
        env.look(),
        [
            "numpy==2.4.6",
            "NumPy>=2.5",
            "numpy  # any",
            "# a comment",
            "",
            "jax[cuda12]==0.10.2",
            "torch==2.13.0",
            "optax==0.2.8",
            'windows-only==1; sys_platform == "win32"',
            "odd==as it is",
            "odd==1",
            "git-one @ git+https://host/o/n@abc",
            "git-one @ git+https://host/o/n@def",
            "numpy @ https://host/numpy.whl",
            "--no-deps",
        ],
    )
    assert [sentence.partition(" requirement: ")[0] for sentence in said] == [
        "numpy is 2.4.5, pinned ==2.4.6",
        "NumPy is 2.4.5, asked for is >=2.5",
        "optax is not installed",
        "'odd==as it is' is no",
        "odd is as it is, pinned ==1",
        "git-one is from https://host/o/n@abc, pinned is git+https://host/o/n@def",
        "numpy is from an index, pinned is https://host/numpy.whl",
        "'--no-deps' is no",
    ]


# The files of one package.


@pytest.fixture
def program(env: Environment) -> Installed:
    names = ("__init__.py", "nets.py", "fast.cpython-311-x86_64-linux-gnu.so", "sub/__init__.py", "sub/x.xml")
    files = {f"agent/{name}": "" for name in names}
    more = {"agent_tools.py": "", "../../../bin/agent": "", "lines.pth": "", "agent/old.pyc": ""}
    env.install("The.Agent", "1.5", {**files, **more})
    return env.look()


def test_the_files_of_a_package_are_those_to_be_imported(program: Installed) -> None:
    files = package_files(program, "the-agent")
    assert list(files) == [
        "the-agent/agent/__init__.py",
        "the-agent/agent/fast.cpython-311-x86_64-linux-gnu.so",
        "the-agent/agent/nets.py",
        "the-agent/agent/sub/__init__.py",
        "the-agent/agent/sub/x.xml",
        "the-agent/agent_tools.py",
    ]
    assert all(path.is_file() for path in files.values())


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("agent.nets", ["agent/nets.py"]),
        ("agent.fast", ["agent/fast.cpython-311-x86_64-linux-gnu.so"]),
        ("agent.sub", ["agent/sub/__init__.py", "agent/sub/x.xml"]),
        ("agent_tools", ["agent_tools.py"]),
    ],
)
def test_a_module_narrows_them(program: Installed, module: str, names: list[str]) -> None:
    assert list(package_files(program, "The_Agent==1.5", module)) == [f"the-agent/{n}" for n in names]


@pytest.mark.parametrize(
    ("name", "module", "says"),
    [
        ("the-agnet", "", "the-agnet is not installed; did you mean 'the-agent'?"),
        ("the-agent==1.6", "", "the-agent is 1.5, wanted is ==1.6"),
        ("the agent", "", "'the agent' is no name of a package"),
        ("the-agent", "agent.net", "has no module 'agent.net'; did you mean 'agent.nets'?"),
        ("the-agent", "agent.nets", ""),
        ("the-agent", "other", "valid: agent, agent_tools"),
        ("the-agent", "agent.", "has no module 'agent.'"),
        ("the-agent", "../x", "has no module"),
    ],
)
def test_what_a_package_has_not_is_an_error_of_one_line(
    program: Installed, name: str, module: str, says: str
) -> None:
    if not says:
        assert package_files(program, name, module)
        return
    with pytest.raises(BackendError) as error:
        package_files(program, name, module)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


# Real installations, and any text.


@pytest.mark.parametrize(
    ("backend", "requires", "more"),
    [
        ("setuptools.build_meta", "setuptools>=70.1", '[tool.setuptools.packages.find]\nwhere = ["src"]\n'),
        (
            "setuptools.build_meta",
            "setuptools>=70.1",
            '[tool.setuptools]\npackages = ["tiny_program"]\npackage-dir = {tiny_program = "src/other"}\n',
        ),
        (
            "hatchling.build",
            "hatchling",
            '[tool.hatch.build.targets.wheel]\npackages = ["src/tiny_program"]\n',
        ),
    ],
    ids=["setuptools", "setuptools-finder", "hatchling"],
)
def test_a_project_that_pip_installed_as_editable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, requires: str, more: str
) -> None:
    project, env = tmp_path / "project", Environment(tmp_path / "env")
    for name in ("tiny_program", "other"):
        (project / "src" / name).mkdir(parents=True)
        (project / "src" / name / "__init__.py").write_text("A = 1\n")
    (project / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["{requires}"]\nbuild-backend = "{backend}"\n'
        f'[project]\nname = "tiny-program"\nversion = "0.1"\n{more}'
    )
    pip = [sys.executable, "-m", "pip", "--python", str(env.python), "install", "--no-deps", "--quiet"]
    monkeypatch.setenv("PIP_RETRIES", "1")
    done = subprocess.run([*pip, "-e", project], capture_output=True, encoding="utf-8", check=False)
    if "No matching distribution found" in done.stderr:
        pytest.skip("there is no package index to build with")
    assert done.returncode == 0, done.stderr
    found = env.look()
    assert found.packages["tiny-program"].editable == str(project)
    assert bool(found.where.mapped) == ("package-dir" in more), "what no folder can say is left to a finder"
    assert bool(found.where.projects) != bool(found.where.mapped)
    assert not found.unlisted
    assert not found.oddities
    assert not contents(found)
    files = package_files(found, "tiny-program==0.1", "tiny_program")
    imported = env.runs("import tiny_program; print(tiny_program.__file__)")
    assert files == {"tiny-program/tiny_program/__init__.py": Path(imported)}
    assert imported in found.folder_files


@given(st.binary())
def test_any_bytes_are_a_pth(raw: bytes) -> None:
    for kind, text in parse_pth(raw):
        assert text
        assert text == text.rstrip()
        assert (kind == "import") == text.startswith("import") or kind == "path"


@given(
    st.lists(
        st.sampled_from(["import os", "import\tos", "# no", "", "  ", "folder", "import_this", " import x"])
    )
)
def test_the_lines_of_a_pth_are_what_the_site_module_takes(lines: list[str]) -> None:
    kinds = {"import os": "import", "import\tos": "import"}
    taken = [(kinds.get(line, "path"), line) for line in lines if line.strip() and line != "# no"]
    assert list(parse_pth("\n".join(lines).encode())) == taken


@given(st.text())
def test_any_text_is_a_record(text: str) -> None:
    for path, row in parse_record(text, "/site"):
        assert path.startswith("/")
        assert "\0" not in path
        assert row.size >= -1


NAMES = st.text("abc/.,\"' ü\n-_", min_size=1, max_size=12).filter(
    lambda t: not t.startswith("/") and not is_aside(f"/site/{t}")
)


@given(st.dictionaries(NAMES, st.integers(0, 10**12)))
def test_a_record_is_read_as_it_was_written(files: dict[str, int]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([name, "sha256=x", size] for name, size in files.items())
    rows = parse_record(out.getvalue(), "/site")
    assert [row.size for _, row in rows] == list(files.values())
    assert [path for path, _ in rows] == [os.path.normpath(f"/site/{name}") for name in files]


@given(st.text())
def test_any_text_is_a_finder(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "finder.py"
    path.write_text(text, encoding="utf-8", errors="replace")
    assert not finder_in(str(path)).mapped


def test_a_finder_made_by_editables_is_read(tmp_path: Path) -> None:
    path = tmp_path / "_editable_impl_x.py"
    path.write_text(
        "from editables.redirector import RedirectingFinder as F\nF.install()\n"
        "F.map_module('x', '/p/x/__init__.py')\nF.map_module('y', '/p/y.py')\n"
    )
    assert finder_in(str(path)).mapped == {"x": "/p/x", "y": "/p/y.py"}


READ = ("METADATA", "RECORD", "direct_url.json", "top_level.txt", "installed-files.txt", "PKG-INFO")
LIKELY = st.one_of(
    st.binary(max_size=60),
    st.text("[]{}:\"'\\/\0\n,=. file\ud800é", max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            b'{"url": "file://[", "dir_info": {"editable": true}}',
            b'{"url": "file:///\\ud800", "dir_info": {"editable": true}}',
            b'{"url": 1, "dir_info": [], "vcs_info": 3}',
            b"Name: \nVersion: \n",
            b"Name: x\nVersion: not one\n",
            b"/,,\n..,sha256=,\n../../../..,md9=x,1\n",
            b"MAPPING = {'a': '\\0', 'b': '/\\ud800', 'c': 1, 3: '/', 'd': 'relative', 'e': '/nowhere'}\n",
            b"import finder; finder.install()\n/\0\n.\n..\n",
        ]
    ),
)


@given(
    infos=st.dictionaries(
        st.sampled_from(["a-1.dist-info", "A-2.dist-info", "b-1-py3.egg-info", "-.dist-info", ".dist-info"]),
        st.dictionaries(st.sampled_from(READ), LIKELY),
    ),
    files=st.dictionaries(st.sampled_from(["x.pth", "finder.py", "a.py", "c.egg-info", "EGG-INFO"]), LIKELY),
)
@settings(max_examples=150, deadline=None)
def test_whatever_stands_in_site_packages_can_be_looked_at(
    tmp_path_factory: pytest.TempPathFactory,
    infos: dict[str, dict[str, bytes]],
    files: dict[str, bytes],
) -> None:
    site = tmp_path_factory.mktemp("any") / "lib" / "site-packages"
    for info, read in infos.items():
        (site / info).mkdir(parents=True)
        for name, raw in read.items():
            (site / info / name).write_bytes(raw)
    site.mkdir(parents=True, exist_ok=True)
    (site / "x.pth").write_bytes(b"import finder; finder.install()\n")
    for name, raw in files.items():
        (site / name).write_bytes(raw)
    here = interpreter_at(Path(sys.executable))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installed_files, "MOST_FILES", 20)
        found = look(dataclasses.replace(here, prefix=site.parent, site_packages=(site,)))
        json.dumps(document(found))
        contents(found)
        against_pins(found, [f"{name or 'none'}==1" for name in found.packages])
    for name in found.packages:
        with contextlib.suppress(BackendError):
            package_files(found, name)
