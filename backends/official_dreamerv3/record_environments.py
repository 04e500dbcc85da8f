"""Records what the official DreamerV3 environments do: ``python -m ... record_environments CHECKOUT OUT``.

Runs in the interpreter of the official program, makes its environments with its own ``make_env`` (wrappers
included) and configurations, and writes an ``.npz``. Our own environments can then be held against it without
the official program: `tests/dreamerv3/test_environments_dreamerv3.py`.

Keys of the archive. Of a game, N entries (an entry is what one ``step`` returns):

- ``<task>/action`` (N,) int32 and ``<task>/reset`` (N,) bool: what was given, the first is a reset
- ``<task>/image`` (N, 8) uint8: the first eight bytes of the sha256 of the image's bytes
- ``<task>/reward`` (N,) float32, ``<task>/is_first``, ``is_last``, ``is_terminal`` (N,) bool
- ``<task>/classes`` (): number of actions

The environment is given `ATARI_SEED` where the official program gives it none; emulator and no-ops follow.

Of a DMC task, N transitions, float64 but for observations and rewards (float32, as returned):

- ``<task>/before/{qpos,qvel,act,qacc_warmstart}`` (N, n), ``<task>/before/time`` (N,): state
- ``<task>/model/<field>`` (N, ...): fields of the compiled model that the task's reset changes
- ``<task>/action`` (N, A) in [-1.2, 1.2], ``<task>/reward`` (N,), ``<task>/obs/<key>`` (N, ...)
- ``<task>/first/<key>`` (2 * seeds, ...): first observations of two episodes for each of `DMC_SEEDS`
- ``<task>/length`` (): entries of an episode, ``<task>/frames`` (3, 64, 64, 3): with ``--frames``, of the
  first episode of the first seed

``provenance``: JSON text.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

ATARI_SEED = 7
DMC_SEEDS = (1, 2)
STATE_FIELDS = ("qpos", "qvel", "act", "qacc_warmstart")
FLAGS = ("is_first", "is_last", "is_terminal")
PACKAGES = ("ale-py", "dm_control", "mujoco", "numpy", "pillow", "elements")


class Program:
    """The official program's configurations and environments, imported from a checkout."""

    def __init__(self, checkout):
        if not (Path(checkout) / "dreamerv3" / "configs.yaml").is_file():
            sys.exit(f"{checkout}: not a checkout of DreamerV3 (no dreamerv3/configs.yaml)")
        sys.path.insert(0, str(checkout))
        import elements
        import ruamel.yaml
        from dreamerv3 import main

        text = (Path(checkout) / "dreamerv3" / "configs.yaml").read_text()
        self._configs = ruamel.yaml.YAML(typ="safe").load(text)
        self._main, self._elements = main, elements

    def make_env(self, config, task):
        """An environment of the named configuration."""
        return self._main.make_env(self._settings(config, task), 0)

    def make_game(self, task, seed):
        """A game with a seed, which its class takes and ``make_env`` does not pass on."""
        from embodied.envs.atari import Atari

        settings = self._settings("atari100k", task)
        game = Atari(task.removeprefix("atari100k_"), **settings.env.atari100k, seed=seed)
        return self._main.wrap_env(game, settings)

    def _settings(self, config, task):
        settings = self._elements.Config(self._configs["defaults"]).update(self._configs[config])
        return settings.update(task=task)


