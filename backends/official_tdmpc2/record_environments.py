"""Records what the official TD-MPC2 environments do: ``python -m ... record_environments CHECKOUT OUT``.

Runs in the interpreter of the official program, drives its own ``make_env`` (``tdmpc2/envs``) and writes
an ``.npz`` with, for each task: transitions (everything that decides a step, the action, and what came
back), initial states by seed, the length of an episode and, once a domain, the compiled model. Our own
environments can then be held against it without the official program: `tests/tdmpc2/test_environments.py`.

Keys of the archive, N transitions of a task, float64 but for observation and reward (float32, as returned):

- ``<task>/before/{qpos,qvel,act,qacc_warmstart}`` (N, n), ``<task>/before/time`` (N,): state
- ``<task>/model/<field>`` (N, ...): fields of the compiled model that the task's reset changes
- ``<task>/action`` (N, action_dim), ``<task>/observation`` (N, n), ``<task>/reward`` (N,)
- ``<task>/after/{qpos,qvel,act}`` (N, n)
- ``<task>/reset/{qpos,qvel,observation}`` (2 * seeds, n): two resets in a row for each of `RESET_SEEDS`
- ``<task>/episode_length`` ()
- ``<task>/frames`` (3, 9, 64, 64): with ``--frames``, after reset and two steps of the first reset seed
- ``compiled/<task>/<field>``: the model before any reset
- ``provenance``: JSON text

``--dog-model FILE`` also writes what the dog's compiled model owes to its meshes, which depends on the
version of MuJoCo: the fields of `DOG_FIELDS`, of `DOG_GEOM_FIELDS` at the geoms ``primitives``, and
``provenance``. `backends/worldflux_tdmpc2/models.py` reads it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

RESET_SEEDS = (1, 2)
STATE_FIELDS = ("qpos", "qvel", "act")
PACKAGES = ("dm_control", "mujoco", "numpy", "torch", "gymnasium")
COMPILED_PREFIXES = ("body_", "jnt_", "dof_", "geom_", "site_", "sensor_", "actuator_", "tendon_", "eq_")
COMPILED_TASKS = (
    "cheetah-jump",
    "cup-spin",
    "hopper-hop-backwards",
    "pendulum-spin",
    "reacher-three-easy",
    "walker-walk-backwards",
)
DOG_FIELDS = ("body_mass", "body_ipos", "body_iquat", "body_inertia", "jnt_stiffness", "dof_damping")
DOG_GEOM_FIELDS = ("geom_pos", "geom_quat", "geom_size")


class Settings(SimpleNamespace):
    """What ``make_env`` reads of the official configuration."""

    def get(self, name, default=None):
        return getattr(self, name, default)


class Recorder:
    """Collects the arrays of one archive.

    Args:
        make_env: the official function.
        seed: of the recorded actions and states.
        candidates: states that are tried per task, of which a few are kept.
        kept: transitions that are kept per task.
    """

    def __init__(self, make_env, seed, candidates, kept):
        self.make_env = make_env
        self.seed = seed
        self.candidates = candidates
        self.kept = kept
        self.arrays = {}

    def record(self, task):
        """Records all of one task."""
        import numpy as np

        random = np.random.default_rng([self.seed, *task.encode()])
        env = self._make(task, seed=self.seed)
        physics = env.unwrapped.physics
        untouched = numeric_fields(physics.model)
        if task in COMPILED_TASKS:
            self._put(f"compiled/{task}", compiled_model(physics.model))
        natural, length = play_episode(env, random)
        prepared = prepared_transitions(env, random, self.candidates)
        half = self.kept // 2
        chosen = evenly(natural, half) + spread_over_rewards(prepared, self.kept - half)
        changed = [k for k, old in untouched.items() if any((t.model[k] != old).any() for t in chosen)]
        self._put(task, stacked(chosen, changed))
        self._put(f"{task}/reset", self._resets(task))
        self.arrays[f"{task}/episode_length"] = np.asarray(length)

    def record_frames(self, task):
        """Records three observations of the pixels of one task."""
        import numpy as np

        env = self._make(task, seed=RESET_SEEDS[0], obs="rgb")
        frames = [env.reset().numpy(), *(env.step(zeros_action(env))[0].numpy() for _ in range(2))]
        self.arrays[f"{task}/frames"] = np.stack(frames)

    def dog_model(self):
        """Of the dog's compiled model, inertias and what follows from them, and the primitives that were
        fitted to meshes for collisions."""
        import mujoco
        import numpy as np

        model = self._make("dog-run", self.seed).unwrapped.physics.model.ptr
        primitives = np.flatnonzero(model.geom_type != mujoco.mjtGeom.mjGEOM_MESH)
        fields = {name: getattr(model, name).copy() for name in DOG_FIELDS}
        fields.update({name: getattr(model, name)[primitives] for name in DOG_GEOM_FIELDS})
        return {**fields, "primitives": primitives}

    def _resets(self, task):
        import numpy as np

        seen = {"qpos": [], "qvel": [], "observation": []}
        for seed in RESET_SEEDS:
            env = self._make(task, seed)
            for _ in range(2):
                seen["observation"].append(env.reset().numpy())
                seen["qpos"].append(env.unwrapped.physics.data.qpos.copy())
                seen["qvel"].append(env.unwrapped.physics.data.qvel.copy())
        return {name: np.stack(values) for name, values in seen.items()}

    def _make(self, task, seed, obs="state"):
        return self.make_env(Settings(task=task, seed=seed, obs=obs, multitask=False))

    def _put(self, prefix, arrays):
        self.arrays.update({f"{prefix}/{name}": value for name, value in arrays.items()})


def numeric_fields(model):
    """Copies of the float arrays of a compiled model, by name, but for the shapes of meshes."""
    import numpy as np

    fields = {}
    for name in dir(model.ptr):
        value = getattr(model.ptr, name, None) if not name.startswith(("_", "mesh_", "bvh_")) else None
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size:
            fields[name] = value.copy()
    return fields


def compiled_model(model):
    """The fields of a compiled model that decide about physics and geometry, and its options."""
    import numpy as np

    fields = {}
    for name in dir(model.ptr):
        if name.startswith(COMPILED_PREFIXES):
            value = getattr(model.ptr, name)
            if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
                fields[name] = value.copy()
    for name in ("timestep", "gravity", "integrator", "solver", "iterations", "tolerance", "disableflags"):
        fields[f"opt_{name}"] = np.asarray(getattr(model.ptr.opt, name))
    fields["cam_pos"], fields["cam_mode"] = model.ptr.cam_pos.copy(), model.ptr.cam_mode.copy()
    fields["stat_extent"] = np.asarray(model.ptr.stat.extent)
    return fields


def snapshot(physics):
    """All that decides the next step, but for the action and the model."""
    data = physics.data
    state = {name: getattr(data, name).copy() for name in (*STATE_FIELDS, "qacc_warmstart")}
    state["time"] = data.time
    if physics.model.nmocap:
        raise NotImplementedError("no task of the suite has mocap bodies, so they are not recorded")
    return state


def transition(env, action):
    """One agent step of the official environment, as a record."""
    import torch

    physics = env.unwrapped.physics
    before, model = snapshot(physics), numeric_fields(physics.model)
    observation, reward, done, _ = env.step(torch.from_numpy(action))
    return SimpleNamespace(
        before=before,
        model=model,
        action=action,
        observation=observation.numpy(),
        reward=reward.numpy(),
        after={name: getattr(physics.data, name).copy() for name in STATE_FIELDS},
        done=done,
    )


def play_episode(env, random):
    """A whole episode of random actions: a tenth of its transitions, and its length."""
    import torch

    env.reset()
    kept, length, done = [], 0, False
    while not done:
        action = random_action(env, random)
        if length % 10 == 0:
            kept.append(transition(env, action))
            done = kept[-1].done
        else:
            done = env.step(torch.from_numpy(action))[2]
        length += 1
    return kept, length


def prepared_transitions(env, random, count):
    """`count` transitions from prepared states; ends with a line to stderr if nearly all states diverge."""
    attempts = (try_prepared(env, random) for _ in range(50 * count))
    found = list(itertools.islice(filter(None, attempts), count))
    if len(found) < count:
        sys.exit(f"only {len(found)} of {count} prepared states could be simulated")
    return found


def try_prepared(env, random):
    """A transition from a state near the model's default pose, with random speed; None if it diverges.

    Random actions from the task's own initial states hardly ever reach the states that are rewarded.
    """
    from dm_control.rl.control import PhysicsError

    env.reset()
    prepare(env.unwrapped.physics, random)
    try:
        return transition(env, random_action(env, random))
    except PhysicsError:
        return None


def prepare(physics, random):
    """Half the time moves the model to a raised, perturbed default pose; always changes its speeds."""
    import mujoco

    model, data = physics.model.ptr, physics.data.ptr
    if random.random() < 0.5:
        data.qpos[:] = model.qpos0
    shift = random.normal(size=model.nv) * 10 ** random.uniform(-3, -0.5)
    data.qvel[:] = random.normal(size=model.nv) * 10 ** random.uniform(-2, 0.5)
    root = random.integers(min(3, model.nv))
    shift[root] += random.uniform(0, 1.5) * (random.random() < 0.5)
    data.qvel[root] += random.uniform(-12, 12)
    mujoco.mj_integratePos(model, data.qpos, shift, 1.0)
    data.qacc_warmstart[:] = 0
    mujoco.mj_step1(model, data)


def random_action(env, random):
    """Uniform in [-1, 1], float32, as the official agent's actions are."""
    return random.uniform(-1, 1, env.action_space.shape).astype("float32")


