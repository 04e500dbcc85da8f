"""What a quick suite lets through and what it stops: the two tables of the README, for each family.

    python tests/studies/quick_study.py FAMILY repetitions [--count 20]   # the faithful backend, fresh seeds
    python tests/studies/quick_study.py FAMILY mistakes [NAME ...]        # one planted mistake at a time

FAMILY is tdmpc2 or dreamerv3. Each row is a whole `pytest --parity=quick` of the committed suite. The
mistakes are those of ``tests/FAMILY/mistakes.py``, planted by ``tests/FAMILY/mistaken_backend.py``.
Finished runs are kept below `.worldflux/study` and not run again.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / ".worldflux" / "study"
# Far from the seeds of the suites, so that every repetition is fresh.
FIRST_SEED = 1000


@dataclass(frozen=True)
class Study:
    """A family's quick suite, our backend that it runs, and the tests' folder with the mistakes."""

    family: str

    @property
    def suite(self) -> str:
        """The suite file, relative to the project."""
        return f"suites/quick/{self.family}_quick.yaml"

    @property
    def backend(self) -> str:
        """The folder of our backend."""
        return f"worldflux_{self.family}"

    def planted(self, mistake: str, parent: Path) -> Path:
        """A new folder of backends in ``parent`` in which ours has one mistake."""
        folder = parent / "backends" / f"{self.family}_{mistake}"
        source = ROOT / "backends" / self.backend / "backend.yaml"
        backend = yaml.safe_load(source.read_text(encoding="utf-8"))
        backend["argv"] = ["{python}", str(ROOT / "tests" / self.family / "mistaken_backend.py"), mistake]
        # What is studied is the suite's own power, so the components are not matched here; and what a recipe
        # may be is checked by a program in another folder.
        for key in ("match", "check"):
            backend.pop(key, None)
        path = folder / self.backend / "backend.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(backend), encoding="utf-8")
        return folder

    def without_components(self, parent: Path) -> str:
        """A new file in ``parent`` with the suite as training alone judges it."""
        whole = yaml.safe_load((ROOT / self.suite).read_text(encoding="utf-8"))
        table = whole["official"]["artifact"]
        table["path"] = str((ROOT / self.suite).parent / table["path"])
        path = parent / "suites" / f"{self.family}_quick.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**whole, "component_match": "none"}), encoding="utf-8")
        return str(path)

    def live_seeds(self) -> int:
        """How many seeds the suite's live side has."""
        return int(yaml.safe_load((ROOT / self.suite).read_text(encoding="utf-8"))["seeds"]["worldflux"])

    def run(self, run_id: str, *arguments: str, suite: str = "") -> dict[str, dict]:
        """The document of the suite, or of another file of it; run now unless it was before."""
        path = OUTPUT / run_id / f"{self.family}_quick" / "run.json"
        if not path.exists():
            resume = ["--parity-resume"] if (OUTPUT / run_id / "run.json").exists() else []
            command = [sys.executable, "-m", "pytest", "--parity=quick", suite or self.suite, "-q", *resume]
            fixed = ["--parity-output", str(OUTPUT), "--parity-run-id", run_id]
            done = subprocess.run(
                [*command, *fixed, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
            )
            if not path.exists():
                sys.exit(done.stdout + done.stderr)
        document: dict[str, dict] = json.loads(path.read_text(encoding="utf-8"))
        return document


TDMPC2, DREAMERV3 = Study("tdmpc2"), Study("dreamerv3")
STUDIES = {study.family: study for study in (TDMPC2, DREAMERV3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("family", choices=STUDIES)
    commands = parser.add_subparsers(dest="command", required=True)
    repetitions = commands.add_parser("repetitions")
    repetitions.add_argument("--count", type=int, default=20)
    mistakes = commands.add_parser("mistakes")
    mistakes.add_argument("names", nargs="*")
    options = parser.parse_args()
    if options.command == "repetitions":
        print_repetitions(STUDIES[options.family], options.count)
    else:
        print_mistakes(STUDIES[options.family], options.names)


def print_repetitions(study: Study, count: int) -> None:
    """One line per repetition and how many passed."""
    size = study.live_seeds()
    verdicts = []
    for i in range(count):
        seeds = range(FIRST_SEED + i * size, FIRST_SEED + (i + 1) * size)
        run_id = f"{study.family}_repetition_{i}"
        document = study.run(run_id, "--parity-seeds", ",".join(map(str, seeds)))
        verdicts.append(document["verdict"])
        print(f"{i:3} {document['verdict']:13} {document['verdict_reason']}", flush=True)
    print(f"{verdicts.count('pass')} of {count} passed")


def print_mistakes(study: Study, names: list[str]) -> None:
    """A markdown row per mistake: the verdict, and the metrics that did not pass."""
    sys.path.insert(0, str(ROOT))
    planted = importlib.import_module(f"tests.{study.family}.mistakes").MISTAKES
    print("| mistake | verdict | seen by |\n|---|---|---|")
    for name in names or planted:
        folder = study.planted(name, OUTPUT)
        run_id, suite = f"{study.family}_mistake_{name}", study.without_components(OUTPUT)
        document = study.run(run_id, "-o", f"parity_backends={folder}", suite=suite)
        seen = [f"{m} ({d['verdict']})" for m, d in document["metrics"].items() if d["verdict"] != "pass"]
        print(f"| {name} | {document['verdict']} | {', '.join(seen) or 'nothing'} |", flush=True)


if __name__ == "__main__":
    main()
