"""What the installed wheel costs a project that has nothing to do with it: plain pytest, with and without.

    python -m tests.benchmarks.plain_pytest [--python PATH] [--rounds 20]

Without --python it makes a virtual environment with the wheel of this checkout and what it needs. Both ways
run in turn; a round is user and system time of the whole process (os.wait4), in milliseconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MS = 10.0
WITHOUT = ("-p", "no:worldflux_parity")


def install(folder: Path) -> Path:
    """The interpreter of a new environment with the wheel in it, all of it compiled."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--compile", ROOT], check=True)
    return python


def used_ms(python: Path, project: Path, *words: str) -> float:
    """Processor time of one session, in milliseconds."""
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    # What pytest makes of modules of plugins is kept beside them, where bytecode may be written.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen(command, cwd=project, stdout=nowhere, env=environment)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, process.returncode
    return 1000 * (used.ru_utime + used.ru_stime)


def compare(python: Path, project: Path, rounds: int) -> list[tuple[float, float]]:
    """(with, without) of each round; the first, which warms caches, is left out."""
    pairs = [(used_ms(python, project), used_ms(python, project, *WITHOUT)) for _ in range(rounds + 1)]
    return pairs[1:]


def main() -> int:
    """Measure and print; 1 where the plugin costs more than its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--python", type=Path, help="of an environment with the wheel")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="worldflux-plain-") as name:
        python = options.python or install(Path(name) / "env")
        project = Path(name) / "project"
        project.mkdir()
        (project / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (project / "test_one.py").write_text("def test_one() -> None:\n    pass\n", encoding="utf-8")
        pairs = compare(Path(os.path.abspath(python)), project, options.rounds)
    ours, plain = (fastest(list(side)) for side in zip(*pairs, strict=True))
    print(f"with {ours:.1f} ms, without {plain:.1f} ms: {ours - plain:.1f} ms more (limit {LIMIT_MS:g})")
    return int(ours - plain > LIMIT_MS)


def fastest(values: list[float]) -> float:
    """The mean of the fastest quarter: what else runs on the machine only ever adds."""
    return statistics.fmean(sorted(values)[: max(1, len(values) // 4)])


if __name__ == "__main__":
    sys.exit(main())
