"""The agent that a training loop drives: initial state, policy step, update; one compiled program each.

Nothing here blocks but :meth:`Agent.policy`, which hands its actions to environments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import compilation, heads, model, networks, rssm
from .layers import Params, initial_values
from .model import Actions, Batch, Model, TrainState
from .optimiser import initial_state
from .recipe import Recipe
from .rssm import Latent
from .spaces import BOOKKEEPING, Space, Spaces

Arrays = dict[str, np.ndarray]

# Where the names of the parameters begin that acting needs.
ACTING = ("encoder/", "dynamics/", "policy/")


class Carry(NamedTuple):
    """Latent of the latest step and the actions taken in it, for every row."""

    latent: Latent
    actions: Actions


class Agent:
    """DreamerV3 for given spaces.

    Keys and seeds are uint32 arrays of shape (2,).

    Raises:
        RecipeError: a space that the networks cannot take.
    """

    def __init__(self, recipe: Recipe, obs_space: Spaces, act_space: Spaces) -> None:
        self.model = Model(recipe, obs_space, act_space)
        self.parameters = model.parameters(self.model)
        count = sum(math.prod(p.shape) for p in self.parameters.values())
        self.compiler_options = compilation.choose_options(recipe, count)
        options = dict(self.compiler_options) or None
        self.train = jax.jit(self._train, donate_argnums=0, compiler_options=options)
        self._policy = jax.jit(self._act, compiler_options=options)

    def init_state(self, seed: int) -> TrainState:
        """Parameters drawn from ``seed``, everything else at its start; nothing to compile."""
        params = initial_values(self.parameters, np.random.default_rng([seed, 0]))
        count = np.zeros((), np.int32)
        optimiser = initial_state(params)
        normalisers = model.initial_normalisers(self.model.config)
        state = TrainState(params, model.value_parameters(params), optimiser, normalisers, count)
        # Leaf by leaf, so that no two of them are one buffer: the update takes all of them over.
        return jax.tree.map(lambda x: jax.device_put(x.copy()), state)

    # ------------------------------------------------------------ policy

    def initial_carry(self, rows: int) -> Carry:
        """The carry of ``rows`` environments, or rows of a batch, before the first one."""
        m = self.model
        latent = rssm.initial_latent(rows, m.rssm, np.zeros((), m.dtype).dtype)
        return Carry(latent, {key: _zero_action(rows, space) for key, space in m.act_space.items()})

    def policy(
        self, params: Params, carry: Carry, obs: Mapping[str, np.ndarray], key: np.ndarray
    ) -> tuple[Carry, Arrays, Arrays]:
        """Actions {key: (N, ...)} for observations {key: (N, ...)}, and the entries that replay keeps.

        ``params`` are the ``params`` of a :class:`TrainState`; ``obs`` must hold ``is_first``.
        """
        seen = {name: obs[name] for name in (*self.model.inputs, "is_first")}
        params = {name: value for name, value in params.items() if name.startswith(ACTING)}
        carry, entries = self._policy(params, carry, seen, key)
        return carry, jax.device_get(carry.actions), jax.device_get(entries)

    def _act(self, params: Params, carry: Carry, obs: Actions, key: jax.Array) -> tuple[Carry, Actions]:
        m = self.model
        rows = len(obs["is_first"])
        shapes = {"posterior": (rows, m.rssm.stoch, m.rssm.classes)}
        shapes["actions"] = model.action_noise_shapes((rows,), m.act_space)
        uniform = model.draw_uniform(jax.random.wrap_key_data(key), shapes)
        noise = model.action_noise(uniform["actions"], m.act_space)
        carry = self.act(params, carry, obs, model.gumbel(uniform["posterior"]), noise)
        return carry, self._entries(carry.latent)

    def act(self, params: Params, carry: Carry, obs: Actions, gumbel: jax.Array, noise: Actions) -> Carry:
        """One step of the policy with given noise: Gumbel (N, S, C), and that of `model.action_noise`."""
        m = self.model
        tokens = networks.encode(params, obs, m.inputs, m.config.enc.simple, m.dtype)
        previous = heads.action_vector(carry.actions, m.act_space, m.dtype)
        step = rssm.observe_step(params, carry.latent, tokens, previous, obs["is_first"], gumbel, m.rssm)
        policy = heads.policy(params, step.latent.features(), m.act_space, m.config)
        return Carry(step.latent, {name: policy[name].sample(noise[name]) for name in policy})

    # ------------------------------------------------------------ update

    def _train(
        self, state: TrainState, carry: Carry, data: Mapping[str, jax.Array]
    ) -> tuple[TrainState, Carry, Actions, model.Metrics]:
        """One update on a batch (see :meth:`train`)."""
        m = self.model
        start, batch = self.arrange(carry, data)
        steps, rows = batch.is_first.shape
        noise = model.draw_noise(jax.random.wrap_key_data(data["seed"]), steps, rows, m)
        state, latent, metrics = model.update(state, start, batch, noise, m)
        last = Latent(*(x[-1] for x in latent))
        actions = {key: data[key][:, -1] for key in m.act_space}
        replay = {"stepid": data["stepid"][:, m.recipe.replay_context :]}
        replay |= {key: jnp.swapaxes(x, 0, 1) for key, x in self._entries(latent).items()}
        return state, Carry(last, actions), replay, metrics

    def arrange(self, carry: Carry, data: Mapping[str, jax.Array]) -> tuple[Latent, Batch]:
        """The latent before the batch, and the batch without its context, time-major.

        With replay context, the first chunk of a sequence starts from the latents that replay kept; later
        chunks (``consec`` above 0) go on from the carry (official dreamerv3/agent.py).
        """
        m, context = self.model, self.model.recipe.replay_context
        major = {key: jnp.swapaxes(data[key], 0, 1) for key in (*m.inputs, *m.act_space, *BOOKKEEPING)}
        previous = {
            key: jnp.concatenate([carry.actions[key][None], major[key][:-1]])[context:] for key in m.act_space
        }
        flags = {key: major[key][context:] for key in BOOKKEEPING}
        batch = Batch({key: major[key][context:] for key in m.inputs}, previous, **flags)
        if not context:
            return carry.latent, batch
        rows = len(data["consec"])
        kept = Latent(*(data[key][:, context - 1].reshape(rows, -1) for key in ("dyn/deter", "dyn/stoch")))
        first = data["consec"][:, :1] == 0
        latent = Latent(
            *(jnp.where(first, k.astype(m.dtype), c) for k, c in zip(kept, carry.latent, strict=True))
        )
        return latent, batch

    # ------------------------------------------------------------ both

    def _entries(self, latent: Latent) -> Actions:
        deter, stoch = (x.astype(jnp.float32) for x in latent)
        shape = (*stoch.shape[:-1], self.model.rssm.stoch, self.model.rssm.classes)
        return {"dyn/deter": deter, "dyn/stoch": stoch.reshape(shape)}


def _zero_action(rows: int, space: Space) -> Any:
    dtype = np.float32 if space.classes is None else np.int32
    return jax.device_put(np.zeros((rows, *space.shape), dtype))
