"""``fixtures``: made-up score tables, so that a release job can rehearse its whole chain without a GPU.

The numbers come from sha256 of their own names, so the same files are written every time and everywhere.
Every file says that it is a fixture, and so does every document that is made of one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..execution import store
from ..inputs.scores import ScoreRow
from ..inputs.scores.canonical import write_canonical_json
from ..judgement.gates.fixture import BANNER
from .options import argument, command, project_of

SIDES = ("official", "worldflux")
LOCK_NAME = "upstream_lock.json"
# No repository has it; nothing is fetched from there.
FIXTURE_COMMIT = "0" * 40
REPO = "https://example.invalid/fixture"
POINTS = 4
# Of one score about its task's level, relative.
DEVIATION = 0.02
GAMES = (
    "alien amidar assault asterix bank_heist battle_zone boxing breakout chopper_command crazy_climber "
    "demon_attack freeway frostbite gopher hero jamesbond kangaroo krull kung_fu_master ms_pacman pong "
    "private_eye qbert road_runner seaquest up_n_down"
)
CONTROL = (
    "acrobot-swingup cartpole-balance cartpole-balance-sparse cartpole-swingup cartpole-swingup-sparse "
    "cheetah-jump cheetah-run cheetah-run-back cheetah-run-backwards cheetah-run-front cup-catch cup-spin "
    "dog-run dog-stand dog-trot dog-walk finger-spin finger-turn-easy finger-turn-hard fish-swim hopper-hop "
    "hopper-hop-backwards hopper-stand humanoid-run humanoid-stand humanoid-walk pendulum-spin "
    "pendulum-swingup quadruped-run quadruped-walk reacher-easy reacher-hard reacher-three-easy "
    "reacher-three-hard walker-run walker-run-backwards walker-stand walker-walk walker-walk-backwards"
)


@dataclass(frozen=True)
class Published:
    """One of the published suites. ``frames``: where its curves end."""

    suite_id: str
    family: str
    tasks: tuple[str, ...]
    seeds: range
    frames: int


SUITES = (
    Published(
        "dreamer_atari100k", "dreamerv3", tuple(f"atari_{g}" for g in GAMES.split()), range(5), 440_000
    ),
    Published("tdmpc2_dmcontrol39", "tdmpc2", tuple(CONTROL.split()), range(1, 4), 4_000_000),
)


@command(
    "fixtures",
    argument(
        "--output", type=Path, default=Path("reports/parity/fixtures"), metavar="DIR",
        help="a folder of the project that git ignores (default: %(default)s)",
    ),
)  # fmt: skip
def fixtures(options: argparse.Namespace) -> None:
    """Write a table per side, a suite file for each published suite, and their lock; print what comes next.

    Raises:
        StoreError: the folder is outside of the project or holds something else by a name that is needed.
    """
    root = project_of(options).root
    output = (root / options.output).resolve()
    if not output.is_relative_to(root) or output == root:
        raise StoreError("is no folder within the project", where=str(output), hint="--output DIR")
    folder = output.relative_to(root).as_posix()
    with store.translated(output):
        _refuse_others(output)
        output.mkdir(parents=True, exist_ok=True)
    store.write_text(output / ".gitignore", f"# {BANNER}\n*\n")
    tables = {suite.suite_id: [_make_table(output, suite, side) for side in SIDES] for suite in SUITES}
    for suite in SUITES:
        text = json.dumps(_suite_document(suite), indent=2)
        store.write_text(output / f"{suite.suite_id}.yaml", f"# {BANNER}\n{text}\n")
    official = {suite_id: digests[0] for suite_id, digests in tables.items()}
    store.write_document(output / LOCK_NAME, _lock_document(folder, official), "lock.v1")
    print(f"{BANNER}\n{folder}: {len(SUITES)} suites\n\nNext, in {root}:")
    print("\n".join(shlex.join(command) for command in next_commands(folder)))


def _refuse_others(output: Path) -> None:
    """Replace fixtures only: a suite, lock or table of the same name may be a real one."""
    names = [table_name(s, side) for s in SUITES for side in SIDES] + [f"{s.suite_id}.yaml" for s in SUITES]
    for path in (output / name for name in (*names, LOCK_NAME, ".gitignore")):
        if path.exists() and not (path.is_file() and b"fixture" in path.read_bytes().lower()):
            raise StoreError("is there and is no fixture", where=str(path), hint="--output DIR of its own")


def table_name(suite: Published, side: str) -> str:
    """File name of the table of one side."""
    return f"{suite.suite_id}.{side}.json"


def _make_table(output: Path, suite: Published, side: str) -> str:
    """Write a table; its sha256."""
    provenance = {"fixture": True, "note": BANNER, "suite_id": suite.suite_id, "side": side}
    return write_canonical_json(output / table_name(suite, side), _make_rows(suite, side), provenance).sha256


def _make_rows(suite: Published, side: str) -> Iterator[ScoreRow]:
    """A rising curve per (task, seed) about a level of the task that both sides share."""
    for task in suite.tasks:
        level = 100 + 900 * _draw_uniform(suite.suite_id, task)
        for seed in suite.seeds:
            for point in range(1, POINTS + 1):
                # A sum of twelve has the deviation one.
                draws = (_draw_uniform(suite.suite_id, task, side, seed, point, i) for i in range(12))
                noise = 1 + DEVIATION * (sum(draws) - 6)
                step = suite.frames * point // POINTS
                yield ScoreRow(task, seed, step, round(level * noise * point / POINTS, 3))


def _draw_uniform(*names: object) -> float:
    """A number in [0, 1) that its names decide, and neither a library's version nor a clock."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _suite_document(suite: Published) -> dict[str, Any]:
    """The suite in the format of the published one, with the tables that stand beside it."""
    official = {"repo": f"{REPO}/{suite.suite_id}", "commit": FIXTURE_COMMIT}
    return {
        "suite_id": suite.suite_id,
        "family": suite.family,
        "metric": "episode_return",
        "higher_is_better": True,
        "margin_ratio": 0.05,
        "confidence": 0.95,
        "tasks": list(suite.tasks),
        "upstream": {**official, "format": "canonical_json", "path": table_name(suite, "official")},
        "worldflux": {"format": "canonical_json", "path": table_name(suite, "worldflux")},
    }


