"""What strangers hand to the contract: scalars of numpy, torch and jax, and values that are no JSON."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_worldflux_parity import wire
from pytest_worldflux_parity.execution.runner import install_wire


def _torch(value: Any, kind: str = "float32", **how: Any) -> Any:
    torch = pytest.importorskip("torch")
    return torch.tensor(value, dtype=getattr(torch, kind), **how)


def _jax(value: Any, kind: str = "float32") -> Any:
    jax = pytest.importorskip("jax")
    return jax.numpy.asarray(value, dtype=kind)


# What has the value 3 (or 2.5) -> how it is made.
WHOLE: dict[str, Callable[[], Any]] = {
    "int": lambda: 3,
    "numpy int64": lambda: np.int64(3),
    "numpy uint8": lambda: np.uint8(3),
    "numpy 0-d": lambda: np.array(3),
    "numpy of one": lambda: np.array([[3]]),
    "numpy float32": lambda: np.float32(3),
    "torch int64": lambda: _torch(3, "int64"),
    "torch float": lambda: _torch([3.0]),
    "jax int32": lambda: _jax(3, "int32"),
    "jax int of one": lambda: _jax([3], "int32"),
}
REAL: dict[str, Callable[[], Any]] = {
    "float": lambda: 2.5,
    "numpy float64": lambda: np.float64(2.5),
    "numpy float32": lambda: np.float32(2.5),
    "numpy float16": lambda: np.float16(2.5),
    "numpy longdouble": lambda: np.longdouble(2.5),
    "numpy 0-d": lambda: np.array(2.5, np.float32),
    "numpy of one": lambda: np.array([2.5]),
    "torch": lambda: _torch(2.5),
    "torch bfloat16": lambda: _torch(2.5, "bfloat16"),
    "torch with a gradient": lambda: _torch(2.5, requires_grad=True),
    "torch of one with a gradient": lambda: _torch([2.5], requires_grad=True) * 1,
    "jax": lambda: _jax(2.5),
    "jax bfloat16": lambda: _jax(2.5, "bfloat16"),
    "jax bfloat16 as numpy's": lambda: np.asarray(_jax(2.5, "bfloat16"))[()],
    "Decimal": lambda: Decimal("2.5"),
    "Fraction": lambda: Fraction(5, 2),
}


def record(**changes: Any) -> wire.RunRecord:
    given = {"request_id": "1" * 64, "adapter": "a", "task_id": "t", "seed": 0, "device": "cpu"}
    return wire.RunRecord(**{**given, "curve": (wire.CurvePoint(0, 1.0),), **changes})


def written(folder: Path, **changes: Any) -> wire.RunRecord:
    wire.write_record(str(folder), record(**changes))
    return wire.read_record(folder / "metrics.json")


@pytest.mark.parametrize("name", REAL)
def test_a_scalar_is_a_return_and_a_metric(name: str, tmp_path: Path) -> None:
    value = REAL[name]()
    found = written(tmp_path, curve=[(0, value)], scalars={"loss": value}, metadata={"recipe": {"lr": value}})
    assert found.curve == (wire.CurvePoint(0, 2.5),)
    assert found.scalars == {"loss": 2.5}
    assert found.metadata["recipe"]["lr"] in (2.5, [2.5])


@pytest.mark.parametrize("name", WHOLE)
def test_a_scalar_is_a_step_and_a_seed(name: str, tmp_path: Path) -> None:
    value = WHOLE[name]()
    assert written(tmp_path, curve=[(value, 1.0)]).curve == (wire.CurvePoint(3, 1.0),)
    if "float" not in name:
        assert written(tmp_path, seed=value).seed == 3


REFUSED: dict[str, tuple[dict[str, Callable[[], Any]], str]] = {
    "NaN of numpy": ({"scalars": lambda: {"loss": np.float32("nan")}}, "scalars.loss is nan, not a finite"),
    "infinity of torch": ({"curve": lambda: [(0, _torch(math.inf))]}, "curve[0].return is inf, not a finite"),
    "too large for a float": (
        {"scalars": lambda: {"loss": np.longdouble("1e400")}},
        "scalars.loss is inf, not a finite",
    ),
    "a truth": ({"scalars": lambda: {"loss": np.bool_(True)}}, "scalars.loss is True, not a finite number"),
    "a truth as a return": ({"curve": lambda: [(0, _torch(True, "bool"))]}, "curve[0].return is True, not"),
    "a truth as a step": ({"curve": lambda: [(np.bool_(True), 1.0)]}, "curve[0]: step is True, not int"),
    "half a step": ({"curve": lambda: [(np.float64(10.5), 1.0)]}, "curve[0]: step is 10.5, not int"),
    "a truth as a seed": ({"seed": lambda: np.bool_(True)}, "seed is True, not int"),
    "several numbers": (
        {"scalars": lambda: {"loss": np.zeros((500, 500))}},
        "scalars.loss is array([[0., 0., 0., ..., 0., 0., 0.], ",
    ),
    "several of torch": (
        {"scalars": lambda: {"loss": _torch([1.0, 2.0])}},
        "scalars.loss is tensor([1., 2.])",
    ),
    "none at all": ({"scalars": lambda: {"loss": np.array([])}}, "scalars.loss is array([]"),
    "a complex number": ({"scalars": lambda: {"loss": np.complex64(1j)}}, "scalars.loss is 1j, not a finite"),
    "a text": ({"scalars": lambda: {"loss": np.str_("1.0")}}, "scalars.loss is '1.0', not a finite number"),
    "nothing": ({"curve": lambda: [(0, None)]}, "curve[0].return is None, not a finite number"),
    "no pairs": ({"curve": lambda: [1, 2, 3]}, "wanted pairs of step and return, and numbers by name, not"),
    "no names": ({"scalars": lambda: [1.0]}, "wanted pairs of step and return, and numbers by name, not"),
    "metadata that is none": ({"metadata": lambda: None}, "metadata is None, not dict"),
    "one text for two keys": ({"metadata": lambda: {"recipe": {1: "a", "1": "b"}}}, "two keys have one text"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_measurement_is_refused_in_one_line_by_name(name: str, tmp_path: Path) -> None:
    makes, told = REFUSED[name]
    with pytest.raises(wire.WireError) as caught:
        wire.write_record(str(tmp_path), record(**{key: make() for key, make in makes.items()}))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not list(tmp_path.iterdir())


class Odd:
    """A value of the program's own."""

    def __str__(self) -> str:
        return "odd\nand long " + "x" * 1000


