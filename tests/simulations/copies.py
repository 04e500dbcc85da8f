"""How often copies of scores are found, and how often scores of independent runs are taken for copies.

    python tests/simulations/copies.py --oracles ../shared/oracles [--replications 1000]
    python tests/simulations/copies.py --published FOLDER

The first prints the table of ``tests/README.md``: official scores are the published Atari table of
DreamerV3 (mean of the last ten points; of five seeds, or three of them), or normal seeds; the candidate's are
made of them. The second tries every two published tables below a folder (``*.json.gz`` of danijar/dreamerv3,
folders of CSV files of nicklashansen/tdmpc2) that share tasks, by last score, mean of the last ten, and mean
of all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from pytest_worldflux_parity.errors import ScoreTableError
from pytest_worldflux_parity.inputs.scores import ScoreTable, load_table
from pytest_worldflux_parity.inputs.scores.curves import Result
from pytest_worldflux_parity.judgement.gates import Finding
from pytest_worldflux_parity.judgement.gates.copies import find_copies
from pytest_worldflux_parity.judgement.gates.repeats import Repeats, find_repeats
from pytest_worldflux_parity.judgement.stats.arrays import FloatArray
from pytest_worldflux_parity.judgement.stats.measurements import Observed, Value
from pytest_worldflux_parity.suite.suite import SYSTEMS, Metric, Suite, Task

Cells = Sequence[FloatArray]
RETURN = "episode_return"
ATARI = "dreamerv3/scores/atari100k-dreamerv3.json.gz"
TAKEN: Mapping[str, Callable[[Sequence[float]], float]] = {
    "last": lambda curve: curve[-1],
    "last ten": lambda curve: float(np.mean(curve[-10:])),
    "mean": lambda curve: float(np.mean(curve)),
}


# --- copies that are made ---


def four_digits(scores: FloatArray, rng: np.random.Generator) -> FloatArray:
    return np.array([float(f"{x:.4g}") for x in scores])


def noisy(share: float) -> Callable[[FloatArray, np.random.Generator], FloatArray]:
    """Noise of a share of the spread between seeds."""
    return lambda scores, rng: scores + rng.normal(0, share * scores.std(ddof=1), scores.size)


def independent(scores: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Normal scores of the same mean and spread."""
    return rng.normal(scores.mean(), scores.std(ddof=1), scores.size)


COPIES: Mapping[str, Callable[[FloatArray, np.random.Generator], FloatArray]] = {
    "as they are": lambda scores, rng: scores,
    "in another order": lambda scores, rng: rng.permutation(scores),
    "four digits of each": four_digits,
    "each x (1 + 1e-6 noise)": lambda scores, rng: scores * (1 + rng.normal(0, 1e-6, scores.size)),
    "noise of 1 % of the spread": noisy(0.01),
    "the same, in another order": lambda scores, rng: rng.permutation(noisy(0.01)(scores, rng)),
    "each x 0.97": lambda scores, rng: 0.97 * scores,
    "x 0.97, noise of 1 % of the spread": lambda scores, rng: 0.97 * noisy(0.01)(scores, rng),
    "noise of 10 % of the spread": noisy(0.1),
    "independent": independent,
}


def alarm(official: Cells, worldflux: Cells) -> list[Finding]:
    """What is found of cells, one a task, seeds from 0 on."""
    names = [f"task{i}" for i in range(len(official))]
    values = {
        (system, RETURN, name): {seed: Value(float(x)) for seed, x in enumerate(cell)}
        for system, cells in zip(SYSTEMS, (official, worldflux), strict=True)
        for name, cell in zip(names, cells, strict=True)
    }
    return find_copies(suite_of(names), Observed(values))


def suite_of(names: Sequence[str]) -> Suite:
    tasks = tuple(Task(name) for name in names)
    return Suite("s", "f", "quick", tasks, {}, {}, (Metric(RETURN, "calibrated", 0.05),))


def normal(tasks: int, seeds: int, rng: np.random.Generator) -> Cells:
    return [rng.normal(100, 3, seeds) * rng.uniform(0.5, 10) for _ in range(tasks)]


