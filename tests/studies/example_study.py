"""What the example suites let through and what they stop: the tables of ``suites/examples/README.md``.

    python tests/studies/example_study.py repetitions [--suite ppo] [--count 3]    # no mistake, fresh seeds
    python tests/studies/example_study.py mistakes [NAME ...]                      # one mistake at a time

Each row is a whole ``pytest --parity=quick`` of a committed suite. A mistake is one line in a copy of the
programs, and no record tells of it. The environments of the examples have to be there. Finished runs are kept
below ``.worldflux/study`` and not run again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / ".worldflux" / "study" / "examples"
EXAMPLES = ROOT / "backends" / "examples"
# Far from the seeds of the suites, so that every repetition is fresh.
FIRST_SEED = 1000
SEEDS = {"ppo": 6, "sac": 6}
MODEL = "    log.begin(steps)\n"
UPDATE = "one = model._one_update; model._one_update = lambda **k: one(**{{**k, {}}})"
RESETS = (
    "buffer = model.rollout_buffer; compute = buffer.compute_returns_and_advantage\n"
    "    def unaware(**k): buffer.episode_starts[:] = 0; compute(**k)\n"
    "    buffer.compute_returns_and_advantage = unaware"
)


@dataclass(frozen=True)
class Mistake:
    """A line of a program, and what stands in its place."""

    suite: str
    file: str
    right: str
    wrong: str

    def plant(self, folder: Path) -> None:
        """Copy the examples into ``folder`` and make the mistake there."""
        shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        path = folder / self.file
        text = path.read_text(encoding="utf-8")
        assert text.count(self.right) == 1, f"{self.right!r} stands {text.count(self.right)} times in {path}"
        path.write_text(text.replace(self.right, self.wrong), encoding="utf-8")


def after_model(suite: str, line: str) -> Mistake:
    """A mistake that is made once the model is there, so that its record shows nothing."""
    return Mistake(suite, "observe.py", MODEL, f"    {line}\n{MODEL}")


NETWORKS = "sbx_ppo_mended/networks.py"
MISTAKES = {
    "lambda_1": after_model("ppo", "model.rollout_buffer.gae_lambda = 1.0"),
    "gamma_0.95": after_model("ppo", "model.rollout_buffer.gamma = 0.95"),
    "learning_rate_twice": after_model("ppo", "model.lr_schedule = lambda _: 6e-4"),
    "no_advantage_normalisation": after_model("ppo", UPDATE.format('"normalize_advantage": False')),
    "clip_range_0.4": after_model("ppo", UPDATE.format('"clip_range": 0.4')),
    "entropy_bonus_0.01": after_model("ppo", UPDATE.format('"ent_coef": 0.01')),
    "returns_cross_episodes": after_model("ppo", RESETS),
    "actor_gain_1": Mistake("ppo", NETWORKS, "dense(self.action_dim, 0.01)", "dense(self.action_dim, 1.0)"),
    "relu": Mistake(
        "ppo", NETWORKS, "self.activation_fn(dense(units, 2**0.5)(x))\n        return dense(1",
        "nn.relu(dense(units, 2**0.5)(x))\n        return dense(1",
    ),
    "policy_every_second_update": after_model("sac", "model.policy_delay = 2"),
    "target_entropy_twice": after_model("sac", "model.target_entropy *= 2"),
    "critic_learning_rate_0.001": after_model("sac", "model.initial_qf_learning_rate = 1e-3"),
    "learning_rate_half": after_model("sac", "model.lr_schedule = lambda _: 1.5e-4"),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("repetitions", "mistakes"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MISTAKES)}")
    parser.add_argument("--suite", choices=tuple(SEEDS), default="ppo")
    parser.add_argument("--count", type=int, default=3)
    options = parser.parse_args()
    if options.what == "mistakes":
        for name in options.names or MISTAKES:
            folder = OUTPUT / "planted" / name / "examples"
            MISTAKES[name].plant(folder)
            print_row(name, run(MISTAKES[name].suite, name, "-o", f"parity_backends={folder}"))
        return
    for repetition in range(options.count):
        first = FIRST_SEED + repetition * SEEDS[options.suite]
        seeds = ",".join(str(first + n) for n in range(SEEDS[options.suite]))
        name = f"{options.suite}_repetition_{repetition}"
        print_row(name, run(options.suite, name, "--parity-seeds", seeds))


def run(suite: str, run_id: str, *arguments: str) -> dict[str, dict]:
    """The suite's document; run now unless it was before."""
    path = OUTPUT / run_id / f"example_{suite}" / "run.json"
    if not path.exists():
        resume = ["--parity-resume"] if (OUTPUT / run_id / "run.json").exists() else []
        fixed = [f"suites/examples/quick/{suite}.yaml", "--device=cpu", f"--parity-output={OUTPUT}"]
        command = [sys.executable, "-m", "pytest", "--parity=quick", *fixed, f"--parity-run-id={run_id}"]
        done = subprocess.run(
            [*command, "-q", *resume, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if not path.exists():
            sys.exit(done.stdout + done.stderr)
    document: dict[str, dict] = json.loads(path.read_text(encoding="utf-8"))
    return document


def print_row(name: str, document: dict[str, dict]) -> None:
    """A markdown row: the verdict, and the metrics that do not pass, as effect in percent."""
    rows = document["metrics"]
    seen = [f"{metric} {row['verdict']}" for metric, row in rows.items() if row["verdict"] != "pass"]
    gates = [gate for gate, row in document["gates"].items() if row["verdict"] != "pass"]
    print(f"| {name} | {document['verdict']} | {', '.join([*gates, *seen])} |", flush=True)


if __name__ == "__main__":
    main()
