"""A run of either library, observed through the callback that both have; what they compute is unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor

from pytest_worldflux_parity import wire

PACKAGES = ("stable-baselines3", "sbx-rl", "torch", "jax", "jaxlib", "flax", "optax", "gymnasium", "numpy")


class Observer(BaseCallback):
    """Tells the log each episode of training, and after each call of ``train`` what the library logged of it.

    An update, in the suite's windows, is one call of ``train``: of PPO a rollout with all its epochs.
    """

    def __init__(self, log: wire.Log) -> None:
        super().__init__()
        self.log = log
        self.updates = self.last = 0
        self.rollout: dict[str, float] = {}

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.log.score(self.num_timesteps, info["episode"]["r"])
        self.log.beat(self.num_timesteps, updates=self.updates)
        return True

    def _on_rollout_end(self) -> None:
        # Both libraries fill this buffer, so what is computed of it has one definition.
        buffer = getattr(self.model, "rollout_buffer", None)
        if buffer is not None:
            self.rollout = {
                "value_error": float(((buffer.returns - buffer.values) ** 2).mean()),
                "advantage_std": float(buffer.advantages.std()),
                "policy_entropy": -float(buffer.log_probs.mean()),
            }

    def _on_rollout_start(self) -> None:
        logged = self.model.logger.name_to_value
        count = logged.get("train/n_updates", 0)
        if count != self.last:
            self.last, self.updates = count, self.updates + 1
            said = {k[6:]: v for k, v in logged.items() if k.startswith("train/") and k != "train/n_updates"}
            self.log.update(self.updates, self.num_timesteps, {**said, **self.rollout})

    def _on_training_end(self) -> None:
        self._on_rollout_start()


def learn(algorithm: Any, recipe: Mapping[str, Any], log: wire.Log, **more: Any) -> None:
    """Train ``algorithm``, a class of either library, and say what took effect.

    Args:
        recipe: complete; but for ``total_timesteps`` each key is an argument of the class.
        more: further arguments of the class.
    """
    request, steps = log.request, recipe["total_timesteps"]
    arguments = {key: value for key, value in recipe.items() if key != "total_timesteps"}
    environment = Monitor(gymnasium.make(request.task_id))
    model = algorithm("MlpPolicy", environment, seed=request.seed, device="cpu", **arguments, **more)
    log.begin(steps)
    model.learn(steps, callback=Observer(log), log_interval=None)
    weights = log.out_dir / "model.zip"
    model.save(weights)
    log.metadata.update(
        effective_recipe={"total_timesteps": model.num_timesteps, **{k: _read(model, k) for k in arguments}},
        env_backend="gymnasium",
        backend_kind=f"native_{'torch' if algorithm.__module__.startswith('stable_baselines3') else 'jax'}",
        model_profile="custom",
        artifact_manifest=wire.hash_files([weights]),
        packages=wire.package_versions(PACKAGES),
    )


def _read(model: Any, key: str) -> Any:
    """What the model holds of a key; of a schedule its first value."""
    value = getattr(model, key)
    return float(value(1.0)) if callable(value) else value
