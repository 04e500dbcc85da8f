"""Replay of sequences over everything that was ever collected, across the ends of episodes.

Behaviour as the official ``embodied/core/replay.py`` with its uniform selector and online queue. All
environments take their steps together, so entry t of environment e is row ``t * envs + e`` of one ring, a
sequence is every ``envs``-th row from its first one on, and the number of its first row identifies it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

STEPID_BYTES = 20
_ROW_BYTES = 8


class Replay:
    """A ring of entries; the oldest sequence is forgotten, one by one.

    Args:
        length: entries of a sequence, context included.
        context: entries at the beginning of a sequence whose stored latents (keys with ``/``) are given.
        capacity: sequences held.
        envs: environments, which add together.
        online: whether every entry is first seen in order: non-overlapping sequences go out once, before
            any is drawn.
        seed: of what is drawn.
        most_rows: entries that will ever be added, where it is known: no more memory is reserved.

    Attributes:
        random: what sequences are drawn with.
        fresh: first rows of the sequences that go out before any is drawn.
        added: entries so far.
    """

    def __init__(
        self,
        length: int,
        context: int,
        capacity: int,
        envs: int,
        online: bool,
        seed: int,
        most_rows: int | None = None,
    ) -> None:
        self.length, self.context, self.capacity = length, context, capacity
        self.envs, self.online = envs, online
        reach = capacity + length * envs
        self._rows = reach if most_rows is None else min(reach, most_rows + envs)
        self.random = np.random.default_rng(seed)
        self._data: Arrays = {}
        self.fresh: deque[int] = deque()
        self._offsets = np.arange(length) * envs
        self.added = 0

    def __len__(self) -> int:
        """Sequences that can be drawn."""
        return min(self._inserted, self.capacity)

    @property
    def _inserted(self) -> int:
        return max(0, self.added - (self.length - 1) * self.envs)

    @property
    def _oldest(self) -> int:
        return self._inserted - len(self)

    def write(self, entries: Mapping[str, NDArray[Any]]) -> None:
        """Store one entry of every environment, (envs, ...) by key; `admit` makes them part of sequences."""
        if not self._data:
            # Memory that is never written to is never taken.
            self._data = {k: np.empty((self._rows, *v.shape[1:]), v.dtype) for k, v in entries.items()}
        rows = (self.added + np.arange(self.envs)) % self._rows
        for key, store in self._data.items():
            store[rows] = entries[key]

    def admit(self) -> None:
        """Count the next entry written, in the order of the environments."""
        step = self.added // self.envs
        self.added += 1
        # As official: the first fresh sequence begins at the second entry of its environment.
        if self.online and step >= self.length and step % self.length == 0:
            self.fresh.append(self._inserted - 1)

    def sample(self, batch_size: int) -> Arrays:
        """A batch (batch_size, length, ...): what was written, and the official ``consec`` and ``stepid``.

        ``is_first`` marks the beginning of every sequence, ``is_last`` also the entry before a beginning
        within it. Latents are given for the context only, (batch_size, context, ...).

        Raises:
            LookupError: there is no sequence yet.
        """
        if not len(self):
            raise LookupError("the replay holds no sequence yet")
        rows = self._draw(batch_size)[:, None] + self._offsets
        held = rows % self._rows
        batch = {k: v[held[:, : self.context] if "/" in k else held] for k, v in self._data.items()}
        batch["is_first"][:, 0] = True
        batch["is_last"][:, :-1] |= batch["is_first"][:, 1:]
        batch["consec"] = np.zeros(rows.shape, np.int32)
        batch["stepid"] = _stepids(rows)
        return batch

    def update(self, stepid: NDArray[np.uint8], latents: Mapping[str, NDArray[Any]]) -> None:
        """Replace stored latents (B, T, ...) of the T entries from each first ``stepid`` (B, T, 20) on.

        Where sequences overlap, the later one of the batch counts; what was forgotten meanwhile is left out.
        """
        first = np.ascontiguousarray(stepid[:, 0, :_ROW_BYTES]).view(">u8")[:, 0].astype(np.int64)
        rows = first[:, None] + self._offsets[: stepid.shape[1]]
        held = rows >= self._oldest
        for key, values in latents.items():
            if held.all():
                self._data[key][rows % self._rows] = values
            else:
                self._data[key][rows[held] % self._rows] = values[held]

    def snapshot(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """All that the replay is by name, to be given to `restore`; one copy at a time."""
        yield "added", np.asarray(self.added)
        yield "fresh", np.array(self.fresh, np.int64)
        yield "random", np.frombuffer(json.dumps(self.random.bit_generator.state).encode(), np.uint8)
        rows = np.arange(self._oldest, self.added) % self._rows
        for key, values in self._data.items():
            yield f"rows/{key}", values[rows]

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """Become what ``snapshot`` was taken of."""
        self.added = int(snapshot["added"])
        self.fresh = deque(snapshot["fresh"].tolist())
        self.random.bit_generator.state = json.loads(snapshot["random"].tobytes())
        stored = {k.removeprefix("rows/"): v for k, v in snapshot.items() if k.startswith("rows/")}
        rows = np.arange(self._oldest, self.added) % self._rows
        for key, values in stored.items():
            self._data[key] = np.empty((self._rows, *values.shape[1:]), values.dtype)
            self._data[key][rows] = values

    def _draw(self, count: int) -> NDArray[np.int64]:
        """First rows (count,): fresh sequences while there are any, then uniform draws."""
        while self.fresh and self.fresh[0] < self._oldest:
            self.fresh.popleft()
        fresh = [self.fresh.popleft() for _ in range(min(count, len(self.fresh)))]
        drawn = self.random.integers(self._oldest, self._inserted, count - len(fresh))
        return np.concatenate([np.array(fresh, np.int64), drawn])


def _stepids(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Rows (B, T) as the official 20 bytes (B, T, 20), the number first."""
    stepid = np.zeros((*rows.shape, STEPID_BYTES), np.uint8)
    stepid[..., :_ROW_BYTES] = rows.astype(">u8")[..., None].view(np.uint8)
    return stepid
