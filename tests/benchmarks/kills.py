"""Kills sessions and programs at random moments, and resumes, until nothing is left to do.

    python tests/benchmarks/kills.py [--kills 200] [--seed 0] [--workers 2]

A suite of 60 pairs (120 short programs) is run as often as it takes for that many kills with SIGKILL.
After each run: every (system, task, seed) has succeeded exactly once, every attempt has a line, what had
been stored is still there, the chain of the log and of its sessions is whole, verdict and documents are
those of an undisturbed run but for timestamps, durations, host, run id, paths, attempts and the log's head,
and no process is left. Prints what was killed; ends with status 1 at the first thing that is not so. Of a
record whose line was not yet written when its session was killed, the exit status is unknown; the documents
say so in a warning, which is set aside here and counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_worldflux_parity.execution.store import SuiteStore
from pytest_worldflux_parity.judgement.run_log import run_log

RECIPE, PROTOCOL = {"level": 100.0}, {"eval_episodes": 1}
KINDS = ("controller", "program")
SYSTEMS, TASKS, SEEDS = ("official", "worldflux"), 6, 10
VOLATILE = {
    "resumed",
    "generated_at_utc", "duration_sec", "platform", "timestamp", "run_id", "arguments", "command", "attempt",
    "recovered", "attempts", "log", "sessions_sha256",
}  # fmt: skip
# The verdict's sentence says of attempts that were cut off that they were.
LOST = re.compile(r"with \d+ attempts? of \w+ lost(?: and \d+ attempts? of \w+ lost)?: ", re.IGNORECASE)
RECOVERED = re.compile(r"\d+ results were recovered without their exit status")

# A shell, since a Python takes longer to start than these programs are to run.
PROGRAM = r"""
here=$(dirname "$0")
task=$(sed -n 's/.*"task_id": *"\([^"]*\)".*/\1/p' "$1" | head -n 1)
seed=$(sed -n 's/.*"seed": *\([0-9]*\).*/\1/p' "$1" | head -n 1)
sleep 0.$((1 + seed % 4))
cp "$here/records/$task-$seed" metrics.tmp
mv metrics.tmp metrics.json
"""


@dataclass
class Campaign:
    """A project in which sessions are killed."""

    root: Path
    rng: random.Random
    tasks: int = TASKS
    seeds: int = SEEDS
    workers: int = 2
    pause: float = 3.0
    killed: Counter[str] = field(default_factory=Counter)
    sessions: int = 0
    recovered: int = 0

    def run_dir(self, run_id: str) -> Path:
        return self.root / "reports" / "parity" / run_id

    def start(self, run_id: str) -> subprocess.Popen[bytes]:
        """A session, which goes on with the run where it was begun."""
        command = [sys.executable, "-m", "pytest", "-p", "xdist"]
        command += ["-p", "pytest_worldflux_parity.plugin.hooks"]
        command += ["-p", "no:cacheprovider", "--parity=quick", f"--parity-run-id={run_id}"]
        command += [f"-n{self.workers}", "-q"]
        command += ["--parity-resume"] if (self.run_dir(run_id) / "run.json").exists() else []
        self.sessions += 1
        with open(self.root / "session.log", "wb") as log:
            return subprocess.Popen(
                command, cwd=self.root, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            )  # fmt: skip

    def run(self, run_id: str, kills: int) -> None:
        """Bring a run to its end, with so many kills at the most on the way."""
        stored, left = b"", kills
        for _ in range(kills + 5):
            session = self.start(run_id)
            while left > 0 and not ended(session, self.rng.uniform(0.0, self.pause)):
                left -= self.kill(session, self.rng.choice(KINDS))
            status = session.wait()
            now = self.stored(run_id)
            if not now.startswith(stored):
                raise AssertionError(f"{run_id}: what was stored is no longer there")
            stored = now
            if status == 0:
                return
        log = (self.root / "session.log").read_text(encoding="utf-8")
        raise AssertionError(f"{run_id}: not done after {kills + 5} sessions; the last:\n{log}")

    def kill(self, session: subprocess.Popen[bytes], kind: str) -> int:
        """Kill a part of a session, once there is one; how many were killed before it ended."""
        while not (found := parts(session.pid, kind)):
            if ended(session, 0.02):
                return 0
        # Not at the moment at which it came up.
        if kind != "controller" and ended(session, self.rng.uniform(0.0, 0.2)):
            return 0
        try:
            os.kill(self.rng.choice(found), signal.SIGKILL)
        except ProcessLookupError:
            return 0
        self.killed[kind] += 1
        return 1

    def stored(self, run_id: str) -> bytes:
        path = self.run_dir(run_id) / "kills" / "parity_runs.jsonl"
        return path.read_bytes() if path.exists() else b""

    def check(self, run_id: str, undisturbed: dict[str, Any]) -> None:
        """Raise AssertionError where a run that was brought to its end is not what it should be."""
        lines = [json.loads(x) for x in self.stored(run_id).splitlines()]
        successes = Counter((x["system"], x["task_id"], x["seed"]) for x in lines if x["success"])
        if len(successes) != len(SYSTEMS) * self.tasks * self.seeds or set(successes.values()) != {1}:
            raise AssertionError(f"{run_id}: not every run once: {successes.most_common(3)}")
        folders = [*self.run_dir(run_id).glob("kills/executions/*/seed_*/*/attempt_*")]
        if len(folders) != len(lines):
            raise AssertionError(f"{run_id}: {len(folders)} attempts have {len(lines)} lines")
        if problems := run_log(SuiteStore(self.run_dir(run_id), "kills").read()).problems:
            raise AssertionError(f"{run_id}: {problems}")
        self.recovered += sum(bool(x["recovered"]) for x in lines)
        found = self.documents(run_id)
        for name in sorted(undisturbed.keys() | found.keys()):
            if found.get(name) != undisturbed.get(name):
                raise AssertionError(f"{run_id}: {name} differs:\n{found.get(name)}\n{undisturbed.get(name)}")
        end = time.monotonic() + 30
        while left := [p for p in processes() if str(self.root) in command_of(p)]:
            if time.monotonic() > end:
                raise AssertionError(f"{run_id}: still running: {[command_of(p) for p in left]}")
            time.sleep(0.05)

    def documents(self, run_id: str) -> dict[str, Any]:
        folder = self.run_dir(run_id)
        paths = (p for p in sorted(folder.rglob("*")) if p.suffix in (".json", ".md"))
        texts = {
            p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8").replace(run_id, "RUN")
            for p in paths
            if "executions" not in p.parts
        }
        return {n: normal(json.loads(t)) if n.endswith("json") else plain(t) for n, t in texts.items()}

    def write(self) -> None:
        """The suite and its two programs."""
        (self.root / "pytest.ini").write_text("[pytest]\n")
        names = [f"task-{i}" for i in range(self.tasks)]
        for system in SYSTEMS:
            self._write_backend(system, names)
        suite = {
            "schema_version": "worldflux.parity.suite.v1", "suite_id": "kills", "family": "fake",
            "track": "quick", "tasks": names, "seeds": self.seeds, "budget": {"step": 1000}, "retries": 3,
            "recipe": RECIPE, "eval_protocol": PROTOCOL,
            "official": {"backend": "shell_official"}, "worldflux": {"backend": "shell_worldflux"},
            "metrics": [{"name": "episode_return", "rule": "calibrated", "margin": 0.05}],
        }  # fmt: skip
        path = self.root / "suites" / "quick" / "kills.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(suite))

    def _write_backend(self, system: str, tasks: list[str]) -> None:
        folder, adapter = self.root / "backends" / f"shell_{system}", f"shell_{system}"
        (folder / "records").mkdir(parents=True)
        description = {
            "adapter": adapter, "kind": "fake", "family": "fake", "system": system, "environment": "shared",
            "argv": ["/bin/sh", "{backend_dir}/program.sh"],
        }  # fmt: skip
        (folder / "backend.yaml").write_text(json.dumps(description))
        (folder / "program.sh").write_text(PROGRAM)
        for task in tasks:
            for seed in range(self.seeds):
                record = record_of(adapter, task, seed)
                (folder / "records" / f"{task}-{seed}").write_text(json.dumps(record))


def record_of(adapter: str, task: str, seed: int) -> dict[str, Any]:
    score = 100.0 + random.Random(f"{adapter} {task} {seed}").gauss(0, 0.5)
    return {
        "schema_version": "parity.v1", "adapter": adapter, "task_id": task, "seed": seed, "device": "cpu",
        "curve": [{"step": 1000, "return": score}],
        "metadata": {
            "mode": "live", "adapter_id": adapter, "backend_kind": "fake", "effective_recipe": RECIPE,
            "eval_protocol": PROTOCOL, "policy_mode": "trained",
            "source": {"tree_sha256": f"{sum(adapter.encode()):064x}"},
        },
    }  # fmt: skip


def ended(session: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        session.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def parts(controller: int, kind: str) -> list[int]:
    """Process ids of a session's controller, or of its programs."""
    if kind == "controller":
        return [controller]
    return [p for p in children(controller) if "program.sh" in command_of(p)]


