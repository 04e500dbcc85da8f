"""A program of our own that stands in for the official one: the same files, places and names, tiny.

It has what the backend relies on (``dreamerv3.main`` with its functions, configs.yaml, an agent whose
``train`` returns the metrics of the update before, ``scores.jsonl`` at its path) and random numbers
that any disturbance would shift.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests import repositories

EPISODE, STEPS, FIRST_UPDATE = 10, 40, 12
SIZES = {"size1m": 64, "size12m": 256, "size25m": 384, "size50m": 512, "size100m": 768, "size200m": 1024}
CONFIGS = {
    "defaults": {
        "logdir": "none",
        "seed": 0,
        "task": "dummy",
        "batch_size": 16,
        "batch_length": 64,
        "report_length": 32,
        "replay_context": 1,
        "replay": {"size": 5e6, "online": True},
        "run": {"steps": 1e10, "envs": 16, "train_ratio": 32.0, "report_every": 300, "save_every": 900},
        "logger": {"outputs": ["jsonl", "scope"]},
        "jax": {"platform": "cuda", "compute_dtype": "bfloat16"},
        "env": {
            "dmc": {"size": [64, 64], "repeat": 1, "camera": -1},
            "atari100k": {"size": [64, 64], "repeat": 4, "actions": "needed"},
        },
        "agent": {
            "opt": {"lr": 4e-5, "warmup": 1000},
            "dyn": {"typ": "rssm", "rssm": {"deter": 8192, "hidden": 1024, "classes": 64}},
            "enc": {"simple": {"units": 1024, "layers": 3, "mults": [2, 3]}},
            "policy": {"units": 1024, "layers": 3},
            "contdisc": True,
            "report": True,
            "report_gradnorms": False,
        },
    },
    **{size: {r".*\.units": units} for size, units in {**SIZES, "size400m": 1536}.items()},
    "atari100k": {"task": "atari100k_pong", "run.steps": float(STEPS), "run.envs": 1},
    "dmc_proprio": {"task": "dmc_walker_walk", r".*\.units": 64},
    "dmc_vision": {"task": "dmc_walker_walk"},
}
FILES = {
    ".gitignore": "*.pyc\n",
    "README.md": "stand-in\n",
    "embodied/__init__.py": "",
    "embodied/envs/atari.py": "def reset(self, np, dst):\n    np.copyto(dst, self.buffers[0])\n",
    "dreamerv3/__init__.py": "",
    "dreamerv3/configs.yaml": json.dumps(CONFIGS, indent=1),
    "dreamerv3/small.py": """\
import re

def flatten(mapping, prefix=""):
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, tuple(value) if isinstance(value, list) else value

class Config(dict):
    def __init__(self, mapping):
        super().__init__(flatten(mapping))
        self.flat = dict(self)

    def __getattr__(self, key):
        return self.flat[key]

    def update(self, changes):
        flat = dict(self.flat)
        for pattern, value in flatten(changes):
            for key in [k for k in flat if re.fullmatch(pattern, k)]:
                flat[key] = type(flat[key])(value)
        return Config(flat)

def parsed(old, words):
    if isinstance(old, tuple):
        return tuple(parsed(old[0], [w]) for w in words)
    (word,) = words
    return ["False", "True"].index(word) == 1 if isinstance(old, bool) else type(old)(word)

def parse(argv, named):
    words = {}
    for word in argv:
        if word.startswith("--"):
            words[word[2:]] = values = []
        else:
            values.append(word)
    config = Config(named["defaults"])
    for name in words.pop("configs"):
        config = config.update(named[name])
    changes = {}
    for pattern, values in words.items():
        keys = [k for k in config.flat if re.fullmatch(pattern, k)]
        assert keys, pattern
        changes.update((k, parsed(config.flat[k], values)) for k in keys)
    return Config({**config.flat, **changes})
""",
    "dreamerv3/agent.py": """\
import random
from types import SimpleNamespace

class Agent:
    def __init__(self, config):
        self.weight, self.updates, self.pending_mets = random.gauss(0, 1), 0, None
        self.jaxcfg = SimpleNamespace(profiler=True)

    def policy(self, carry, obs, mode="train"):
        return carry, self.weight + random.gauss(0, 1), {}

    def train(self, carry, data):
        self.updates += 1
        self.weight += random.gauss(0, 1)
        before, self.pending_mets = self.pending_mets, self.metrics()
        return carry, {}, self._take_outs(before) if before else {}

    def metrics(self):
        return {"opt/updates": self.updates, "opt/param_count": 7.0, "loss/dyn": float(self.updates)}

    def _take_outs(self, outs):
        return dict(outs)

    def save(self):
        return {"params": {"enc/mlp0/kernel": [self.weight, float(self.jaxcfg.profiler)]}}
""",
    "dreamerv3/main.py": f"""\
import json
import os
import random
from pathlib import Path
from types import SimpleNamespace
from . import small as elements

class yaml:
    class YAML:
        def __init__(self, typ):
            assert typ == "safe"

        def load(self, text):
            return json.loads(text)

class Step:
    value = 0

    def __int__(self):
        return self.value

class Logger:
    def __init__(self, logdir, multiplier):
        self.step, self.multiplier, self.logdir, self.rows = Step(), multiplier, logdir, []

    def add(self, mapping, prefix=None):
        if prefix == "episode":
            self.rows.append((int(self.step) * self.multiplier, mapping["score"]))

    def close(self):
        lines = [json.dumps({{"step": a, "episode/score": b}}) for a, b in self.rows]
        (self.logdir / "scores.jsonl").write_text("".join(line + "\\n" for line in lines))
        (self.logdir / "metrics.jsonl").write_text(json.dumps({{"step": 1}}) + "\\n")

def make_agent(config):
    from .agent import Agent
    return Agent(config)

def make_logger(config):
    suite = config.task.split("_")[0]
    return Logger(Path(config.logdir), config.flat[f"env.{{suite}}.repeat"])

def main(argv=None):
    named = yaml.YAML(typ="safe").load((Path(__file__).parent / "configs.yaml").read_text())
    config = elements.parse(argv, named)
    logdir = Path(config.logdir)
    (logdir / "ckpt").mkdir(parents=True)
    (logdir / "config.yaml").write_text(json.dumps(config.flat))
    random.seed(config.seed)
    agent, logger, score = make_agent(config), make_logger(config), 0.0
    while int(logger.step) < config.flat["run.steps"]:
        first = int(logger.step) % {EPISODE} == 0
        _, act, _ = agent.policy(None, {{"is_first": [first]}}, mode="train")
        logger.step.value += 1
        score += act
        if int(logger.step) % {EPISODE} == 0:
            logger.add({{"score": score, "length": {EPISODE}}}, prefix="episode")
            score = 0.0
        if int(logger.step) >= {FIRST_UPDATE}:
            agent.train(None, {{}})
    logger.close()
    (logdir / "end.txt").write_text(f"{{agent.weight!r}} {{os.environ['PJRT_NPROC']}}")
""",
}


def make_checkout(folder: Path, changes: dict[str, tuple[str, str]] | None = None) -> str:
    """Write the stand-in into ``folder`` as a git checkout, with these changes; the commit."""
    return repositories.make_checkout(folder, FILES, changes)
