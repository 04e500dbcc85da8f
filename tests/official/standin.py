"""A program of our own that stands in for the official one: the same files, places and names, tiny.

It has what the backend relies on (the places to change for a CPU, ``TDMPC2`` and ``OnlineTrainer``
with their methods, ``eval.csv`` at its path) and random numbers that any disturbance would shift.
"""

from __future__ import annotations

from pathlib import Path

from tests import repositories

FILES = {
    ".gitignore": "*.pyc\n",
    "tdmpc2/common/__init__.py": "",
    "tdmpc2/trainer/__init__.py": "",
    "tdmpc2/envs/__init__.py": "",
    # In place of the real one, which takes seconds to import.
    "tdmpc2/torch.py": """\
from types import SimpleNamespace

threads = None
cuda = SimpleNamespace(is_available=lambda: False)

def set_num_threads(number):
    global threads
    threads = number
""",
    "tdmpc2/common/buffer.py": """\
import torch

def places():
    free = torch.cuda.mem_get_info()
    return 'cuda:0', 'cuda:0' if free[0] > 1 else 'cpu'
""",
    "tdmpc2/common/scale.py": """\
def places():
    return 'cuda:0', 'cuda:0'
""",
    "tdmpc2/envs/dmcontrol.py": """\
class Env:
    def step(self, action):
        return float(action)
""",
    "tdmpc2/tdmpc2.py": """\
import random
import torch
from common import buffer, scale

NAMES = ("consistency_loss", "reward_loss", "value_loss", "total_loss", "grad_norm", "pi_loss",
         "pi_grad_norm", "pi_entropy", "pi_scaled_entropy", "pi_scale")

def adam(lr, capturable):
    assert not capturable
    return lr

class Values(list):
    def mean(self):
        return sum(self) / len(self)

class Bias(list):
    def any(self):
        return any(self)

class Model:
    class _Qs:
        params = {("0", "bias"): Bias([0.0, 0.0])}

class TDMPC2:
    model = Model()

    def __init__(self, cfg):
        self.cfg, self.discount, self.updates, self.weight = cfg, 0.95, 0, random.gauss(0, 1)
        assert {'cuda:0', 'cuda:0', *buffer.places(), *scale.places()} == {"cpu"}
        self.lr = adam(cfg.lr, capturable=True), adam(cfg.lr, capturable=True)

    @property
    def plan(self):
        return self._plan

    def act(self, obs, t0=False, eval_mode=False):
        return self.plan(obs, t0=t0, eval_mode=eval_mode) if self.cfg.mpc else self.weight

    def _plan(self, obs, t0=False, eval_mode=False):
        for _ in range(self.cfg.iterations):
            values = self._estimate_value([random.gauss(0, 1) for _ in range(self.cfg.num_samples)])
        return max(values)

    def _estimate_value(self, z):
        return Values(self.weight * x for x in z)

    def update(self, buffer):
        self.updates += 1
        self.weight += self.lr[0] * random.gauss(0, 1)
        return dict.fromkeys(NAMES, float(self.updates))
""",
    "tdmpc2/trainer/online_trainer.py": """\
from pathlib import Path
import torch

class OnlineTrainer:
    def __init__(self, cfg, env, agent):
        self.cfg, self.env, self.agent, self._step, self.rows = cfg, env, agent, 0, []

    def to_td(self, obs):
        return obs

    def eval(self):
        rewards = [self.env.step(self.agent.act(0, eval_mode=True)) for _ in range(3)]
        self.rows.append((float(self._step), sum(rewards)))

    def train(self):
        pending = False
        while self._step <= self.cfg.steps:
            pending = pending or self._step % self.cfg.eval_freq == 0
            if pending and self._step % self.cfg.episode_length == 0:
                self.eval()
                pending = False
            self.to_td(self.env.step(self.agent.act(0)))
            if self._step >= self.cfg.seed_steps:
                self.agent.update(None)
            self._step += 1
        logs = Path(self.cfg.work_dir)
        (logs / "models").mkdir(parents=True)
        (logs / "models" / "final.pt").write_text(f"{self.agent.weight} {torch.threads}")
        lines = ["step,episode_reward", *(f"{a},{b!r}" for a, b in self.rows)]
        (logs / "eval.csv").write_text("\\n".join(lines) + "\\n")
""",
    "tdmpc2/train.py": """\
import random
import sys
from pathlib import Path
from types import SimpleNamespace
import torch
from tdmpc2 import TDMPC2
from envs.dmcontrol import Env
from trainer.online_trainer import OnlineTrainer

DEFAULTS = dict(
    obs="state", steps=40, eval_freq=20, eval_episodes=10, batch_size=256, reward_coef=0.1, value_coef=0.1,
    consistency_coef=20, rho=0.5, lr=3e-4, enc_lr_scale=0.3, grad_clip_norm=20, tau=0.01, discount_denom=5,
    discount_min=0.95, discount_max=0.995, buffer_size=1000, mpc=True, iterations=3, num_samples=8,
    num_elites=4, num_pi_trajs=2, horizon=3, min_std=0.05, max_std=2, temperature=0.5, log_std_min=-10,
    log_std_max=2, entropy_coef=1e-4, num_bins=101, vmin=-10, vmax=10, num_enc_layers=2, enc_dim=256,
    num_channels=32, mlp_dim=512, latent_dim=512, num_q=5, dropout=0.01, simnorm_dim=8, compile=False,
)

def value(text):
    try:
        return {"true": True, "false": False}.get(text, None) if text in ("true", "false") else eval(text)
    except Exception:
        return text

def train():
    assert torch.cuda.is_available()
    given = {k: value(v) for k, v in (a.split("=", 1) for a in sys.argv[1:])}
    cfg = SimpleNamespace(**{**DEFAULTS, **given})
    cfg.obs_shape, cfg.action_dim, cfg.episode_length, cfg.seed_steps = {"state": (5,)}, 1, 10, 20
    if getattr(cfg, "model_size", None) == 1:
        cfg.enc_dim = 256
    cfg.work_dir = f"logs/{cfg.task}/{cfg.seed}/{cfg.exp_name}"
    random.seed(cfg.seed)
    run_dir = Path(vars(cfg)["hydra.run.dir"]) / ".hydra"
    run_dir.mkdir(parents=True)
    (run_dir / "config.yaml").write_text(str(vars(cfg)))
    agent = TDMPC2(cfg)
    OnlineTrainer(cfg, Env(), agent).train()

if __name__ == "__main__":
    train()
""",
}


def make_checkout(folder: Path, changes: dict[str, tuple[str, str]] | None = None) -> str:
    """Write the stand-in into ``folder`` as a git checkout, with these changes; the commit."""
    return repositories.make_checkout(folder, FILES, changes)
