"""Each planted mistake changes what the agent computes, and none is there without being planted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra `tdmpc2` is not installed")

import mistakes
import small
import torch

from backends.worldflux_tdmpc2 import activations, agent, networks, optimiser, planner, recipe, replay
from backends.worldflux_tdmpc2.planner import Planner

PLACES = [
    *(activations, agent, networks, optimiser, planner, recipe, replay),
    *(agent.Agent, activations.TwoHot, replay.Replay, planner.Planner, optimiser.Adam),
]


@pytest.fixture
def _restored() -> Iterator[None]:
    before = [dict(vars(place)) for place in PLACES]
    yield
    for place, names in zip(PLACES, before, strict=True):
        for name, value in names.items():
            if vars(place).get(name) is not value:
                setattr(place, name, value)


def fingerprint() -> list[float]:
    """Numbers that depend on every part of three updates and a plan, with fixed random numbers."""
    a = small.agent(grad_clip_norm=0.05, tau=0.3, dropout=0.2, entropy_coef=0.1, lr=1e-2)
    with torch.no_grad():
        for q in (a.q, a.target_q):
            q.tensors[-2].normal_(0, 2, generator=torch.Generator().manual_seed(1))
    memory = small.replay()
    statistics = [a.update(memory.sample(6)) for _ in range(3)]
    action, values = Planner(a).act(torch.ones(3), first=True, evaluate=False)
    parameters = [float(p.detach().abs().sum()) for n in a.learnable().values() for p in n.parameters()]
    numbers = [float(v) for s in statistics for v in s.values()]
    return [*numbers, *parameters, *action.tolist(), *values.tolist()]


def test_the_fingerprint_is_reproducible() -> None:
    assert fingerprint() == fingerprint()


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("name", mistakes.MISTAKES)
def test_a_mistake_changes_what_is_computed(name: str) -> None:
    faithful = fingerprint()
    mistakes.plant(name)
    mistaken = fingerprint()
    assert max(abs(a - b) / (abs(a) + 1e-3) for a, b in zip(faithful, mistaken, strict=True)) > 1e-3


def test_no_mistake_is_left_behind() -> None:
    assert agent.Agent.update_target.__module__ == agent.__name__
    assert networks.simnorm is activations.simnorm


def test_the_launcher_names_the_mistakes_there_are() -> None:
    launcher = Path(mistakes.__file__).with_name("mistaken_backend.py")
    result = subprocess.run(
        [sys.executable, launcher, "no_such", "request.json"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "one of: wrong_discount, " in result.stderr
    assert len(mistakes.MISTAKES) == 21
