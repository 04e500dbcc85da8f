"""The training loop around an agent that only keeps a diary: what happens when, and on which data."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra `dreamerv3` is not installed")

from diary import BATCH, LENGTH, Diary, recipe, run

from backends.worldflux_dreamerv3 import training
from backends.worldflux_dreamerv3.recipe import Recipe
from pytest_worldflux_parity import wire


def official_updates(steps: int, asked: Recipe) -> list[int]:
    """The official rule, in integers: updates after each step, one environment."""
    per_step, sequence = int(asked.run.train_ratio / (BATCH * LENGTH)), LENGTH + asked.replay_context
    first = BATCH * LENGTH + sequence - 1
    return [0 if t < first else 1 + per_step * (t - first) for t in range(1, steps + 1)]


@pytest.mark.parametrize(("envs", "steps"), [(1, 30), (4, 36), (10, 30), (16, 32)])
def test_a_run_ends_with_a_whole_block_of_steps(envs: int, steps: int) -> None:
    assert training.count_steps(recipe(**{"run.envs": envs, "run.steps": 25})) == steps


def test_the_ratio_carries_fractions_over_and_begins_with_one() -> None:
    ratio = training.UpdateRatio(0.25)
    assert [ratio(step) for step in range(100, 117)] == [1, 0, 0, 0] + [1, 0, 0, 0] * 3 + [1]
    ratio = training.UpdateRatio(3.0)
    assert [ratio(step) for step in (7, 8, 10)] == [1, 3, 6]


def test_updates_begin_with_enough_sequences_and_keep_the_ratio(tmp_path: Path) -> None:
    agent, asked = Diary(), recipe()
    outcome = run(tmp_path, asked, agent).train()
    expected = official_updates(40, asked)
    assert outcome.updates == len(agent.batches) == expected[-1] == 57
    # An acting step comes before the updates of its own step.
    assert [updates for updates, _ in agent.acted] == [0, *expected[:-1]]


def test_a_batch_is_drawn_when_the_one_before_is_taken(tmp_path: Path) -> None:
    agent = Diary()
    run(tmp_path, recipe(**{"run.train_ratio": 1.0 * BATCH * LENGTH}), agent).train()
    newest = [int(batch["at"].max()) for batch in agent.batches]
    assert newest[0] == LENGTH + 1, "the first batch knows the first sequence only"
    first = BATCH * LENGTH + LENGTH
    assert all(seen <= first + update - 1 for update, seen in enumerate(newest[1:], 1))
    assert any(seen == first + update - 1 for update, seen in enumerate(newest[1:], 1))


def test_the_actor_lags_behind_as_the_official_one(tmp_path: Path) -> None:
    """It acts with what was handed over before, and is handed what was there before the latest updates."""
    agent = Diary()
    run(tmp_path, recipe(), agent).train()
    acting, handed_over, before = 0.0, None, 0
    for updates, used in agent.acted:
        if updates > before:
            handed_over, before = float(before), updates
        assert used == acting, updates
        acting, handed_over = (acting if handed_over is None else handed_over), None
    assert agent.acted[-1][1] == agent.acted[-1][0] - 4


def test_latents_of_an_update_reach_the_third_batch_after_its_own(tmp_path: Path) -> None:
    agent = Diary()
    run(tmp_path, recipe(), agent).train()
    seen = [float(batch["dyn/deter"].max()) for batch in agent.batches]
    assert all(latest <= update - 3 for update, latest in enumerate(seen, 1) if latest > 0)
    assert any(latest == update - 3 for update, latest in enumerate(seen, 1) if latest > 0)


def test_without_replay_context_no_latents_are_kept(tmp_path: Path) -> None:
    agent = Diary()
    run(tmp_path, recipe(replay_context=0), agent).train()
    assert "dyn/deter" not in agent.batches[-1]
    assert agent.batches[-1]["at"].shape == (BATCH, LENGTH, 1)


def test_actions_are_stored_with_what_they_answer_and_are_zero_at_the_end(tmp_path: Path) -> None:
    agent = Diary()
    asked = recipe()
    begun = run(tmp_path, asked, agent)
    begun.train()
    for batch in agent.batches:
        np.testing.assert_array_equal(batch["action"][..., 0] == 0, batch["at"][..., 0] % 7 == 0)
    assert set(begun.envs[0].actions) == {0.5}  # type: ignore[attr-defined]


def test_scores_are_of_whole_episodes_at_the_frame_of_their_end(tmp_path: Path) -> None:
    asked = recipe(**{"run.envs": 2, "run.steps": 30})
    outcome = run(tmp_path, asked, Diary()).train()
    points = training.make_curve(outcome, asked.action_repeat)
    assert [(p.step, p.value) for p in points] == [(26, 6), (28, 6), (54, 6), (56, 6)]


def test_scores_at_one_step_are_averaged() -> None:
    outcome = training.Outcome(episodes=[(9, 4.0), (3, 1.0), (3, 2.0)])
    assert training.make_curve(outcome, 2) == (wire.CurvePoint(6, 1.5), wire.CurvePoint(18, 4.0))


def test_windows_hold_the_metrics_of_their_updates_the_last_one_too(tmp_path: Path) -> None:
    begun = run(tmp_path, recipe(), Diary(), {"early": [1, 10], "late": [48, 57], "never": [50, 58]})
    begun.train()
    assert dict(begun.log.windows.means()) == {
        "opt/loss.early": 1.0, "n.early": 5.5, "opt/loss.late": 1.0, "n.late": 52.5
    }  # fmt: skip


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("update", [3, 57])
def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path, bad: float, update: int) -> None:
    losses = [1.0] * 57
    losses[update - 1] = bad
    with pytest.raises(training.Diverged, match=f"the loss is {bad} at update {update}"):
        run(tmp_path, recipe(), Diary(losses)).train()


def test_no_key_is_used_twice(tmp_path: Path) -> None:
    agent = Diary()
    run(tmp_path, recipe(), agent).train()
    assert len(set(agent.keys)) == len(agent.keys) == 40 + 57


def test_heartbeats_go_on_while_the_program_compiles(tmp_path: Path) -> None:
    begun = run(tmp_path, recipe(), Diary())
    beats = tmp_path / "progress.jsonl"
    with begun._alive(compiling=True):
        while not beats.exists():
            time.sleep(0.05)
    assert '"updates": 0' in beats.read_text()