def table(atari: Cells, replications: int, seed: int = 0) -> str:
    """Shares of replications in which something is found, as a table in markdown."""
    rng = np.random.default_rng(seed)
    drawn: Mapping[str, Callable[[], Cells]] = {
        "Atari, 26 x 5": lambda: atari,
        "Atari, 26 x 3": lambda: [rng.choice(cell, 3, replace=False) for cell in atari],
        "1 task x 4": lambda: normal(1, 4, rng),
        "2 x 4": lambda: normal(2, 4, rng),
        "1 x 5": lambda: normal(1, 5, rng),
        "1 x 10": lambda: normal(1, 10, rng),
        "6 x 3": lambda: normal(6, 3, rng),
    }
    rows = [f"| the candidate's scores | {' | '.join(drawn)} |", "|---|" + "---|" * len(drawn)]
    for name, made in COPIES.items():
        shares = []
        for draw in drawn.values():
            found = 0
            for _ in range(replications):
                official = draw()
                found += bool(alarm(official, [made(cell, rng) for cell in official]))
            shares.append(f"{100 * found / replications:.0f} %")
        rows.append(f"| {name} | {' | '.join(shares)} |")
    return "\n".join(rows)


def atari_cells(oracles: Path) -> Cells:
    scores = _cells(load_table(oracles / ATARI, "dreamerv3_scores_json_gz"), TAKEN["last ten"])
    # Of Freeway all are 0: nothing of it can tell a copy.
    return [cell for cell in map(np.array, map(list, map(dict.values, scores.values()))) if cell.std()]


# --- what was published ---


def published(folder: Path) -> Iterator[tuple[str, ScoreTable]]:
    """Every score table below a folder, by its path."""
    files = [(p, "dreamerv3_scores_json_gz") for p in sorted(folder.rglob("*.json.gz"))]
    folders = [(p, "tdmpc2_results_csv_dir") for p in sorted({q.parent for q in folder.rglob("*.csv")})]
    for path, format in files + folders:
        try:
            table = load_table(path, format)
        except ScoreTableError:
            # One repeats rows.
            table = load_table(path, format, duplicates="first")
        yield path.relative_to(folder).as_posix(), table


def _cells(table: ScoreTable, take: Callable[[Sequence[float]], float]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for (task, seed, metric), points in table.points.items():
        found.setdefault(f"{task} {metric}", {})[seed] = take(points.scores.tolist())
    return found


def pairs_of(tables: Mapping[str, ScoreTable]) -> Iterator[tuple[str, str, int, list[Finding]]]:
    """(pair, what is taken, tasks, findings) of every two tables that share tasks."""
    for (one, a), (other, b) in combinations(tables.items(), 2):
        for taken, take in TAKEN.items():
            sides = [_cells(t, take) for t in (a, b)]
            shared = sorted(sides[0].keys() & sides[1].keys())
            if not shared:
                continue
            values = {
                (system, RETURN, task): {seed: Value(x) for seed, x in side[task].items()}
                for system, side in zip(SYSTEMS, sides, strict=True)
                for task in shared
            }
            yield f"{one} ~ {other}", taken, len(shared), find_copies(suite_of(shared), Observed(values))


def repeats_of(table: ScoreTable) -> Repeats:
    """The equal records of a table."""
    results = {
        ("official", f"{task} {metric}", seed): Result(points)
        for (task, seed, metric), points in table.points.items()
    }
    return find_repeats(suite_of(sorted({task for _, task, _ in results})), results, sorted(results))


def report(folder: Path) -> Iterator[str]:
    tables = dict(published(folder))
    rows = list(pairs_of(tables))
    pairs, cells = len({pair for pair, *_ in rows}), sum(n for *_, n, _ in rows)
    yield f"{len(tables)} tables, {pairs} pairs, {len(rows)} suites, {cells} cells"
    for pair, taken, _, found in rows:
        yield from (f"{pair}, {taken}: {finding.line()}" for finding in found)
    for name, table in tables.items():
        own = repeats_of(table)
        if own.repeated or own.saturated:
            tasks = len({r.task_id for r in own.repeated})
            saturated = len({s.task_id for s in own.saturated})
            yield f"{name}: {len(own.repeated)} repeated runs in {tasks} tasks, {saturated} tasks saturated"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--oracles", type=Path, help="folder with dreamerv3/")
    parser.add_argument("--published", type=Path, help="folder with published tables of any kind")
    parser.add_argument("--replications", type=int, default=1000)
    options = parser.parse_args()
    if options.published:
        print("\n".join(report(options.published)))
    if options.oracles:
        print(table(atari_cells(options.oracles), options.replications))


if __name__ == "__main__":
    main()
