"""Our 39 environments do what the official ones do: held against recordings of the official program.

The recordings (``golden/environments.npz``) are written by the official program's own interpreter:
``python -m backends.official_tdmpc2.record_environments CHECKOUT OUT --tasks ...``. Where a checkout and its
interpreter are at hand, the same comparison runs live, with fresh states and actions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("dm_control", reason="the extra `tdmpc2` is not installed")

from backends.worldflux_tdmpc2.environments import TASKS, Environment, make_env

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden" / "environments.npz"
OFFICIAL_COMMIT = "8bbc14ebabdb32ea7ada5c801dc525d0dc73bafe"
RESET_SEEDS = (1, 2)
TOLERANCE = 1e-6
CUSTOM_TASKS = (
    "cheetah-jump",
    "cheetah-run-back",
    "cheetah-run-backwards",
    "cheetah-run-front",
    "cup-spin",
    "hopper-hop-backwards",
    "pendulum-spin",
    "reacher-three-easy",
    "reacher-three-hard",
    "walker-run-backwards",
    "walker-walk-backwards",
)
# Rotations of a frame of inertia that name its axes in another order, bounding volumes, numbers of enums.
COMPILED_OTHERWISE = (
    "body_iquat",
    "body_inertia",
    "body_bvh",
    "sameframe",
    "sensor_type",
    "opt_disableflags",
)

Recording = Mapping[str, np.ndarray]


# Replaying a recording in our environments.


def of_task(archive: Recording, task: str) -> dict[str, np.ndarray]:
    """The arrays of one task, without its name in their keys."""
    return {key.removeprefix(f"{task}/"): archive[key] for key in archive if key.startswith(f"{task}/")}


def restore(env: Environment, recorded: Recording, i: int) -> None:
    """Puts an environment, in which an episode is running, into the state before transition i."""
    import mujoco

    model, data = env.physics.model.ptr, env.physics.data.ptr
    for key in recorded:
        if key.startswith("model/"):
            getattr(model, key.removeprefix("model/"))[:] = recorded[key][i]
    mujoco.mj_resetData(model, data)
    for name in ("qpos", "qvel", "act"):
        getattr(data, name)[:] = recorded[f"before/{name}"][i]
    data.time = recorded["before/time"][i]
    mujoco.mj_step1(model, data)
    data.qacc_warmstart[:] = recorded["before/qacc_warmstart"][i]


def deviation(ours: np.ndarray | float, official: np.ndarray) -> float:
    """Largest |a - b| / max(1, |b|); infinite where the shapes differ."""
    ours, official = np.asarray(ours, dtype=np.float64), np.asarray(official, dtype=np.float64)
    if ours.shape != official.shape:
        return np.inf
    return float(np.max(np.abs(ours - official) / np.maximum(1.0, np.abs(official)), initial=0.0))


def replay(env: Environment, recorded: Recording) -> tuple[float, float]:
    """Largest deviation of the observations and of the rewards over all transitions of a task."""
    worst_observation = worst_reward = 0.0
    env.reset()
    for i, action in enumerate(recorded["action"]):
        restore(env, recorded, i)
        observation, reward = env.step(action)
        worst_observation = max(worst_observation, deviation(observation, recorded["observation"][i]))
        worst_reward = max(worst_reward, deviation(reward, recorded["reward"][i]))
    return worst_observation, worst_reward


def reset_deviation(task: str, recorded: Recording) -> float:
    """Largest deviation of two resets in a row for each of the recorded seeds."""
    worst, resets = 0.0, iter(range(2 * len(RESET_SEEDS)))
    for seed in RESET_SEEDS:
        env = make_env(task, seed)
        for row in (next(resets), next(resets)):
            worst = max(worst, deviation(env.reset(), recorded["reset/observation"][row]))
            worst = max(worst, deviation(env.physics.data.qpos, recorded["reset/qpos"][row]))
            worst = max(worst, deviation(env.physics.data.qvel, recorded["reset/qvel"][row]))
    return worst


@pytest.fixture(scope="module")
def golden() -> Iterator[dict[str, np.ndarray]]:
    with np.load(GOLDEN) as archive:
        yield {key: archive[key] for key in archive.files}


# Equality with the recordings.


@pytest.mark.parametrize("task", TASKS)
def test_same_state_and_action_give_the_official_observation_and_reward(task: str, golden: Recording) -> None:
    recorded = of_task(golden, task)
    env = make_env(task, seed=1)
    assert len(recorded["action"]) >= 20, "the recording of this task is empty or short"
    assert env.obs_shape == recorded["observation"].shape[1:]
    assert env.action_dim == recorded["action"].shape[1]
    assert env.episode_length == recorded["episode_length"] == 500
    observation, reward = replay(env, recorded)
    assert observation <= TOLERANCE
    assert reward <= TOLERANCE


@pytest.mark.parametrize("task", TASKS)
def test_same_seed_gives_the_official_initial_states(task: str, golden: Recording) -> None:
    assert reset_deviation(task, of_task(golden, task)) <= TOLERANCE


@pytest.mark.parametrize("task", TASKS)
def test_recorded_rewards_are_more_than_one_number(task: str, golden: Recording) -> None:
    """Else a wrong reward could pass unseen."""
    rewards = of_task(golden, task)["reward"]
    assert np.ptp(rewards) >= 0.25, f"rewards from {rewards.min()} to {rewards.max()}"


COMPILED_TASKS = (
    "cheetah-jump",
    "cup-spin",
    "hopper-hop-backwards",
    "pendulum-spin",
    "reacher-three-easy",
    "walker-walk-backwards",
)


@pytest.mark.parametrize("task", COMPILED_TASKS)
def test_models_of_custom_tasks_compile_to_the_official_ones(task: str, golden: Recording) -> None:
    import mujoco

    model = make_env(task, seed=1).physics.model.ptr
    fields = of_task(golden, f"compiled/{task}")
    compared = {k: v for k, v in fields.items() if not any(word in k for word in COMPILED_OTHERWISE)}
    assert len(compared) > 80
    for name, official in compared.items():
        group, _, option = name.partition("_")
        owner = {"opt": model.opt, "stat": model.stat}.get(group)
        ours = getattr(owner, option) if owner is not None else getattr(model, name, None)
        # Fields that only one of the two versions of MuJoCo has decide nothing in these models.
        if ours is not None:
            assert deviation(ours, official) <= 1e-9, name
    assert deviation(np.sort(model.body_inertia), np.sort(fields["body_inertia"])) <= 1e-9
    contacts = int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
    assert model.opt.disableflags & contacts == int(fields["opt_disableflags"]) & contacts


def test_recording_says_where_it_comes_from(golden: Recording) -> None:
    import hashlib

    origin = json.loads(str(golden["provenance"]))
    recorder = ROOT / "backends" / "official_tdmpc2" / "record_environments.py"
    assert origin["commit"] == OFFICIAL_COMMIT
    assert origin["tree_is_clean"]
    assert origin["packages"]["dm_control"] == "1.0.16"
    assert origin["packages"]["mujoco"] == "3.1.2"
    assert origin["recorder_sha256"] == hashlib.sha256(recorder.read_bytes()).hexdigest(), (
        "the recorder has changed since: record again (its docstring says how)"
    )


# The comparison can fail.


@pytest.mark.parametrize("task", CUSTOM_TASKS)
def test_comparison_notices_a_reward_that_is_a_little_off(task: str, golden: Recording) -> None:
    env = make_env(task, seed=1)
    right = env._simulation.reward
    object.__setattr__(env._simulation, "reward", lambda physics: 1.00001 * right(physics))
    observation, reward = replay(env, of_task(golden, task))
    assert observation <= TOLERANCE
    assert reward > TOLERANCE


@pytest.mark.parametrize("task", [t for t in CUSTOM_TASKS if not t.startswith("reacher-")])
def test_comparison_notices_the_reward_of_the_task_that_it_was_made_from(
    task: str, golden: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.worldflux_tdmpc2 import custom_tasks

    variant = custom_tasks.VARIANTS[task]
    changed = {**custom_tasks.VARIANTS, task: custom_tasks.Variant(variant.base, None, variant.edit_model)}
    monkeypatch.setattr(custom_tasks, "VARIANTS", changed)
    assert replay(make_env(task, seed=1), of_task(golden, task))[1] > 0.01


def test_comparison_notices_a_single_repeat_of_the_action(
    golden: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Environment, "action_repeat", 1)
    assert min(replay(make_env("walker-run", seed=1), of_task(golden, "walker-run"))) > 0.01


def test_comparison_notices_the_dog_of_a_later_mujoco(
    golden: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.worldflux_tdmpc2 import models

    monkeypatch.setattr(models, "restore_dog", lambda model: None)
    assert replay(make_env("dog-run", seed=1), of_task(golden, "dog-run"))[0] > TOLERANCE


def test_comparison_notices_another_seed(golden: Recording) -> None:
    recorded = of_task(golden, "walker-run")
    swapped = {k: v[::-1] if k.startswith("reset/") else v for k, v in recorded.items()}
    assert reset_deviation("walker-run", swapped) > 0.01


# The interface.


def test_a_suite_has_39_tasks() -> None:
    assert len(TASKS) == len(set(TASKS)) == 39
    assert list(TASKS) == sorted(TASKS)


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("cartpole-balnce", "cartpole-balance"),
        ("walker_walk", "walker-walk"),
        ("reacher-three", "reacher-three-"),
        ("", ""),
    ],
)
def test_unknown_task_names_the_nearest(wrong: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"unknown task '{wrong}'.* '{nearest}"):
        make_env(wrong, seed=1)


def test_unknown_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown observations 'pixels': 'state' or 'rgb'"):
        make_env("cartpole-balance", seed=1, obs="pixels")


def test_episode_ends_after_500_steps_and_reset_starts_another() -> None:
    env = make_env("pendulum-swingup", seed=3)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(env.random_action())
    for _ in range(2):
        env.reset()
        for _ in range(env.episode_length):
            observation, reward = env.step(env.random_action())
        assert env.physics.time() == pytest.approx(1000 * 0.02)
        assert observation.shape == env.obs_shape
        assert isinstance(reward, float)
        with pytest.raises(RuntimeError, match="call reset"):
            env.step(env.random_action())


@pytest.mark.parametrize("shape", [(), (5,), (7,), (1, 6)])
def test_action_of_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    env = make_env("walker-run", seed=1)
    env.reset()
    with pytest.raises(ValueError, match=r"expected \(6,\)"):
        env.step(np.zeros(shape))


def test_action_that_is_not_finite_is_refused() -> None:
    from dm_control.rl.control import PhysicsError

    env = make_env("walker-run", seed=1)
    env.reset()
    with pytest.raises(PhysicsError):
        env.step(np.full(6, np.nan))


def test_seed_decides_everything() -> None:
    def play(seed: int) -> np.ndarray:
        env = make_env("reacher-three-hard", seed)
        steps = [env.reset()] + [env.step(env.random_action())[0] for _ in range(5)]
        return np.stack(steps)

    first = play(7)
    np.testing.assert_array_equal(first, play(7))
    assert not np.array_equal(first, play(8))


def test_random_actions_fill_the_whole_range() -> None:
    env = make_env("cheetah-run", seed=5)
    actions = np.stack([env.random_action() for _ in range(2000)])
    assert actions.dtype == np.float32
    assert actions.shape == (2000, 6)
    assert np.abs(actions).max() <= 1.0
    # Five standard errors of the mean and of the variance of a uniform distribution.
    assert np.abs(actions.mean(axis=0)).max() < 5 * np.sqrt(1 / 3 / 2000)
    assert np.abs(actions.var(axis=0) - 1 / 3).max() < 5 * np.sqrt(4 / 45 / 2000)


def test_ball_of_cup_spin_starts_in_the_cup_nine_times_of_ten() -> None:
    env = make_env("cup-spin", seed=0)
    inside = np.empty(100)
    for i in range(len(inside)):
        env.reset()
        inside[i] = env.physics.in_target()
    # Outside is drawn with 0.1, and even then some balls land inside.
    assert 0.8 < inside.mean() < 1.0


# Pixels, and what is imported.


def make_pixels(task: str, seed: int = 1) -> Environment:
    try:
        return make_env(task, seed, obs="rgb")
    except RuntimeError as error:
        pytest.skip(f"no pixels here: {error}")


def test_pixels_are_three_stacked_frames_oldest_first() -> None:
    env = make_pixels("cheetah-run")
    first = env.reset()
    assert first.dtype == np.uint8
    assert first.shape == env.obs_shape == (9, 64, 64)
    np.testing.assert_array_equal(first[0:3], first[3:6])
    np.testing.assert_array_equal(first[3:6], first[6:9])
    assert first.std() > 5, "the picture is empty"
    second, _ = env.step(np.ones(6))
    third, _ = env.step(np.ones(6))
    np.testing.assert_array_equal(second[:6], first[3:])
    np.testing.assert_array_equal(third[:6], second[3:])
    assert not np.array_equal(third[6:], third[3:6])


def test_pixels_work_after_states_in_one_process_and_leave_the_setting_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    states = make_env("quadruped-run", seed=4)
    pixels = make_pixels("quadruped-run", seed=4)
    assert "MUJOCO_GL" not in os.environ
    states.reset(), pixels.reset()
    np.testing.assert_array_equal(states.physics.state(), pixels.physics.state())


def test_missing_opengl_is_one_line_that_says_what_to_do() -> None:
    program = "from backends.worldflux_tdmpc2.environments import make_env; make_env('cup-catch', 1, 'rgb')"
    result = run_python(program, MUJOCO_GL="disable")
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: images need OpenGL, and MUJOCO_GL=disable failed")
    assert "set MUJOCO_GL to egl" in last


def test_states_import_no_renderer() -> None:
    program = """
