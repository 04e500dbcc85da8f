"""The hyperparameters of one run: a tree of frozen dataclasses, checked before anything is built.

Names, units and defaults are those of the official program's ``configs.yaml``; a leaf is named by its dotted
path (``agent.dyn.rssm.deter``). ``run.steps`` counts agent steps of all environments together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_worldflux_parity.wire.recipe import (
    ABOVE_ZERO,
    BELOW_ONE,
    FRACTION,
    FROM_ONE,
    FROM_TWO,
    FROM_ZERO,
    Range,
    RecipeError,
    check_keys,
    check_relations,
    check_values,
    coerce,
)

# ---------------------------------------------------------------- the tree


@dataclass(frozen=True)
class LossScales:
    rec: float = 1.0
    rew: float = 1.0
    con: float = 1.0
    dyn: float = 1.0
    rep: float = 0.1
    policy: float = 1.0
    value: float = 1.0
    repval: float = 0.3


@dataclass(frozen=True)
class Opt:
    lr: float = 4e-5
    agc: float = 0.3
    eps: float = 1e-20
    beta1: float = 0.9
    beta2: float = 0.999
    momentum: bool = True
    wd: float = 0.0
    schedule: str = "const"
    warmup: int = 1000
    anneal: int = 0


@dataclass(frozen=True)
class Style:
    """What the layers of one network have in common."""

    act: str = "silu"
    norm: str = "rms"
    winit: str = "trunc_normal_in"


@dataclass(frozen=True)
class Rssm(Style):
    deter: int = 8192
    hidden: int = 1024
    stoch: int = 32
    classes: int = 64
    unimix: float = 0.01
    outscale: float = 1.0
    imglayers: int = 2
    obslayers: int = 1
    dynlayers: int = 1
    absolute: bool = False
    blocks: int = 8
    free_nats: float = 1.0


@dataclass(frozen=True)
class Mlp(Style):
    layers: int = 3
    units: int = 1024


@dataclass(frozen=True)
class Coder(Mlp):
    """What encoder and decoder have in common: an MLP of vectors and convolutions of images."""

    depth: int = 64
    mults: tuple[int, ...] = (2, 3, 4, 4)
    outer: bool = False
    kernel: int = 5
    strided: bool = False

    @property
    def depths(self) -> tuple[int, ...]:
        """Channels of the convolutions, from the image inwards."""
        return tuple(self.depth * mult for mult in self.mults)


@dataclass(frozen=True)
class Encoder(Coder):
    symlog: bool = True


@dataclass(frozen=True)
class Decoder(Coder):
    outscale: float = 1.0
    bspace: int = 8


@dataclass(frozen=True)
class Dyn:
    typ: str = "rssm"
    rssm: Rssm = Rssm()


@dataclass(frozen=True)
class Enc:
    typ: str = "simple"
    simple: Encoder = Encoder()


@dataclass(frozen=True)
class Dec:
    typ: str = "simple"
    simple: Decoder = Decoder()


@dataclass(frozen=True)
class TwoHotHead(Mlp):
    output: str = "symexp_twohot"
    outscale: float = 0.0
    bins: int = 255


@dataclass(frozen=True)
class ContinueHead(Mlp):
    layers: int = 1
    output: str = "binary"
    outscale: float = 1.0
    bins = 1  # no leaf: one logit


@dataclass(frozen=True)
class PolicyHead(Mlp):
    minstd: float = 0.1
    maxstd: float = 1.0
    outscale: float = 0.01
    unimix: float = 0.01


@dataclass(frozen=True)
class ReplLoss:
    slowtar: bool = False
    lam: float = 0.95
    slowreg: float = 1.0


@dataclass(frozen=True)
class ImagLoss(ReplLoss):
    actent: float = 3e-4


@dataclass(frozen=True)
class SlowValue:
    rate: float = 0.02
    every: int = 1


@dataclass(frozen=True)
class ReturnNorm:
    impl: str = "perc"
    rate: float = 0.01
    limit: float = 1.0
    perclo: float = 5.0
    perchi: float = 95.0
    debias: bool = False


@dataclass(frozen=True)
class PlainNorm:
    """What the official ``valnorm`` and ``advnorm`` can be given; the rest is its class's default."""

    impl: str = "none"
    rate: float = 0.01
    limit: float = 1e-8
    perclo = 5.0
    perchi = 95.0
    debias = True


