"""A checkpoint holds everything but the replay, and is read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the extra `tdmpc2` is not installed")

import small
import torch

from backends.worldflux_tdmpc2 import checkpoint
from backends.worldflux_tdmpc2.checkpoint import CheckpointError

CPU = torch.device("cpu")


def saved(path: Path) -> tuple[Any, dict[str, Any]]:
    """A trained agent, and its checkpoint read back."""
    a = small.agent()
    memory = small.replay()
    for _ in range(3):
        a.update(memory.sample(6))
    checkpoint.save(path, a, "a-task", 7)
    return a, checkpoint.read(path, CPU)


def test_a_restored_agent_continues_as_the_saved_one(tmp_path: Path) -> None:
    a, state = saved(tmp_path / "c.pt")
    expected = a.update(small.replay().sample(6))
    other = small.agent(seed=9)
    assert checkpoint.restore(other, state, "c.pt") == 7
    found = other.update(small.replay().sample(6))
    assert {k: float(v) for k, v in found.items()} == {k: float(v) for k, v in expected.items()}
    for name, tensor in checkpoint.named_tensors(a).items():
        assert torch.equal(tensor, checkpoint.named_tensors(other)[name]), name


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t.pop("q.0.weight"), "tensor q.0.weight is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "tensor extra is unknown"),
        (
            lambda t: t.update(scale=torch.zeros(2)),
            "tensor scale is float32(2,), and this agent's is float32(1,)",
        ),
        (lambda t: t.update(scale=torch.zeros(1).double()), "tensor scale is float64(1,)"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_changes_nothing(
    tmp_path: Path, spoil: Any, words: str
) -> None:
    _, state = saved(tmp_path / "c.pt")
    spoil(state["tensors"])
    other = small.agent(seed=9)
    before = {k: v.clone() for k, v in checkpoint.named_tensors(other).items()}
    with pytest.raises(CheckpointError) as caught:
        checkpoint.restore(other, state, "c.pt")
    assert words in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in checkpoint.named_tensors(other).items())


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", b"PK\x03\x04 torn"])
def test_what_is_not_a_checkpoint_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "c.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"c\.pt: (no such file|not a checkpoint)") as caught:
        checkpoint.read(path, CPU)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of format"):
        checkpoint.read(tmp_path / "c.pt", CPU)