def _lock_document(folder: str, official: Mapping[str, str]) -> dict[str, Any]:
    """A lock of the official tables, so that everything about locks is rehearsed too."""
    return {
        "fixture": True,
        "schema_version": "worldflux.parity.lock.v1",
        "generated_at_utc": "1970-01-01T00:00:00+00:00",
        "suites": {
            suite.suite_id: {
                "repo": f"{REPO}/{suite.suite_id}",
                "commit": FIXTURE_COMMIT,
                "oracle_format": "canonical_json",
                "oracle_path": f"{folder}/{table_name(suite, 'official')}",
                "oracle_in": "project",
                "oracle_files": {
                    f"{folder}/{table_name(suite, 'official')}": official[suite.suite_id],
                },
            }
            for suite in SUITES
        },
    }


def next_commands(folder: str) -> list[Sequence[str]]:
    """The rehearsal, from the project's root; ``folder`` is that of the fixtures within it."""
    suites = [f"{folder}/{suite.suite_id}.yaml" for suite in SUITES]
    runs = [f"{folder}/runs/rehearsal/{suite.suite_id}/run.json" for suite in SUITES]
    lock, aggregate = f"{folder}/{LOCK_NAME}", f"{folder}/aggregate.json"
    own = "worldflux-parity"
    pages = ("--output", f"{folder}/report.md", "--dashboard", f"{folder}/dashboard.html")
    checked = ("--aggregate", aggregate, "--lock", lock, "--allow-fixtures")
    return [
        ("pytest", "--parity=quick", *suites, f"--parity-output={folder}/runs", "--parity-run-id=rehearsal",
         "-o", f"parity_lock={lock}"),
        (own, "aggregate", "--runs-glob", f"{folder}/runs/rehearsal/*/run.json", "--output", aggregate),
        (own, "report", "--aggregate", aggregate, *pages),
        (own, "validate", "--run", *runs, *checked, "--required-suite", *(s.suite_id for s in SUITES)),
        (own, "coverage", *checked, "--enforce-pass"),
    ]  # fmt: skip