@dataclass(frozen=True)
class AgentRecipe:
    loss_scales: LossScales = LossScales()
    opt: Opt = Opt()
    ac_grads: bool = False
    dyn: Dyn = Dyn()
    enc: Enc = Enc()
    dec: Dec = Dec()
    rewhead: TwoHotHead = TwoHotHead(layers=1)
    conhead: ContinueHead = ContinueHead()
    policy: PolicyHead = PolicyHead()
    value: TwoHotHead = TwoHotHead()
    policy_dist_disc: str = "categorical"
    policy_dist_cont: str = "bounded_normal"
    imag_last: int = 0
    imag_length: int = 15
    horizon: int = 333
    contdisc: bool = True
    imag_loss: ImagLoss = ImagLoss()
    repl_loss: ReplLoss = ReplLoss()
    slowvalue: SlowValue = SlowValue()
    retnorm: ReturnNorm = ReturnNorm()
    valnorm: PlainNorm = PlainNorm()
    advnorm: PlainNorm = PlainNorm()
    reward_grad: bool = True
    repval_loss: bool = True
    repval_grad: bool = True


@dataclass(frozen=True)
class Dmc:
    size: tuple[int, ...] = (64, 64)
    repeat: int = 1
    proprio: bool = True
    image: bool = True
    camera: int = -1


@dataclass(frozen=True)
class Atari100k:
    size: tuple[int, ...] = (64, 64)
    repeat: int = 4
    sticky: bool = False
    gray: bool = False
    actions: str = "needed"
    lives: str = "unused"
    noops: int = 30
    autostart: bool = False
    resize: str = "pillow"
    # The first observation is of its own frame (official versions from 2026-05), or of the episode before.
    reset_frame: str = "current"
    clip_reward: bool = False


@dataclass(frozen=True)
class Env:
    dmc: Dmc = Dmc()
    atari100k: Atari100k = Atari100k()


@dataclass(frozen=True)
class Replay:
    size: int = 5_000_000
    online: bool = True


@dataclass(frozen=True)
class Run:
    steps: int = 10_000_000_000
    envs: int = 16
    train_ratio: float = 32.0


@dataclass(frozen=True)
class Jax:
    compute_dtype: str = "bfloat16"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run but its seed and device; built by :func:`parse_recipe`."""

    task: str
    config: str
    batch_size: int = 16
    batch_length: int = 64
    replay_context: int = 1
    replay: Replay = Replay()
    run: Run = Run()
    jax: Jax = Jax()
    agent: AgentRecipe = AgentRecipe()
    env: Env = Env()

    @property
    def suite(self) -> str:
        """``dmc`` or ``atari100k``."""
        return self.task.split("_", 1)[0]

    @property
    def action_repeat(self) -> int:
        """Environment frames of one agent step."""
        return int(getattr(self.env, self.suite).repeat)


# ---------------------------------------------------------------- named configurations and sizes

CONFIGS: dict[str, dict[str, Any]] = {
    "dmc_proprio": {
        "size": "size1m",
        "env.dmc.image": False,
        "run.steps": 1_100_000,
        "run.train_ratio": 1024.0,
    },
    "dmc_vision": {"env.dmc.proprio": False, "run.steps": 1_100_000, "run.train_ratio": 256.0},
    "atari100k": {"run.steps": 110_000, "run.envs": 1, "run.train_ratio": 256.0},
}
_SUITE_CONFIGS = {"dmc": ("dmc_proprio", "dmc_vision"), "atari100k": ("atari100k",)}

SIZES: dict[str, dict[str, int]] = {
    name: {"deter": deter, "hidden": hidden, "classes": depth, "depth": depth, "units": hidden}
    for name, deter, hidden, depth in (
        ("size1m", 512, 64, 4),
        ("size12m", 2048, 256, 16),
        ("size25m", 3072, 384, 24),
        ("size50m", 4096, 512, 32),
        ("size100m", 6144, 768, 48),
        ("size200m", 8192, 1024, 64),
        ("size400m", 12288, 1536, 96),
    )
}
DEFAULT_SIZE = "size200m"
DEFAULT_PROFILE = "official_xl"

# Keys that may be given without their path; they set every network that has the key.
SHORTHANDS = ("deter", "hidden", "stoch", "classes", "blocks", "units", "layers", "depth", "bins")


def parse_recipe(given: Mapping[str, Any], task: str) -> Recipe:
    """The recipe that ``given`` describes for ``task``: defaults, config, size, shorthands, dotted keys.

    Raises:
        RecipeError: an unknown task, key (the nearest is named), type or value, values that do not fit each
            other, or a value that the official program takes and this one does not.
    """
    task = to_canonical_task(task)
    config = _choose_config(given, task)
    default = Recipe(task=task, config=config)
    leaves = _list_leaves(default)
    for layer in _list_layers(given, config):
        for key, value in layer.items():
            leaves[key] = coerce(key, value, leaves[key])
    check_values(leaves, _CHOICES, _RANGES)
    check_relations(_relations(leaves))
    return _with_leaves(default, leaves)


def to_canonical_task(task: str) -> str:
    """``atari_<game>`` names the same task as ``atari100k_<game>``.

    Raises:
        RecipeError: a task of another suite.
    """
    if task.startswith("atari_"):
        task = "atari100k_" + task.removeprefix("atari_")
    suite, _, name = task.partition("_")
    if suite not in _SUITE_CONFIGS or not name:
        raise RecipeError(f"task is {task!r}; valid: dmc_<domain>_<task>, atari100k_<game>")
    return task


def effective_recipe(recipe: Recipe, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every leaf with the value that the run used, dotted; of ``env`` only the suite of the task.

    Args:
        given: the mapping that ``recipe`` was parsed from; the size and the shorthands in it are stated too,
            in the words of the suite.
    """
    said = {key: value for key, value in (given or {}).items() if key in ("size", *SHORTHANDS)}
    derived = {"model_profile": find_model_profile(recipe), "action_repeat": recipe.action_repeat}
    leaves = said | _list_leaves(recipe) | derived
    own = f"env.{recipe.suite}."
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in leaves.items()
        if not key.startswith("env.") or key.startswith(own)
    }


