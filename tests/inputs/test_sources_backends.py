"""backend.yaml: the committed ones, and bad ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pytest_worldflux_parity.errors import BackendError
from pytest_worldflux_parity.inputs.backends import Backend, load_backends, read_backend, unlinked_backends

COMMITTED = Path(__file__).parents[2] / "backends"
YAML = """\
adapter: mine_subprocess
kind: subprocess
family: mine
system: worldflux
argv: ["{python}", "{backend_dir}/run.py", "--as={x}"]
environment: shared
"""


def described(folder, name="mine", text=YAML):
    path = folder / name / "backend.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def own(folder):
    return read_backend(
        described(folder, text=YAML.replace("shared", "own") + "requirements: [numpy==1.0]\n")
    )


def test_the_committed_backends_are_valid():
    known = load_backends([COMMITTED])
    official = known["official_tdmpc2_torch_subprocess"]
    assert (official.kind, official.family, official.system) == ("torch_subprocess", "tdmpc2", "official")
    assert (official.environment, official.lock_suite) == ("own", "tdmpc2")
    assert known["worldflux_tdmpc2_native"].interpreter(Path("anywhere")) == Path(sys.executable)


def test_every_requirement_of_an_own_environment_is_pinned_exactly():
    for backend in load_backends([COMMITTED]).values():
        if backend.environment == "own":
            assert backend.requirements
            assert [r for r in backend.requirements if "==" not in r] == []


def test_the_command_is_a_list_with_the_request_at_its_end(tmp_path):
    backend = read_backend(described(tmp_path))
    command = backend.command(Path("/a b/python"), Path("/c d/request.json"))
    script = f"{tmp_path / 'mine'}/run.py"
    assert command == ["/a b/python", script, "--as={x}", "/c d/request.json"]


def test_the_tree_hash_follows_the_files_and_not_the_caches(tmp_path):
    backend = read_backend(described(tmp_path))
    before = backend.tree_sha256
    (backend.folder / "__pycache__").mkdir()
    (backend.folder / "__pycache__" / "run.pyc").write_bytes(b"x")
    assert backend.tree_sha256 == before
    (backend.folder / "run.py").write_text("1")
    assert backend.tree_sha256 != before


def test_an_own_environment_is_used_only_when_complete_and_of_these_requirements(tmp_path):
    backend = own(tmp_path)
    folder = backend.environment_dir(tmp_path)

    def lack():
        with pytest.raises(BackendError) as caught:
            backend.interpreter(tmp_path)
        assert caught.value.hint == "worldflux-parity env create mine"
        return caught.value.what

    assert "is absent" in lack()
    (folder / "bin").mkdir(parents=True)
    assert "is not complete" in lack()
    marker = folder / "complete.json"
    marker.write_text("[")
    assert "is not complete" in lack()
    marker.write_text(json.dumps({"requirements_sha256": "0"}))
    assert "other requirements" in lack()
    marker.write_text(json.dumps({"requirements_sha256": backend.requirements_sha256}))
    assert "has no interpreter" in lack()
    (folder / "bin" / "python").write_text("")
    assert backend.interpreter(tmp_path) == folder / "bin" / "python"


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("kind: subprocess", "kinds: subprocess", r":2: unknown key 'kinds'; did you mean 'kind'"),
        ("system: worldflux", "system: worldfluks", r":4: .*did you mean 'worldflux'"),
        ("environment: shared\n", "", "key 'environment' is missing"),
        ('argv: ["{python}", "{backend_dir}/run.py", "--as={x}"]', "argv: python run.py", ":5: .*no shell"),
        ('argv: ["{python}", "{backend_dir}/run.py", "--as={x}"]', "argv: []", ":5: argv"),
        ('"--as={x}"', "5", ":5: argv.2 is 5"),
        ("family: mine", "family: [mine]", ":3: family"),
        ("adapter: mine_subprocess", "adapter: ../mine", ":1: adapter"),
        ("family: mine", "family: mine\nfamily: mine", ":4: key 'family' stands twice"),
        ("family: mine", "family: {", "not YAML"),
        (YAML, "- 1\n", ":1: a backend is a mapping"),
        (YAML, "", "empty"),
    ],
)
def test_a_bad_description_is_refused_with_its_line(tmp_path, old, new, match):
    path = described(tmp_path, text=YAML.replace(old, new))
    with pytest.raises(BackendError, match=match) as caught:
        load_backends([tmp_path])
    assert caught.value.line().startswith(str(path))
    assert "\n" not in caught.value.line()


def test_two_backends_with_one_adapter_id_are_refused(tmp_path):
    described(tmp_path, "one")
    described(tmp_path, "two")
    with pytest.raises(BackendError, match=r"adapter id 'mine_subprocess' is also that of .*one"):
        load_backends([tmp_path])


def test_two_folders_may_name_the_same_backend_once_each(tmp_path):
    path = described(tmp_path)
    assert len(load_backends([tmp_path, path.parent])) == 1


def test_an_absent_folder_is_named(tmp_path):
    with pytest.raises(BackendError, match="folder of backends is absent"):
        load_backends([tmp_path / "none"])


def test_backends_stand_in_groups_too_and_never_in_another_backend(tmp_path):
    described(tmp_path, "group/first", YAML.replace("mine_subprocess", "first"))
    described(tmp_path, "second", YAML.replace("mine_subprocess", "second"))
    described(tmp_path, "second/vendored", YAML.replace("mine_subprocess", "vendored"))
    described(tmp_path, "group/first/deeper", YAML.replace("mine_subprocess", "deeper"))
    assert sorted(load_backends([tmp_path])) == ["first", "second"]


def test_a_group_behind_a_link_is_no_folder_of_the_candidate(tmp_path):
    elsewhere, backends = tmp_path / "elsewhere", tmp_path / "backends"
    described(elsewhere, "first", YAML.replace("mine_subprocess", "first"))
    described(backends, "group/second", YAML.replace("mine_subprocess", "second"))
    (backends / "linked").symlink_to(elsewhere)
    assert [b.adapter for b in unlinked_backends(backends) if isinstance(b, Backend)] == ["second"]
    assert sorted(load_backends([backends])) == ["first", "second"]


def test_two_groups_with_one_name_are_told_apart_by_name(tmp_path):
    described(tmp_path, "a/same", YAML.replace("mine_subprocess", "first"))
    path = described(tmp_path, "b/same", YAML.replace("mine_subprocess", "second"))
    with pytest.raises(BackendError, match="the name 'same' is also that of") as caught:
        load_backends([tmp_path])
    assert caught.value.where == str(path)
