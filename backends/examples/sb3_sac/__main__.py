"""SAC of Stable-Baselines3, in PyTorch."""

import sys

from examples.recipes import SAC as DEFAULTS
from examples.recipes import complete_recipe

from pytest_worldflux_parity import wire


def check(request: wire.RunRequest) -> None:
    complete_recipe(request, DEFAULTS)


def train(request: wire.RunRequest, log: wire.Log) -> None:
    wire.limit_threads(request.threads)
    from examples.observe import learn
    from stable_baselines3 import SAC

    learn(SAC, complete_recipe(request, DEFAULTS), log)


if __name__ == "__main__":
    sys.exit(wire.Program("sb3_sac", "sac", train, check, "official").main())
