"""The scripts beside the tests: each says what it is for, and takes paths as its own words write them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("benchmarks", "simulations", "studies")
    for path in (ROOT / "tests" / folder).glob("*.py")
    if not path.name.startswith("test_") and "__main__" in path.read_text(encoding="utf-8")
)


def run(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 10


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_says_what_it_is_for(script: str) -> None:
    module = script.removesuffix(".py").replace("/", ".")
    done = run(ROOT, sys.executable, "-m", module, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


def test_the_interpreter_and_the_checkout_may_be_relative(tmp_path: Path) -> None:
    """Programs start in folders of their own; what is refused is refused by the program that was to run."""
    (tmp_path / "env").symlink_to(Path(sys.executable).parents[1])
    (tmp_path / "checkout").mkdir()
    suite = ROOT / "suites" / "quick" / "tdmpc2_quick.yaml"
    script = ROOT / "tests" / "benchmarks" / "throughput.py"
    done = run(
        tmp_path, sys.executable, str(script), str(suite), "--official-python", "env/bin/python",
        "--checkout", "checkout", "--rounds", "1",
    )  # fmt: skip
    assert done.returncode == 1
    assert f"official_tdmpc2: {tmp_path / 'checkout'}: git rev-parse" in done.stderr
