"""PPO of SBX with networks that begin as those of Stable-Baselines3."""

import sys

from examples.recipes import PPO as DEFAULTS
from examples.recipes import complete_recipe

from pytest_worldflux_parity import wire


def check(request: wire.RunRequest) -> None:
    complete_recipe(request, DEFAULTS)


def train(request: wire.RunRequest, log: wire.Log) -> None:
    wire.limit_threads(request.threads)
    from examples.observe import learn
    from examples.sbx_ppo_mended.networks import Actor, Critic
    from sbx import PPO

    policy = {"actor_class": Actor, "critic_class": Critic}
    learn(PPO, complete_recipe(request, DEFAULTS), log, policy_kwargs=policy)


if __name__ == "__main__":
    sys.exit(wire.Program("sbx_ppo_mended", "ppo", train, check, "worldflux").main())
