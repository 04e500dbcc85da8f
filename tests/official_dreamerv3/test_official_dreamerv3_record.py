"""What the recorder takes of a run: arrays and never code, and only weights that can show a difference."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from backends.official_dreamerv3 import record
from pytest_worldflux_parity.wire import Refused
from pytest_worldflux_parity.wire.recording import check_same_arrays


def test_the_arrays_of_a_run_are_its_state(tmp_path):
    np.savez(tmp_path / "parameters.npz", **{"enc/kernel": np.arange(3.0), "opt/step/value": np.int32(2)})
    state = record.read_state(tmp_path / "parameters.npz")
    assert {k: v.tolist() for k, v in state.items()} == {"enc/kernel": [0, 1, 2], "opt/step/value": 2}


def code(path):
    np.savez(path, weights=np.array([print], dtype=object))


@pytest.mark.parametrize("damage", [code, lambda p: p.write_bytes(b""), lambda p: p.write_bytes(b"PK\3\4no")])
def test_a_file_of_anything_else_is_refused_in_one_line(tmp_path, damage):
    path = tmp_path / "parameters.npz"
    damage(path)
    with pytest.raises(Refused, match=r"parameters\.npz: not a file of arrays") as refusal:
        record.read_state(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extra": np.zeros(1)}, "extra is unknown"),
        ({"weight": None}, "weight is missing"),
        ({"weight": np.zeros((2, 3))}, r"weight is \(2, 3\), and the run's model's \(2,\)"),
        ({"weight": np.array([0, np.nan])}, "weight has values that are not finite numbers"),
    ],
)
def test_a_state_of_another_model_is_refused(change, words):
    shapes = {"weight": np.empty(2), "count": np.empty(())}
    good = {"weight": np.zeros(2), "count": np.int32(1)}
    check_same_arrays(shapes, good, "run")
    state = {name: value for name, value in {**good, **change}.items() if value is not None}
    with pytest.raises(Refused, match=words):
        check_same_arrays(shapes, state, "run")


@pytest.mark.parametrize("name", ["vector_reward", "vector_value", "vector_slow_value"])
def test_heads_that_are_still_even_are_refused(name):
    def golden(largest):
        return SimpleNamespace(arrays={f"outputs/{name}/logits": np.linspace(-largest, largest, 41)})

    record.check_heads(golden(3.0), "run")
    with pytest.raises(Refused, match=r"run: too young to be compared: .* at most 0\.003,"):
        record.check_heads(golden(0.003), "run")


@pytest.mark.parametrize(
    ("low", "high", "moved"), [(9.0, 17.0, False), (0.0, 1.0, False), (-0.1, 0.1, True), (0.0, 0.0, True)]
)
def test_returns_within_the_least_scale_are_spread_and_it_is_told(low, high, moved):
    names = ("retnorm/lo/value", "retnorm/hi/value")
    config = SimpleNamespace(agent=SimpleNamespace(retnorm=SimpleNamespace(limit=1.0)))
    setting = SimpleNamespace(
        config=config, state=dict(zip(names, map(np.float32, (low, high)), strict=True))
    )
    told = record.spread_returns(setting)
    assert told == (dict(zip(names, record.YOUNG_RETURNS, strict=True)) if moved else {})
    assert [float(setting.state[n]) for n in names] == (list(record.YOUNG_RETURNS) if moved else [low, high])
