"""The training loop keeps the official order of steps, updates and evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the extra `tdmpc2` is not installed")

import small
import torch

from backends.worldflux_tdmpc2 import training

SEED_STEPS = 36  # three episodes


@pytest.fixture(autouse=True)
def _short_seed_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(training, "seed_steps", lambda episode_length: SEED_STEPS)


def run(tmp_path: Path, windows: dict[str, Any] | None = None, **recipe: Any) -> training.Run:
    """A finished run of 60 steps, five episodes of 12."""
    a = small.agent(**{"steps": 60, "eval_freq": 24, "eval_episodes": 2, **recipe})
    result = training.Run(a, small.PointEnvironment(), small.log(tmp_path, windows))
    result.train()
    return result


def test_evaluations_fall_on_multiples_of_eval_freq_in_frames(tmp_path: Path) -> None:
    assert [p.step for p in run(tmp_path).log.curve] == [0, 48, 96]


def test_an_evaluation_within_an_episode_waits_for_its_end(tmp_path: Path) -> None:
    assert [p.step for p in run(tmp_path, eval_freq=25).log.curve] == [0, 72, 120]


def test_updates_make_up_for_the_seed_phase_and_then_follow_the_steps(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.outcome.updates == 60
    assert result.step == 61


def test_plans_are_counted_in_evaluations_after_step_zero(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.outcome.plans == 2 * 2 * 12
    assert set(result.log.scalars) == {"plan_value.eval", "plan_value_gain.eval"}


def test_windows_average_the_updates_that_they_name(tmp_path: Path) -> None:
    result = run(tmp_path, {"early": [1, 10], "never": [55, 61]})
    names = set(dict(result.log.windows.means()))
    assert "reward_loss.early" in names
    assert not any(n.endswith(".never") for n in names)


def test_without_planning_the_policy_prior_acts(tmp_path: Path) -> None:
    result = run(tmp_path, mpc=False)
    assert result.outcome.plans == 0
    assert len(result.log.curve) == 3


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    window = {"all": [1, 60]}
    first, second = run(tmp_path, window), run(tmp_path, window)
    assert first.log.curve == second.log.curve
    assert dict(first.log.windows.means()) == dict(second.log.windows.means())


def test_a_ring_smaller_than_the_run_is_overwritten(tmp_path: Path) -> None:
    assert run(tmp_path, buffer_size=30).replay._held == 30


def test_a_loss_that_is_not_a_number_ends_the_run_at_once(tmp_path: Path) -> None:
    with pytest.raises(training.Diverged, match=r"_loss is (nan|inf) at update \d+$"):
        run(tmp_path, lr=1e30)