def test_what_a_program_tells_of_itself_costs_no_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    told = written(
        tmp_path,
        success=np.bool_(True),
        metadata={
            "clip": math.inf, "lowest": np.float32("nan"), "path": Path("runs/1"), "dtype": torch.float32,
            "bounds": np.array([[-1.0, 1.0]], np.float32), "weights": torch.ones(2, requires_grad=True),
            "layers": (np.int64(2), 3), "tags": {"b", "a"}, np.int64(7): True, "odd": Odd(), "none": None,
            "name": np.str_("dog"),
        },
    )  # fmt: skip
    assert told.success is True
    assert told.metadata.pop("odd").startswith("odd and long xxx")
    assert told.metadata == {
        "clip": "inf", "lowest": "nan", "path": "runs/1", "dtype": "torch.float32",
        "bounds": [[-1.0, 1.0]], "weights": [1.0, 1.0], "layers": [2, 3], "tags": ["a", "b"], "7": True,
        "none": None, "name": "dog",
    }  # fmt: skip


def test_metadata_that_holds_itself_is_refused(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    with pytest.raises(wire.WireError, match="metadata is nested too deep"):
        wire.write_record(str(tmp_path), record(metadata=loop))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON))
def test_what_is_json_already_stays_as_it_is(metadata: dict[str, Any]) -> None:
    found = wire.to_plain(metadata)
    assert found == metadata
    assert wire.canonical_json(found) == wire.canonical_json(metadata)


def beats(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "time"} for line in lines]


def test_a_heartbeat_holds_the_numbers_that_it_is_given(tmp_path: Path) -> None:
    progress = wire.Progress(str(tmp_path), np.int64(100), every=0)
    progress.beat(_torch(5, "int64"), loss=_torch(2.5, requires_grad=True), kl=_jax(1.0), lr=np.float32(0.5))
    assert beats(tmp_path) == [{"step": 5, "total": 100, "loss": 2.5, "kl": 1.0, "lr": 0.5}]


def test_a_heartbeat_never_ends_a_training(tmp_path: Path) -> None:
    progress = wire.Progress(str(tmp_path), 100, every=0)
    odd: Any = {"a": np.zeros(3), "b": "text", "c": math.nan, "d": None, "e": 10**400, "f": Odd(), "g": 1j}
    progress.beat(1, **odd)
    progress.beat(math.nan)  # type: ignore[arg-type]
    assert beats(tmp_path) == [{"step": 1, "total": 100}, {"total": 100}]
    wire.Progress(str(tmp_path / "gone"), 100).beat(1)
    os.symlink("/dev/full", tmp_path / "full")
    full = wire.Progress(str(tmp_path), 100, every=0)
    full._path = tmp_path / "full"
    full.beat(1, loss=1.0)


def test_windows_average_scalars_and_nothing_that_is_short() -> None:
    windows = wire.Windows({"late": [2, 3]})
    for update in (1, 2, 3):
        row = {"loss": np.float32(update), "value": _torch(float(update), requires_grad=True)}
        windows.add(update, row if update == 1 else {**row, **({"rare": 1.0} if update == 2 else {})})
    assert dict(windows.means()) == {"loss.late": 2.5, "value.late": 2.5}
    with pytest.raises(wire.WireError, match=r"the statistic 'loss' is array\(\[0\., 0\.\]\), not a number"):
        windows.add(2, {"loss": np.zeros(2)})  # type: ignore[dict-item]


def test_the_contract_takes_scalars_without_their_libraries(tmp_path: Path) -> None:
    """A program's own interpreter has none of ours, and needs none to hand over a record."""
    folder = install_wire(tmp_path / "path")
    (tmp_path / "out").mkdir()
    program = """
import sys
from pytest_worldflux_parity import wire

class Scalar:
    def item(self): return 2.5

record = wire.RunRecord("1" * 64, "a", "t", 0, "cpu", [(0, Scalar())], {"loss": Scalar()})
wire.write_record(sys.argv[1], record)
wire.Progress(sys.argv[1], 1).beat(1, loss=Scalar())
assert not {"numpy", "torch", "jax"} & set(sys.modules)
"""
    command = [sys.executable, "-S", "-c", program, str(tmp_path / "out")]
    subprocess.run(command, env={"PYTHONPATH": str(folder)}, check=True, timeout=60)
    assert wire.read_record(tmp_path / "out" / "metrics.json").scalars == {"loss": 2.5}