def find_model_profile(recipe: Recipe) -> str:
    """``official_xl`` for the default sizes, the name of a size where all are equal, else ``custom``."""
    shapes = {key: value for key, value in _list_leaves(recipe).items() if _find_shorthand(key)}
    default = Recipe(task=recipe.task, config=recipe.config)
    for name, sizes in SIZES.items():
        expected = _list_leaves(default) | dict(_spread_shorthands(sizes))
        if all(expected[key] == value for key, value in shapes.items()):
            return DEFAULT_PROFILE if name == DEFAULT_SIZE else name
    return "custom"


# ---------------------------------------------------------------- from a flat mapping to the tree


def _choose_config(given: Mapping[str, Any], task: str) -> str:
    valid = _SUITE_CONFIGS[task.split("_", 1)[0]]
    config = given.get("config", valid[0])
    if config not in valid:
        raise RecipeError(f"recipe.config is {config!r}; valid for {task}: {', '.join(valid)}")
    return str(config)


def _list_layers(given: Mapping[str, Any], config: str) -> Iterator[dict[str, Any]]:
    """What is laid over the defaults, one dotted mapping after the other."""
    named = dict(CONFIGS[config])
    size = given.get("size", named.pop("size", None))
    if size is not None:
        if not isinstance(size, str) or size not in SIZES:
            raise RecipeError(f"recipe.size is {size!r}; valid: {', '.join(SIZES)}")
        yield dict(_spread_shorthands(SIZES[size]))
    yield named
    yield dict(_spread_shorthands({key: value for key, value in given.items() if key in SHORTHANDS}))
    dotted = {k: v for k, v in given.items() if k not in SHORTHANDS and k not in ("config", "size")}
    check_keys(dotted, ["config", "size", *SHORTHANDS, *LEAVES])
    yield dotted