def zeros_action(env):
    """The middle of the range of every actuator."""
    import torch

    return torch.zeros(env.action_space.shape)


def evenly(items, count):
    """`count` of the items, evenly spaced, the last one included."""
    return [items[(i + 1) * len(items) // count - 1] for i in range(count)]


def spread_over_rewards(transitions, count):
    """`count` transitions whose rewards cover the range that was seen."""
    import numpy as np

    left = sorted(transitions, key=lambda t: float(t.reward))

    def take_nearest(reward):
        return left.pop(int(np.argmin([abs(float(t.reward) - reward) for t in left])))

    return [take_nearest(reward) for reward in np.linspace(left[0].reward, left[-1].reward, count)]


def stacked(transitions, changed_fields):
    """The arrays of a task's transitions, keyed as the module's docstring says."""
    import numpy as np

    def stack(pick):
        return np.stack([np.asarray(pick(t)) for t in transitions])

    arrays = {name: stack(lambda t, n=name: getattr(t, n)) for name in ("action", "observation", "reward")}
    for group in ("before", "after"):
        for name in getattr(transitions[0], group):
            arrays[f"{group}/{name}"] = stack(lambda t, g=group, n=name: getattr(t, g)[n])
    for name in changed_fields:
        arrays[f"model/{name}"] = stack(lambda t, n=name: t.model[n])
    return arrays


def official_make_env(checkout):
    """Imports the official ``make_env`` from a checkout; ends with a line to stderr if it is none."""
    package = Path(checkout) / "tdmpc2"
    if not (package / "envs" / "dmcontrol.py").is_file():
        sys.exit(f"{checkout}: not a checkout of TD-MPC2 (no tdmpc2/envs/dmcontrol.py)")
    sys.path.insert(0, str(package))
    from envs import make_env

    return make_env


def provenance(checkout, arguments):
    """Where the archive comes from: commit, state of the tree, packages, this program, its arguments."""

    def git(*words):
        command = ["git", "-C", checkout, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return {
        "repo": "https://github.com/nicklashansen/tdmpc2",
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
    parser.add_argument("--tasks", nargs="*", default=[], metavar="TASK", help="tasks with states")
    parser.add_argument("--seed", type=int, default=39)
    parser.add_argument("--candidates", type=int, default=300, help="states tried per task")
    parser.add_argument("--kept", type=int, default=20, help="transitions kept per task")
    parser.add_argument("--frames", nargs="*", default=[], metavar="TASK", help="tasks with pixels")
    parser.add_argument("--dog-model", metavar="FILE", help=".npz file to write the dog's numbers to")
    return parser.parse_args(argv)


def main():
    arguments = parse_arguments()
    # States need no renderer, and dm_control looks for one when it is imported.
    os.environ["MUJOCO_GL"] = os.environ.get("MUJOCO_GL", "egl") if arguments.frames else "disable"
    import numpy as np

    make_env = official_make_env(arguments.checkout)
    recorder = Recorder(make_env, arguments.seed, arguments.candidates, arguments.kept)
    for task in arguments.tasks:
        recorder.record(task)
        print(f"{task}: recorded", file=sys.stderr, flush=True)
    for task in arguments.frames:
        recorder.record_frames(task)
    shown = {k: v for k, v in vars(arguments).items() if k not in ("checkout", "out", "dog_model")}
    origin = np.asarray(json.dumps(provenance(arguments.checkout, shown)))
    np.savez_compressed(arguments.out, provenance=origin, **recorder.arrays)
    if arguments.dog_model:
        np.savez_compressed(arguments.dog_model, provenance=origin, **recorder.dog_model())


if __name__ == "__main__":
    main()