def record_game(program, task, entries, seed):
    """Plays `entries` entries of a game with random actions, with a reset in the middle of an episode."""
    import numpy as np

    env = program.make_game(task, ATARI_SEED)
    random = np.random.default_rng([seed, *task.encode()])
    classes = env.act_space["action"].classes
    action = random.integers(0, classes, entries).astype(np.int32)
    reset = np.zeros(entries, bool)
    reset[[0, entries * 2 // 3]] = True
    seen = {key: [] for key in ("image", "reward", *FLAGS)}
    for i in range(entries):
        obs = env.step({"action": action[i], "reset": reset[i]})
        seen["image"].append(np.frombuffer(hashlib.sha256(obs["image"].tobytes()).digest()[:8], np.uint8))
        for key in ("reward", *FLAGS):
            seen[key].append(obs[key])
        if obs["is_last"] and i + 1 < entries:
            reset[i + 1] = True
    arrays = {key: np.stack(values) for key, values in seen.items()}
    return {**arrays, "action": action, "reset": reset, "classes": np.asarray(classes)}


def record_states(program, task, kept, seed):
    """Transitions of a DMC task: from an episode, and from prepared states that reach its rewards."""
    import numpy as np

    env = states_only(program, task)
    random = np.random.default_rng([seed, *task.encode()])
    untouched = model_fields(env._dmenv.physics.model)
    natural, length = play_episode(env, random)
    prepared = [t for t in (try_prepared(env, random) for _ in range(60 * kept)) if t]
    half = kept // 2
    chosen = natural[:: len(natural) // half][:half] + spread_over_rewards(prepared, kept - half)
    changed = [k for k, old in untouched.items() if any((t.model[k] != old).any() for t in chosen)]
    arrays = stacked(chosen, changed)
    arrays.update(first_observations(program, task))
    return {**arrays, "length": np.asarray(length)}


def states_only(program, task):
    """A DMC task without its images, which the official program draws and does not look at; slowly."""
    import numpy as np

    env = program.make_env("dmc_proprio", task)
    env._dmenv.physics.render = lambda height, width, camera_id: np.zeros((height, width, 3), np.uint8)
    return env


def first_observations(program, task):
    """The first observations of two episodes for each of `DMC_SEEDS`."""
    import numpy as np

    firsts = []
    for seed in DMC_SEEDS:
        env = states_only(program, task)
        env._dmenv.task._random = np.random.RandomState(seed)
        firsts += [observations(env.step(given(env, reset=True))) for _ in range(2)]
    return {f"first/{key}": np.stack([obs[key] for obs in firsts]) for key in firsts[0]}


def record_frames(program, task):
    """The images of the first three entries of an episode, under the middle of the range of actions."""
    import numpy as np

    env = program.make_env("dmc_vision", task)
    env._dmenv.task._random = np.random.RandomState(DMC_SEEDS[0])
    return np.stack([env.step(given(env, reset=i == 0))["image"].copy() for i in range(3)])


def given(env, action=None, reset=False):
    """What the official driver passes to ``step``."""
    import numpy as np

    shape = env.act_space["action"].shape
    return {"action": np.zeros(shape, np.float32) if action is None else action, "reset": np.asarray(reset)}


def observations(obs):
    """What is observed of the state, without reward, flags and log entries."""
    return {k: v for k, v in obs.items() if k not in ("reward", *FLAGS) and not k.startswith("log/")}


def model_fields(model):
    """Copies of the float arrays of a compiled model, by name, but for the shapes of meshes."""
    import numpy as np

    found = ((name, getattr(model.ptr, name, None)) for name in dir(model.ptr) if not name.startswith("_"))
    skipped = ("mesh_", "bvh_")
    return {
        name: value.copy()
        for name, value in found
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not name.startswith(skipped)
    }


def transition(env, action):
    """One step of the official environment, as a record."""
    physics = env._dmenv.physics
    before = {name: getattr(physics.data, name).copy() for name in STATE_FIELDS}
    before["time"] = physics.data.time
    model = model_fields(physics.model)
    obs = env.step(given(env, action))
    return SimpleNamespace(
        before=before,
        model=model,
        action=action,
        reward=obs["reward"],
        obs=observations(obs),
        last=bool(obs["is_last"]),
    )


def play_episode(env, random):
    """A whole episode of random actions: a twentieth of its transitions, and its entries."""
    env.step(given(env, reset=True))
    kept, entries, last = [], 1, False
    while not last:
        action = random_action(env, random)
        if entries % 20 == 0:
            kept.append(transition(env, action))
            last = kept[-1].last
        else:
            last = bool(env.step(given(env, action))["is_last"])
        entries += 1
    return kept, entries


def try_prepared(env, random):
    """A transition from a disturbed state, in which random actions reach rewards; None if it diverges."""
    import mujoco
    from dm_control.rl.control import PhysicsError

    env.step(given(env, reset=True))
    model, data = env._dmenv.physics.model.ptr, env._dmenv.physics.data.ptr
    if random.random() < 0.5:
        data.qpos[:] = model.qpos0
    shift = random.normal(size=model.nv) * 10 ** random.uniform(-3, -0.5)
    data.qvel[:] = random.normal(size=model.nv) * 10 ** random.uniform(-2, 0.5)
    moved = random.integers(model.nv)
    shift[moved] += random.uniform(-0.5, 1.5) * (random.random() < 0.5)
    data.qvel[moved] += random.uniform(-25, 25) * (random.random() < 0.5)
    mujoco.mj_integratePos(model, data.qpos, shift, 1.0)
    data.qacc_warmstart[:] = 0
    mujoco.mj_step1(model, data)
    try:
        return transition(env, random_action(env, random))
    except PhysicsError:
        return None


def random_action(env, random):
    """Uniform in [-1.2, 1.2], float32: some are clipped."""
    return random.uniform(-1.2, 1.2, env.act_space["action"].shape).astype("float32")


def spread_over_rewards(transitions, count):
    """`count` transitions whose rewards cover the range that was seen."""
    import numpy as np

    left = sorted(transitions, key=lambda t: float(t.reward))
    wanted = np.linspace(left[0].reward, left[-1].reward, count)
    return [left.pop(int(np.argmin([abs(float(t.reward) - reward) for t in left]))) for reward in wanted]


def stacked(transitions, changed_fields):
    """The arrays of a task's transitions, keyed as the module's docstring says."""
    import numpy as np

    def stack(pick):
        return np.stack([np.asarray(pick(t)) for t in transitions])

    arrays = {"action": stack(lambda t: t.action), "reward": stack(lambda t: t.reward)}
    for name in (*STATE_FIELDS, "time"):
        arrays[f"before/{name}"] = stack(lambda t, n=name: t.before[n])
    for key in transitions[0].obs:
        arrays[f"obs/{key}"] = stack(lambda t, k=key: t.obs[k])
    for name in changed_fields:
        arrays[f"model/{name}"] = stack(lambda t, n=name: t.model[n])
    return arrays


def provenance(checkout, arguments):
    """Where the archive comes from: commit, state of the tree, packages, this program, its arguments."""

    def git(*words):
        command = ["git", "-C", checkout, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return {
        "repo": "https://github.com/danijar/dreamerv3",
        "commit": git("rev-parse", "HEAD"),
        "tree_is_clean": not git("status", "--porcelain", "--untracked-files=no"),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": sys.version.split()[0],
        "recorder_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        "arguments": arguments,
    }


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", help="directory of the official repository")
    parser.add_argument("out", help=".npz file to write")
    parser.add_argument("--games", nargs="*", default=[], metavar="TASK", help="for example atari100k_pong")
    parser.add_argument("--entries", type=int, default=60, help="entries per game")
    parser.add_argument(
        "--long", nargs="*", default=[], metavar="TASK", help="games to play three times longer"
    )
    parser.add_argument("--tasks", nargs="*", default=[], metavar="TASK", help="DMC tasks with states")
    parser.add_argument("--kept", type=int, default=8, help="transitions kept per task")
    parser.add_argument("--frames", nargs="*", default=[], metavar="TASK", help="DMC tasks with images")
    parser.add_argument("--seed", type=int, default=3, help="of recorded actions and states")
    return parser.parse_args(argv)


def main():
    arguments = parse_arguments()
    # The official environments draw every step, wanted or not.
    os.environ.setdefault("MUJOCO_GL", "egl")
    import numpy as np

    program = Program(arguments.checkout)
    arrays = {}
    for task in arguments.games:
        entries = arguments.entries * (3 if task in arguments.long else 1)
        found = record_game(program, task, entries, arguments.seed)
        arrays.update({f"{task}/{key}": value for key, value in found.items()})
    for task in arguments.tasks:
        found = record_states(program, task, arguments.kept, arguments.seed)
        arrays.update({f"{task}/{key}": value for key, value in found.items()})
        print(f"{task}: recorded", file=sys.stderr, flush=True)
    for task in arguments.frames:
        arrays[f"{task}/frames"] = record_frames(program, task)
    shown = {key: value for key, value in vars(arguments).items() if key not in ("checkout", "out")}
    origin = np.asarray(json.dumps(provenance(arguments.checkout, shown)))
    np.savez_compressed(arguments.out, provenance=origin, **arrays)


if __name__ == "__main__":
    main()