def _spread_shorthands(shorthands: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in shorthands.items():
        for key in LEAVES:
            if _find_shorthand(key) == name:
                yield key, value


def _find_shorthand(key: str) -> str | None:
    """The shorthand that sets the leaf ``key``, or None."""
    name = key.rsplit(".", 1)[-1]
    return name if key.startswith("agent.") and name in SHORTHANDS else None


def _list_leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for f in dataclasses.fields(node):
        value = getattr(node, f.name)
        key = prefix + f.name
        leaves |= _list_leaves(value, key + ".") if dataclasses.is_dataclass(value) else {key: value}
    return leaves


def _with_leaves(node: Any, leaves: Mapping[str, Any], prefix: str = "") -> Any:
    """``node`` with other values for its leaves."""
    values = {}
    for f in dataclasses.fields(node):
        key, value = prefix + f.name, getattr(node, f.name)
        values[f.name] = leaves[key] if key in leaves else _with_leaves(value, leaves, key + ".")
    return dataclasses.replace(node, **values)


LEAVES: dict[str, Any] = {
    key: value
    for key, value in _list_leaves(Recipe(task="", config="")).items()
    if key not in ("task", "config")
}


# ---------------------------------------------------------------- what a value may be

_ACTS = ("silu", "gelu", "relu", "elu", "tanh", "mish", "relu2", "none")
_INITS = tuple(
    f"{dist}_{fan}" for dist in ("trunc_normal", "normal", "uniform") for fan in ("in", "out", "avg")
)
_CHOICES: dict[str, tuple[str, ...]] = {
    "act": _ACTS,
    "norm": ("rms", "layer", "none"),
    "winit": _INITS,
    "output": ("symexp_twohot",),
    "agent.dyn.typ": ("rssm",),
    "agent.enc.typ": ("simple",),
    "agent.dec.typ": ("simple",),
    "agent.conhead.output": ("binary",),
    "agent.policy_dist_disc": ("categorical",),
    "agent.policy_dist_cont": ("bounded_normal", "normal_logstd"),
    "agent.opt.schedule": ("const", "linear", "cosine"),
    "impl": ("perc", "meanstd", "none"),
    "jax.compute_dtype": ("bfloat16", "float32"),
    "env.atari100k.actions": ("needed", "all"),
    "env.atari100k.lives": ("unused", "discount", "reset"),
    "env.atari100k.resize": ("pillow",),
    "env.atari100k.reset_frame": ("current", "stale"),
}


_PERCENT: Range = (lambda n: 0 <= n <= 100, "0 to 100")
_RANGES: dict[str, Range] = {
    "bins": (lambda n: n >= 3 and n % 2 == 1, "an odd number of 3 or more"),
    "lam": FRACTION, "unimix": BELOW_ONE, "beta1": BELOW_ONE, "beta2": BELOW_ONE,
    "perclo": _PERCENT, "perchi": _PERCENT,
    "eps": ABOVE_ZERO, "limit": ABOVE_ZERO, "train_ratio": ABOVE_ZERO, "minstd": ABOVE_ZERO,
    "maxstd": ABOVE_ZERO, "horizon": FROM_TWO,
    "rate": (lambda n: 0 < n <= 1, "above 0, up to 1"),
    "camera": (lambda n: n >= -1, "-1 or more"),
    **dict.fromkeys(
        ("deter", "hidden", "stoch", "classes", "blocks", "units", "depth", "kernel", "every", "repeat",
         "envs", "steps", "batch_size", "batch_length", "imag_length", "replay.size"), FROM_ONE),
    **dict.fromkeys(
        ("layers", "imglayers", "obslayers", "dynlayers", "bspace", "imag_last", "replay_context", "warmup",
         "anneal", "noops", "lr", "agc", "wd", "outscale", "free_nats", "actent", "slowreg"), FROM_ZERO),
    **dict.fromkeys((f.name for f in dataclasses.fields(LossScales)), FROM_ZERO),
}  # fmt: skip


def _relations(r: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    rssm, dec, opt = "agent.dyn.rssm.", "agent.dec.simple.", "agent.opt."
    deter, blocks, bspace = r[rssm + "deter"], r[rssm + "blocks"], r[dec + "bspace"]
    yield deter % blocks == 0, f"{rssm}deter ({deter}) must be a multiple of {rssm}blocks ({blocks})"
    yield (
        bspace > 0 and deter % bspace == 0,
        f"{dec}bspace ({bspace}) must divide {rssm}deter ({deter}); 0 is not supported here",
    )
    yield r[opt + "momentum"], f"{opt}momentum is false, which the official optimiser ignores; leave it true"
    scheduled = r[opt + "schedule"] != "const"
    yield (
        not scheduled or r[opt + "anneal"] > r[opt + "warmup"],
        f"{opt}schedule {r[opt + 'schedule']!r} needs {opt}anneal above {opt}warmup",
    )
    yield (
        r["agent.policy.minstd"] <= r["agent.policy.maxstd"],
        "agent.policy.minstd must not exceed agent.policy.maxstd",
    )
    low, high = r["agent.retnorm.perclo"], r["agent.retnorm.perchi"]
    yield low <= high, "agent.retnorm.perclo must not exceed agent.retnorm.perchi"
    rate = r["agent.slowvalue.rate"]
    yield rate == 1 or rate < 0.5, f"agent.slowvalue.rate is {rate}; valid: 1, or below 0.5"
    yield from _environment_relations(r)


def _environment_relations(r: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    rows = r["batch_size"] * (r["batch_length"] + r["replay_context"])
    yield rows <= r["replay.size"], f"replay.size ({r['replay.size']}) must hold one batch of {rows} steps"
    yield (
        r["env.dmc.proprio"] or r["env.dmc.image"],
        "env.dmc.proprio and env.dmc.image are both false, which leaves nothing to observe",
    )
    for key in ("env.dmc.size", "env.atari100k.size"):
        yield len(r[key]) == 2, f"{key} is {list(r[key])}; valid: [height, width]"