def processes() -> Iterator[int]:
    yield from (int(p.name) for p in Path("/proc").glob("[0-9]*"))


def children(pid: int) -> list[int]:
    found = []
    for child in processes():
        try:
            text = Path(f"/proc/{child}/stat").read_text()
        except OSError:
            continue
        if int(text.rpartition(")")[2].split()[1]) == pid:
            found.append(child)
    return found


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def normal(value: Any) -> Any:
    """A document without what may differ between two runs that did the same."""
    if isinstance(value, dict):
        return {k: normal(v) for k, v in value.items() if k not in VOLATILE}
    if isinstance(value, list):
        return [normal(v) for v in value if not (isinstance(v, str) and RECOVERED.fullmatch(v))]
    return LOST.sub("", re.sub(r"attempt_\d+", "attempt_N", value)) if isinstance(value, str) else value


def plain(text: str) -> list[str]:
    # Of the claim card: when it ran, how many attempts it took, that it was resumed and what was recovered.
    own = r"Judged at \S+|\| run \|.*|\| attempts of .*|\| log \|.*|\| resumed \|.*|\| warnings \|.*"
    lines = LOST.sub("", re.sub(own, "", text)).casefold().splitlines()
    return [line for line in lines if line.strip() and not RECOVERED.search(line)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims (default: 0)")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), random.Random(options.seed), workers=options.workers)
        campaign.write()
        campaign.run("undisturbed", 0)
        undisturbed = campaign.documents("undisturbed")
        runs = 0
        while (made := campaign.killed.total()) < options.kills:
            runs += 1
            campaign.run(f"run-{runs}", options.kills - made)
            campaign.check(f"run-{runs}", undisturbed)
            print(f"run {runs}: {dict(campaign.killed)}, {campaign.sessions} sessions", flush=True)
        print(
            f"{campaign.killed.total()} kills in {runs} runs and {campaign.sessions} sessions: every run "
            f"succeeded once, documents as undisturbed, no process left; {campaign.recovered} records whose "
            "line was not yet written when their session was killed"
        )


if __name__ == "__main__":
    main()
