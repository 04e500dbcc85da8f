"""Put on the PYTHONPATH of official runs in tests: shorter, and the same for the same seed.

The official program leaves gymnasium's random actions unseeded, so no two of its runs are alike; and
it begins with 2,500 random steps. Both are changed here from outside, for observed and unobserved
runs alike, so that these can be compared in seconds.
"""

import sys

from backends.official_tdmpc2.observe import AfterImport
from pytest_worldflux_parity.wire.checkout import wrap

EPISODE, SEED_STEPS = 20, 60


def seeded(module):
    original = module.np_random
    module.np_random = lambda seed=None: original(12345 if seed is None else seed)


def short_episodes(module):
    def initialise(original, wrapper, env, max_episode_steps):
        original(wrapper, env, EPISODE)

    wrap(module.Timeout, "__init__", initialise)


def short_seed_phase(module):
    original = module.make_env

    def make_env(cfg):
        env = original(cfg)
        cfg.seed_steps = SEED_STEPS
        return env

    module.make_env = make_env


sys.meta_path.insert(
    0,
    AfterImport(
        {
            "gymnasium.utils.seeding": seeded,
            "envs.wrappers.timeout": short_episodes,
            "envs": short_seed_phase,
        }
    ),
)
