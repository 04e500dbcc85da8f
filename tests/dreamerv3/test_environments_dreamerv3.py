"""Our environments do what the official ones do: held against recordings of the official program.

The recordings (``golden/games.npz``, ``golden/dmc.npz``) are written by the official program's interpreter:
``python -m backends.official_dreamerv3.record_environments CHECKOUT OUT ...``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("dm_control", reason="the extra `dreamerv3` is not installed")
pytest.importorskip("ale_py", reason="the extra `dreamerv3` is not installed")

from backends.worldflux_dreamerv3 import atari, dmc
from backends.worldflux_dreamerv3.environments import TASKS, Environment, make_env
from backends.worldflux_dreamerv3.recipe import Atari100k, Dmc, Env

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
OFFICIAL_COMMIT = "b65cf81a6fb13625af8722127459283f899a35d9"
ATARI_SEED, DMC_SEEDS = 7, (1, 2)
FLAGS = ("is_first", "is_last", "is_terminal")
TOLERANCE = 1e-6
STATES = Env(dmc=Dmc(image=False))
PIXELS = Env(dmc=Dmc(proprio=False))
Recording = dict[str, np.ndarray]


def recording(name: str, task: str) -> Recording:
    """The arrays of one task, without its name in their keys."""
    with np.load(GOLDEN / name) as archive:
        return {k.removeprefix(f"{task}/"): archive[k] for k in archive.files if k.startswith(f"{task}/")}


# Games.

# The version that the games were recorded at.
RECORDED = Atari100k(reset_frame="stale")


def differing(env: Environment, recorded: Recording) -> Iterator[int]:
    """The entries at which an environment shows something else than the recording, as it is played."""
    for i, (action, reset) in enumerate(zip(recorded["action"], recorded["reset"], strict=True)):
        obs = env.reset() if reset else env.step({"action": action})
        digest = np.frombuffer(hashlib.sha256(obs["image"].tobytes()).digest()[:8], np.uint8)
        image = np.array_equal(digest, recorded["image"][i])
        if not (image and all(obs[key] == recorded[key][i] for key in ("reward", *FLAGS))):
            yield i


@pytest.mark.parametrize("game", atari.GAMES)
def test_a_game_shows_the_official_images_rewards_and_flags(game: str) -> None:
    recorded = recording("games.npz", f"atari100k_{game}")
    env = make_env(f"atari100k_{game}", Env(atari100k=RECORDED), ATARI_SEED)
    assert env.act_space["action"].classes == recorded["classes"]
    assert len(recorded["action"]) >= 200
    assert len(np.unique(recorded["image"], axis=0)) > 20, "the recording shows few pictures"
    assert list(differing(env, recorded)) == []


def test_recorded_games_have_rewards_and_ends() -> None:
    """Else a wrong reward or flag could pass unseen."""
    with np.load(GOLDEN / "games.npz") as archive:
        rewarded, ended = (
            [game for game in atari.GAMES if archive[f"atari100k_{game}/{key}"].any()]
            for key in ("reward", "is_last")
        )
    assert len(rewarded) >= 12, rewarded
    assert ended


@pytest.mark.parametrize(
    "wrong",
    [
        dataclasses.replace(RECORDED, **{key: value})
        for key, value in {
            "reset_frame": "current",
            "repeat": 3,
            "noops": 0,
            "autostart": True,
            "lives": "reset",
            "clip_reward": True,
        }.items()
    ],
    ids=lambda wrong: next(k for k, v in dataclasses.asdict(wrong).items() if v != getattr(RECORDED, k)),
)
def test_a_wrong_setting_of_a_game_is_seen(wrong: Atari100k) -> None:
    task = "atari100k_asterix" if wrong.clip_reward else "atari100k_breakout"
    recorded = recording("games.npz", task)
    assert any(True for _ in differing(make_env(task, Env(atari100k=wrong), ATARI_SEED), recorded))


def test_the_first_image_is_black_and_later_ones_begin_with_the_episode_before() -> None:
    env = make_env("atari100k_breakout", Env(atari100k=RECORDED), 1)
    assert not env.reset()["image"].any()
    for _ in range(10):
        shown = env.step({"action": np.int32(1)})["image"]
    first = env.reset()["image"]
    assert first.any()
    assert np.abs(first.astype(int) - shown).mean() < 2


def test_the_first_image_of_the_current_version_is_that_of_its_own_reset() -> None:
    env = make_env("atari100k_breakout", Env(), 1)
    first = env.reset()["image"]
    assert first.any()
    for _ in range(10):
        env.step({"action": np.int32(1)})
    other = make_env("atari100k_breakout", Env(atari100k=RECORDED), 1)
    other.reset()
    for _ in range(10):
        other.step({"action": np.int32(1)})
    assert np.abs(env.reset()["image"].astype(int) - other.reset()["image"]).max() > 0


def test_grey_images_have_one_channel_and_all_actions_are_eighteen() -> None:
    env = make_env("atari100k_pong", Env(atari100k=Atari100k(gray=True, actions="all")), 1)
    assert env.obs_space["image"].shape == env.reset()["image"].shape == (64, 64, 1)
    assert env.act_space["action"].classes == 18


# DeepMind Control.


def restore_state(env: dmc.DMC, recorded: Recording, i: int) -> None:
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


def deviation(ours: Any, official: Any) -> float:
    """Largest |a - b| / max(1, |b|); infinite where the shapes differ."""
    ours, official = np.asarray(ours, np.float64), np.asarray(official, np.float64)
    if ours.shape != official.shape:
        return np.inf
    return float(np.max(np.abs(ours - official) / np.maximum(1.0, np.abs(official)), initial=0.0))


def observed(recorded: Recording, prefix: str) -> list[str]:
    """The names of the recorded observations."""
    return [key.removeprefix(prefix) for key in recorded if key.startswith(prefix)]


def deviation_of_steps(env: dmc.DMC, recorded: Recording) -> float:
    """Largest deviation of observations and rewards over all transitions of a task."""
    worst = 0.0
    for i, action in enumerate(recorded["action"]):
        env.reset()
        restore_state(env, recorded, i)
        obs = env.step({"action": action})
        worst = max(worst, deviation(obs["reward"], recorded["reward"][i]))
        for key in observed(recorded, "obs/"):
            worst = max(worst, deviation(obs[key], recorded[f"obs/{key}"][i]))
    return worst


@pytest.mark.parametrize("task", dmc.TASKS)
def test_same_state_and_action_give_the_official_observation_and_reward(task: str) -> None:
    recorded = recording("dmc.npz", f"dmc_{task}")
    env = make_env(f"dmc_{task}", STATES, seed=1)
    names = observed(recorded, "obs/")
    assert env.obs_space.keys() == {"reward", *FLAGS, *names}
    assert all(env.obs_space[k].shape == recorded[f"obs/{k}"].shape[1:] for k in names)
    assert len(recorded["action"]) >= 8
    assert recorded["length"] == 1001
    assert deviation_of_steps(env, recorded) <= TOLERANCE


@pytest.mark.parametrize("task", dmc.TASKS)
def test_same_seed_gives_the_official_first_observations(task: str) -> None:
    recorded = recording("dmc.npz", f"dmc_{task}")
    envs = [make_env(f"dmc_{task}", STATES, seed) for seed in DMC_SEEDS]
    firsts = [env.reset() for env in envs for _ in range(2)]
    for key in observed(recorded, "first/"):
        assert deviation(np.stack([obs[key] for obs in firsts]), recorded[f"first/{key}"]) <= TOLERANCE, key


@pytest.mark.parametrize("task", dmc.TASKS)
def test_recorded_rewards_are_more_than_one_number(task: str) -> None:
    """Else a wrong reward could pass unseen."""
    assert np.ptp(recording("dmc.npz", f"dmc_{task}")["reward"]) >= 0.25


def test_an_action_beyond_its_range_is_clipped() -> None:
    env = make_env("dmc_cartpole_balance", STATES, 1)
    env.reset()
    for action, control in ((1.2, 1.0), (-7.0, -1.0), (0.25, 0.25)):
        env.step({"action": np.array([action], np.float32)})
        assert env.physics.control().tolist() == [control]


def test_recordings_are_of_the_locked_commit_and_its_pins() -> None:
    for name in ("games.npz", "dmc.npz"):
        with np.load(GOLDEN / name) as archive:
            origin = json.loads(str(archive["provenance"]))
        assert origin["commit"] == OFFICIAL_COMMIT
        assert origin["tree_is_clean"]
        assert origin["packages"]["mujoco"] == "3.1.2"


def test_an_episode_is_1001_entries_and_never_terminal() -> None:
    env = make_env("dmc_cartpole_balance", STATES, 3)
    for _ in range(2):
        entries = [env.reset()]
        while not entries[-1]["is_last"]:
            entries.append(env.step({"action": np.zeros(1, np.float32)}))
        assert len(entries) == 1001
        assert [obs["is_first"] for obs in entries].index(False) == 1
        assert not any(obs["is_terminal"] for obs in entries)
        assert entries[0]["reward"] == 0


def test_repeated_actions_add_their_rewards_and_shorten_the_episode() -> None:
    once, twice = (make_env("dmc_walker_walk", Env(dmc=Dmc(image=False, repeat=n)), 3) for n in (1, 2))
    once.reset(), twice.reset()
    action = {"action": np.full(6, 0.3, np.float32)}
    steps = [once.step(action) for _ in range(2)]
    both = twice.step(action)
    assert both["reward"] == pytest.approx(steps[0]["reward"] + steps[1]["reward"])
    np.testing.assert_array_equal(both["velocity"], steps[1]["velocity"])


# Both.


@pytest.mark.parametrize("task", ["dmc_reacher_hard", "atari100k_breakout"])
def test_a_restored_environment_goes_on_like_the_one_it_was_taken_of(task: str) -> None:
    random = np.random.default_rng(0)
    env, copy = make_env(task, STATES, 5), make_env(task, STATES, 6)
    space = env.act_space["action"]

    def action() -> dict[str, np.ndarray]:
        drawn = random.integers(space.classes) if space.classes else random.uniform(-1, 1, space.shape)
        return {"action": np.asarray(drawn, space.dtype)}

    for one, entries in ((copy, 17), (env, 30)):
        one.reset()
        for _ in range(entries):
            one.step(action())
    copy.restore({key: value.copy() for key, value in env.snapshot().items()})
    for t in range(60):
        given = action()
        seen = [one.reset() if t == 40 else one.step(given) for one in (env, copy)]
        for key in seen[0]:
            np.testing.assert_array_equal(seen[0][key], seen[1][key], err_msg=f"{key} after {t}")


@pytest.mark.parametrize("task", ["dmc_finger_turn_hard", "atari100k_ms_pacman"])
def test_observations_are_of_their_space(task: str) -> None:
    env = make_env(task, STATES, 1)
    for obs in (env.reset(), env.step({k: np.zeros(s.shape, s.dtype) for k, s in env.act_space.items()})):
        assert obs.keys() == env.obs_space.keys()
        for key, space in env.obs_space.items():
            value = np.asarray(obs[key])
            assert value.shape == space.shape, key
            assert value.dtype == space.dtype, key


def test_there_are_26_games_and_20_control_tasks() -> None:
    assert len(set(TASKS)) == len(TASKS) == 46
    assert sum(task.startswith("atari100k_") for task in TASKS) == 26


def test_both_names_of_a_game_are_one_task() -> None:
    a, b = (make_env(f"{suite}_pong", Env(), 1) for suite in ("atari", "atari100k"))
    a.reset(), b.reset()
    np.testing.assert_array_equal(
        a.step({"action": np.int32(2)})["image"], b.step({"action": np.int32(2)})["image"]
    )


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("dmc_cartpole_balanc", "dmc_cartpole_balance"),
        ("cartpole-balance", "dmc_cartpole_balance"),
        ("atari_pnog", "atari100k_pong"),
        ("dmc_ball_in_cup_catch", "dmc_cup_catch"),
        ("", ""),
    ],
)
def test_unknown_task_names_the_nearest(wrong: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"unknown task '{wrong}'.* '{nearest}"):
        make_env(wrong, Env(), 1)


def test_nothing_to_observe_is_refused() -> None:
    with pytest.raises(ValueError, match=r"env\.dmc\.proprio and env\.dmc\.image are both false"):
        make_env("dmc_walker_walk", Env(dmc=Dmc(proprio=False, image=False)), 1)


# Images of DeepMind Control.


def make_pixels(task: str, seed: int = 1) -> Environment:
    try:
        return make_env(task, PIXELS, seed)
    except RuntimeError as error:
        pytest.skip(f"no images here: {error}")


@pytest.mark.parametrize("task", ["dmc_walker_walk", "dmc_quadruped_run", "dmc_cup_catch"])
def test_images_are_of_the_official_camera(task: str) -> None:
    """MuJoCo 3.1.2 draws other random stars on the same sky, which moves its pixels by a few levels."""
    official = recording("dmc.npz", task)["frames"]
    env = make_pixels(task, DMC_SEEDS[0])
    still = {"action": np.zeros(env.act_space["action"].shape, np.float32)}
    ours = np.stack([env.reset()["image"], *(env.step(still)["image"] for _ in range(2))])
    assert ours.shape == official.shape == (3, 64, 64, 3)
    assert ours.std() > 5, "the picture is empty"
    difference = np.abs(ours.astype(int) - official)
    assert difference.mean() < 3.0
    assert np.mean(difference > 30) < 0.005


def test_missing_opengl_is_one_line_that_says_what_to_do() -> None:
    program = (
        "from backends.worldflux_dreamerv3.environments import make_env\n"
        "from backends.worldflux_dreamerv3.recipe import Env\n"
        "make_env('dmc_cup_catch', Env(), 1)"
    )
    result = run_python(program, MUJOCO_GL="disable")
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: images need OpenGL, and MUJOCO_GL=disable failed")
    assert "set MUJOCO_GL to egl" in last


def test_states_need_no_renderer() -> None:
    program = (
        "import sys\n"
        "from backends.worldflux_dreamerv3.environments import make_env\n"
        "from backends.worldflux_dreamerv3.recipe import Dmc, Env\n"
        "make_env('dmc_cartpole_balance', Env(dmc=Dmc(image=False)), 1).reset()\n"
        "print(sorted({'OpenGL', 'glfw', 'jax', 'ale_py'} & set(sys.modules)))"
    )
    result = run_python(program, MUJOCO_GL="egl")
    assert result.stdout.splitlines() == ["[]"], result.stderr


def run_python(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120, check=False
    )
