"""Consecutive updates of a training, as a golden holds them and a match program leaves them.

What every update computed is kept in blocks of a few updates, which grow with their number; parameters are
kept whole after updates 1, 2, 4, 8, ..., and as norms and projections after every one.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple

# (first, last) of the updates that share an output: small enough to say where two programs part.
BLOCKS = (
    (1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (7, 8), (9, 12), (13, 16), (17, 24), (25, 32), (33, 48), (49, 64),
)  # fmt: skip
UPDATES = BLOCKS[-1][1]
Tensors = Mapping[str, Any]


class Trace:
    """What is seen of updates, one after the other.

    Args:
        whole: the groups of tensors of which the numbers themselves are kept; of the others norms and
            projections are.
    """

    def __init__(self, whole: Iterable[str]) -> None:
        self._whole = set(whole)
        self._scalars: List[Dict[str, Any]] = []
        self._kept: Dict[int, Dict[str, Any]] = {}

    def add(self, statistics: Mapping[str, Any], groups: Mapping[str, Tensors]) -> None:
        """Keep what one update left.

        Args:
            statistics: scalars, in the order in which they are computed.
            groups: group -> name -> array, after the update, in the order in which data flow.
        """
        import numpy as np

        seen = {name: np.array(value, np.float64).reshape(()) for name, value in statistics.items()}
        rest = {group: tensors for group, tensors in groups.items() if group not in self._whole}
        seen.update({f"projection/{group}": _project(tensors) for group, tensors in rest.items()})
        self._scalars.append(seen)
        number = len(self._scalars)
        if number & (number - 1) == 0:
            kept = {f"{g}/{n}": x for g in groups if g in self._whole for n, x in groups[g].items()}
            self._kept[number] = {name: np.array(value) for name, value in kept.items()}

    def outputs(self) -> Dict[str, Any]:
        """Output -> array, by update and within one in the order of data flow."""
        return dict(self._list_outputs())

    def _list_outputs(self) -> Iterator[Tuple[str, Any]]:
        import numpy as np

        for first, last in BLOCKS:
            rows, label = self._scalars[first - 1 : last], _label(first, last)
            for name in rows[0] if len(rows) == last - first + 1 else ():
                yield f"{label}/{name}", np.stack([row[name] for row in rows])
            yield from ((f"{last:03}/{name}", array) for name, array in self._kept.get(last, {}).items())


def _label(first: int, last: int) -> str:
    return f"{last:03}" if first == last else f"{first:03}-{last:03}"


def _project(tensors: Tensors) -> Any:
    """Norm, and product with a fixed vector, of each tensor: (2 * tensors,)."""
    import numpy as np

    found: List[float] = []
    for value in tensors.values():
        numbers = np.asarray(value, np.float64).ravel()
        product = numbers @ np.cos(1.0 + np.arange(numbers.size))
        found += [float(np.linalg.norm(numbers)), float(product)]
    return np.array(found)


def group_by_prefix(named: Tensors, prefixes: Iterable[str]) -> Dict[str, Dict[str, Any]]:
    """Group -> name -> array: of each prefix the names that begin with it, sorted; without empty ones.

    A group is called as its prefix, without dots and underscores at the ends.
    """
    groups = {p: {n: x for n, x in sorted(named.items()) if n.startswith(p)} for p in prefixes}
    return {prefix.strip("._"): tensors for prefix, tensors in groups.items() if tensors}


def concatenate_groups(groups: Mapping[str, Tensors]) -> Dict[str, Any]:
    """Group -> all its numbers in one array."""
    import numpy as np

    return {
        group: np.concatenate([np.ravel(x) for x in tensors.values()]) for group, tensors in groups.items()
    }


def measure_tolerances(
    golden: Mapping[str, Any], replays: Sequence[Mapping[str, Any]], least: float = 1e-6, times: float = 10.0
) -> Dict[str, float]:
    """How far each output of another program may be off: so many times the worst of the replays.

    Args:
        golden: output -> array. replays: the same, of the official program with its rounding disturbed.
    """
    import numpy as np

    def worst(name: str) -> float:
        scale = np.abs(golden[name]).max()
        return max(float(np.abs(np.asarray(r[name]) - golden[name]).max() / scale) for r in replays)

    return {name: max(least, times * worst(name)) for name in golden}
