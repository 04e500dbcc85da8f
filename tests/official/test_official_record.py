"""Recording refuses what it cannot record; the recording itself needs the official program.

Where its checkout and environment are at hand (see ``test_official_real.py``), it is run.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from standin import make_checkout

from backends.official_tdmpc2 import record
from pytest_worldflux_parity.wire import Refused
from pytest_worldflux_parity.wire.recording import GoldenWriter, check_same_arrays

PROJECT = Path(__file__).parents[2]
MISSING = [name for name in record.MODULES if importlib.util.find_spec(name) is None]


def program(*arguments):
    """The exit status and the one line of the program, in the interpreter that runs the tests."""
    command = [sys.executable, "-m", "backends.official_tdmpc2.record", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def refusal(*arguments):
    status, said = program(*arguments)
    assert status == 1, said
    assert said.count("\n") == 1, said
    return said


@pytest.fixture
def checkout(tmp_path):
    """A stand-in for the official checkout, and its commit."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder, make_checkout(folder)


def test_another_commit_is_refused(checkout, tmp_path):
    said = refusal("--checkout", checkout[0], "--commit", "0" * 40, "--out", tmp_path / "out")
    assert f"its commit is {checkout[1]}, wanted {'0' * 40}; to mend: worldflux-parity fetch-oracles" in said


def test_a_dirty_checkout_is_refused(checkout, tmp_path):
    (checkout[0] / "tdmpc2" / "train.py").write_text("")
    said = refusal("--checkout", checkout[0], "--commit", checkout[1], "--out", tmp_path / "out")
    assert "the tree is dirty (1 paths, first: M tdmpc2/train.py)" in said


def test_an_absent_checkout_is_refused(tmp_path):
    said = refusal("--checkout", tmp_path / "none", "--commit", "0" * 40, "--out", tmp_path / "out")
    assert "there is no checkout of" in said


@pytest.mark.skipif(not MISSING, reason="the official program's packages are installed here")
def test_another_environment_is_refused_with_the_command_that_makes_the_right_one(checkout, tmp_path):
    said = refusal("--checkout", checkout[0], "--commit", checkout[1], "--out", tmp_path / "out")
    assert f"no module {', '.join(MISSING)}; to mend: worldflux-parity env create official_tdmpc2" in said
    assert not (tmp_path / "out").exists()


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch evil",)


class TestCheckpoints:
    """``torch.load`` never runs what a file says."""

    @pytest.fixture(autouse=True)
    def _torch(self, tmp_path, monkeypatch):
        self.torch = pytest.importorskip("torch", reason="the extra `tdmpc2` is not installed")
        self.path = tmp_path / "final.pt"
        monkeypatch.chdir(tmp_path)

    def refused(self, text):
        with pytest.raises(Refused, match=text) as caught:
            record.read_checkpoint(self.path)
        assert "\n" not in str(caught.value)

    def tensors(self, **more):
        names = ("_Qs.params.0.weight", "_encoder.state.0.weight")
        return {**{name: self.torch.ones(2) for name in names}, **more}

    def test_that_are_not_there(self):
        self.refused("no such file")

    def test_that_are_garbage_or_cut_off(self):
        self.path.write_bytes(b"no checkpoint")
        self.refused("not a checkpoint that can be read safely")
        self.torch.save({"model": self.tensors()}, self.path)
        self.path.write_bytes(self.path.read_bytes()[:-200])
        self.refused("not a checkpoint that can be read safely")

    def test_that_would_run_something(self):
        self.torch.save({"model": Evil()}, self.path)
        self.refused("not a checkpoint that can be read safely")
        assert not Path("evil").exists()

    @pytest.mark.parametrize("content", [[1, 2], {"model": {}}, {"state": 1}])
    def test_that_are_of_something_else(self, content):
        self.torch.save(content, self.path)
        self.refused("not a checkpoint of the official TD-MPC2")

    def test_of_pixels_or_many_tasks(self):
        self.torch.save({"model": {"_Qs.params.0.weight": self.torch.ones(2)}}, self.path)
        self.refused("not of a single task with state observations")
        self.torch.save({"model": self.tensors(**{"_task_emb.weight": self.torch.ones(2)})}, self.path)
        self.refused("not of a single task with state observations")

    def test_with_numbers_that_are_not_finite(self):
        given = {"_pi": self.torch.tensor([float("nan")])}
        with pytest.raises(Refused, match="_pi has values that are not finite numbers"):
            check_same_arrays({"_pi": self.torch.ones(1)}, given, self.path)

    def test_that_are_good_give_their_tensors(self):
        self.torch.save({"model": self.tensors(more=self.torch.ones(1), size=(1, 2))}, self.path)
        assert set(record.read_checkpoint(self.path)) == {
            "_Qs.params.0.weight",
            "_encoder.state.0.weight",
            "more",
        }


def golden(**outputs):
    found = GoldenWriter({}, trained=False)
    found.add("encoder", "encoder", {"obs": np.zeros(2)}, outputs)
    return found


@pytest.mark.parametrize(("array", "text"), [([1.0, np.nan], "not finite"), ([2.0, 2.0], "is constant")])
def test_an_output_that_would_hide_a_difference_is_refused(array, text):
    good = {"z": np.array([1.0, 2.0]), "loss": np.array(3.0)}
    golden(**good)
    with pytest.raises(Refused, match=f"outputs/encoder/more .*{text}"):
        golden(**good, more=np.array(array))
