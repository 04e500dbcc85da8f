"""A run goes on from its checkpoint as if nothing had been, and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra `dreamerv3` is not installed")

from diary import Diary, recipe, run

from backends.worldflux_dreamerv3 import checkpoint, training
from pytest_worldflux_parity import wire

TASK = "dmc_cartpole_balance"
WINDOWS = {"early": [5, 20], "late": [30, 57]}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Diary, training.Run]:
    """The checkpoint of step 27 of a run that then went on, its agent, and the finished run."""
    folder, agent = tmp_path / "checkpoint", Diary()

    def save(one: training.Run) -> None:
        if one.step in (20, 27):
            checkpoint.save(folder, one, TASK)

    whole = run(tmp_path, recipe(), agent, WINDOWS, save)
    whole.train()
    return folder, agent, whole


def resumed(tmp_path: Path, folder: Path) -> tuple[Diary, training.Run]:
    """A run that goes on from ``folder``, finished."""
    agent = Diary()
    again = run(tmp_path, recipe(), agent, WINDOWS)
    checkpoint.restore(folder, again, TASK)
    agent.batches += [{}] * again.outcome.updates  # the diary's own count of updates
    again.train()
    return agent, again


def test_a_resumed_run_is_the_run_that_was_not_interrupted(
    tmp_path: Path, saved: tuple[Path, Diary, training.Run]
) -> None:
    folder, first, whole = saved
    agent, again = resumed(tmp_path, folder)
    assert (again.step, again.acted) == (whole.step, whole.acted) == (40, 40)
    assert again.outcome.updates == whole.outcome.updates == 57
    assert (again.outcome.resumed_from_step, again.outcome.resumed_from_update) == (27, 57 - 26)
    assert (whole.outcome.resumed_from_step, whole.outcome.resumed_from_update) == (None, 0)
    assert again.outcome.episodes == whole.outcome.episodes
    assert dict(again.log.windows.means()) == dict(whole.log.windows.means()) != {}
    assert agent.acted == first.acted[27:]
    later = [b for b in agent.batches if b]
    assert len(later) == 57 - (1 + 2 * (27 - 12))
    for ours, theirs in zip(later, first.batches[-len(later) :], strict=True):
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)


def test_one_checkpoint_is_kept(saved: tuple[Path, Diary, training.Run]) -> None:
    assert sorted(path.name for path in saved[0].iterdir()) == ["arrays_27.npz", "checkpoint.json"]


def _flip_a_byte(folder: Path) -> None:
    path = folder / "arrays_27.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _edit(**facts: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "checkpoint.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))

    return edit


def _without(fact: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "checkpoint.json"
        facts = json.loads(path.read_text())
        del facts[fact]
        path.write_text(json.dumps(facts))

    return edit


def _hide_code(folder: Path) -> None:
    """An array file with a pickle in it, under its right sum."""
    path = folder / "arrays_27.npz"
    np.savez(path, state=np.array([print], dtype=object))
    _edit(sha256=wire.file_sha256(path))(folder)


def _lose_an_array(folder: Path) -> None:
    path = folder / "arrays_27.npz"
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if not name.startswith("state")}
    np.savez(path, **arrays)
    _edit(sha256=wire.file_sha256(path))(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_flip_a_byte, "arrays_27.npz: damaged: its sha256 is not the one in checkpoint.json"),
        (lambda folder: (folder / "arrays_27.npz").unlink(), "arrays_27.npz: "),
        (lambda folder: (folder / "checkpoint.json").unlink(), "checkpoint.json: "),
        (lambda folder: (folder / "checkpoint.json").write_text("{"), "not JSON"),
        (lambda folder: (folder / "checkpoint.json").write_text("[]"), "a JSON object is wanted, not list"),
        (_edit(format="other"), "not a checkpoint of format"),
        (_edit(seed=9), "the checkpoint is of seed 9, and 1 is asked for"),
        (_edit(task_id="dmc_walker_walk"), "of task_id 'dmc_walker_walk'"),
        (_edit(recipe={"batch_size": 3}), "the checkpoint is of recipe/"),
        (_edit(bounds={}), "has windows {}, and {'early': [5, 20], 'late': [30, 57]} are asked for"),
        (_edit(bounds={"early": [5, 21], "late": [30, 57]}), "has windows {'early': [5, 21], "),
        (_edit(tree_sha256="0" * 64), "saved by other source code ('0000000000000..., and this is "),
        (_without("tree_sha256"), "not of this program's version"),
        (_edit(step=None, arrays=None), "not of this program's version"),
        (_hide_code, "not a file of arrays"),
        (_lose_an_array, "not of this program's version"),
    ],
)
def test_what_is_not_a_checkpoint_of_this_run_is_refused_in_one_line(
    tmp_path: Path, saved: tuple[Path, Diary, training.Run], damage: Callable[[Path], None], words: str
) -> None:
    damage(saved[0])
    with pytest.raises(checkpoint.CheckpointError) as refusal:
        checkpoint.restore(saved[0], run(tmp_path, recipe(), Diary(), WINDOWS), TASK)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_resumed_program_of_another_shape_is_refused(
    tmp_path: Path, saved: tuple[Path, Diary, training.Run]
) -> None:
    other = run(tmp_path, recipe(), Diary(), WINDOWS)
    other.state = other.state._replace(params={"policy/w": np.zeros(2, np.float32), "value/w": np.float32(0)})
    with pytest.raises(
        checkpoint.CheckpointError, match=r"policy/w.* is float32\(\), and here it is float32"
    ):
        checkpoint.restore(saved[0], other, TASK)
