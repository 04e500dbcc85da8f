"""Functions that are recorded into a golden folder, and a candidate that is compared with it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.inputs.golden import read_golden
from tests import forked

ROOT = Path(__file__).resolve().parents[2]
PAGE = re.findall(r"```python\n(.*?)```", (ROOT / "backends/README.md").read_text(), re.DOTALL)
BACKEND = """\
adapter: mine
kind: python
family: mine
system: worldflux
argv: ["{python}", "{backend_dir}/main.py"]
environment: shared
program: {files: ["."]}
match: {argv: ["{python}", "{backend_dir}/match.py"], golden: "{backend_dir}/../../golden"}
"""
RNG = np.random.default_rng(3)
MODEL = {"kernel": RNG.normal(size=(3, 4)), "bias": RNG.normal(size=4)}
OBS = RNG.normal(size=(5, 3))


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def block(word: str) -> str:
    """The block of the page that has a word."""
    (text,) = (text for text in PAGE if word in text)
    return str(text)


@pytest.fixture
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a commit of a reference, and a backend with the match program of the page."""
    backend = tmp_path / "backends" / "mine"
    backend.mkdir(parents=True)
    (backend / "backend.yaml").write_text(BACKEND)
    (backend / "main.py").write_text("")
    (backend / "match.py").write_text(block("wire.match_main("))
    (tmp_path / "record.py").write_text(block("wire.capture("))
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def match(folder: Path) -> tuple[int, str]:
    done = forked.run(["worldflux-parity", "component-match", "mine"], folder)
    return done.returncode, done.stdout + done.stderr


def plant(folder: Path, old: str, new: str) -> None:
    path = folder / "backends" / "mine" / "match.py"
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


def test_the_programs_of_the_page_are_compared(reference: Path) -> None:
    assert len([line for line in block("wire.capture(").splitlines() if line]) <= 10
    done = subprocess.run([sys.executable, "record.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    status, text = match(reference)
    assert "components: 2 of 2 match, 2 of 2 outputs shown sensitive, 2 of 2 perturbations caught" in text
    assert status == 0, text
    plant(reference, '"loss": {"output": (z**2).mean()', '"loss": {"output": (z**2).sum() / 19')
    status, text = match(reference)
    assert "component_mismatch: loss: output output differs by" in text
    assert status == 1, text


def numpy_reference() -> tuple[Any, Callable[[Any], Any], Any]:
    return MODEL, lambda x: np.tanh(x @ MODEL["kernel"] + MODEL["bias"]), OBS


def torch_reference() -> tuple[Any, Callable[[Any], Any], Any]:
    torch = pytest.importorskip("torch")
    linear = torch.nn.Linear(3, 4)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(MODEL["kernel"].T))
    layer = torch.nn.Sequential(linear, torch.nn.Tanh())
    state = {"kernel": linear.weight.T, "bias": linear.bias}
    return state, layer, torch.tensor(OBS, dtype=torch.float32, requires_grad=True)


def jax_reference() -> tuple[Any, Callable[[Any], Any], Any]:
    jax = pytest.importorskip("jax")
    params = jax.tree.map(jax.numpy.asarray, MODEL)
    encode = jax.jit(lambda x: jax.numpy.tanh(x @ params["kernel"] + params["bias"]))
    return params, encode, jax.numpy.asarray(OBS)


@pytest.mark.parametrize("made", [numpy_reference, torch_reference, jax_reference])
def test_functions_of_each_framework_are_recorded(reference: Path, made: Callable[[], Any]) -> None:
    parameters, encode, obs = made()
    with wire.capture("golden", "mine", parameters, repo="https://me:secret@example.org/mine") as golden:
        latent = golden.record("encoder", encode, obs)
        golden.record("loss", lambda z: (z**2).mean(), latent, stage="loss")
    assert type(latent) is type(encode(obs)), "it gives what the function gave"
    read = read_golden(reference / "golden", "mine")
    assert read.source["repo"] == "https://example.org/mine"
    assert read.parameters == {"kernel": (3, 4), "bias": (4,)}
    status, text = match(reference)
    assert status == 0, text
    plant(reference, "@ kernel + bias", "@ kernel - bias")
    status, text = match(reference)
    assert "component_mismatch: encoder" in text
    assert status == 1, text


class Pair(NamedTuple):
    left: Any
    right: Any


def test_trees_are_stored_by_their_paths_as_they_were_before_the_function_ran(reference: Path) -> None:
    state = {"h": np.array([1.0, 2.0])}

    def step(state: dict[str, Any], pair: Pair, *, flags: list[Any], rate: float) -> Any:
        state["h"] += rate
        return {"h": state["h"], "all": (pair.left > 0, [np.float32(2)])}

    with wire.capture("golden", "mine", [MODEL["kernel"]]) as golden:
        golden.record("step", step, state, Pair(OBS, 3), flags=[True], rate=0.5, stage="update")
    with np.load("golden/arrays.npz") as stored:
        arrays = dict(stored)
    named = ("0.h", "1.0", "1.1", "flags.0", "rate")
    outputs = ("h", "all.0", "all.1.0")
    assert arrays.keys() == {
        "weights/0", *(f"inputs/step/{n}" for n in named), *(f"outputs/step/{n}" for n in outputs),
    }  # fmt: skip
    assert arrays["inputs/step/0.h"].tolist() == [1.0, 2.0]
    assert arrays["outputs/step/h"].tolist() == [1.5, 2.5]
    assert [c.outputs for c in read_golden(reference / "golden").components] == [outputs]


def capture_one(value: Any) -> None:
    with wire.capture("golden", "mine", MODEL) as golden:
        golden.record("c", np.tanh, value)


def refuse(record: Callable[[], None], said: str) -> None:
    """What is recorded is refused in a line that begins so, and nothing is written."""
    with pytest.raises(wire.Refused) as refused:
        record()
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)
    assert not Path("golden").exists()


