"""A golden folder that is not what it says, or could not show a mistake, is refused in one line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_worldflux_parity.errors import BackendError, GoldenError
from pytest_worldflux_parity.inputs.backends import load_backends
from pytest_worldflux_parity.inputs.golden import read_arrays, read_golden
from pytest_worldflux_parity.inputs.matches import match_spec
from tests.components import goldens
from tests.conftest import FAKES

WHOLE = goldens.arrays()


def refusal(folder: Path, family: str = "fake") -> str:
    with pytest.raises(GoldenError) as caught:
        read_golden(folder, family)
    assert "\n" not in caught.value.line()
    return caught.value.line()


def test_a_golden_is_read(tmp_path: Path) -> None:
    golden = read_golden(goldens.write(tmp_path / "g"), "fake")
    assert [c.name for c in golden.components] == list(goldens.STAGES), "in data-flow order"
    assert [c.tolerance for c in golden.components] == [1e-5, 1e-5, 1e-5, 1e-5, 1e-4, 1e-5]
    assert golden.parameters == {"enc.weight": (4, 3), "enc.bias": (4,), "head.weight": (1, 4)}
    assert golden.outputs.keys() == {
        k.removeprefix("outputs/") for k in WHOLE if k.startswith("outputs/")
    }  # fmt: skip
    assert golden.source == {"repo": "https://example.org/fake", "commit": goldens.COMMIT}
    assert len({golden.manifest_sha256, golden.arrays_sha256}) == 2


def test_a_golden_is_where_it_was_read_and_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often and from wherever one like it was read before."""
    for home in (tmp_path / "one", tmp_path / "two"):
        home.mkdir()
        goldens.write(home / "g")
        monkeypatch.chdir(home)
        assert read_golden(Path("g"), "fake").folder == str(home / "g")
    (tmp_path / "two" / "g" / "arrays.npz").write_bytes(b"no longer")
    assert "the golden is corrupt" in refusal(Path("g"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"family": "other"}, "manifest.json: the golden is of the family 'other', not 'fake'"),
        ({"schema_version": "v2"}, "manifest.json: schema_version: schema_version is 'v2'"),
        ({"componets": []}, "manifest.json: componets: unknown key 'componets'; did you mean 'components'?"),
        ({"source": None}, "key 'source' is missing"),
        (
            {"source": {"repo": "r", "commit": "main"}},
            "manifest.json: source.commit: source.commit is 'main', not a commit of",
        ),
        (
            {"source": {"repo": "r", "commit": "0" * 40, "dirty": True}},
            "from a checkout that differs from its",
        ),
        ({"components": []}, "manifest.json: components: "),
        ({"parameters": {}}, "manifest.json: parameters: "),
        ({"arrays_sha256": "0" * 64}, "arrays.npz: the golden is corrupt: sha256 "),
    ],
)
def test_a_manifest_that_is_wrong(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    assert told in refusal(goldens.write(tmp_path / "g", **changes))


def components(**changes: Any) -> dict[str, Any]:
    rows = goldens.manifest(WHOLE)["components"]
    return {"components": [{**row, **changes} if row["name"] == "heads" else row for row in rows]}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stage": "head"}, "components.3.stage is 'head'; did you mean 'heads'?"),
        ({"tolerance": 1e-3}, "component heads has the tolerance 0.001, wider than the 1e-05 of its stage; "
         "to mend: add a `reason`"),
        ({"tolerance": 1.0}, "components.3.tolerance"),
        ({"tolerances": {"reward": 1e-3}}, "has the tolerance 0.001, wider than the 1e-05 of its stage"),
        ({"tolerances": {"rewards": 1e-6}}, "says something of rewards, which is none of its outputs"),
        ({"rule": "distributed"}, "components.3.rule is 'distributed'; did you mean 'distribution'?"),
        ({"rule": "distribution"}, "outputs/heads/positive is of shape (5, 1), not two or more rows of mean"),
        ({"name": "loss"}, "component loss is listed twice"),
        ({"name": "a/b"}, "components.3.name"),
        ({"outputs": ["reward", "reward"]}, "component heads is listed twice, or one of its outputs is"),
        ({"outputs": ["reward"]}, "outputs/heads/positive is in the arrays and not in the manifest"),
        ({"outputs": ["reward", "positive", "third"]}, "outputs/heads/third is missing"),
    ],
)  # fmt: skip
def test_a_component_that_is_wrong(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    assert told in refusal(goldens.write(tmp_path / "g", **components(**changes)))


def test_a_wider_tolerance_has_a_reason(tmp_path: Path) -> None:
    changes = components(tolerance=1e-3, reason="sums 10,000 terms in another order")
    heads = read_golden(goldens.write(tmp_path / "g", **changes)).components[2]
    assert (heads.tolerance, heads.reason) == (1e-3, "sums 10,000 terms in another order")
    narrower = read_golden(goldens.write(tmp_path / "g", **components(tolerance=1e-7)))
    assert narrower.components[2].tolerance == 1e-7


@pytest.mark.parametrize(
    ("key", "array", "told"),
    [
        ("outputs/encoder/z", np.full((5, 4), 0.5), "outputs/encoder/z is constant (0.5), so it would"),
        ("outputs/gradient/enc.bias", np.zeros(4), "outputs/gradient/enc.bias is constant (0.0)"),
        ("outputs/loss/value", np.array(0.0), "outputs/loss/value is zero"),
        ("outputs/loss/value", np.array(np.nan), "outputs/loss/value is not finite"),
        ("outputs/encoder/z", np.zeros((0, 4)), "outputs/encoder/z is empty"),
        ("weights/head.weight", np.zeros((1, 4)), "weights/head.weight is constant (0.0)"),
        ("weights/head.weight", np.arange(4.0), "weights/head.weight is of shape (4,), the manifest says"),
        ("weights/head.bias", np.ones(1), "weights/head.bias is in the arrays and not in the manifest"),
        ("inputs/shared/x", np.full((5, 3), np.inf), "inputs/shared/x is not finite"),
        ("inputs/shared/x", np.array(["a"]), "inputs/shared/x is of type <U1"),
        ("noise/x", np.ones(2), "noise/x is in the arrays and not in the manifest"),
        ("outputs/loss/value", None, "outputs/loss/value is missing"),
        ("weights/enc.bias", None, "weights/enc.bias is missing"),
    ],
)  # fmt: skip
def test_arrays_that_are_blind_or_not_as_told(
    tmp_path: Path, key: str, array: np.ndarray | None, told: str
) -> None:
    stored = {k: v for k, v in WHOLE.items() if k != key} | ({} if array is None else {key: array})
    listed = goldens.manifest(WHOLE)
    rows = {k: listed[k] for k in ("parameters", "components")}
    assert told in refusal(goldens.write(tmp_path / "g", stored, **rows))


class Alarm:
    """What is unpickled calls for help."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("it was unpickled",)


def as_sealed(folder: Path) -> Path:
    """The folder with the sha256 of whatever its arrays are now, as one who forges it would."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["arrays_sha256"] = hashlib.sha256((folder / "arrays.npz").read_bytes()).hexdigest()
    path.write_text(json.dumps(document), encoding="utf-8")
    return folder


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    folder = goldens.write(tmp_path / "g")
    (folder / "arrays.npz").write_bytes(pickle.dumps(Alarm()))
    assert "not an npz file of plain arrays" in refusal(as_sealed(folder))
    np.savez(folder / "arrays.npz", **{**WHOLE, "inputs/shared/x": np.array([Alarm()], dtype=object)})
    assert "arrays.npz: not an npz file of plain arrays: " in refusal(as_sealed(folder))


def test_what_is_absent_or_no_json(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    assert "manifest.json: the golden's manifest cannot be read: " in refusal(folder)
    goldens.write(folder)
    (folder / "arrays.npz").unlink()
    assert "arrays.npz: the golden's arrays cannot be read: " in refusal(folder)
    text = (folder / "manifest.json").read_text()
    for broken in (text[:-2], text.replace('"3.11"', "NaN"), '{"family": "a", "family": "b"}', "[]", "\xff"):
        (folder / "manifest.json").write_text(broken, encoding="latin-1")
        assert f"{folder}/manifest.json: " in refusal(folder)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_never_a_traceback(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed, cut off or inserted: refused by their hash; read without it, one error at most."""
    folder = tmp_path / "g"
    if not folder.exists():
        goldens.write(folder)
    path = folder / "arrays.npz"
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    new = data.draw(st.binary(max_size=4))
    gone = data.draw(st.sampled_from([0, 1, 4, len(whole)]))
    damaged = whole[:at] + new + whole[at + gone :]
    path.write_bytes(damaged)
    try:
        if damaged != whole:
            assert "the golden is corrupt" in refusal(folder)
        with contextlib.suppress(GoldenError):
            read_arrays(path, GoldenError)
    finally:
        path.write_bytes(whole)


def test_a_golden_of_the_code_itself_shows_nothing(tmp_path: Path) -> None:
    shutil.copytree(FAKES, tmp_path / "backends")
    goldens.declare(tmp_path / "backends")
    backend = load_backends([tmp_path / "backends"])["fake_worldflux"]
    own = {"repo": "r", "commit": "0" * 40, "tree_sha256": backend.tree_sha256}
    goldens.write(tmp_path / "golden", source=own)
    with pytest.raises(GoldenError, match="recorded from the very code"):
        match_spec(backend, tmp_path / "no_lock.json")


def test_a_backend_says_how_it_is_matched(tmp_path: Path) -> None:
    shutil.copytree(FAKES, tmp_path / "backends")
    goldens.declare(tmp_path / "backends")
    backend = load_backends([tmp_path / "backends"])["fake_worldflux"]
    assert backend.golden_dir.resolve() == (tmp_path / "golden").resolve()
    command = backend.command(Path("/python"), Path("/o/match_request.json"), program="match")
    assert command[0] == "/python"
    assert command[1].endswith("/match_program.py")
    assert command[2:] == ["/o/match_request.json"]
    path = backend.folder / "backend.yaml"
    text = path.read_text()
    for wrong, told in (
        ("golden: ", "unknown key 'goldn'; did you mean 'golden'?"),
        ('["{python}", ', "argv is a string, and no shell is ever started"),
    ):
        changed = text.replace("golden: ", "goldn: ") if wrong == "golden: " else text.replace(
            'argv: ["{python}", "{backend_dir}/../match_program.py"]', "argv: python match.py"
        )  # fmt: skip
        path.write_text(changed)
        with pytest.raises(BackendError, match=r"backend\.yaml:\d+: ") as caught:
            load_backends([tmp_path / "backends"])
        assert told in caught.value.line()
