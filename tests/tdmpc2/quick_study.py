"""What the quick suite lets through and what it stops: the two tables of the README.

    python tests/tdmpc2/quick_study.py repetitions [--count 20]    # the faithful backend, fresh seeds
    python tests/tdmpc2/quick_study.py mistakes [NAME ...]         # one planted mistake at a time

Each row is a whole `pytest --parity=quick` of the committed suite. Finished runs are kept below
`.worldflux/study` and not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OUTPUT = ROOT / ".worldflux" / "study"
SUITE = "suites/quick/tdmpc2_quick.yaml"
# Far from the seeds of the suite, so that every repetition is fresh.
FIRST_SEED = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    repetitions = commands.add_parser("repetitions")
    repetitions.add_argument("--count", type=int, default=20)
    mistakes = commands.add_parser("mistakes")
    mistakes.add_argument("names", nargs="*")
    options = parser.parse_args()
    if options.command == "repetitions":
        print_repetitions(options.count)
    else:
        print_mistakes(options.names)


def print_repetitions(count: int) -> None:
    """One line per repetition and how many passed."""
    size = live_seeds()
    verdicts = []
    for i in range(count):
        seeds = range(FIRST_SEED + i * size, FIRST_SEED + (i + 1) * size)
        document = run(f"repetition_{i}", "--parity-seeds", ",".join(map(str, seeds)))
        verdicts.append(document["verdict"])
        print(f"{i:3} {document['verdict']:13} {document['verdict_reason']}", flush=True)
    print(f"{verdicts.count('pass')} of {count} passed")


def print_mistakes(names: list[str]) -> None:
    """A markdown row per mistake: the verdict, and the metrics that did not pass."""
    sys.path.insert(0, str(ROOT))
    from tests.tdmpc2.mistakes import MISTAKES

    print("| mistake | verdict | seen by |\n|---|---|---|")
    for name in names or MISTAKES:
        document = run(f"mistake_{name}", "-o", f"parity_backends={planted(name, OUTPUT)}")
        seen = [f"{m} ({d['verdict']})" for m, d in document["metrics"].items() if d["verdict"] != "pass"]
        print(f"| {name} | {document['verdict']} | {', '.join(seen) or 'nothing'} |", flush=True)


def planted(mistake: str, parent: Path) -> Path:
    """A new folder of backends in ``parent`` in which our TD-MPC2 has one mistake."""
    folder = parent / "backends" / mistake
    backend = yaml.safe_load((ROOT / "backends/worldflux_tdmpc2/backend.yaml").read_text())
    backend["argv"] = ["{python}", str(HERE / "mistaken_backend.py"), mistake]
    path = folder / "worldflux_tdmpc2" / "backend.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(backend))
    return folder


def live_seeds() -> int:
    """How many seeds the suite's live side has."""
    return int(yaml.safe_load((ROOT / SUITE).read_text())["seeds"]["worldflux"])


def run(run_id: str, *arguments: str) -> dict[str, dict]:
    """The suite's document; run now unless it was before."""
    path = OUTPUT / run_id / "tdmpc2_quick" / "run.json"
    if not path.exists():
        resume = ["--parity-resume"] if (OUTPUT / run_id / "run.json").exists() else []
        command = [sys.executable, "-m", "pytest", "--parity=quick", SUITE, "-q", *resume]
        fixed = ["--parity-output", str(OUTPUT), "--parity-run-id", run_id]
        done = subprocess.run(
            [*command, *fixed, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if not path.exists():
            sys.exit(done.stdout + done.stderr)
    document: dict[str, dict] = json.loads(path.read_text(encoding="utf-8"))
    return document


if __name__ == "__main__":
    main()