GOOD = np.array([1.0, 2.0])


@pytest.mark.parametrize(
    ("name", "given", "found", "said"),
    [
        ("used", GOOD, GOOD, "component 'used': names are used once"),
        ("a/b", GOOD, GOOD, "component 'a/b': names are used once, and are of letters"),
        ("c", GOOD, np.array([1.0, np.nan]), "outputs/c/output is not finite"),
        ("c", np.array([np.inf]), GOOD, "inputs/c/0 is not finite"),
        ("c", GOOD, {"z": np.ones(3)}, "outputs/c/z is constant (1.0), so it would not show a mistake"),
        ("c", GOOD, np.array([1e300, 1.0]), "outputs/c/output is not finite"),
        ("c", GOOD, {"z": object()}, "outputs/c/z is of type object, not bool, integer or real"),
        ("c", {"key": None}, GOOD, "inputs/c/0.key is of type object"),
        ("c", "text", GOOD, "inputs/c/0 is of type <U4"),
        ("c", GOOD, [[1.0, 2.0], [[1.0], GOOD.astype(complex)]], "outputs/c/1.1 is of type complex128"),
        ("c", GOOD, {"a.b": GOOD, "a": {"b": GOOD}}, "outputs/c/a.b: two arrays have this name"),
        ("c", GOOD, (), "component c: its function gave no array"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_nothing_is_written(
    reference: Path, name: str, given: Any, found: Any, said: str
) -> None:
    def record() -> None:
        with wire.capture("golden", "mine", MODEL) as golden:
            golden.record("used", np.tanh, OBS)
            golden.record(name, lambda _: found, given)

    refuse(record, said)


def test_what_is_of_no_framework_is_refused_in_a_line(reference: Path) -> None:
    torch = pytest.importorskip("torch")
    sparse, half = torch.eye(2).to_sparse(), torch.ones(2, dtype=torch.bfloat16)
    refuse(lambda: capture_one(sparse), "inputs/c/0: a Tensor is no array: ")
    refuse(lambda: capture_one(half), "inputs/c/0: a Tensor is no array: ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"family": "My-Own"}, "family is 'My-Own': small letters"),
        ({"parameters": {}}, "parameters: there are none"),
        ({"parameters": {"bias": np.zeros(4)}}, "weights/bias is constant (0.0)"),
        ({"checkout": "/"}, "/: git rev-parse: fatal: not a git repository"),
        ({}, "golden: nothing was recorded"),
    ],
)
def test_a_capture_that_cannot_be_is_refused(reference: Path, changes: dict[str, Any], said: str) -> None:
    keywords = {"family": "mine", "parameters": MODEL, **changes}

    def record() -> None:
        with wire.capture("golden", **keywords):
            pass

    refuse(record, said)


def test_a_reference_that_is_not_committed_is_refused(reference: Path) -> None:
    (reference / "record.py").write_text("")
    refuse(lambda: capture_one(OBS), ".: M record.py is not committed; to mend: commit it")