import sys
from backends.worldflux_tdmpc2.environments import make_env
make_env("cartpole-balance", 1).reset()
print(sorted({"OpenGL", "glfw", "torch"} & set(sys.modules)))
"""
    result = run_python(program, MUJOCO_GL="egl")
    assert result.stdout.splitlines() == ["[]"], result.stderr


def run_python(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120, check=False
    )


# The same, live.

LIVE_TASKS = (
    *CUSTOM_TASKS,
    "acrobot-swingup",
    "dog-run",
    "finger-turn-hard",
    "fish-swim",
    "humanoid-run",
    "quadruped-run",
)
LIVE_PIXELS = ("cheetah-jump", "quadruped-run", "reacher-three-easy")


def record_live(out: Path, *arguments: str) -> dict[str, np.ndarray]:
    """Runs the recorder with the official program, or skips the test."""
    checkout, python = (os.environ.get(f"WORLDFLUX_OFFICIAL_{name}") for name in ("TDMPC2", "PYTHON"))
    if not checkout or not python:
        pytest.skip(
            "set WORLDFLUX_OFFICIAL_TDMPC2 to a checkout of the official program and "
            "WORLDFLUX_OFFICIAL_PYTHON to its interpreter (worldflux-parity env create) to run this"
        )
    command = [python, "-m", "backends.official_tdmpc2.record_environments", checkout, str(out), *arguments]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600)
    with np.load(out) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """A recording of states and actions that nobody has seen before."""
    seed = str(int.from_bytes(os.urandom(4), "big"))
    sizes = ("--seed", seed, "--candidates", "30", "--kept", "10")
    return record_live(tmp_path_factory.mktemp("live") / "states.npz", "--tasks", *LIVE_TASKS, *sizes)


@pytest.mark.parametrize("task", LIVE_TASKS)
def test_live_official_program_agrees(task: str, live: Recording) -> None:
    recorded = of_task(live, task)
    assert max(replay(make_env(task, seed=1), recorded)) <= TOLERANCE, live["provenance"]
    assert reset_deviation(task, recorded) <= TOLERANCE


def test_live_official_pixels_agree_but_for_the_stars(tmp_path: Path) -> None:
    """MuJoCo 3.1.2 draws other random stars on the same sky, which moves its pixels by a few levels."""
    live = record_live(tmp_path / "pixels.npz", "--frames", *LIVE_PIXELS)
    for task in LIVE_PIXELS:
        env = make_pixels(task, seed=RESET_SEEDS[0])
        ours = [env.reset(), *(env.step(np.zeros(env.action_dim))[0] for _ in range(2))]
        difference = np.abs(np.stack(ours).astype(int) - live[f"{task}/frames"])
        assert difference.mean() < 3.0, task
        assert np.mean(difference > 30) < 0.005, task
